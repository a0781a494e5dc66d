package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

const (
	// underWay bounds the deliveries between publisher and receiver in a closed loop: enough to keep every stage at
	// work between two looks at how many came out, and few enough that the log does not grow.
	underWay = 2000
	// publishStreams are few, since one alone can publish more than is delivered.
	publishStreams = 2
)

// whole is the whole path with one webhook for an event, and with more of them.
func whole() []Case {
	one := wholeCase("whole", 1)
	one.Ceiling = "bare-post"
	one.Targets = []Target{{Figure: "rate", Of: "ceiling", Least: 0.45, Where: "embedded"}, {Figure: "cpu", Most: 0.17}}
	return []Case{one, wholeCase("fanout-10", 10), wholeCase("fanout-100", 100)}
}

func wholeCase(name string, fan int) Case {
	webhooks := "one webhook"
	if fan > 1 {
		webhooks = fmt.Sprintf("%d webhooks", fan)
	}
	return Case{
		Name: name, Unit: "deliveries",
		Title: "events published over gRPC, each for " + webhooks + ", until the history has every attempt",
		Run: func(ctx context.Context, bed *Bed) (Sample, error) {
			receiver, system, err := startWhole(ctx, bed)
			if err != nil {
				return Sample{}, err
			}
			defer system.kill()
			paths := numbered(fast, max(fan, bed.Webhooks/fan*fan))
			hooks, err := system.register(ctx, receiver, paths, fan)
			if err != nil {
				return Sample{}, err
			}
			return runWhole(ctx, bed, system, receiver, hooks.types, fan)
		},
	}
}

// runWhole publishes for the bed's time and a warm-up, and measures from the warm-up's end until the history has all.
func runWhole(ctx context.Context, bed *Bed, system *system, receiver *Receiver, types []string, fan int) (Sample, error) {
	before, err := system.recorded(ctx)
	if err != nil {
		return Sample{}, err
	}
	var began int64
	var watch *Watch
	loop := closedLoop{system: system, receiver: receiver, types: types, fan: fan, bodyBytes: bed.BodyBytes}
	published, err := loop.run(ctx, warmUp(bed.Time)+bed.Time, func(ctx context.Context) error {
		if err := pause(ctx, warmUp(bed.Time)); err != nil {
			return err
		}
		watch = StartWatch(append(system.processes, receiver.Process)...)
		var err error
		began, err = answered(ctx, receiver)
		return err
	})
	if err != nil {
		return Sample{}, err
	}
	limit := 10*bed.Time + patience
	if err := awaitAnswered(ctx, receiver, published, limit); err != nil {
		return Sample{}, err
	}
	delivered := time.Now()
	if err := await(ctx, metricsEvery, limit, "the history", func() (bool, error) {
		n, err := system.recorded(ctx)
		return n-before >= float64(published), err
	}); err != nil {
		return Sample{}, err
	}
	units, recorded := published-began, time.Now()
	seconds, cpu := watch.Stop(int(units))
	parked, err := system.parked(ctx)
	if err != nil {
		return Sample{}, err
	}
	got, err := receiver.Report(ctx)
	if err != nil {
		return Sample{}, err
	}
	return Sample{
		Figures: map[string]float64{
			"rate": float64(units) / seconds, "cpu": system.cpu(cpu), "history time": recorded.Sub(delivered).Seconds(),
			"deliveries": float64(published), "parked": parked,
		},
		CPU:    cpu,
		Series: map[string][]Point{"rate": got.Paths[fast].Rate},
	}, exactly(got, published)
}

// closedLoop publishes events of types in turn, each for fan webhooks, with a bounded number of deliveries under way.
type closedLoop struct {
	system    *system
	receiver  *Receiver
	types     []string
	fan       int
	silent    int // of the types, the last that many are for receivers that do not answer: they are not waited for
	bodyBytes int
}

// run publishes for d while meanwhile runs, and returns how many deliveries that answers can be expected of were published.
func (l closedLoop) run(ctx context.Context, d time.Duration, meanwhile func(context.Context) error) (published int64, err error) {
	first, err := l.count(ctx)
	if err != nil {
		return 0, err
	}
	g := &gate{bound: underWay}
	until := time.Now().Add(d)
	group, ctx := errgroup.WithContext(ctx)
	loading, ended := context.WithCancel(ctx)
	defer ended()
	group.Go(func() error {
		defer ended()
		var taken, accepted atomic.Int64
		return l.system.publish.stream(loading, publishStreams, &accepted, func(ctx context.Context) (*pb.Event, error) {
			i := int(taken.Add(1)-1) % len(l.types)
			n := int64(l.fan)
			if i >= len(l.types)-l.silent {
				n = 0
			}
			if err := g.enter(ctx, n, until); err != nil {
				return nil, err
			}
			return &pb.Event{Type: l.types[i], Data: body(time.Now(), l.bodyBytes)}, nil
		})
	})
	group.Go(func() error { return meanwhile(ctx) })
	group.Go(func() error {
		return g.follow(loading, func(ctx context.Context) (int64, error) {
			n, err := l.count(ctx)
			return n - first, err
		})
	})
	err = group.Wait()
	return g.in.Load(), err
}

// count is answered, or, where that is about the same, what is cheaper to ask.
func (l closedLoop) count(ctx context.Context) (int64, error) {
	if l.silent == 0 {
		return l.receiver.Count(ctx)
	}
	return answered(ctx, l.receiver)
}

// awaitAnswered returns once as many POSTs came to receivers that answer.
func awaitAnswered(ctx context.Context, receiver *Receiver, want int64, within time.Duration) error {
	return await(ctx, askEvery, within, "every delivery", func() (bool, error) {
		n, err := receiver.Count(ctx) // at least as many, and cheap
		if err == nil && n >= want {
			n, err = answered(ctx, receiver)
		}
		return n >= want, err
	})
}

// answered is how many POSTs came to receivers that answer, probes left out.
func answered(ctx context.Context, receiver *Receiver) (int64, error) {
	got, err := receiver.Report(ctx)
	return got.Paths[fast].Count, err
}
