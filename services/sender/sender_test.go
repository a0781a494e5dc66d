package sender_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/signature"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

func always(status int) func(string, int) int { return func(string, int) int { return status } }

func TestRetriesAreIdenticalAndOnTimeThenExhausted(t *testing.T) {
	t.Parallel()
	r := newRig(t, "300ms,600ms,900ms")
	rec := newReceiver(t, always(500))
	r.start("a")
	w := r.webhook(rec.URL+"/w", func(w *webhook.Webhook) {
		w.Headers = []webhook.Header{{Name: "X-Team", Value: webhook.Plain([]byte("blue"))}}
	})
	d := r.deliver(w, 1)
	posts := rec.wait(t, "/w", 4)
	secret, err := signature.SecretOf(signature.SchemeHMAC, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range posts {
		if p.body != string(d.Body) || p.header.Get("X-Team") != "blue" || p.header.Get("Webhook-Id") != d.ID || p.header.Get("Doorstep-Event-Type") != "card.updated" {
			t.Errorf("attempt %d is not identical: %s %v", i+1, p.body, p.header)
		}
		if err := signature.Verify([]signature.Secret{secret}, signature.HeadersOf(p.header), []byte(p.body), p.at, time.Minute); err != nil {
			t.Errorf("attempt %d: %v", i+1, err)
		}
	}
	for i, want := range []time.Duration{300 * time.Millisecond, 600 * time.Millisecond, 900 * time.Millisecond} {
		if gap := posts[i+1].at.Sub(posts[i].at); gap < want {
			t.Errorf("attempt %d came %s after the one before, want at least %s", i+2, gap, want)
		}
	}
	eventually(t, func() error {
		got := r.attempts()
		if len(got) != 4 {
			return fmt.Errorf("%d attempts on the log, want 4", len(got))
		}
		for i, a := range got {
			want := delivery.Retrying
			if i == 3 {
				want = delivery.Exhausted
			}
			if a.Status != want || a.Attempt != i+1 || a.Outcome.StatusCode != 500 || a.DeliveryID != d.ID {
				return fmt.Errorf("attempt %d: %+v, want %s", i+1, a, want)
			}
		}
		return nil
	})
	if n := len(rec.posts("/w")); n != 4 {
		t.Errorf("%d posts after it was exhausted", n)
	}
}

func TestOnly2xxIsSuccessAndRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	r := newRig(t, "100ms")
	rec := newReceiver(t, func(path string, n int) int {
		var status int
		_, _ = fmt.Sscanf(path, "/%d", &status)
		return status
	})
	r.start("a")
	for n, status := range []int{200, 204, 299, 302, 404} {
		r.deliver(r.webhook(fmt.Sprintf("%s/%d", rec.URL, status), func(w *webhook.Webhook) { none := 0; w.RetryCount = &none }), n)
	}
	eventually(t, func() error {
		got := r.attempts()
		if len(got) != 5 {
			return fmt.Errorf("%d attempts, want 5", len(got))
		}
		for _, a := range got {
			ok := a.Outcome.StatusCode < 300
			if (a.Status == delivery.Delivered) != ok || (a.Status == delivery.Exhausted) == ok {
				return fmt.Errorf("status %d gave %s", a.Outcome.StatusCode, a.Status)
			}
		}
		return nil
	})
}

func TestStreakWarnsDisablesAndSuspends(t *testing.T) {
	t.Parallel()
	r := newRig(t, "50ms")
	rec := newReceiver(t, always(500))
	r.start("a")
	w := r.webhook(rec.URL+"/w", func(w *webhook.Webhook) { n := 10; w.RetryCount = &n })
	r.deliver(w, 1)
	rec.wait(t, "/w", 5)
	eventually(t, func() error {
		suspended := read(r, r.topics.Suspended, wire.ReadDelivery)
		if len(suspended) != 1 || suspended[0].SuspendReason != delivery.SuspendDisabled || suspended[0].Attempt != 6 {
			return fmt.Errorf("suspended: %+v", suspended)
		}
		kinds := map[failure.NoticeKind]int{}
		for _, n := range read(r, r.topics.Notices, wire.ReadNotice) {
			kinds[n.Kind]++
		}
		if kinds[failure.NoticeWarning] == 0 || kinds[failure.NoticeDisabled] == 0 {
			return fmt.Errorf("notices: %v", kinds)
		}
		states := read(r, r.topics.States, wire.ReadState)
		last := states[len(states)-1]
		if !last.Disabled || last.FailStreak != 5 || len(last.PendingNotices) != 0 {
			return fmt.Errorf("last state: %+v", last)
		}
		return nil
	})
	if n := len(rec.posts("/w")); n != 5 {
		t.Errorf("%d posts, want 5: none after the disable", n)
	}
}

func TestStateSurvivesRedisEmptiedAndARestart(t *testing.T) {
	t.Parallel()
	r := newRig(t, "50ms")
	rec := newReceiver(t, always(500))
	stop := r.start("a")
	none := 0
	w := r.webhook(rec.URL+"/w", func(w *webhook.Webhook) { w.RetryCount = &none })
	for n := range 4 {
		r.deliver(w, n)
		rec.wait(t, "/w", n+1)
	}
	streak := func(want int) {
		eventually(t, func() error {
			got := -1
			for _, s := range read(r, r.topics.States, wire.ReadState) {
				got = s.FailStreak
			}
			if got != want {
				return fmt.Errorf("streak %d on states, want %d", got, want)
			}
			return nil
		})
	}
	streak(4)
	stop()
	testkit.DeleteKeys(t, r.cfg.Redis.URL, r.cfg.Redis.Prefix)
	r.start("a")
	r.deliver(w, 5)
	rec.wait(t, "/w", 5)
	streak(5)
	r.deliver(w, 6)
	eventually(t, func() error {
		if n := len(read(r, r.topics.Suspended, wire.ReadDelivery)); n != 1 {
			return fmt.Errorf("%d suspended, want 1", n)
		}
		return nil
	})
}

func TestRedisAwayStopsNobody(t *testing.T) {
	t.Parallel()
	r := newRig(t, "50ms,50ms,50ms")
	rec := newReceiver(t, func(_ string, n int) int {
		if n < 3 {
			return 503
		}
		return 200
	})
	r.cfg.Redis.URL = "redis://127.0.0.1:1"
	r.start("a")
	r.deliver(r.webhook(rec.URL+"/w", nil), 1)
	rec.wait(t, "/w", 3)
	eventually(t, func() error {
		if got := r.attempts(); len(got) != 3 || got[2].Status != delivery.Delivered {
			return fmt.Errorf("attempts %+v", got)
		}
		return nil
	})
}

func TestHangingWebhookDoesNotDelayOthersOfItsPartition(t *testing.T) {
	t.Parallel()
	r := newRig(t, "1m")
	rec := newReceiver(t, func(path string, _ int) int {
		if path == "/hangs" {
			return 0
		}
		return 200
	})
	r.start("a")
	hanging := r.webhook(rec.URL+"/hangs", nil)
	// The partition is the hash of the webhook's id: with more webhooks than partitions, some share it.
	var healthy []webhook.Webhook
	for i := range 12 {
		healthy = append(healthy, r.webhook(fmt.Sprintf("%s/ok%d", rec.URL, i), nil))
	}
	for n := range 200 {
		r.deliver(hanging, n)
	}
	for i, w := range healthy {
		for n := range 5 {
			r.deliver(w, n)
		}
		posts := rec.wait(t, fmt.Sprintf("/ok%d", i), 5)
		if len(posts) != 5 {
			t.Errorf("%s: %d posts", w.URL, len(posts))
		}
	}
	// What the hanging one cannot take is parked, not in the way and not lost.
	eventually(t, func() error {
		if n := len(read(r, r.topics.Parked.Topic, wire.ReadDelivery)); n < 100 {
			return fmt.Errorf("%d parked", n)
		}
		return nil
	})
	rec.letGo()
}

func TestDeletedWebhookCancelsAndUnreadableIsQuarantined(t *testing.T) {
	t.Parallel()
	r := newRig(t, "1m")
	rec := newReceiver(t, always(200))
	r.start("a")
	w := r.webhook(rec.URL+"/w", nil)
	gone := wire.Gone(r.topics.Webhooks, w.ID)
	r.hooks[w.ID] = r.produce(gone, nil)
	r.deliver(w, 1)
	bad := &kgo.Record{Topic: r.topics.Deliveries, Key: []byte(w.ID), Value: []byte("nonsense")}
	r.produce(bad, nil)
	after := r.webhook(rec.URL+"/after", nil)
	r.deliver(after, 2)
	rec.wait(t, "/after", 1)
	eventually(t, func() error {
		q := read(r, r.topics.Quarantine, wire.ReadQuarantine)
		if len(q) != 1 || q[0].Position != wire.PositionOf(bad) || string(q[0].Value) != "nonsense" {
			return fmt.Errorf("quarantine: %+v", q)
		}
		for _, a := range r.attempts() {
			if a.WebhookID == w.ID && a.Status == delivery.Cancelled && a.Kind == delivery.KindDecision {
				return nil
			}
		}
		return fmt.Errorf("no cancelled delivery in %+v", r.attempts())
	})
}

func TestInactivePausedAndPutOff(t *testing.T) {
	t.Parallel()
	r := newRig(t, "100ms")
	rec := newReceiver(t, always(200))
	slow := rec.Config.Handler
	var refused int
	rec.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/busy" && refused < 1 {
			refused++
			w.Header().Set("Retry-After", "2")
			w.WriteHeader(429)
			return
		}
		slow.ServeHTTP(w, req)
	})
	r.start("a")
	r.deliver(r.webhook(rec.URL+"/inactive", func(w *webhook.Webhook) { w.Active = false }), 1)
	r.deliver(r.webhook(rec.URL+"/paused", func(w *webhook.Webhook) { w.Paused = true }), 2)
	began := time.Now()
	none := 0
	busy := r.webhook(rec.URL+"/busy", func(w *webhook.Webhook) { w.RetryCount = &none }) // a wait uses no try
	r.deliver(busy, 3)
	posts := rec.wait(t, "/busy", 1)
	if waited := posts[0].at.Sub(began); waited < 2*time.Second {
		t.Errorf("sent again after %s, the receiver asked for 2s", waited)
	}
	eventually(t, func() error {
		reasons := map[delivery.SuspendReason]int{}
		for _, d := range read(r, r.topics.Suspended, wire.ReadDelivery) {
			reasons[d.SuspendReason]++
		}
		if reasons[delivery.SuspendInactive] != 1 || reasons[delivery.SuspendPaused] != 1 || len(reasons) != 2 {
			return fmt.Errorf("suspended: %v", reasons)
		}
		return nil
	})
}

func TestGracefulStopsRepeatNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, "1m")
	rec := newReceiver(t, always(200))
	w := r.webhook(rec.URL+"/w", nil)
	const total = 600
	stop := r.start("a")
	for n := range total {
		r.deliver(w, n)
		if n%150 == 100 {
			stop()
			stop = r.start("a")
		}
	}
	rec.wait(t, "/w", total)
	stop()
	seen := map[string]int{}
	for _, p := range rec.posts("/w") {
		seen[p.header.Get("Webhook-Id")]++
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("delivery %s was posted %d times", id, n)
		}
	}
	if len(seen) != total {
		t.Errorf("%d deliveries, want %d", len(seen), total)
	}
}

// Two senders share the partitions; one stops for good, the other takes over; nothing is lost.
func TestTwoSenders(t *testing.T) {
	t.Parallel()
	r := newRig(t, "1m")
	rec := newReceiver(t, always(200))
	var hooks []webhook.Webhook // so many that each sender's partitions have some
	for i := range 40 {
		hooks = append(hooks, r.webhook(fmt.Sprintf("%s/%d", rec.URL, i), nil))
	}
	stopA := r.start("a")
	r.start("b")
	total := 0
	deliver := func(n int) {
		for range n {
			r.deliver(hooks[total%len(hooks)], total)
			total++
		}
	}
	byInstance := map[string]int{}
	count := func() {
		clear(byInstance)
		for _, a := range r.attempts() {
			byInstance[a.Instance]++
		}
	}
	// Not while it joins: kfake waits for one that then stops for as long as a rebalance may take.
	eventually(t, func() error {
		deliver(40)
		if count(); byInstance["a"] == 0 || byInstance["b"] == 0 {
			return fmt.Errorf("they do not share yet: %v", byInstance)
		}
		return nil
	})
	deliver(100)
	stopA()
	deliver(200)
	rec.wait(t, "", total)
	seen := map[string]int{}
	for _, p := range rec.posts("") {
		seen[p.header.Get("Webhook-Id")]++
	}
	if len(seen) != total || len(rec.posts("")) != total {
		t.Errorf("%d deliveries in %d posts, want %d in as many", len(seen), len(rec.posts("")), total)
	}
	eventually(t, func() error {
		if count(); byInstance["a"]+byInstance["b"] != total {
			return fmt.Errorf("attempts by instance: %v", byInstance)
		}
		return nil
	})
	t.Logf("attempts by instance: %v", byInstance)
}
