package sender_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// busy is a receiver that asks for a wait at its first request, and then takes everything.
type busy struct {
	wait string // Retry-After

	mu        sync.Mutex
	got       []posted
	now, most int // requests at once
}

func (b *busy) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	b.mu.Lock()
	b.got = append(b.got, posted{req.URL.Path, string(body), req.Header.Clone(), time.Now()})
	first := len(b.got) == 1
	b.now++
	b.most = max(b.most, b.now)
	b.mu.Unlock()
	if first {
		w.Header().Set("Retry-After", b.wait)
		w.WriteHeader(http.StatusTooManyRequests)
	} else {
		<-time.After(3 * time.Millisecond) // so that requests overlap
	}
	b.mu.Lock()
	b.now--
	b.mu.Unlock()
}

func (b *busy) posts() []posted {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.got)
}

// A receiver that asks for a wait gets nothing until it is over, then everything once, no more at once than it may, and no
// try is used; deliveries that come meanwhile wait too.
func TestRetryAfterIsObeyed(t *testing.T) {
	t.Parallel()
	r := newRig(t, "200ms,400ms")
	rec := newReceiver(t, always(200))
	b := &busy{wait: "2"}
	rec.Config.Handler = b
	r.start("a")
	const total, atOnce = 40, 3
	w := r.webhook(rec.URL+"/w", func(w *webhook.Webhook) {
		tries(0)(w) // the first try is the last
		w.MaxInFlight = atOnce
	})
	first := r.deliver(w, 0)
	var s failure.State // which may be over before it is looked at
	eventually(t, func() error {
		states := read(r, r.topics.States, wire.ReadState)
		at := slices.IndexFunc(states, func(s failure.State) bool { return s.WebhookID == w.ID && !s.DisabledUntil.IsZero() })
		if at < 0 {
			return fmt.Errorf("not put off: %+v", states)
		}
		s = states[at]
		return nil
	})
	if s.FailStreak != 1 || s.CanSend(s.DisabledUntil.Add(-1)) {
		t.Errorf("state: %+v", s)
	}
	for n := 1; n < total; n++ {
		r.deliver(w, n)
	}
	eventually(t, func() error {
		if n := len(b.posts()); n != total+1 {
			return fmt.Errorf("%d posts, want %d", n, total+1)
		}
		return nil
	})
	seen := map[string]int{}
	for i, p := range b.posts() {
		if i > 0 {
			seen[p.header.Get("Webhook-Id")]++
			if p.at.Before(s.DisabledUntil) {
				t.Errorf("post %d came %s before the wait was over", i, s.DisabledUntil.Sub(p.at))
			}
		}
	}
	if len(seen) != total {
		t.Errorf("%d deliveries in %d posts after the wait", len(seen), total)
	}
	if b.most > atOnce {
		t.Errorf("%d at once, the webhook takes %d", b.most, atOnce)
	}
	r.attemptsArePutOff(w, first, total)
	last := r.stateWhen(w, "clean", func(s failure.State) bool { return s.FailStreak == 0 && s.FailureCount == 1 })
	if !last.DisabledUntil.IsZero() {
		t.Errorf("the wait is not over in %+v", last)
	}
}

// attemptsArePutOff checks what the log says: the first attempt is to be made again at the time that was asked for, and
// every delivery is delivered.
func (r *rig) attemptsArePutOff(w webhook.Webhook, first delivery.Delivery, total int) {
	r.t.Helper()
	var all []keptRecord
	eventually(r.t, func() error {
		if all = r.keptOf(w); len(all) != total+1 {
			return fmt.Errorf("%d attempts on the log, want %d", len(all), total+1)
		}
		return nil
	})
	for _, a := range all {
		status, attempt := delivery.Delivered, 1
		if a.DeliveryID == first.ID {
			attempt = 2
		}
		if a.Outcome.StatusCode == http.StatusTooManyRequests {
			status, attempt = delivery.Retrying, 1
			if wait := a.NextAttemptAt.Sub(a.FinishedAt); wait != 2*time.Second {
				r.t.Errorf("it is to be made again after %s", wait)
			}
		}
		if a.Status != status || a.Attempt.Attempt != attempt {
			r.t.Errorf("delivery %s: %s by attempt %d, want %s by %d", a.DeliveryID, a.Status, a.Attempt.Attempt, status, attempt)
		}
	}
}
