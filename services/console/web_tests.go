package console

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
)

// testPage tests a webhook and shows its page with the answer. What the answer says belongs to this request alone, so
// nobody is sent elsewhere to read it; a browser that reloads the page asks before it tests again.
func (p *web) testPage(v *visit) error {
	// As long as the API's: a receiver may take its time.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(v.ctx), maxTestWait*time.Second+testGrace)
	defer cancel()
	defer context.AfterFunc(v.r.Context(), cancel)()
	within := v.ctx
	defer func() { v.ctx = within }() // what goes wrong is told by who comes after
	v.ctx = withAction(ctx, sqlstore.BySession, "test-webhook")
	_ = http.NewResponseController(v.w).SetReadDeadline(time.Time{})
	said := TestInput{EventType: v.r.PostForm.Get("event_type")}
	if text := v.r.PostForm.Get("wait_seconds"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			return invalid.Fields{{Name: "wait_seconds", Message: "must be a whole number"}}
		}
		said.WaitSeconds = &n
	}
	work, done := context.WithTimeout(v.ctx, workTime)
	defer done()
	store, of, err := p.storeAndTenant(work)
	if err != nil {
		return err
	}
	w, err := readWebhook(work, store, of.ID, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	t, err := p.test(v.ctx, work, store, of, w, said)
	if err != nil {
		return err
	}
	p.log.Info("done in the web console", "action", "test", "webhook", w.ID, "delivery", t.DeliveryID, "key", v.session.Key.ID, "tenant", of.ID)
	return p.showWebhook(v, &t)
}
