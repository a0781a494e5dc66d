package schedule_test

import (
	"container/heap"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/schedule"
)

// world is a queue and its receivers in virtual time. Each webhook has a chain: a delivery is pushed a while after
// the one before it ended, so that how long it waited is the queue's doing alone. Greedy ones have many chains, and no while.
type world struct {
	queue  *schedule.Queue[int] // of chains
	random *rand.Rand
	now    time.Time
	events events

	hangs   func(webhook int, now time.Time) bool
	latency func(webhook int) time.Duration // of one that does not hang
	greedy  int                             // so many of the webhooks, the first, are
	// flooding is when they are; nil: always.
	flooding func(now time.Time) bool

	pushed  []time.Time   // of each chain
	quick   []bool        // the webhook answered its last POST
	posts   []int         // of each webhook
	longest time.Duration // that one waited which answers and is not greedy
	parked  int           // of webhooks that answer
	ended   [seats]ended
}

type event struct {
	at     time.Time
	chain  int // -1: shed
	began  time.Time
	posted bool // a POST ends; else a delivery comes
	idle   bool // nothing happens, until there is a flood
}

type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at.Before(e[j].at) }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	*e = old[:len(old)-1]
	return last
}

const (
	timeout = 10 * time.Second
	most    = 500         // webhooks of a random world; there is one with thousands
	chains  = 20          // of a webhook that is greedy
	think   = time.Second // on average, between the end of a delivery and the next of its chain
	turn    = 16          // deliveries of a KiB
)

func newWorld(webhooks, greedy, maxInFlight int, seed uint64) *world {
	w := &world{
		queue:  schedule.New[int](schedule.Config{MaxInFlight: maxInFlight}),
		random: rand.New(rand.NewPCG(seed, 0)), now: start, greedy: greedy,
		hangs:  func(int, time.Time) bool { return false },
		pushed: make([]time.Time, webhooks*chains), quick: make([]bool, webhooks), posts: make([]int, webhooks),
	}
	for i := range w.pushed {
		if i%chains == 0 || i/chains < greedy {
			w.come(i)
		}
	}
	heap.Push(&w.events, event{at: start, chain: -1})
	return w
}

func (w *world) upTo(longest time.Duration) func(int) time.Duration {
	return func(int) time.Duration { return 1 + time.Duration(w.random.Int64N(int64(longest))) }
}

func name(chain int) string {
	webhook := chain / chains
	return string([]byte{byte(webhook >> 16), byte(webhook >> 8), byte(webhook)})
}

func (w *world) come(chain int) {
	at := w.now
	switch greedy := chain/chains < w.greedy; {
	case greedy && w.flooding != nil && !w.flooding(w.now) && chain%chains != 0:
		heap.Push(&w.events, event{at: at.Add(think), chain: chain, idle: true})
		return
	case !greedy || w.flooding != nil && !w.flooding(w.now):
		at = at.Add(time.Duration(w.random.Int64N(int64(2 * think))))
	}
	heap.Push(&w.events, event{at: at, chain: chain})
}

// run lets the world go on for a while.
func (w *world) run(d time.Duration) {
	for end := w.now.Add(d); w.events[0].at.Before(end); {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		switch {
		case e.chain < 0:
			for _, chain := range w.queue.Shed(w.now) {
				w.park(chain)
			}
			heap.Push(&w.events, event{at: w.now.Add(100 * time.Millisecond), chain: -1})
		case e.idle:
			w.come(e.chain)
		case e.posted:
			took := w.now.Sub(e.began)
			w.quick[e.chain/chains] = took < timeout
			if w.queue.Done(w.now, name(e.chain), took, took < timeout) {
				w.ended[seatOf(e.chain)].posts++
			} else {
				w.ended[seatOf(e.chain)].others++
			}
			w.come(e.chain)
		default:
			w.pushed[e.chain] = w.now
			if w.queue.Push(w.now, name(e.chain), schedule.Limits{}, e.chain, 1000, false) != schedule.Queued {
				w.park(e.chain)
			}
		}
		w.send()
	}
}

// park brings a delivery back when parked ones are.
func (w *world) park(chain int) {
	if w.quick[chain/chains] {
		w.parked++
	}
	w.ended[seatOf(chain)].others++
	heap.Push(&w.events, event{at: w.now.Add(15 * time.Second), chain: chain})
}

func (w *world) send() {
	for {
		chain, _, ok := w.queue.Next(w.now)
		if !ok {
			return
		}
		webhook, took := chain/chains, timeout
		if !w.hangs(webhook, w.now) {
			took = w.latency(webhook)
			w.posts[webhook]++
		}
		if w.quick[webhook] && webhook >= w.greedy {
			w.longest = max(w.longest, w.now.Sub(w.pushed[chain]))
		}
		heap.Push(&w.events, event{at: w.now.Add(took), chain: chain, began: w.now, posted: true})
	}
}

// The bound of the package doc, over webhooks with random latencies, any part of which hang: what answered its
// last POST waits for one round of those that do, and for nobody who hangs.
func TestWaitIsBoundedByTheQuickAlone(t *testing.T) {
	check := func(t interface{ Fatalf(string, ...any) }, n, greedy, hanging, slots int, longest time.Duration, seed uint64) {
		w := newWorld(n, greedy, slots, seed)
		w.hangs = func(webhook int, _ time.Time) bool { return webhook >= n-hanging }
		w.latency = w.upTo(longest)
		w.run(40 * time.Second)

		rounds := (greedy*turn+n-greedy-hanging)/max(1, slots/4) + 1
		if bound := time.Duration(rounds) * longest; w.longest > bound {
			t.Fatalf("a webhook that answers waited %s, want at most %d rounds of %s", w.longest, rounds, longest)
		}
		if w.parked > 0 {
			t.Fatalf("%d deliveries of webhooks that answer were parked", w.parked)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(20, most).Draw(t, "webhooks")
		hanging := n * rapid.IntRange(0, 90).Draw(t, "percent hanging") / 100
		greedy := rapid.SampledFrom([]int{0, 0, 1, n / 20}).Draw(t, "greedy")
		slots := rapid.IntRange(4, 400).Draw(t, "max in flight")
		longest := time.Duration(rapid.IntRange(50, 900).Draw(t, "latency ms")) * time.Millisecond
		check(t, n, greedy, hanging, slots, longest, rapid.Uint64().Draw(t, "seed"))
	})
	for _, hanging := range []int{500, 4900} {
		check(t, 5000, 0, hanging, 4096, 200*time.Millisecond, 1)
	}
}

// Webhooks that have more to send than there is room in flight get the same share, whatever their answers take,
// and none of it goes to those that hang beside them.
func TestSharesAreEqualWhenSaturated(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(4, 20).Draw(t, "webhooks")
		hanging := rapid.IntRange(0, n).Draw(t, "hanging")
		seed := rapid.Uint64().Draw(t, "seed")
		run := func(hanging int) *world {
			w := newWorld(n+hanging, n+hanging, 4*n, seed) // n POSTs at once of those that answer, which want 16 each
			silent := start.Add(5 * time.Second)
			w.hangs = func(webhook int, now time.Time) bool { return webhook >= n && now.After(silent) }
			w.latency = func(webhook int) time.Duration { return time.Duration(webhook%5+1) * 100 * time.Millisecond }
			w.run(90 * time.Second)
			clear(w.posts)
			w.run(40 * time.Second)
			return w
		}
		w := run(hanging)
		least, most, total := w.posts[0], w.posts[0], 0
		for _, posts := range w.posts[:n] {
			least, most, total = min(least, posts), max(most, posts), total+posts
		}
		if most-least > 2*turn {
			t.Fatalf("%d to %d POSTs of webhooks with the same backlog, want within two turns of %d", least, most, turn)
		}
		alone := 0
		for _, posts := range run(0).posts {
			alone += posts
		}
		if total*100 < alone*98 {
			t.Fatalf("%d POSTs beside %d webhooks that hang, %d without them", total, hanging, alone)
		}
	})
}

// A crowd that answered until a moment ago and then hangs all at once takes the others' room for as long as it
// takes to notice, not for as long as their POSTs take.
func TestACrowdThatFallsSilent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(20, most).Draw(t, "webhooks")
		slots := rapid.IntRange(40, 400).Draw(t, "max in flight")
		crowd := rapid.IntRange(1, min(n, slots/2)).Draw(t, "crowd")
		w := newWorld(n, 0, slots, rapid.Uint64().Draw(t, "seed"))
		silent := start.Add(20 * time.Second)
		w.hangs = func(webhook int, now time.Time) bool { return webhook < crowd && !now.Before(silent) }
		const longest = 20 * time.Millisecond
		w.latency = w.upTo(longest)
		w.run(40 * time.Second)

		// A wave is what fills the quick side. It is noticed a second after its last answer, at the next Shed.
		waves := (crowd + slots/4 - 1) / (slots / 4)
		bound := time.Duration(waves)*1100*time.Millisecond + time.Duration(n/(slots/4)+1)*longest
		if w.longest > bound {
			t.Fatalf("a webhook that answers waited %s, want at most %s", w.longest, bound)
		}
	})
}
