package scale

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/e2e/cluster"
)

const (
	maxResident = 300 << 20 // bytes
	// parksBefore is how often a delivery is parked for 15 s before it is for 5 minutes at a time.
	parksBefore = wire.ParksBeforeLong
)

// TestMemory starts a sender with a backlog of which nine of ten deliveries are for webhooks that hang, and keeps
// publishing a little for the others.
func TestMemory(t *testing.T) {
	const dead, healthy, rate = 90, 10, 20
	n := records(t, 1_000_000, 50_000, 10_000)
	lasts := pick(12*time.Minute, 18*time.Second, 5*time.Second)
	w := newWorld(t, map[string]string{"DOORSTEP_RETRY_TIERS": "1m,5m"})
	var hooks []int
	for i := range dead + healthy {
		hooks = append(hooks, w.hook(i%partitions, behaviour{hangs: i%10 != 0, takes: time.Millisecond}, nil))
	}
	w.flush()
	quick := slices.Collect(func(yield func(int) bool) {
		for i := 0; i < len(hooks); i += 10 {
			yield(hooks[i])
		}
	})
	for i := range n {
		w.deliver(hooks[i%len(hooks)])
	}
	w.flush()
	p := w.sender()
	began := time.Now()
	publishing, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	load.Go(func() { w.load(publishing, quick, rate) })
	t.Cleanup(func() { stop(); load.Wait() })
	var samples []sample
	for second := time.Second; second <= lasts; second += time.Second {
		<-time.After(time.Until(began.Add(second)))
		s, err := w.sample(p)
		if err != nil {
			t.Fatal(err)
		}
		s.after = time.Since(began)
		samples = append(samples, s)
	}
	stop()
	load.Wait()
	w.flush()
	testkit.Eventually(t, patience, func() error { return w.receiver.hasAccepted(n/10 + int(w.made.Load()) - n) })
	w.judgeMemory(samples, n, began)
	if !full() {
		return
	}
	w.receiver.letGo() // nothing is forgotten
	testkit.Eventually(t, 10*patience, w.allAccepted)
	t.Logf("%s after all had stopped hanging, all %d deliveries were accepted; %d POSTs", short(time.Since(began)-lasts), w.made.Load(), w.receiver.count())
}

// sample is what a sender has and has done at a moment.
type sample struct {
	after    time.Duration
	resident int64 // bytes
	parked   int64 // records ever written to the parking lanes
	open     int64 // records of the immediate lane that are not finished
	accepted int
	posts    int
}

func (w *world) sample(p *cluster.Process) (s sample, err error) {
	if s.resident, err = resident(p.ID()); err != nil {
		return s, err
	}
	ends, err := w.ends(w.topics.Deliveries, w.topics.Parked.Topic, w.topics.ParkedLong.Topic)
	if err != nil {
		return s, err
	}
	commits, err := w.commits()
	ends.Each(func(o kadm.ListedOffset) {
		if o.Topic != w.topics.Deliveries {
			s.parked += o.Offset
			return
		}
		c, _ := commits.Lookup(o.Topic, o.Partition)
		s.open += o.Offset - max(0, c.At) - int64(behind(c.Offset))
	})
	s.accepted, s.posts = w.receiver.accepted(), w.receiver.count()
	return s, err
}

// resident is what a process has in memory, in bytes.
func resident(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if kib, found := strings.CutPrefix(line, "VmRSS:"); found {
			n, err := strconv.ParseInt(strings.Fields(kib)[0], 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("process %d has no memory", pid)
}

// judgeMemory prints what went on while the receivers hung, and holds it against the bounds.
func (w *world) judgeMemory(samples []sample, backlog int, began time.Time) {
	t := w.t
	t.Helper()
	old, fresh := w.waits(backlog, began)
	var b strings.Builder
	fmt.Fprintf(&b, "%8s %10s %10s %12s %10s %10s %8s  %s", "after", "memory", "open", "parked", "parked/s", "accepted", "POSTs", "healthy wait p50, p99")
	every := max(1, len(samples)/24)
	for i := every - 1; i < len(samples); i += every {
		s, since := samples[i], sample{}
		if i >= every {
			since = samples[i-every]
		}
		waits := between(fresh, began.Add(since.after), began.Add(s.after))
		fmt.Fprintf(&b, "\n%8s %6d MiB %10d %12d %10.0f %10d %8d  %s, %s", short(s.after), s.resident>>20, s.open, s.parked,
			float64(s.parked-since.parked)/(s.after-since.after).Seconds(), s.accepted, s.posts, short(share(waits, 0.5)), short(share(waits, 0.99)))
	}
	waiting := backlog / 10 * 9
	first, later := int64(0), int64(0) // the most memory in the first minute, and after it
	for _, s := range samples {
		if s.after <= time.Minute {
			first = max(first, s.resident)
		} else {
			later = max(later, s.resident)
		}
	}
	last := samples[len(samples)-1]
	fmt.Fprintf(&b, "\n%d deliveries wait for receivers that hang; the sender has at most %d MiB in the first minute", waiting, first>>20)
	if later > 0 {
		fmt.Fprintf(&b, ", %d MiB after it", later>>20)
	}
	fmt.Fprintf(&b, "\nparked %d times, %.1f for each", last.parked, float64(last.parked)/float64(waiting))
	if steady, took, ok := inSteps(samples); ok {
		fmt.Fprintf(&b, "; %d in the last %s: %.2f of one for each in 300 s", steady, short(took), float64(steady)/float64(waiting)/(took.Seconds()/300))
		if float64(steady) > 1.2*float64(waiting) {
			t.Errorf("%d rewrites in %s for %d deliveries that wait", steady, took, waiting)
		}
	}
	for what, waits := range map[string][]wait{"of the backlog": old, "published meanwhile": fresh} {
		all := between(waits, time.Time{}, time.Now())
		fmt.Fprintf(&b, "\nhealthy webhooks: %d %s were POSTed within %s, %s, %s (p50, p99, at most)", len(all), what,
			short(share(all, 0.5)), short(share(all, 0.99)), short(share(all, 1)))
	}
	t.Log("\n" + b.String())
	if max(first, later) > maxResident {
		t.Errorf("the sender takes %d MiB", max(first, later)>>20)
	}
	if later > first+first/5 {
		t.Errorf("its memory grows from %d MiB to %d", first>>20, later>>20)
	}
	if most := int64(waiting) * (parksBefore + 1 + int64(last.after/wire.ParkLong)); last.parked > most+most/5 {
		t.Errorf("parked %d times", last.parked)
	}
}

// inSteps is how much was parked in the last 300 s, false if there were no 300 s after all had been parked for short.
func inSteps(samples []sample) (parked int64, took time.Duration, ok bool) {
	last := samples[len(samples)-1]
	if last.after < 2*wire.ParkLong {
		return 0, 0, false
	}
	for _, s := range slices.Backward(samples) {
		if took = last.after - s.after; took >= wire.ParkLong {
			return last.parked - s.parked, took, true
		}
	}
	return 0, 0, false
}

// wait is how long a delivery waited for its first POST.
type wait struct {
	from time.Time
	took time.Duration
}

// between are the times of those that began to wait between two.
func between(waits []wait, from, to time.Time) []time.Duration {
	var out []time.Duration
	for _, w := range waits {
		if !w.from.Before(from) && w.from.Before(to) {
			out = append(out, w.took)
		}
	}
	return out
}

// waits are those of the healthy webhooks' deliveries: of the backlog, which began to wait when the sender came, and
// of what was written since. It errs where one was not POSTed.
func (w *world) waits(backlog int, began time.Time) (old, fresh []wait) {
	posts, missing := byDelivery(w.receiver.all()), 0
	for n, d := range w.allWritten() {
		into := &fresh
		if n < backlog {
			into, d.at = &old, began
		}
		switch p := posts[n]; {
		case w.receiver.behaviours[d.hook].hangs:
		case len(p) > 0:
			*into = append(*into, wait{d.at, p[0].at.Sub(d.at)})
		default:
			missing++
		}
	}
	if missing > 0 {
		w.t.Errorf("%d deliveries of healthy webhooks were not sent meanwhile", missing)
	}
	return old, fresh
}
