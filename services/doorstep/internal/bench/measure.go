package bench

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"time"
)

// warmUp is how long a case of that time runs before it is measured: connections are made and caches filled by then.
func warmUp(measured time.Duration) time.Duration { return min(time.Second, measured/4) }

// measure watches something that counts up on its own, after a warm-up, for a time: its "rate", CPU by process, and the rate
// over time. It errs if ctx ends before, or nothing was counted.
func measure(ctx context.Context, t time.Duration, count func() int64, of ...*Process) (Sample, error) {
	if err := pause(ctx, warmUp(t)); err != nil {
		return Sample{}, err
	}
	before := count()
	watch := StartWatch(of...)
	rate := sample(ctx, rateOf(count))
	err := pause(ctx, t)
	units := int(count() - before)
	seconds, cpu := watch.Stop(units)
	series := rate()
	switch {
	case err != nil:
		return Sample{}, err
	case units == 0:
		return Sample{}, errors.New("nothing was counted")
	}
	return Sample{
		Figures: map[string]float64{"rate": float64(units) / seconds},
		CPU:     cpu,
		Series:  map[string][]Point{"rate": series},
	}, nil
}

// rateOf is how fast something counts up between one call and the next, in units per second.
func rateOf(count func() int64) func() float64 {
	last, at := count(), time.Now()
	return func() float64 {
		n, now := count(), time.Now()
		rate := float64(n-last) / now.Sub(at).Seconds()
		last, at = n, now
		return rate
	}
}

// Watch measures time, and the CPU of processes and of the bench itself.
type Watch struct {
	began time.Time
	of    []*Process
	cpu   []time.Duration
	own   time.Duration
}

// StartWatch begins to measure. Processes that are nil are left out.
func StartWatch(of ...*Process) *Watch {
	w := &Watch{began: time.Now(), own: ownCPU()}
	for _, p := range of {
		if p != nil {
			w.of, w.cpu = append(w.of, p), append(w.cpu, p.CPU())
		}
	}
	return w
}

// Stop says how long it took, and the CPU seconds for 1,000 units by process; the bench's own as "bench".
func (w *Watch) Stop(units int) (seconds float64, cpu map[string]float64) {
	seconds = time.Since(w.began).Seconds()
	cpu = map[string]float64{"bench": perThousand(ownCPU()-w.own, units)}
	for i, p := range w.of {
		cpu[p.Name] += perThousand(p.CPU()-w.cpu[i], units)
	}
	return seconds, cpu
}

func perThousand(used time.Duration, units int) float64 {
	return used.Seconds() / float64(max(units, 1)) * 1000
}

// ownCPU is what this process has used, user and system.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// sample reads a value once in each slot until stop, which returns what was read.
func sample(ctx context.Context, read func() float64) (stop func() []Point) {
	ctx, cancel := context.WithCancel(ctx)
	var (
		points  []Point
		reading sync.WaitGroup
		began   = time.Now()
	)
	reading.Go(func() {
		tick := time.NewTicker(slot)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				points = append(points, Point{At: time.Since(began), Value: read()})
			case <-ctx.Done():
				return
			}
		}
	})
	return func() []Point {
		cancel()
		reading.Wait()
		return points
	}
}

// quantiles are the figures of latencies, in seconds.
func quantiles(h Histogram) map[string]float64 {
	return map[string]float64{
		"p50": h.Quantile(0.5).Seconds(), "p90": h.Quantile(0.9).Seconds(),
		"p99": h.Quantile(0.99).Seconds(), "p99.9": h.Quantile(0.999).Seconds(),
	}
}
