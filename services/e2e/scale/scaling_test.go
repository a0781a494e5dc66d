package scale

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/e2e/cluster"
)

// TestScale adds senders one by one and stops them again under a load that one can bear. A sender with a name of its
// own keeps its seat for a while when it stops; one without leaves at once.
func TestScale(t *testing.T) {
	beside(t)
	t.Run("without names", func(t *testing.T) { testScale(t, map[string]string{"DOORSTEP_INSTANCE": ""}) })
	if full() {
		t.Run("with names", func(t *testing.T) { testScale(t, nil) })
	}
}

func testScale(t *testing.T, env map[string]string) {
	most, lasts, rate := pick(6, 3, 2), pick(10*time.Second, 2*time.Second, time.Second), pick(500, 300, 200)
	w := newWorld(t, env)
	var hooks []int
	for i := range 5 * partitions {
		b := behaviour{takes: 2 * time.Millisecond, single: i%2 == 0}
		if i%6 == 5 {
			b.fails = 1
		}
		hooks = append(hooks, w.hook(i%partitions, b, func(wh *webhook.Webhook) {
			if b.single {
				wh.MaxInFlight = 1
			}
		}))
	}
	w.flush()
	w.sender()
	was := w.settled(1)
	loading, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	load.Go(func() { w.load(loading, hooks, rate) })
	t.Cleanup(func() { stop(); load.Wait() })
	testkit.Eventually(t, patience, func() error { return w.atPace(rate) })

	steps := []step{{what: "steady", senders: 1, from: time.Now(), settled: time.Now(), seats: was}}
	<-time.After(lasts)
	change := func(n int, what string, do func()) {
		s := step{what: what, senders: n, from: time.Now()}
		do()
		s.seats = w.settled(n)
		s.settled, s.moved, s.least = time.Now(), was.moved(s.seats), was.least(s.seats)
		was = s.seats
		steps = append(steps, s)
		<-time.After(lasts)
	}
	for n := 2; n <= most; n++ {
		change(n, "one more", func() { w.sender() })
	}
	senders := w.cluster.Of("sender")
	for n := most - 1; n > 0; n-- {
		change(n, "one less", func() { w.stop(senders[n]) })
	}
	end := time.Now()
	stop()
	load.Wait()
	w.flush()
	testkit.Eventually(t, patience+wire.ParkLong, w.allAccepted)
	testkit.Eventually(t, patience, w.allDone)
	w.stop(senders[0])
	w.judge(steps, end)
}

// stop ends a sender in good order.
func (w *world) stop(p *cluster.Process) {
	w.t.Helper()
	if err := p.Stop(); err != nil {
		w.t.Error(err)
	}
}

// load writes deliveries for the webhooks in turn at a rate a second, until ctx ends.
func (w *world) load(ctx context.Context, hooks []int, rate int) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	began, n := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for ; n < int(now.Sub(began).Seconds()*float64(rate)); n++ {
				w.deliver(hooks[n%len(hooks)])
			}
		}
	}
}

// atPace errs while the receiver is a second behind the load, as it is while things start.
func (w *world) atPace(rate int) error {
	made, accepted := int(w.made.Load()), w.receiver.accepted()
	if made < rate || made-accepted > rate {
		return fmt.Errorf("%d of %d deliveries are accepted", accepted, made)
	}
	return nil
}

// step is one change of the number of senders, and what came of what was written from then to the next.
type step struct {
	what          string
	senders       int
	from, settled time.Time
	seats         seats
	moved, least  int // partitions

	rate              float64       // first POSTs a second
	pause             time.Duration // the longest time without a POST for any webhook
	wait              []time.Duration
	lost, repeats     int
	late, unsteadyFor []time.Duration // retries: when nothing moved, and when something did
}

// judge counts what came of each step, prints it, and holds it against the promises. After each step things may be
// moving for a second longer than the group does.
func (w *world) judge(steps []step, end time.Time) {
	posts, all := byDelivery(w.receiver.all()), w.allWritten()
	until := func(i int) time.Time {
		if i+1 < len(steps) {
			return steps[i+1].from
		}
		return end
	}
	at := func(t time.Time) int {
		i, _ := slices.BinarySearchFunc(steps, t, func(s step, t time.Time) int { return s.from.Compare(t) })
		return max(0, i-1)
	}
	for n, d := range all {
		s, wants := &steps[at(d.at)], 1+w.receiver.behaviours[d.hook].fails
		p := posts[n]
		if len(p) < wants {
			s.lost++
			continue
		}
		s.repeats += len(p) - wants
		if d.at.After(steps[0].from) {
			s.wait = append(s.wait, p[0].at.Sub(d.at))
		}
		if wants < 2 {
			continue
		}
		due := p[0].ended.Add(retryTier)
		r := &steps[at(due)]
		if r.what != "steady" && due.Before(r.settled.Add(time.Second)) {
			r.unsteadyFor = append(r.unsteadyFor, p[1].at.Sub(due))
		} else {
			r.late = append(r.late, p[1].at.Sub(due))
		}
	}
	gaps := gaps(w.receiver.all())
	for i := range steps {
		s := &steps[i]
		for _, g := range gaps {
			if g.to.After(s.from) && !g.to.After(until(i)) && g.from.After(steps[0].from) {
				s.pause = max(s.pause, g.to.Sub(g.from))
			}
		}
		s.rate = float64(len(s.wait)) / until(i).Sub(s.from).Seconds()
	}
	w.say(steps)
}

// gap is a time without a POST for a webhook.
type gap struct{ from, to time.Time }

// gaps are the times between one POST and the next of the same webhook.
func gaps(posts []post) []gap {
	var out []gap
	last := map[int]time.Time{}
	for _, p := range posts {
		if at, known := last[p.hook]; known {
			out = append(out, gap{at, p.at})
		}
		last[p.hook] = p.at
	}
	return out
}

// say prints the steps and what is wrong with them.
func (w *world) say(steps []step) {
	t := w.t
	t.Helper()
	var b strings.Builder
	var late, unsteady []time.Duration
	lost, repeats := 0, 0
	fmt.Fprintf(&b, "%-9s %7s  %-12s %5s %9s %7s %8s %18s %5s %8s", "step", "senders", "partitions", "moved", "settled", "rate/s", "pause", "wait p50 p99", "lost", "repeated")
	for _, s := range steps {
		fmt.Fprintf(&b, "\n%-9s %7d  %-12s %5d %9s %7.0f %8s %9s %8s %5d %8d", s.what, s.senders, s.seats.shares(), s.moved,
			short(s.settled.Sub(s.from)), s.rate, short(s.pause), short(share(s.wait, 0.5)), short(share(s.wait, 0.99)), s.lost, s.repeats)
		late, unsteady = append(late, s.late...), append(unsteady, s.unsteadyFor...)
		lost, repeats = lost+s.lost, repeats+s.repeats
		if s.moved > s.least {
			t.Errorf("%s, %d senders: %d partitions moved, %d would do", s.what, s.senders, s.moved, s.least)
		}
	}
	fmt.Fprintf(&b, "\nretries of the %s tier came late by p50, p99, at most: %s, %s, %s while nothing moved (%d); %s, %s, %s while partitions moved (%d)",
		retryTier, short(share(late, 0.5)), short(share(late, 0.99)), short(share(late, 1)), len(late),
		short(share(unsteady, 0.5)), short(share(unsteady, 0.99)), short(share(unsteady, 1)), len(unsteady))
	fmt.Fprintf(&b, "\n%d deliveries, %d POSTs; %d POSTs beside another of a webhook that wants one at a time", w.made.Load(), w.receiver.count(), w.receiver.overlaps)
	t.Log("\n" + b.String())
	if lost+repeats+w.receiver.overlaps > 0 {
		t.Errorf("%d lost, %d repeated, %d at once; none may be", lost, repeats, w.receiver.overlaps)
	}
	if p99 := share(late, 0.99); full() && p99 > time.Second {
		t.Errorf("retries come late by %s (p99), promised is below a second", p99)
	}
}

// share is the value that a part q of the values does not exceed; zero if there are none.
func share(values []time.Duration, q float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(len(values)-1, int(q*float64(len(values))))]
}

func short(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f ms", float64(d)/1e6)
}

// TestScaleSaturated adds senders that are all kept busy by receivers that take 50 ms: the rate is bounded by the
// POSTs that one sender makes at once, and follows the number of senders until the machine's cores are what bounds it.
func TestScaleSaturated(t *testing.T) {
	if !testkit.RealKafka() && !full() {
		t.Skip("its rates say nothing on an embedded log")
	}
	beside(t)
	for _, inFlight := range pick([]int{64, 256, 1024}, []int{32}, nil) {
		t.Run(fmt.Sprint(inFlight, " in flight"), func(t *testing.T) { testSaturated(t, inFlight) })
	}
}

func testSaturated(t *testing.T, inFlight int) {
	const takes = 50 * time.Millisecond
	most, lasts := pick(6, 3, 3), pick(8*time.Second, 2*time.Second, 2*time.Second)
	w := newWorld(t, map[string]string{"DOORSTEP_SENDER_MAX_IN_FLIGHT": fmt.Sprint(inFlight), "DOORSTEP_INSTANCE": ""})
	var hooks []int
	for i := range 10 * partitions {
		hooks = append(hooks, w.hook(i%partitions, behaviour{takes: takes}, nil))
	}
	w.flush()
	one := float64(inFlight/4) / takes.Seconds() // what a sender can make, if the machine can
	fill := func(n int) {
		for i := range n {
			w.deliver(hooks[i%len(hooks)])
		}
		w.flush()
	}
	rates := map[int]float64{} // POSTs a second, by number of senders
	for n := 1; n <= most; n++ {
		fill(int(one * float64(n) * (lasts + 3*time.Second).Seconds()))
		w.sender()
		w.settled(n)
		<-time.After(time.Second) // for the new one to get going
		from, count := time.Now(), w.receiver.count()
		<-time.After(lasts)
		rates[n] = float64(w.receiver.count()-count) / time.Since(from).Seconds()
		if w.allAccepted() == nil {
			t.Errorf("%d senders had nothing left to do", n)
		}
	}
	for n, p := range slices.Backward(w.cluster.Of("sender")) {
		if n > 0 {
			w.stop(p)
		}
	}
	testkit.Eventually(t, 2*patience, w.allAccepted)
	testkit.Eventually(t, patience, w.allDone)
	var text strings.Builder
	fmt.Fprintf(&text, "receivers that take %s, senders with %d POSTs at once for them:", takes, inFlight/4)
	for _, n := range slices.Sorted(maps.Keys(rates)) {
		fmt.Fprintf(&text, "\n%d senders %7.0f POSTs/s, %.2f of %d times what one could do", n, rates[n], rates[n]/(one*float64(n)), n)
	}
	made, posts := int(w.made.Load()), w.receiver.count()
	t.Logf("%s\n%d deliveries, %d POSTs", &text, made, posts)
	if posts != made {
		t.Errorf("%d POSTs of %d deliveries", posts, made)
	}
	if inFlight <= 64 && rates[most] < rates[1]*1.3 {
		t.Errorf("%d senders make %.0f POSTs/s, one %.0f", most, rates[most], rates[1])
	}
}
