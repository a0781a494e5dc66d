package bench

import (
	"context"
	"fmt"
	"time"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

// latencies are the whole path at fixed rates. The one that has targets runs at bare-hop's.
func latencies() []Case {
	at200 := latencyCase(hopRate)
	at200.Ceiling = "bare-hop"
	at200.Targets = []Target{
		{Figure: "p50", Most: 0.003, Where: "embedded"}, {Figure: "p99", Most: 0.012, Where: "embedded"},
		{Figure: "p50", Most: 0.010, Where: "servers"}, {Figure: "p99", Of: "ceiling", Most: 2, Where: "servers"},
	}
	return []Case{latencyCase(50), at200, latencyCase(1000)}
}

func latencyCase(rate int) Case {
	return Case{
		Name: fmt.Sprintf("latency-%d", rate), Unit: "deliveries",
		Title: fmt.Sprintf("from publish to POST at %d events/s; each is published at its time whatever became of others, and measured from then", rate),
		Run: func(ctx context.Context, bed *Bed) (Sample, error) {
			receiver, system, err := startWhole(ctx, bed)
			if err != nil {
				return Sample{}, err
			}
			defer system.kill()
			hooks, err := system.register(ctx, receiver, numbered(fast, bed.Webhooks), 1)
			if err != nil {
				return Sample{}, err
			}
			return runLatency(ctx, bed, system, receiver, hooks.types, float64(rate))
		},
	}
}

func runLatency(ctx context.Context, bed *Bed, system *system, receiver *Receiver, types []string, rate float64) (Sample, error) {
	plan := arrivals(rate, warmUp(bed.Time)+bed.Time)
	began := time.Now()
	from := began.Add(warmUp(bed.Time))
	if err := receiver.Reset(ctx, from); err != nil {
		return Sample{}, err
	}
	watch := StartWatch(append(system.processes, receiver.Process)...)
	err := system.publish.unary(ctx, began, plan, func(i int, at time.Time) *pb.Event {
		return &pb.Event{Type: types[i%len(types)], Data: body(at, bed.BodyBytes)}
	})
	if err != nil {
		return Sample{}, err
	}
	if err := awaitAnswered(ctx, receiver, int64(len(plan)), patience); err != nil {
		return Sample{}, err
	}
	_, cpu := watch.Stop(len(plan))
	got, err := receiver.Report(ctx)
	if err != nil {
		return Sample{}, err
	}
	path := got.Paths[fast]
	figures := quantiles(path.Latency)
	figures["most latency"] = path.Latency.Most.Seconds()
	figures["deliveries"] = float64(path.Latency.Count())
	return Sample{Figures: figures, CPU: cpu, Series: map[string][]Point{"rate": path.Rate}}, measuredAll(got, plan, from.Sub(began))
}

// measuredAll errs unless each event of a plan has arrived once, and those from a moment on were measured.
func measuredAll(got Received, plan []time.Duration, from time.Duration) error {
	var want int64
	for _, at := range plan {
		if at >= from {
			want++
		}
	}
	if err := exactly(got, int64(len(plan))); err != nil {
		return err
	}
	path := got.Paths[fast]
	if n := path.Latency.Count(); n != want {
		return fmt.Errorf("%d latencies were to be measured, %d were", want, n)
	}
	return nil
}
