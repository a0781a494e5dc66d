// Package bench measures Doorstep against a ceiling found in the same run: what a plain net/http
// loop gets out of this machine with the same bytes and the same receiver. Machines are noisy, so
// a figure counts only as its ratio to that.
package bench

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"syscall"
	"time"
)

// Config says how much is measured.
type Config struct {
	Deliveries int // of each run
	Rounds     int // runs of each kind, in turn
	Webhooks   int
	BodyBytes  int
	InFlight   int          // of the bare loop
	Dir        string       // for the embedded log; a folder that may be filled
	Logger     *slog.Logger // of the services
}

// Report is what was measured.
type Report struct {
	Deliveries int     `json:"deliveries"`
	Webhooks   int     `json:"webhooks"`
	BodyBytes  int     `json:"body_bytes"`
	Rounds     []Round `json:"rounds"`
	// DrainRatio is the drain's rate over the bare loop's of the same round: median, least, most.
	DrainRatio [3]float64 `json:"drain_ratio"`
}

// Round is one run of each kind.
type Round struct {
	Bare  Measure `json:"bare_loop"`
	Drain Measure `json:"drain"`
}

// Measure is one run.
type Measure struct {
	PerSecond  float64 `json:"deliveries_per_second"`
	CPUSeconds float64 `json:"cpu_seconds_per_1000"` // of this process, which holds the receiver too
}

// Run measures.
func Run(ctx context.Context, cfg Config) (Report, error) {
	report := Report{Deliveries: cfg.Deliveries, Webhooks: cfg.Webhooks, BodyBytes: cfg.BodyBytes}
	target, err := newTarget()
	if err != nil {
		return report, err
	}
	defer target.close()
	drain, err := newDrain(ctx, cfg, target)
	if err != nil {
		return report, err
	}
	defer drain.close()
	var ratios []float64
	for range cfg.Rounds {
		var round Round
		if round.Bare, err = bareLoop(ctx, cfg, target); err != nil {
			return report, fmt.Errorf("bare loop: %w", err)
		}
		if round.Drain, err = drain.run(ctx); err != nil {
			return report, fmt.Errorf("drain: %w", err)
		}
		report.Rounds = append(report.Rounds, round)
		ratios = append(ratios, round.Drain.PerSecond/round.Bare.PerSecond)
	}
	slices.Sort(ratios)
	if n := len(ratios); n > 0 {
		report.DrainRatio = [3]float64{ratios[n/2], ratios[0], ratios[n-1]}
	}
	return report, nil
}

// target is the receiver of both: it reads the request and answers 204.
type target struct {
	server *http.Server
	url    string
	got    atomic.Int64
}

func newTarget() (*target, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("receiver: %w", err)
	}
	t := &target{url: "http://" + listener.Addr().String()}
	t.server = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		t.got.Add(1) // the server itself reads the rest of the body
		w.WriteHeader(http.StatusNoContent)
	})}
	go func() { _ = t.server.Serve(listener) }() // ends with close
	return t, nil
}

func (t *target) close() { _ = t.server.Close() }

// stopwatch measures a run from start to stop.
type stopwatch struct {
	began time.Time
	cpu   time.Duration
}

func start() stopwatch { return stopwatch{time.Now(), cpuTime()} }

func (s stopwatch) stop(deliveries int) Measure {
	return Measure{
		PerSecond:  float64(deliveries) / time.Since(s.began).Seconds(),
		CPUSeconds: (cpuTime() - s.cpu).Seconds() / float64(deliveries) * 1000,
	}
}

// cpuTime is what this process has used, user and system.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
