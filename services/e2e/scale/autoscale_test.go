package scale

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/services/e2e/cluster"
)

const (
	autoSlots = 16                     // POSTs at once that a sender makes of those that answer, and of those that do not
	autoTakes = 200 * time.Millisecond // of a receiver: so a sender can make 80 a second
	autoOne   = 80                     // POSTs a second
	autoDead  = 6                      // webhooks that hang, 2 POSTs at once of each at first
	autoMost  = 3                      // senders, as a HorizontalPodAutoscaler's maxReplicas
)

// TestAutoscale lets a metric of the senders say how many there are: an autoscaler reads doorstep_sender_required_replicas
// from each and goes by their sum, rounded up, as a HorizontalPodAutoscaler would. Under a load that is nothing, then more
// than two senders can bear, then nothing again, senders go 1, 3, 1, while receivers that hang have more waiting than
// everyone else. Every delivery is received once.
func TestAutoscale(t *testing.T) {
	if os.Getenv("SCALE_TIME") == "" {
		t.Skip("takes two minutes: SCALE_TIME=short, or full")
	}
	const calm, loaded = autoOne / 10, autoOne * 7 / 4 // deliveries a second
	w := newWorld(t, map[string]string{
		"DOORSTEP_SENDER_MAX_IN_FLIGHT": fmt.Sprint(4 * autoSlots), "DOORSTEP_INSTANCE": "", "DOORSTEP_SENDER_DRAIN_WITHIN": "30s",
		"DOORSTEP_RETRY_TIERS": "5m",
	})
	a := &autoscaler{world: w}
	var dead []int
	for i := range 5 * partitions {
		a.healthy = append(a.healthy, w.hook(i%partitions, behaviour{takes: autoTakes}, nil))
	}
	for i := range autoDead {
		dead = append(dead, w.hook(i*partitions/autoDead, behaviour{hangs: true}, nil))
	}
	w.flush()
	for i := range 400 * len(dead) {
		w.deliver(dead[i%len(dead)])
	}
	hanging := int(w.made.Load())
	a.senders = append(a.senders, w.sender())
	w.settled(1)

	a.run("calm", calm, 1, pick(time.Minute, 15*time.Second, 0))
	if most := slices.Max(a.counts()); most != 1 {
		t.Errorf("%d senders while all that waits is for receivers that hang", most)
	}
	a.run("loaded", loaded, autoMost, pick(2*time.Minute, 20*time.Second, 0))
	a.run("calm again", calm, 1, 0)
	waiting := 0.0
	testkit.Eventually(t, patience, func() error {
		if waiting = a.sum("doorstep_sender_backlog receivers"); waiting < float64(hanging)/2 {
			return fmt.Errorf("%.0f deliveries are told as waiting for receivers, of %d", waiting, hanging)
		}
		return nil
	})
	if counts := a.counts(); slices.Max(counts) != autoMost {
		t.Errorf("senders went %v", counts)
	}
	w.flush()
	healthy := int(w.made.Load()) - hanging
	testkit.Eventually(t, patience, func() error { return w.receiver.hasAccepted(healthy) })
	if full() { // what is parked longest comes after 5 minutes
		w.receiver.letGo()
		testkit.Eventually(t, 10*patience, w.allAccepted)
		testkit.Eventually(t, patience, w.allDone)
	}
	for _, p := range a.senders {
		w.stop(p)
	}
	w.judgeAutoscale(a, hanging, waiting)
}

const (
	autoEvery = time.Second
	// autoStable is how long fewer senders must be asked for before one stops: a HorizontalPodAutoscaler's
	// stabilizationWindowSeconds, 300 by default.
	autoStable = 15 * time.Second
	// autoTolerance is the part of a change that is none, as a HorizontalPodAutoscaler has it.
	autoTolerance = 0.1
)

// autoscaler starts and stops senders as their metrics say.
type autoscaler struct {
	world   *world
	healthy []int // the webhooks that the load is for
	senders []*cluster.Process
	looks   []look
}

// look is what the autoscaler saw at a moment.
type look struct {
	at                 time.Time
	phase              string
	senders            int // that ran
	sum                float64
	asked              int // senders, by the sum
	forSenders, behind float64
}

// run is a phase: a load at a rate a second, for a time at least and until so many senders run.
func (a *autoscaler) run(phase string, rate, senders int, least time.Duration) {
	t := a.world.t
	t.Helper()
	loading, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	load.Go(func() { a.world.load(loading, a.healthy, rate) })
	defer func() { stop(); load.Wait() }()
	for from := time.Now(); time.Since(from) < least || len(a.senders) != senders; {
		a.step(phase)
		if time.Since(from) > least+2*patience {
			t.Fatalf("%s: %d senders run, want %d\n%s", phase, len(a.senders), senders, a)
		}
		<-time.After(autoEvery)
	}
}

// step reads the metrics and does what a HorizontalPodAutoscaler would: more at once, fewer once fewer have been asked
// for throughout the window.
func (a *autoscaler) step(phase string) {
	l := look{
		at: time.Now(), phase: phase, senders: len(a.senders), sum: a.sum("doorstep_sender_required_replicas"),
		forSenders: a.sum("doorstep_sender_backlog senders"), behind: a.sum("doorstep_sender_backlog receivers"),
	}
	l.asked = min(autoMost, max(1, int(math.Ceil(l.sum-1e-9))))
	if math.Abs(l.sum/float64(l.senders)-1) <= autoTolerance {
		l.asked = l.senders
	}
	a.looks = append(a.looks, l)
	n := l.asked
	for _, was := range a.looks {
		if l.at.Sub(was.at) < autoStable {
			n = max(n, was.asked)
		}
	}
	for len(a.senders) < n {
		a.senders = append(a.senders, a.world.sender())
	}
	for ; len(a.senders) > n; a.senders = a.senders[:len(a.senders)-1] {
		a.world.stop(a.senders[len(a.senders)-1])
	}
}

// sum is a metric of all senders.
func (a *autoscaler) sum(metric string) (n float64) {
	for _, p := range a.senders {
		n += scrape(p)[metric]
	}
	return n
}

// counts are the numbers of senders that ran, each when it changed.
func (a *autoscaler) counts() (out []int) {
	for _, l := range a.looks {
		out = append(out, l.senders)
	}
	return slices.Compact(append(out, len(a.senders)))
}

// String is what went on, every five seconds and when it changed.
func (a *autoscaler) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-10s %5s %7s %6s %6s %16s %18s", "phase", "after", "senders", "sum", "asked", "for more senders", "for receivers")
	for i, l := range a.looks {
		if i%5 == 0 || l.senders != a.looks[i-1].senders || l.asked != a.looks[i-1].asked {
			fmt.Fprintf(&b, "\n%-10s %5.0f %7d %6.2f %6d %16.0f %18.0f", l.phase, l.at.Sub(a.looks[0].at).Seconds(), l.senders, l.sum, l.asked, l.forSenders, l.behind)
		}
	}
	return b.String()
}

// scrape reads the gauges of a sender, by name and, after a space, the label bound; none of one that does not answer yet.
func scrape(p *cluster.Process) map[string]float64 {
	out := map[string]float64{}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Admin()+"/metrics", nil)
	if err != nil {
		return out
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return out
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return out
	}
	for line := range strings.Lines(string(body)) {
		name, rest, found := strings.Cut(strings.TrimSpace(line), "{")
		if !found || strings.HasPrefix(line, "#") {
			continue
		}
		labels, value, _ := strings.Cut(rest, "} ")
		if _, bound, found := strings.Cut(labels, `bound="`); found {
			bound, _, _ = strings.Cut(bound, `"`)
			name += " " + bound
		}
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			out[name] = v
		}
	}
	return out
}

// judgeAutoscale prints what went on and counts what was received.
func (w *world) judgeAutoscale(a *autoscaler, hanging int, waiting float64) {
	t := w.t
	t.Helper()
	lost, repeats, again := 0, 0, 0
	posts := byDelivery(w.receiver.all())
	for n, d := range w.allWritten() {
		switch p := posts[n]; {
		case w.receiver.behaviours[d.hook].hangs && !full(): // parked
		case len(p) == 0:
			lost++
		case w.receiver.behaviours[d.hook].hangs:
			again += len(p) - 1 // after no answer in time
		default:
			repeats += len(p) - 1
		}
	}
	t.Logf("\n%s\nsenders went %v; %d deliveries, of which %d for receivers that hung, %.0f of them told as waiting for receivers at the end, %d POSTed again; %d lost, %d repeated",
		a, a.counts(), w.made.Load(), hanging, waiting, again, lost, repeats)
	if lost+repeats > 0 {
		t.Errorf("%d lost, %d repeated; none may be", lost, repeats)
	}
}
