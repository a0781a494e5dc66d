package e2e

import (
	"fmt"
	"net/http"
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

// policyOf is what a webhook's view says of its failures.
type policyOf struct {
	Active           bool
	Disabled         bool
	DisableReason    string     `json:"disable_reason"`
	CanSend          bool       `json:"can_send"`
	FailStreak       int        `json:"fail_streak"`
	FailureCount     int        `json:"failure_count"`
	Suspended        int        `json:"suspended_count"`
	MailedWarningAt  *time.Time `json:"mailed_warning_at"`
	MailedDisabledAt *time.Time `json:"mailed_disabled_at"`
	DisabledUntil    *time.Time `json:"disabled_until"`
}

// mailed is one mail as the API lists it.
type mailed struct {
	ID, Kind, To, Subject, Text, Result string
}

// job is a release or a discard.
type job struct {
	ID, Status, Error string
	Changed, Skipped  int
}

func (w *world) policy(h hook) policyOf {
	w.t.Helper()
	var p policyOf
	if status := w.rest(http.MethodGet, "webhooks/"+h.ID, nil, &p); status != http.StatusOK {
		w.t.Fatalf("webhook: %d", status)
	}
	return p
}

// policyWhen waits until a webhook's view is as is says.
func (w *world) policyWhen(h hook, what string, is func(policyOf) bool) policyOf {
	w.t.Helper()
	var p policyOf
	testkit.Eventually(w.t, 2*patience, func() error {
		if p = w.policy(h); !is(p) {
			return fmt.Errorf("not %s: %+v", what, p)
		}
		return nil
	})
	return p
}

func (w *world) mails(h hook) []mailed {
	w.t.Helper()
	var list []mailed
	if status := w.rest(http.MethodGet, "mails?filter[webhook_id]="+h.ID, nil, &list); status != http.StatusOK {
		w.t.Fatalf("mails: %d", status)
	}
	return list
}

// administrators registers two, at addresses that no other test has.
func (w *world) administrators() []string {
	w.t.Helper()
	tag := strings.ToLower(strings.NewReplacer(".", "-", "/", "-", "_", "-").Replace(testkit.Prefix(w.t)))
	var addresses []string
	for _, name := range []string{"one", "two"} {
		address := strings.Trim(tag, "-") + "-" + name + "@example.com"
		in := map[string]any{"email": address, "name": "Administrator " + name}
		if status := w.rest(http.MethodPost, "administrators", in, nil); status != http.StatusCreated {
			w.t.Fatalf("administrator: %d", status)
		}
		addresses = append(addresses, address)
	}
	return addresses
}

// flood publishes n events of one type, each with its number.
func (w *world) flood(n int, reference string) {
	w.t.Helper()
	for i := range n {
		w.mustPublish(&pb.Event{Type: "card.updated", ExternalReference: fmt.Sprint(reference, i), Data: fmt.Appendf(nil, `{"n":%d}`, i)})
	}
}

// arrived are the mails in the mailbox of an address at the real mail server.
func arrived(t *testing.T, address string) []*mail.Message {
	t.Helper()
	local, _, _ := strings.Cut(address, "@")
	var out []*mail.Message
	for _, text := range testkit.SMTP(t).Mails(t, local) {
		m, err := mail.ReadMessage(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

// The whole of the failure policy, with its thresholds as they are: a receiver fails 500 attempts in a row. Its
// administrators are warned once and told once that it is disabled, whoever is killed in between; what comes next is
// suspended; nothing but the web console reactivates; and what was suspended arrives, byte for byte, once released.
func TestAReceiverThatKeepsFailing(t *testing.T) {
	t.Parallel()
	w := start(t)
	addresses := w.administrators()
	r := testkit.NewReceiver(t)
	r.Set("/hook", testkit.Behaviour{Status: http.StatusInternalServerError})
	h := w.register(r.URL+"/hook", nil)
	healthy := testkit.NewReceiver(t)
	w.register(healthy.URL+"/hook", nil)
	w.inForce()

	const events = 140 // of which 125 and their retries make 500 attempts
	w.flood(events, "card-")
	// The notifier is dead when the warning is raised. It dies again, and the sender with it, once the mails are on
	// record: one that it dies of between the mail server's answer and the record may come twice, with one Message-ID.
	w.policyWhen(h, "failing", func(p policyOf) bool { return p.FailStreak > 0 })
	start := w.kill("notifier")
	w.policyWhen(h, "warned", func(p policyOf) bool { return p.FailStreak >= 250 })
	start()
	w.mailed(h, len(addresses))
	startNotifier, startSender := w.kill("notifier"), w.kill("sender")
	startSender()
	startNotifier()
	p := w.policyWhen(h, "disabled", func(p policyOf) bool { return p.Disabled })
	if p.FailStreak < 500 || p.FailStreak > 532 || !p.Active || p.CanSend || p.DisableReason != "fail_streak" {
		t.Errorf("disabled: %+v", p)
	}
	w.mailedOnce(h, addresses)

	sent := r.Count()
	if sent < 500 || sent > 500+32+64 { // what was in flight at the disable, and what the kill repeated
		t.Errorf("%d POSTs until the disable", sent)
	}
	next := w.mustPublish(&pb.Event{Type: "card.updated", ExternalReference: "card-next", Data: []byte(oddJSON)})
	kept := w.recordedFor(next, h, "suspended")
	to(t, healthy, "/hook", events+1)
	w.policyWhen(h, "all suspended", func(p policyOf) bool { return p.Suspended >= events+1-125 })
	if n := r.Count(); n != sent {
		t.Errorf("%d POSTs after the disable", n-sent)
	}

	w.keyCannotReactivate(h)
	during := w.mustPublish(&pb.Event{Type: "card.updated", ExternalReference: "card-during", Data: []byte(oddJSON)})
	w.recordedFor(during, h, "suspended")
	r.Set("/hook", testkit.Behaviour{})
	w.reactivate(h)
	p = w.policyWhen(h, "reactivated", func(p policyOf) bool { return p.CanSend && p.FailStreak == 0 })
	if p.Disabled || !p.Active || p.MailedWarningAt != nil || p.MailedDisabledAt != nil || p.FailureCount < 500 {
		t.Errorf("reactivated: %+v", p)
	}

	w.release(h)
	w.recordedFor(next, h, "delivered")
	w.recordedFor(during, h, "delivered")
	arrivals := 0
	for _, got := range r.RequestsTo("/hook")[sent:] {
		verify(t, h, got)
		if got.Header.Get("Webhook-Id") == kept {
			arrivals++
			if string(got.Body) != oddJSON {
				t.Errorf("released as %q", got.Body)
			}
		}
	}
	if arrivals != 1 {
		t.Errorf("the next event arrived %d times", arrivals)
	}
	w.policyWhen(h, "without suspended ones", func(p policyOf) bool { return p.Suspended == 0 })
	w.mailedOnce(h, addresses)
}

// mailed waits until n mails about a webhook are on record.
func (w *world) mailed(h hook, n int) {
	w.t.Helper()
	testkit.Eventually(w.t, patience, func() error {
		if got := w.mails(h); len(got) < n {
			return fmt.Errorf("%d of %d mailed", len(got), n)
		}
		return nil
	})
}

// mailedOnce waits for a warning and a disable mail to each administrator, and fails if there is any other.
func (w *world) mailedOnce(h hook, addresses []string) {
	w.t.Helper()
	var want, got []string
	for _, a := range addresses {
		want = append(want, "disabled "+a, "warning "+a)
	}
	slices.Sort(want)
	w.mailed(h, len(want))
	for _, m := range w.mails(h) {
		got = append(got, m.Kind+" "+m.To)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		w.t.Errorf("mailed %v, want %v", got, want)
	}
	if !w.smtp {
		return
	}
	for _, a := range addresses {
		var subjects, ids []string
		testkit.Eventually(w.t, patience, func() error {
			subjects, ids = nil, nil
			for _, m := range arrived(w.t, a) {
				subjects, ids = append(subjects, m.Header.Get("Subject")), append(ids, m.Header.Get("Message-Id"))
			}
			if len(subjects) < 2 {
				return fmt.Errorf("%d mails in the mailbox of %s", len(subjects), a)
			}
			return nil
		})
		if len(subjects) != 2 || ids[0] == ids[1] {
			w.t.Errorf("%s got %q, %q", a, subjects, ids)
		}
	}
}

// keyCannotReactivate tries what an API key may and may not do, and leaves the webhook deactivated.
func (w *world) keyCannotReactivate(h hook) {
	w.t.Helper()
	for _, step := range []struct {
		active bool
		want   int
	}{{true, http.StatusConflict}, {false, http.StatusOK}, {true, http.StatusConflict}} {
		if status := w.rest(http.MethodPatch, "webhooks/"+h.ID, map[string]any{"active": step.active}, nil); status != step.want {
			w.t.Errorf("PATCH active %t with a key: %d, want %d", step.active, status, step.want)
		}
	}
	if status := w.rest(http.MethodPost, "webhooks/"+h.ID+"/release", map[string]any{}, nil); status != http.StatusConflict {
		w.t.Errorf("release while disabled: %d", status)
	}
}

// release releases all that is suspended, and waits until it is.
func (w *world) release(h hook) job {
	w.t.Helper()
	var j job
	if status := w.rest(http.MethodPost, "webhooks/"+h.ID+"/release", map[string]any{}, &j); status != http.StatusAccepted {
		w.t.Fatalf("release: %d", status)
	}
	testkit.Eventually(w.t, patience, func() error {
		if status := w.rest(http.MethodGet, "jobs/"+j.ID, nil, &j); status != http.StatusOK || j.Status != "done" {
			return fmt.Errorf("%d %+v", status, j)
		}
		return nil
	})
	return j
}

// recordedFor waits until an event's delivery to a webhook has a status, and returns its id.
func (w *world) recordedFor(event string, h hook, status string) string {
	w.t.Helper()
	var list []recorded
	testkit.Eventually(w.t, patience, func() error {
		list = nil
		if code := w.rest(http.MethodGet, "deliveries?filter[event_id]="+event+"&filter[webhook_id]="+url.QueryEscape(h.ID), nil, &list); code != http.StatusOK || len(list) != 1 || list[0].Status != status {
			return fmt.Errorf("%d %+v, want one %s", code, list, status)
		}
		return nil
	})
	return list[0].ID
}

// Redis loses everything in the middle of a streak: nobody is warned again, and the streak goes on to 500.
func TestRedisEmptiedInAStreak(t *testing.T) {
	t.Parallel()
	w := start(t)
	if w.emptyRedis == nil {
		t.Skip("this Doorstep's Redis is not ours to empty")
	}
	addresses := w.administrators()
	r := testkit.NewReceiver(t)
	r.Set("/hook", testkit.Behaviour{Status: http.StatusInternalServerError})
	h := w.register(r.URL+"/hook", nil)
	w.inForce()
	w.flood(140, "card-")
	w.policyWhen(h, "at 300 failures", func(p policyOf) bool { return p.FailStreak >= 300 })
	w.emptyRedis()
	p := w.policyWhen(h, "disabled", func(p policyOf) bool { return p.Disabled })
	if p.FailStreak < 500 || p.FailStreak > 532 || r.Count() < 500 || r.Count() > 532 {
		t.Errorf("disabled after %d POSTs: %+v", r.Count(), p)
	}
	w.mailedOnce(h, addresses)
}

// A receiver that answers 410 is disabled at once, and its administrators are told why.
func TestAReceiverThatIsGone(t *testing.T) {
	t.Parallel()
	w := start(t)
	addresses := w.administrators()
	r := testkit.NewReceiver(t)
	r.Set("/hook", testkit.Behaviour{Status: http.StatusGone})
	h := w.register(r.URL+"/hook", nil)
	w.inForce()
	w.mustPublish(&pb.Event{Type: "card.updated", ExternalReference: "card-1", Data: []byte(`{}`)})
	p := w.policyWhen(h, "disabled", func(p policyOf) bool { return p.Disabled && p.MailedDisabledAt != nil })
	if p.DisableReason != "gone" || p.FailStreak != 1 {
		t.Errorf("%+v", p)
	}
	var to []string
	for _, m := range w.mails(h) {
		if m.Kind != "gone" || !strings.Contains(m.Text, "410") {
			t.Errorf("mail %+v", m)
		}
		to = append(to, m.To)
	}
	if slices.Sort(to); len(to) == 0 || !slices.Contains(addresses, to[0]) {
		t.Errorf("mailed to %v", to)
	}
}

// A receiver that asks for a wait gets nothing until it is over, and then everything.
func TestAReceiverThatAsksForAWait(t *testing.T) {
	t.Parallel()
	w := start(t)
	r := testkit.NewReceiver(t)
	const wait = 3 * time.Second
	var asked atomic.Bool
	r.Set("/hook", testkit.Behaviour{Func: func(rw http.ResponseWriter, _ *http.Request) {
		if !asked.Swap(true) {
			rw.Header().Set("Retry-After", "3")
			rw.WriteHeader(http.StatusTooManyRequests)
		}
	}})
	h := w.register(r.URL+"/hook", map[string]any{"retry_count": 0})
	w.inForce()
	w.mustPublish(&pb.Event{Type: "card.updated", ExternalReference: "card-1", Data: []byte(`{"n":0}`)})
	first := to(t, r, "/hook", 1)[0]
	w.policyWhen(h, "put off", func(p policyOf) bool { return p.DisabledUntil != nil && !p.CanSend && !p.Disabled })
	w.flood(5, "card-")
	got := to(t, r, "/hook", 7)
	for _, g := range got[1:] {
		if after := g.At.Sub(first.At); after < wait {
			t.Errorf("sent to %s after it asked for %s", after, wait)
		}
	}
	if p := w.policyWhen(h, "healthy", func(p policyOf) bool { return p.CanSend && p.FailStreak == 0 }); p.FailureCount != 1 {
		t.Errorf("%+v", p)
	}
}

// What a person pauses is kept, and flows again when it is resumed; what is discarded never arrives.
func TestPausedAndDiscarded(t *testing.T) {
	t.Parallel()
	w := start(t)
	r := testkit.NewReceiver(t)
	h := w.register(r.URL+"/hook", nil)
	w.inForce()
	if status := w.rest(http.MethodPost, "webhooks/"+h.ID+"/pause", nil, nil); status != http.StatusOK {
		t.Fatalf("pause: %d", status)
	}
	w.inForce()
	thrown := w.mustPublish(&pb.Event{Type: "card.deleted", ExternalReference: "card-1", Data: []byte(`{}`)})
	w.flood(3, "card-")
	w.policyWhen(h, "all kept", func(p policyOf) bool { return p.Suspended == 4 && !p.CanSend })
	var j job
	if status := w.rest(http.MethodPost, "webhooks/"+h.ID+"/discard", map[string]any{"event_types": []string{"card.deleted"}}, &j); status != http.StatusAccepted {
		t.Fatalf("discard: %d", status)
	}
	w.recordedFor(thrown, h, "discarded")
	if status := w.rest(http.MethodPost, "webhooks/"+h.ID+"/resume", nil, nil); status != http.StatusOK {
		t.Fatalf("resume: %d", status)
	}
	to(t, r, "/hook", 3)
	w.policyWhen(h, "empty", func(p policyOf) bool { return p.Suspended == 0 && p.CanSend })
	for _, got := range r.RequestsTo("/hook") {
		if got.Header.Get("Doorstep-Event-Type") != "card.updated" {
			t.Errorf("%s arrived", got.Header.Get("Doorstep-Event-Type"))
		}
	}
}
