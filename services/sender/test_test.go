package sender_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// test writes a test delivery.
func (r *rig) test(w webhook.Webhook) delivery.Delivery {
	r.t.Helper()
	event := uuid.NewString()
	id := delivery.ID(event, w.ID)
	d := delivery.Delivery{
		ID: id, Tenant: w.Tenant, EventID: event, EventType: "card.updated", WebhookID: w.ID, WebhookPosition: r.hooks[w.ID],
		RunID: delivery.FirstRunID(id), Cause: delivery.CauseTest, Attempt: 1, ReceivedAt: time.Now(), Body: []byte(`{}`), ContentType: "application/json",
	}
	r.produce(wire.Delivery(r.topics.Deliveries, d))
	return d
}

// ended waits for the only attempt of a delivery.
func (r *rig) ended(d delivery.Delivery) (a delivery.Attempt) {
	r.t.Helper()
	eventually(r.t, func() error {
		found := 0
		for _, x := range r.attempts() {
			if x.DeliveryID == d.ID {
				a, found = x, found+1
			}
		}
		if found != 1 {
			return fmt.Errorf("%d attempts of %s, want 1", found, d.ID)
		}
		return nil
	})
	return a
}

// A test is one POST that is marked, whatever the receiver answers, and says nothing of the webhook: a streak goes on as it
// was, and nobody is disabled or made to wait for it. It is sent to webhooks that get nothing else.
func TestTestsAreMadeOnceAndCountForNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, "300ms")
	rec := newReceiver(t, always(500))
	usual := rec.Config.Handler
	rec.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Doorstep-Test") == "" {
			usual.ServeHTTP(w, req)
			return
		}
		usual.ServeHTTP(&silent{w}, req)
		switch req.URL.Path {
		case "/gone":
			w.WriteHeader(http.StatusGone)
		case "/wait":
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(http.StatusTooManyRequests)
		case "/well":
			w.WriteHeader(http.StatusOK)
		default:
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	r.start("a")
	for path, want := range map[string]delivery.Status{
		"/bad": delivery.Exhausted, "/gone": delivery.Exhausted, "/wait": delivery.Exhausted, "/well": delivery.Delivered,
	} {
		w := r.webhook(rec.URL+path, tries(0))
		r.ended(r.deliver(w, 1)) // a streak of one
		for range 6 {            // more than the rig's webhooks are disabled after
			if a := r.ended(r.test(w)); a.Status != want || a.Cause != delivery.CauseTest || !a.NextAttemptAt.IsZero() {
				t.Errorf("%s: a test ended as %+v", path, a)
			}
		}
		r.ended(r.deliver(w, 2))
		s := r.stateWhen(w, "counted", func(s failure.State) bool { return s.FailStreak >= 2 })
		if s.FailStreak != 2 || s.FailureCount != 2 || s.Disabled || !s.DisabledUntil.IsZero() {
			t.Errorf("%s: after two failures and tests: %+v", path, s)
		}
	}
	for name, change := range map[string]func(*webhook.Webhook){
		"inactive": func(w *webhook.Webhook) { w.Active = false },
		"paused":   func(w *webhook.Webhook) { w.Paused = true },
	} {
		w := r.change(r.webhook(rec.URL+"/well", nil), change)
		if a := r.ended(r.test(w)); a.Status != delivery.Delivered {
			t.Errorf("to one that is %s: %+v", name, a)
		}
	}
	if n := len(read(r, r.topics.Suspended, wire.ReadDelivery)); n != 0 {
		t.Errorf("%d tests were suspended", n)
	}
}
