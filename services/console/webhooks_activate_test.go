package console_test

import (
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/services/console"
)

func TestReactivation(t *testing.T) {
	t.Parallel()
	c := ready(t)
	w := c.create(minimal)
	api, path := "/api/v1/webhooks/"+w.ID, "/console/webhooks/"+w.ID
	refused := func(when string) {
		t.Helper()
		if a := c.do(409, "PATCH", api, `{"active":true}`); a.Code != "reactivation_by_hand" || !strings.Contains(a.Detail, path) || !strings.Contains(a.Detail, "500 failed attempts") {
			t.Errorf("with an API key, %s: %s", when, a.text)
		}
	}
	c.fails(dead(w))
	p := c.person().signIn(bootKey, "")
	if s := p.get("/console/webhooks"); !strings.Contains(s.html, `"state disabled"`) || !strings.Contains(s.text, "500") {
		t.Errorf("the list: %s", s.text)
	}
	s := p.get(path)
	for _, want := range []string{"It was disabled on 6 May 2026, 08:08:09 UTC after 500 failed attempts in a row.", "the receiver answered 503", "Deactivate the webhook."} {
		if !strings.Contains(s.text, want) {
			t.Errorf("the page of a disabled webhook does not say %q: %s", want, s.text)
		}
	}
	refused("while it is active")
	if s := p.do("POST", path+"/activate", url.Values{"token": {p.token}}); s.status != 409 || !strings.Contains(s.text, "deactivate it first") {
		t.Errorf("activated before it was deactivated: %d %s", s.status, s.text)
	}
	if s := p.press(path + "/deactivate"); !strings.Contains(s.text, "The webhook is inactive.") || !strings.Contains(s.html, `"state disabled"`) {
		t.Errorf("deactivated: %s", s.text)
	}
	p.press(path + "/deactivate") // once more changes nothing
	refused("once it was deactivated in the console")

	// Two people at once: one generation more, not two.
	var both sync.WaitGroup
	for range 2 {
		other := c.person().signIn(bootKey, "")
		both.Go(func() {
			if s := other.do("POST", path+"/activate", url.Values{"token": {other.token}}); s.status != 303 {
				t.Errorf("activated: %d %s", s.status, s.text)
			}
		})
	}
	both.Wait()
	if s := p.press(path + "/activate"); !strings.Contains(s.text, "The webhook is active.") || !strings.Contains(s.html, `"state active"`) {
		t.Errorf("activated: %s", s.text)
	}
	got := data[console.Webhook](t, c.do(200, "GET", api, ""))
	if !got.Active || !got.CanSend || got.FailStreak != 0 || got.FailureCount != 501 {
		t.Errorf("reactivated: %+v", got)
	}
	stored, err := openStore(t, c.cfg.SQL).Webhook(t.Context(), "default", w.ID)
	if err != nil || stored.Generation != 2 {
		t.Errorf("reactivated: generation %d, %v", stored.Generation, err)
	}
	c.do(200, "PATCH", api, `{"active":true}`) // nothing to reactivate any more

	// Merely inactive: its generation and streak stay.
	s2 := dead(w)
	s2.Generation, s2.Version, s2.Disabled, s2.FailStreak = 2, 9, false, 3
	c.fails(s2)
	p.press(path + "/deactivate")
	p.press(path + "/activate")
	if got := data[console.Webhook](t, c.do(200, "GET", api, "")); !got.Active || got.FailStreak != 3 {
		t.Errorf("activated, not reactivated: %+v", got)
	}
}

func TestReactivationNamesTheConsole(t *testing.T) {
	t.Parallel()
	cfg := config(t, broker(t), sqldbtest.Any(t))
	cfg.PublicURL = "https://hooks.example.com"
	c := start(t, cfg)
	c.awaitReady()
	w := c.create(minimal)
	gone := dead(w)
	gone.DisableReason, gone.FailStreak = failure.DisabledByGone, 1
	c.fails(gone)
	a := c.do(409, "PATCH", "/api/v1/webhooks/"+w.ID, `{"active":true}`)
	if !strings.Contains(a.Detail, "because its receiver answered 410 Gone") || !strings.HasSuffix(a.Detail, "https://hooks.example.com/console/webhooks/"+w.ID) {
		t.Errorf("detail: %s", a.Detail)
	}
}

func TestReactivationByAnyone(t *testing.T) {
	t.Parallel()
	c := ready(t)
	c.do(200, "PATCH", "/api/v1/tenants/default", `{"policy":{"reactivation":"any"}}`)
	w := c.create(minimal)
	c.fails(dead(w))
	c.do(200, "PATCH", "/api/v1/webhooks/"+w.ID, `{"active":false}`)
	if got := data[console.Webhook](t, c.do(200, "PATCH", "/api/v1/webhooks/"+w.ID, `{"active":true}`)); !got.CanSend || got.FailStreak != 0 {
		t.Errorf("reactivated with a key, as its tenant allows: %+v", got)
	}
}

// A webhook that was disabled when it was deactivated, by whomever, is held until it is active again; one that was
// not, or was disabled later, is not.
func TestHeld(t *testing.T) {
	t.Parallel()
	c := ready(t)
	store := openStore(t, c.cfg.SQL)
	held := func(w console.Webhook, want bool, when string) {
		t.Helper()
		if got, err := store.Webhook(t.Context(), "default", w.ID); err != nil || got.Held != want {
			t.Errorf("%s: held %t, %v", when, got.Held, err)
		}
	}
	p := c.person().signIn(bootKey, "")
	byKey, byHand, healthy := c.create(minimal), c.create(minimal), c.create(minimal)
	for _, w := range []console.Webhook{byKey, byHand} {
		c.fails(dead(w))
		held(w, false, "disabled")
	}
	c.do(200, "PATCH", "/api/v1/webhooks/"+byKey.ID, `{"active":false}`)
	held(byKey, true, "deactivated with a key")
	c.do(200, "PATCH", "/api/v1/webhooks/"+byKey.ID, `{"name":"another","active":false}`)
	held(byKey, true, "changed")
	p.press("/console/webhooks/" + byHand.ID + "/deactivate")
	held(byHand, true, "deactivated by hand")
	for _, w := range []console.Webhook{byKey, byHand} {
		p.press("/console/webhooks/" + w.ID + "/activate")
		held(w, false, "reactivated")
	}
	c.do(200, "PATCH", "/api/v1/webhooks/"+healthy.ID, `{"active":false}`)
	held(healthy, false, "deactivated while it was healthy")
	c.fails(dead(healthy)) // by what was in flight
	c.do(200, "PATCH", "/api/v1/webhooks/"+healthy.ID, `{"name":"another"}`)
	held(healthy, false, "disabled after it was deactivated")
}
