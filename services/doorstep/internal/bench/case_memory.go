package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

const (
	memoryQueued   = 1_000_000 // in runs of fullTime or more; shorter ones have fewer
	memoryWebhooks = 100
	memoryHanging  = 90
	memoryBody     = 256 // bytes: the embedded log holds them in memory too
	mebibyte       = 1 << 20
)

func memory() Case {
	return Case{
		Name: "memory", Unit: "deliveries",
		Title:   fmt.Sprintf("the sender with a long queue in the log, of which %d of %d webhooks hang, until the others have got all", memoryHanging, memoryWebhooks),
		Targets: []Target{{Figure: "memory", Most: 300 * mebibyte}},
		Run:     runMemory,
	}
}

func runMemory(ctx context.Context, bed *Bed) (Sample, error) {
	log, err := bed.Log(ctx)
	if err != nil {
		return Sample{}, err
	}
	receiver, err := bed.Receiver(ctx)
	if err != nil {
		return Sample{}, err
	}
	paths := append(numbered(fast, memoryWebhooks-memoryHanging), numbered(hang, memoryHanging)...)
	hooks := hooksAt(receiver, paths)
	known, err := writeHooks(ctx, log, hooks)
	if err != nil {
		return Sample{}, err
	}
	n := scaled(memoryQueued, bed.Time)
	if err := (backlog{hooks: hooks, known: known, n: n, body: body(time.Now(), memoryBody)}).fill(ctx, log); err != nil {
		return Sample{}, err
	}
	sender, err := bed.Start(ctx, "sender", log.Env, "sender")
	if err != nil {
		return Sample{}, err
	}
	return watchMemory(ctx, bed, log, sender, receiver, answeredOf(n, len(hooks), memoryWebhooks-memoryHanging), n)
}

// watchMemory watches the sender until those that answer have got all, and at least for the bed's time.
func watchMemory(ctx context.Context, bed *Bed, log *Log, sender *Process, receiver *Receiver, answered int64, queued int) (Sample, error) {
	watch := StartWatch(sender, log.Process, receiver.Process)
	memory := sample(ctx, func() float64 { now, _ := sender.RSS(); return float64(now) })
	defer memory()
	began := time.Now()
	var got Received
	err := await(ctx, metricsEvery, 10*bed.Time+3*patience, "every delivery to those that answer", func() (_ bool, err error) {
		got, err = receiver.Report(ctx)
		return got.Paths[fast].Count >= answered && time.Since(began) >= bed.Time, err
	})
	if err != nil {
		return Sample{}, err
	}
	_, cpu := watch.Stop(queued)
	if n := got.Paths[fast].Count; n != answered {
		err = fmt.Errorf("%d deliveries were to arrive at those that answer, %d POSTs came", answered, n)
	}
	parked, parkedErr := written(ctx, log, log.Topics.Parked.Topic)
	_, peak := sender.RSS()
	return Sample{
		Figures: map[string]float64{
			"memory": float64(peak), "queued": float64(queued), "parked": float64(parked), "answered time": got.Last.Sub(began).Seconds(),
		},
		CPU:    cpu,
		Series: map[string][]Point{"memory": memory()},
	}, errors.Join(err, parkedErr)
}

func startUp() Case {
	return Case{
		Name: "start", Unit: "starts",
		Title:   "doorstep up on nothing, until it is ready, and then left alone",
		Targets: []Target{{Figure: "ready time", Most: 2}, {Figure: "idle memory", Most: 120 * mebibyte}},
		Run: func(ctx context.Context, bed *Bed) (Sample, error) {
			env := []string{"DOORSTEP_BOOTSTRAP_KEY=" + newKey(), "DOORSTEP_DATA_DIR=" + filepath.Join(bed.Dir(), "data")}
			p, err := bed.Start(ctx, "up", env, "up") // embedded, whatever servers are given
			if err != nil {
				return Sample{}, err
			}
			ready := time.Now()
			watch := StartWatch(p)
			memory := sample(ctx, func() float64 { now, _ := p.RSS(); return float64(now) })
			defer memory()
			if err := pause(ctx, min(bed.Time, longEnough)); err != nil {
				return Sample{}, err
			}
			now, _ := p.RSS()
			seconds, cpu := watch.Stop(1000)
			if now == 0 {
				return Sample{}, errors.New("the memory of a process cannot be read here")
			}
			return Sample{
				Figures: map[string]float64{
					"ready time": p.Ready().Seconds(), "idle memory": float64(now),
					"idle processor part": cpu[p.Name] / seconds, "idle time": time.Since(ready).Seconds(),
				},
				Series: map[string][]Point{"memory": memory()},
			}, nil
		},
	}
}
