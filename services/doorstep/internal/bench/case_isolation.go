package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"time"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

const (
	isolationWebhooks = 50
	// isolationTime is long enough for what hangs to hang for its full 10 s, and again.
	isolationTime = 25 * time.Second
	// longEnough is what a run must take by default to be made that long.
	longEnough = 5 * time.Second
	// isolationLoad is the part of what the machine bears at most that is published in the open loop.
	isolationLoad = 0.4
)

func isolation() Case {
	return Case{
		Name: "isolation", Unit: "deliveries to those that answer",
		Title: fmt.Sprintf("%d webhooks, of which none, 5 and 10 hang for the full 10 s: publish to POST of the others, at %.0f %% of what the machine bears (open loop), and at all of it (closed loop)", isolationWebhooks, isolationLoad*100),
		Targets: []Target{
			{Figure: "p99 ratio, 5 hang", Most: 1.5}, {Figure: "rate ratio, 5 hang", Least: 0.9},
			{Figure: "p99 ratio, 10 hang", Most: 1.5}, {Figure: "rate ratio, 10 hang", Least: 0.9},
		},
		Run: runIsolation,
	}
}

func isolationFor(t time.Duration) time.Duration {
	if t < longEnough {
		return t
	}
	return max(t, isolationTime)
}

// isolationRun is one run with some webhooks that hang.
type isolationRun struct {
	bed      *Bed
	system   *system
	receiver *Receiver
	hanging  int
	hooks    set
}

// answering is how many webhooks answer.
func (r isolationRun) answering() int { return isolationWebhooks - r.hanging }

func runIsolation(ctx context.Context, bed *Bed) (Sample, error) {
	receiver, system, err := startWhole(ctx, bed)
	if err != nil {
		return Sample{}, err
	}
	defer system.kill()
	out := Sample{Figures: map[string]float64{}, Series: map[string][]Point{}}
	var without isolated
	for _, hanging := range []int{0, isolationWebhooks / 10, isolationWebhooks / 5} {
		r := isolationRun{bed: bed, system: system, receiver: receiver, hanging: hanging}
		m, err := r.run(ctx, without.saturated*isolationWebhooks*isolationLoad)
		if err != nil {
			return Sample{}, fmt.Errorf("%d of %d webhooks hang: %w", hanging, isolationWebhooks, err)
		}
		if hanging == 0 {
			without = m
		}
		maps.Copy(out.Figures, m.figures(hanging, without))
		maps.Copy(out.Series, m.series(hanging))
		out.CPU = m.cpu
	}
	return out, nil
}

// isolated is what one run showed of the webhooks that answer.
type isolated struct {
	latency   Histogram
	rate      float64 // POSTs a second for each webhook that answers, open loop
	saturated float64 // the same, closed loop
	rates     []Point // of all webhooks that answer, over the open loop
	cpu       map[string]float64
}

// run makes a set of webhooks and loads them: at a rate of events a second, or, where that is 0, at the part of
// what they bear that isolationLoad says.
func (r isolationRun) run(ctx context.Context, rate float64) (m isolated, err error) {
	paths := append(numbered(fast, r.answering()), numbered(hang, r.hanging)...)
	if r.hooks, err = r.system.register(ctx, r.receiver, paths, 1); err != nil {
		return isolated{}, err
	}
	if rate == 0 {
		// What it bears is measured first; with the others it comes last, when what hangs has piled up.
		if m.saturated, err = r.saturate(ctx); err != nil {
			return isolated{}, err
		}
		rate = m.saturated * isolationWebhooks * isolationLoad
	}
	saturated := m.saturated
	if m, err = r.open(ctx, rate); err != nil {
		return isolated{}, err
	}
	if m.saturated = saturated; m.saturated == 0 {
		if m.saturated, err = r.saturate(ctx); err != nil {
			return isolated{}, err
		}
	}
	return m, r.system.remove(ctx, r.hooks)
}

// saturate is what each webhook that answers gets at most.
func (r isolationRun) saturate(ctx context.Context) (perWebhook float64, err error) {
	if err := r.receiver.Reset(ctx, time.Now()); err != nil {
		return 0, err
	}
	t := min(r.bed.Time, longEnough)
	loop := closedLoop{
		system: r.system, receiver: r.receiver, types: r.hooks.types, fan: 1, silent: r.hanging, bodyBytes: r.bed.BodyBytes,
	}
	var before, after int64
	published, err := loop.run(ctx, warmUp(t)+t, func(ctx context.Context) (err error) {
		if err := pause(ctx, warmUp(t)); err != nil {
			return err
		}
		if before, err = answered(ctx, r.receiver); err != nil {
			return err
		}
		if err := pause(ctx, t); err != nil {
			return err
		}
		after, err = answered(ctx, r.receiver)
		return err
	})
	if err == nil {
		err = r.settle(ctx, published)
	}
	if err == nil && after <= before {
		err = errors.New("nothing was delivered")
	}
	return float64(after-before) / t.Seconds() / float64(r.answering()), err
}

// open publishes events for all webhooks in turn at their time, whatever becomes of them.
func (r isolationRun) open(ctx context.Context, rate float64) (isolated, error) {
	t := isolationFor(r.bed.Time)
	plan := arrivals(rate, warmUp(t)+t)
	began := time.Now()
	from := began.Add(warmUp(t))
	if err := r.receiver.Reset(ctx, from); err != nil {
		return isolated{}, err
	}
	types := r.hooks.types
	var accepted atomic.Int64
	watch := StartWatch(append(r.system.processes, r.receiver.Process)...)
	err := r.system.publish.stream(ctx, 1, &accepted, planned(began, plan, func(i int, at time.Time) *pb.Event {
		return &pb.Event{Type: types[i%len(types)], Data: body(at, r.bed.BodyBytes)}
	}))
	if err != nil {
		return isolated{}, err
	}
	inTime, err := r.receiver.Report(ctx)
	if err != nil {
		return isolated{}, err
	}
	path := inTime.Paths[fast]
	m := isolated{rate: float64(path.Latency.Count()) / time.Since(from).Seconds() / float64(r.answering()), rates: path.Rate}
	_, m.cpu = watch.Stop(int(path.Count))
	if err := r.settle(ctx, answeredOf(len(plan), len(types), r.answering())); err != nil {
		return isolated{}, err
	}
	got, err := r.receiver.Report(ctx)
	if err == nil && r.hanging > 0 && got.Paths[hang].Count == 0 {
		err = errors.New("nothing was sent to those that hang: they cost nothing")
	}
	m.latency = got.Paths[fast].Latency
	return m, err
}

// answeredOf is how many of n events, published for types in turn, are for the first few of them.
func answeredOf(n, types, answering int) int64 {
	return int64(n/types*answering + min(n%types, answering))
}

// settle returns once those that answer have got all that they were to get, and errs if they got something twice or something is
// lost.
func (r isolationRun) settle(ctx context.Context, want int64) error {
	var got Received
	err := await(ctx, metricsEvery, patience, "every delivery to those that answer", func() (_ bool, err error) {
		got, err = r.receiver.Report(ctx)
		return got.Paths[fast].Count >= want, err
	})
	if err != nil {
		return err
	}
	if n := got.Paths[fast].Count; n != want || got.Repeated > 0 {
		return fmt.Errorf("%d deliveries were to arrive once each at those that answer: %d POSTs came, %d of all POSTs again", want, n, got.Repeated)
	}
	return nil
}

// figures names what a run showed, and how it compares with the one without.
func (m isolated) figures(hanging int, without isolated) map[string]float64 {
	if hanging == 0 {
		return map[string]float64{
			"p50": m.latency.Quantile(0.5).Seconds(), "p99": m.latency.Quantile(0.99).Seconds(),
			"rate": m.rate * isolationWebhooks, "saturated rate": m.saturated * isolationWebhooks,
		}
	}
	label := fmt.Sprintf(", %d hang", hanging)
	return map[string]float64{
		"p99 ratio" + label:            m.latency.Quantile(0.99).Seconds() / without.latency.Quantile(0.99).Seconds(),
		"p50 ratio" + label:            m.latency.Quantile(0.5).Seconds() / without.latency.Quantile(0.5).Seconds(),
		"rate ratio" + label:           m.rate / without.rate,
		"saturated rate ratio" + label: m.saturated / without.saturated,
	}
}

func (m isolated) series(hanging int) map[string][]Point {
	return map[string][]Point{fmt.Sprintf("rate, %d hang", hanging): m.rates}
}
