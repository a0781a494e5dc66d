package bench

import (
	"context"
	"fmt"
	"time"
)

// assumedDrain is how many deliveries a second are put into the log for a drain that is to last a certain time.
const assumedDrain = 20_000

// drainSize is how many deliveries are drained: enough that what is measured is not the start.
func drainSize(t time.Duration) int { return max(10_000, int(assumedDrain*t.Seconds())) }

func drain() Case {
	return Case{
		Name: "drain", Unit: "deliveries", Ceiling: "bare-post",
		Title:   "the sender empties a backlog in the log, everything on, until the last attempt stands in the log",
		Targets: []Target{{Figure: "rate", Of: "ceiling", Least: 0.9}},
		Run:     runDrain,
	}
}

func runDrain(ctx context.Context, bed *Bed) (Sample, error) {
	log, err := bed.Log(ctx)
	if err != nil {
		return Sample{}, err
	}
	receiver, err := bed.Receiver(ctx)
	if err != nil {
		return Sample{}, err
	}
	hooks := hooksAt(receiver, numbered(fast, bed.Webhooks))
	known, err := writeHooks(ctx, log, hooks)
	if err != nil {
		return Sample{}, err
	}
	n := drainSize(bed.Time)
	if err := (backlog{hooks: hooks, known: known, n: n, body: body(time.Now(), bed.BodyBytes)}).fill(ctx, log); err != nil {
		return Sample{}, err
	}
	sender, err := bed.Start(ctx, "sender", log.Env, "sender")
	if err != nil {
		return Sample{}, err
	}
	return watchDrain(ctx, bed, log, sender, receiver, n)
}

// watchDrain measures from the tenth part of the backlog on, when the sender is warm.
func watchDrain(ctx context.Context, bed *Bed, log *Log, sender *Process, receiver *Receiver, n int) (Sample, error) {
	limit := 10*bed.Time + patience
	var began int64
	err := await(ctx, askEvery, limit, "the first tenth of the deliveries", func() (_ bool, err error) {
		began, err = receiver.Count(ctx)
		return began >= int64(n/10), err
	})
	if err != nil {
		return Sample{}, err
	}
	watch := StartWatch(sender, log.Process, receiver.Process)
	memory := sample(ctx, func() float64 { now, _ := sender.RSS(); return float64(now) })
	defer memory()
	err = await(ctx, askEvery, limit, "an attempt of each delivery in the log", func() (bool, error) {
		attempts, err := written(ctx, log, log.Topics.Attempts)
		return attempts >= int64(n), err
	})
	seconds, cpu := watch.Stop(n - int(began))
	if err != nil {
		return Sample{}, err
	}
	if began > int64(n-n/10) {
		return Sample{}, fmt.Errorf("%d of %d deliveries were made before the sender was seen to be ready: nothing was measured", began, n)
	}
	got, err := receiver.Report(ctx)
	if err != nil {
		return Sample{}, err
	}
	parked, err := written(ctx, log, log.Topics.Parked.Topic)
	if err != nil {
		return Sample{}, err
	}
	_, peak := sender.RSS()
	return Sample{
		Figures: map[string]float64{
			"rate": float64(n-int(began)) / seconds, "memory": float64(peak), "deliveries": float64(n), "parked": float64(parked),
		},
		CPU:    cpu,
		Series: map[string][]Point{"memory": memory()},
	}, exactly(got, int64(n))
}
