package schedule_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/schedule"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func push(t *testing.T, q *schedule.Queue[string], now time.Time, webhook, item string) {
	t.Helper()
	if v := q.Push(now, webhook, schedule.Limits{}, item, 100, false); v != schedule.Queued {
		t.Fatalf("push %s: verdict %d, want queued", item, v)
	}
}

func TestEqualSharesWhateverTheBacklog(t *testing.T) {
	q := schedule.New[string](schedule.Config{MaxInFlight: 1})
	for i := range 400 {
		push(t, q, start, "busy", fmt.Sprint("busy", i))
	}
	for i := range 40 {
		push(t, q, start, "calm", fmt.Sprint("calm", i))
	}
	sent := map[string]int{}
	for range 80 {
		_, webhook, ok := q.Next(start)
		if !ok {
			t.Fatal("nothing to send")
		}
		sent[webhook]++
		q.Done(start, webhook, time.Millisecond, true)
	}
	// One turn is a quantum of 16 deliveries of up to a KiB.
	if d := sent["busy"] - sent["calm"]; d < -16 || d > 16 {
		t.Errorf("busy sent %d, calm %d of 80; want them within one turn of each other", sent["busy"], sent["calm"])
	}
}

func TestWaitedGoesFirst(t *testing.T) {
	q := schedule.New[string](schedule.Config{})
	push(t, q, start, "w", "new")
	q.Push(start, "w", schedule.Limits{}, "parked", 100, true)
	if item, _, _ := q.Next(start); item != "parked" {
		t.Errorf("first is %q, want the parked one", item)
	}
}

func TestCapGrowsWithSuccessAndHalvesWithFailure(t *testing.T) {
	q := schedule.New[string](schedule.Config{})
	flight := func() int {
		n := 0
		for {
			if _, _, ok := q.Next(start); !ok {
				return n
			}
			n++
		}
	}
	for i := range 200 {
		push(t, q, start, "w", fmt.Sprint(i))
	}
	n := flight()
	if n != 2 {
		t.Fatalf("%d in flight at first, want 2", n)
	}
	for _, want := range []int{4, 8, 16} {
		for range n {
			q.Done(start, "w", time.Millisecond, true)
		}
		if n = flight(); n != want {
			t.Fatalf("%d in flight after successes, want %d", n, want)
		}
	}
	for range n {
		q.Done(start, "w", time.Millisecond, false)
	}
	if n = flight(); n != 1 {
		t.Errorf("%d in flight after failures, want 1", n)
	}
}

// While a sender's own processors are what all wait for, it has fewer POSTs in flight and sends no less.
func TestABusySenderHasFewerInFlight(t *testing.T) {
	q := schedule.New[int](schedule.Config{})
	const webhooks, queued, steady = 50, 200, 50 * 16
	for i := range webhooks * queued {
		q.Push(start, fmt.Sprint(i%webhooks), schedule.Limits{}, i, 100, false)
	}
	now, sent := start, 0
	type post struct {
		webhook string
		began   time.Time
	}
	var flying []post // this machine ends one of them each 40 us, in their order
	for sent < webhooks*queued {
		for {
			_, webhook, ok := q.Next(now)
			if !ok {
				break
			}
			flying = append(flying, post{webhook, now})
		}
		if sent > webhooks*queued/2 && sent < webhooks*queued*9/10 && (len(flying) < webhooks || len(flying) > steady/2) {
			t.Fatalf("%d in flight after %d, want less than half of %d", len(flying), sent, steady)
		}
		now = now.Add(40 * time.Microsecond)
		first := flying[0]
		flying = flying[1:]
		q.Done(now, first.webhook, now.Sub(first.began), true)
		sent++
	}
}

func TestMaxInFlightHoldsAtOnce(t *testing.T) {
	q := schedule.New[string](schedule.Config{})
	flight := func() (n int) {
		for _, _, ok := q.Next(start); ok; _, _, ok = q.Next(start) {
			n++
		}
		return n
	}
	push := func(limit, n int) {
		for range n {
			q.Push(start, "w", schedule.Limits{MaxInFlight: limit}, "x", 100, false)
		}
	}
	push(1, 10)
	if n := flight(); n != 1 {
		t.Fatalf("%d POSTs at once of a webhook never seen that allows 1", n)
	}
	for range 30 { // one after the other, while it allows 20: its cap grows
		q.Done(start, "w", time.Millisecond, true)
		push(20, 2)
		q.Next(start)
	}
	push(3, 1) // lowered
	q.Done(start, "w", time.Millisecond, true)
	if n := flight(); n != 3 {
		t.Errorf("%d POSTs at once after the limit was lowered to 3", n)
	}
}

func TestRateLimit(t *testing.T) {
	q := schedule.New[string](schedule.Config{})
	limits := schedule.Limits{RateLimit: 10}
	for i := range 40 {
		if v := q.Push(start, "w", limits, fmt.Sprint(i), 100, false); v != schedule.Queued {
			t.Fatalf("push %d: verdict %d", i, v)
		}
	}
	sent, now := 0, start
	for now.Before(start.Add(2 * time.Second)) {
		for {
			_, w, ok := q.Next(now)
			if !ok {
				break
			}
			sent++
			q.Done(now, w, time.Millisecond, true)
		}
		now = q.Wake()
	}
	if sent < 20 || sent > 22 {
		t.Errorf("sent %d in 2 s at 10 a second", sent)
	}
}

func TestHangingWebhookIsParkedAndFastBacklogIsNot(t *testing.T) {
	q := schedule.New[string](schedule.Config{MaxQueued: 1000})
	now := start
	for i := range 500 {
		push(t, q, now, "hangs", fmt.Sprint(i))
	}
	for {
		if _, _, ok := q.Next(now); !ok {
			break
		}
	}
	now = now.Add(2 * time.Second) // of silence
	shed := q.Shed(now)
	if left := q.Stats().Queued; left > 5 || len(shed)+left != 498 {
		t.Errorf("after 2 s of silence %d queued and %d shed, want at most 5 left of 498", left, len(shed))
	}
	if v := q.Push(now, "hangs", schedule.Limits{}, "late", 100, false); v != schedule.Park {
		t.Errorf("verdict %d for a hanging webhook, want park", v)
	}

	fast, n := schedule.New[string](schedule.Config{MaxQueued: 1000}), 0
	for ; ; n++ {
		v := fast.Push(now, "fast", schedule.Limits{}, fmt.Sprint(n), 100, false)
		if v == schedule.Full {
			break
		}
		if v == schedule.Park {
			t.Fatalf("delivery %d of a webhook that answers fast was parked", n)
		}
		if n%2 == 0 {
			if _, w, ok := fast.Next(now); ok {
				now = now.Add(time.Millisecond)
				fast.Done(now, w, time.Millisecond, true)
			}
		}
	}
	if n < 1000 {
		t.Errorf("full after %d", n)
	}
}

// Every delivery that was queued comes out exactly once, by Next, Shed or Drop; nobody has more in
// flight than allowed; the counts add up.
// A sender that stands still for a while finds that nobody has answered meanwhile, and parks nothing for that.
func TestStandingStillIsNobodysSilence(t *testing.T) {
	for stalled, want := range map[time.Duration]schedule.Verdict{0: schedule.Park, 8 * time.Second: schedule.Queued} {
		q := schedule.New[string](schedule.Config{})
		now := start
		for i := range 200 { // a quick one, with a backlog
			push(t, q, now, "w", fmt.Sprint(i))
		}
		for range 100 {
			_, _, ok := q.Next(now)
			if !ok {
				t.Fatal("nothing to send")
			}
			now = now.Add(time.Millisecond)
			q.Done(now, "w", time.Millisecond, true)
		}
		q.Next(now)
		now = now.Add(8 * time.Second)
		q.Stalled(stalled)
		if v := q.Push(now, "w", schedule.Limits{}, "x", 100, false); v != want {
			t.Errorf("silent for 8 s, of which it stood still %s: verdict %d, want %d", stalled, v, want)
		}
		if shed := q.Shed(now); (len(shed) > 0) != (want == schedule.Park) {
			t.Errorf("silent for 8 s, of which it stood still %s: %d taken back", stalled, len(shed))
		}
	}
}

func TestConservation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := schedule.Config{MaxQueued: 50, MaxQueuedBytes: 100_000, MaxInFlight: 8}
		q := schedule.New[int](cfg)
		now := start
		in, out := map[int]bool{}, map[int]bool{}
		flight := map[string]int{}
		take := func(item int) {
			if !in[item] || out[item] {
				t.Fatalf("delivery %d came out twice or was never queued", item)
			}
			out[item] = true
		}
		hook := rapid.StringMatching(`[a-e]`)
		next := 0
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				limits := schedule.Limits{MaxInFlight: rapid.IntRange(0, 3).Draw(t, "max"), RateLimit: rapid.IntRange(0, 20).Draw(t, "rate")}
				v := q.Push(now, hook.Draw(t, "hook"), limits, next, rapid.IntRange(1, 40_000).Draw(t, "size"), rapid.Bool().Draw(t, "waited"))
				if v == schedule.Queued {
					in[next] = true
				}
				next++
			},
			"next": func(t *rapid.T) {
				if item, w, ok := q.Next(now); ok {
					take(item)
					flight[w]++
				}
			},
			"done": func(t *rapid.T) {
				w := hook.Draw(t, "hook")
				if flight[w] == 0 {
					return
				}
				flight[w]--
				if rapid.Bool().Draw(t, "released") {
					q.Release(now, w)
					return
				}
				q.Done(now, w, time.Duration(rapid.IntRange(1, 10_000).Draw(t, "ms"))*time.Millisecond, rapid.Bool().Draw(t, "ok"))
			},
			"shed": func(*rapid.T) {
				for _, item := range q.Shed(now) {
					take(item)
				}
			},
			"drop": func(t *rapid.T) {
				k := rapid.IntRange(2, 9).Draw(t, "k")
				q.Drop(func(item int) bool {
					if item%k != 0 {
						return false
					}
					take(item)
					return true
				})
			},
			"time": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 5_000).Draw(t, "ms")) * time.Millisecond)
			},
			"": func(t *rapid.T) {
				s, total := q.Stats(), 0
				for _, n := range flight {
					total += n
				}
				if s.InFlight != total || s.InFlight > cfg.MaxInFlight || s.Queued != len(in)-len(out) || s.Queued > cfg.MaxQueued {
					t.Fatalf("stats %+v with %d in flight and %d queued", s, total, len(in)-len(out))
				}
			},
		})
		// Whatever is left can be sent once everything in flight is done.
		for w, n := range flight {
			for range n {
				q.Done(now, w, time.Millisecond, true)
			}
		}
		for q.Stats().Queued > 0 {
			item, w, ok := q.Next(now)
			if !ok {
				if q.Wake().IsZero() {
					t.Fatalf("%d queued, nothing can be sent, and no time to wake", q.Stats().Queued)
				}
				now = q.Wake()
				continue
			}
			take(item)
			q.Done(now, w, time.Millisecond, true)
		}
	})
}

// In virtual time: 50 webhooks, 10 of them hang for 10 s. What the healthy ones send in 20 s is
// compared with a run in which nobody hangs.
func TestHangingWebhooksDoNotSlowTheOthers(t *testing.T) {
	healthyIn := func(hanging int) int {
		q := schedule.New[string](schedule.Config{MaxInFlight: 200})
		type flight struct {
			webhook string
			end     time.Time
			began   time.Time
		}
		var flights []flight
		sent := 0
		for ms := range 20_000 {
			now := start.Add(time.Duration(ms) * time.Millisecond)
			w := fmt.Sprint(ms % 50) // one new delivery every millisecond
			q.Push(now, w, schedule.Limits{}, w, 1000, false)
			if ms%100 == 0 {
				q.Shed(now)
			}
			kept := flights[:0]
			for _, f := range flights {
				if f.end.After(now) {
					kept = append(kept, f)
					continue
				}
				q.Done(now, f.webhook, now.Sub(f.began), now.Sub(f.began) < 10*time.Second)
			}
			flights = kept
			for {
				_, w, ok := q.Next(now)
				if !ok {
					break
				}
				var n int
				fmt.Sscan(w, &n)
				took := 20 * time.Millisecond
				if n < hanging {
					took = 10 * time.Second
				} else if n >= 10 {
					sent++
				}
				flights = append(flights, flight{w, now.Add(took), now})
			}
		}
		return sent
	}
	without, with := healthyIn(0), healthyIn(10)
	if float64(with) < 0.99*float64(without) {
		t.Errorf("healthy webhooks sent %d beside hanging ones, %d without", with, without)
	}
}
