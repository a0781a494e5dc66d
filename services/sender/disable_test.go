package sender_test

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// stateOf is the newest state of a webhook on `states`.
func (r *rig) stateOf(w webhook.Webhook) (last failure.State) {
	r.t.Helper()
	for _, s := range read(r, r.topics.States, wire.ReadState) {
		if s.WebhookID == w.ID && (last.WebhookID == "" || s.Newer(last)) {
			last = s
		}
	}
	return last
}

func (r *rig) stateWhen(w webhook.Webhook, what string, is func(failure.State) bool) (s failure.State) {
	r.t.Helper()
	eventually(r.t, func() error {
		if s = r.stateOf(w); !is(s) {
			return fmt.Errorf("not %s: %+v", what, s)
		}
		return nil
	})
	return s
}

// notices are the ids on `notices` for a webhook, by kind.
func (r *rig) notices(w webhook.Webhook) map[failure.NoticeKind]map[string]bool {
	r.t.Helper()
	out := map[failure.NoticeKind]map[string]bool{}
	for _, n := range read(r, r.topics.Notices, wire.ReadNotice) {
		if n.WebhookID != w.ID {
			continue
		}
		if out[n.Kind] == nil {
			out[n.Kind] = map[string]bool{}
		}
		out[n.Kind][n.ID] = true
	}
	return out
}

// suspended waits for n suspended deliveries of a webhook.
func (r *rig) suspended(w webhook.Webhook, n int) (out []delivery.Delivery) {
	r.t.Helper()
	eventually(r.t, func() error {
		out = nil
		for _, d := range read(r, r.topics.Suspended, wire.ReadDelivery) {
			if d.WebhookID == w.ID {
				out = append(out, d)
			}
		}
		if len(out) != n {
			return fmt.Errorf("%d deliveries of %s suspended, want %d", len(out), w.URL, n)
		}
		return nil
	})
	return out
}

// tries is a retry_count.
func tries(n int) func(*webhook.Webhook) { return func(w *webhook.Webhook) { w.RetryCount = &n } }

// What waits in a tier when its webhook is disabled, deactivated or paused is suspended when it is due, with its attempts.
func TestWhatWaitsIsSuspendedWithItsAttempts(t *testing.T) {
	t.Parallel()
	r := newRig(t, "5s") // a change is in force long before that
	rec := newReceiver(t, always(500))
	r.start("a")
	hooks, sent := map[delivery.SuspendReason]webhook.Webhook{}, map[string]delivery.Delivery{}
	deliveries := map[delivery.SuspendReason]int{delivery.SuspendDisabled: 5, delivery.SuspendInactive: 2, delivery.SuspendPaused: 2} // the fifth failure disables
	for reason, n := range deliveries {
		hooks[reason] = r.webhook(rec.URL+"/"+string(reason), tries(9))
		for i := range n {
			d := r.deliver(hooks[reason], i)
			sent[d.ID] = d
		}
		rec.wait(t, "/"+string(reason), n)
		switch reason {
		case delivery.SuspendInactive:
			r.change(hooks[reason], func(w *webhook.Webhook) { w.Active = false })
		case delivery.SuspendPaused:
			r.change(hooks[reason], func(w *webhook.Webhook) { w.Paused = true })
		}
	}
	for reason, n := range deliveries {
		for _, d := range r.suspended(hooks[reason], n) {
			was := sent[d.ID]
			if d.Attempt != 2 || d.SuspendReason != reason || d.SuspendedAt.IsZero() || d.RunID != was.RunID || string(d.Body) != string(was.Body) {
				t.Errorf("%s: suspended as %+v", reason, d)
			}
			if d.FirstPosition.Topic != r.topics.Deliveries {
				t.Errorf("%s: its payload is at %+v", reason, d.FirstPosition)
			}
		}
		if posts := len(rec.posts("/" + string(reason))); posts != n {
			t.Errorf("%s: %d posts, want %d", reason, posts, n)
		}
	}
}

// A 410 disables at once, with a notice of its own, and ends its delivery. What is in flight then is finished and
// counted; what comes later is suspended.
func TestGoneDisablesAndWhatIsInFlightCounts(t *testing.T) {
	t.Parallel()
	r := newRig(t, "300ms")
	rec := newReceiver(t, always(500))
	usual := rec.Config.Handler
	hang := make(chan struct{})
	var came atomic.Int64
	rec.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		first := came.Add(1) == 1
		usual.ServeHTTP(&silent{w}, req)
		if first {
			<-hang
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusGone)
	})
	r.start("a")
	w := r.webhook(rec.URL+"/w", nil)
	hanging := r.deliver(w, 1)
	rec.wait(t, "/w", 1)
	gone := r.deliver(w, 2)
	s := r.stateWhen(w, "disabled", func(s failure.State) bool { return s.Disabled && len(s.PendingNotices) == 0 })
	if s.DisableReason != failure.DisabledByGone || s.FailStreak != 1 {
		t.Errorf("state: %+v", s)
	}
	later := r.deliver(w, 3)
	if d := r.suspended(w, 1)[0]; d.ID != later.ID || d.Attempt != 1 {
		t.Errorf("suspended: %+v", d)
	}
	close(hang)
	r.stateWhen(w, "of two failures", func(s failure.State) bool { return s.Disabled && s.FailStreak == 2 && s.FailureCount == 2 })
	for _, d := range r.suspended(w, 2) {
		if d.ID == hanging.ID && d.Attempt != 2 {
			t.Errorf("what was in flight is suspended as %+v", d)
		}
	}
	status := map[string]delivery.Status{}
	for _, a := range r.attempts() {
		status[a.DeliveryID] = a.Status
	}
	if len(status) != 2 || status[gone.ID] != delivery.Exhausted || status[hanging.ID] != delivery.Retrying {
		t.Errorf("attempts: %v", status)
	}
	if got := r.notices(w); len(got) != 1 || len(got[failure.NoticeGone]) != 1 {
		t.Errorf("notices: %v", got)
	}
}

// silent drops the status that a handler sets.
type silent struct{ http.ResponseWriter }

func (*silent) WriteHeader(int) {}

// With many in flight, none begins once the disable is in force: at the latest when its state is written.
func TestNothingBeginsAfterADisable(t *testing.T) {
	t.Parallel()
	r := newRig(t, "200ms")
	rec := newReceiver(t, func(_ string, n int) int {
		if n <= 60 { // so that it is trusted with many at once
			return 200
		}
		return 410
	})
	r.start("a")
	w := r.webhook(rec.URL+"/w", nil)
	const total = 200
	for n := range total {
		r.deliver(w, n)
	}
	type stamped struct {
		failure.State
		at time.Time
	}
	var inForce time.Time
	eventually(t, func() error {
		if n := len(r.attempts()) + len(read(r, r.topics.Suspended, wire.ReadDelivery)); n != total {
			return fmt.Errorf("%d deliveries ended, want %d", n, total)
		}
		return nil
	})
	for _, s := range read(r, r.topics.States, func(rec *kgo.Record) (stamped, error) {
		s, err := wire.ReadState(rec)
		return stamped{s, rec.Timestamp}, err
	}) {
		if s.Disabled && inForce.IsZero() {
			inForce = s.at
		}
	}
	for _, a := range r.attempts() {
		if a.StartedAt.Truncate(time.Millisecond).After(inForce) {
			t.Errorf("an attempt began at %s, the disable was in force at %s", a.StartedAt, inForce)
		}
	}
	if len(rec.posts("/w")) == total {
		t.Error("the disable held nothing back")
	}
}

// A notice that its webhook's owner had stored and not written when it died is written by the next one, though
// nothing is sent any more.
func TestANoticeOutlivesItsSender(t *testing.T) {
	t.Parallel()
	r := newRig(t, "200ms")
	rec := newReceiver(t, always(200))
	w := r.webhook(rec.URL+"/w", nil)
	dead := failure.State{WebhookID: w.ID, Tenant: w.Tenant, Generation: w.Generation}
	at := time.Now().UTC()
	dead, _ = failure.Apply(dead, failure.Policy{WarnAfter: 1, DisableAfter: 2}, []failure.Outcome{
		{At: at, Generation: w.Generation, StatusCode: 500}, {At: at.Add(time.Second), Generation: w.Generation, StatusCode: 500},
	})
	r.produce(wire.State(r.topics.States, dead))
	r.deliver(w, 1)
	r.start("a")
	r.suspended(w, 1)
	s := r.stateWhen(w, "without notices", func(s failure.State) bool { return s.Disabled && len(s.PendingNotices) == 0 })
	got := r.notices(w)
	for _, n := range dead.PendingNotices {
		if len(got[n.Kind]) != 1 || !got[n.Kind][n.ID] {
			t.Errorf("%s is not told, but %v", n.Kind, got)
		}
	}
	if s.FailStreak != 2 || len(rec.posts("")) != 0 {
		t.Errorf("state %+v, %d posts", s, len(rec.posts("")))
	}
}

// A webhook that was disabled is sent to again once its generation was raised, and what was in flight before that counts no more.
func TestReactivated(t *testing.T) {
	t.Parallel()
	r := newRig(t, "30s")
	rec := newReceiver(t, always(500))
	usual := rec.Config.Handler
	hang := make(chan struct{})
	var came atomic.Int64
	rec.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		nth := came.Add(1)
		usual.ServeHTTP(&silent{w}, req)
		switch nth {
		case 1:
			<-hang
			w.WriteHeader(http.StatusInternalServerError)
		case 2:
			w.WriteHeader(http.StatusGone)
		}
	})
	r.start("a")
	w := r.webhook(rec.URL+"/w", nil)
	r.deliver(w, 1)
	rec.wait(t, "/w", 1)
	r.deliver(w, 2)
	r.stateWhen(w, "disabled", func(s failure.State) bool { return s.Disabled })
	w = r.change(w, func(w *webhook.Webhook) { w.Generation++ })
	r.deliver(w, 3)
	rec.wait(t, "/w", 3)
	close(hang)
	r.stateWhen(w, "of the next generation", func(s failure.State) bool { return s.Generation == w.Generation })
	eventually(t, func() error {
		if n := len(r.attempts()); n != 3 {
			return fmt.Errorf("%d attempts", n)
		}
		return nil
	})
	if s := r.stateOf(w); s.Disabled || s.FailStreak != 0 || s.FailureCount != 1 {
		t.Errorf("state: %+v", s)
	}
	r.deliver(w, 4)
	rec.wait(t, "/w", 4)
}
