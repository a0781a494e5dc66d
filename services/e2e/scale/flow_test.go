package scale

import (
	"context"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// several makes webhooks in the partition whose head is stuck.
func (w *world) several(n int, b behaviour) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = w.hook(stuckIn, b, func(wh *webhook.Webhook) {
			if b.hangs {
				wh.Timeout = new(webhook.MaxTimeout)
			}
		})
	}
	return out
}

const (
	// chainRate is the rate limit of a chain's webhook, POSTs a second.
	chainRate = 5
	// chainEvery is how often one of its parked deliveries comes due: more often than it may be sent, so that some
	// wait in the sender's queue, up to 5 s of them, and the others are parked again.
	chainEvery = time.Second / chainRate * 3 / 4
)

// chain is a webhook with a rate limit whose parked deliveries never end.
type chain struct {
	world *world
	hook  int
	stop  context.CancelFunc
	ended chan struct{}
}

func (w *world) newChain() *chain {
	return &chain{world: w, ended: make(chan struct{}), hook: w.hook(stuckIn, behaviour{}, func(wh *webhook.Webhook) { wh.RateLimit = chainRate })}
}

// start makes the first ones due, and once they come writes a new delivery of the webhook: the head that is stuck.
func (c *chain) start() {
	w := c.world
	w.t.Helper()
	due := time.Now()
	// In order of due time, as parked ones are; a short run ends before any is parked again.
	ahead := pick(wire.ParkShort, 2*time.Second, time.Second)
	feed := func() {
		for ; due.Before(time.Now().Add(ahead)); due = due.Add(chainEvery) {
			w.deliverTo(w.topics.Parked.Topic, c.hook, due)
		}
	}
	feed()
	var ctx context.Context
	ctx, c.stop = context.WithCancel(w.t.Context())
	go func() {
		defer close(c.ended)
		tick := time.NewTicker(chainEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				feed()
			}
		}
	}()
	w.t.Cleanup(func() { c.end() })
	testkit.Eventually(w.t, patience, func() error { return w.receiver.hasAccepted(2 * chainRate) })
	w.deliver(c.hook)
	w.flush()
}

// end makes no more due.
func (c *chain) end() {
	c.stop()
	<-c.ended
}

// passed is how many of its deliveries were sent.
func (c *chain) passed() int {
	n := 0
	for _, p := range c.world.receiver.all() {
		if p.hook == c.hook {
			n++
		}
	}
	return n
}

// flow are deliveries of healthy webhooks, and now and then one of a webhook that hangs.
type flow struct {
	world   *world
	hooks   []int
	dead    []int
	every   int
	healthy map[int]bool // the numbers of the healthy ones so far
}

// under is how many deliveries of a flow are under way at once: a sender whose queue is full takes in nothing else.
const under = 2000

// send goes on until so many deliveries of healthy webhooks are written.
func (f *flow) send(upTo int) {
	for i := len(f.healthy); i < upTo; i = len(f.healthy) {
		if f.world.receiver.accepted()+under < i {
			<-time.After(5 * time.Millisecond)
			continue
		}
		f.healthy[f.world.deliver(f.hooks[i%len(f.hooks)])] = true
		if i%f.every == 1 && i/f.every < len(f.dead) {
			f.world.deliver(f.dead[i/f.every])
		}
	}
}

// arrives returns once so many are accepted.
func (f *flow) arrives(n int) {
	f.world.t.Helper()
	testkit.Eventually(f.world.t, patience, func() error { return f.world.receiver.hasAccepted(n) })
}
