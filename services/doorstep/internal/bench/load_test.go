package bench

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestArrivalsComeEachInTheirSlot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Float64Range(1, 5000).Draw(t, "rate")
		d := time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(3*time.Second)).Draw(t, "time"))
		plan := arrivals(rate, d)
		if want := int(rate * d.Seconds()); len(plan) != want {
			t.Fatalf("%d arrivals in %s at %g/s, want %d", len(plan), d, rate, want)
		}
		slot := float64(time.Second) / rate
		for i, at := range plan {
			if first, end := slot*float64(i)-1, slot*float64(i+1)+1; float64(at) < first || float64(at) > end {
				t.Fatalf("arrival %d at %s, want it from %.0f to %.0f ns", i, at, first, end)
			}
		}
	})
}

func TestOpenLoopSendsAtItsTimes(t *testing.T) {
	began := time.Now()
	plan := []time.Duration{0, time.Millisecond, 5 * time.Millisecond}
	var sent []time.Duration
	err := openLoop(t.Context(), began, plan, func(i int, at time.Time) error {
		if now := time.Now(); now.Before(at) {
			t.Errorf("%d was sent %s early", i, at.Sub(now))
		}
		sent = append(sent, at.Sub(began))
		return nil
	})
	if err != nil || len(sent) != len(plan) || sent[2] != plan[2] {
		t.Errorf("sent %v, %v", sent, err)
	}
	broken := errors.New("broken")
	if err := openLoop(t.Context(), began, plan, func(int, time.Time) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("a send that fails: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := openLoop(ctx, time.Now(), []time.Duration{time.Hour}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
}

func TestGateKeepsItsBound(t *testing.T) {
	g := &gate{bound: 20}
	until := time.Now().Add(time.Minute)
	var entered atomic.Int64
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for entered.Add(3) <= 3000 {
				if err := g.enter(t.Context(), 3, until); err != nil {
					t.Error(err)
					return
				}
				if under := g.in.Load() - g.out.Load(); under > g.bound {
					t.Errorf("%d are under way", under)
				}
				g.out.Add(3)
			}
		})
	}
	callers.Wait()
	g.in.Store(g.out.Load() + g.bound)
	if err := g.enter(t.Context(), 1, time.Now().Add(5*time.Millisecond)); !errors.Is(err, errEnough) {
		t.Errorf("no room until the end: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.enter(ctx, 1, until); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
}

func TestSumMetric(t *testing.T) {
	const text = `# HELP rows_total Rows.
# TYPE rows_total counter
rows_total{service="recorder",table="attempts"} 12
rows_total{service="recorder",table="events"} 5
rows_total{service="other",table="attempts"} 1e+03
rows_total_more 99
heap 1.5e+06
broken{a="b"} x
`
	for name, tt := range map[string]struct {
		metric string
		labels []string
		want   float64
	}{
		"all series":    {"rows_total", nil, 1017},
		"one label":     {"rows_total", []string{`table="attempts"`}, 1012},
		"two labels":    {"rows_total", []string{`service="recorder"`, `table="attempts"`}, 12},
		"no labels":     {"heap", nil, 1.5e6},
		"none that fit": {"rows_total", []string{`table="notices"`}, 0},
		"unknown":       {"rows", nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := sumMetric(strings.NewReader(text), tt.metric, tt.labels...); got != tt.want || err != nil {
				t.Errorf("%g, %v; want %g", got, err, tt.want)
			}
		})
	}
	if _, err := sumMetric(strings.NewReader(text), "broken"); err == nil {
		t.Error("a value that is none passes")
	}
}

func TestAwait(t *testing.T) {
	asked := 0
	err := await(t.Context(), time.Microsecond, time.Minute, "three", func() (bool, error) { asked++; return asked == 3, nil })
	if err != nil || asked != 3 {
		t.Errorf("asked %d times, %v", asked, err)
	}
	broken := errors.New("broken")
	if err := await(t.Context(), time.Microsecond, time.Minute, "it", func() (bool, error) { return false, broken }); !errors.Is(err, broken) {
		t.Errorf("an error: %v", err)
	}
	err = await(t.Context(), time.Millisecond, 5*time.Millisecond, "the moon", func() (bool, error) { return false, nil })
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "the moon") {
		t.Errorf("never: %v", err)
	}
}

func TestUnderLoad(t *testing.T) {
	until := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	sample := Sample{Figures: map[string]float64{"rate": 1}}
	measured := func(context.Context) (Sample, error) { return sample, nil }
	if m, err := underLoad(t.Context(), until, measured); err != nil || m.Figures["rate"] != 1 {
		t.Errorf("a load that ends when it is told to: %v, %v", m, err)
	}
	broken := errors.New("broken")
	endless := func(ctx context.Context) (Sample, error) { <-ctx.Done(); return Sample{}, context.Cause(ctx) }
	if _, err := underLoad(t.Context(), func(context.Context) error { return broken }, endless); !errors.Is(err, broken) {
		t.Errorf("a load that fails: %v", err)
	}
	if _, err := underLoad(t.Context(), until, func(context.Context) (Sample, error) { return Sample{}, broken }); !errors.Is(err, broken) {
		t.Errorf("a measurement that fails: %v", err)
	}
	late := func(ctx context.Context) error { <-ctx.Done(); return broken }
	if _, err := underLoad(t.Context(), late, measured); !errors.Is(err, broken) {
		t.Errorf("a load that fails as it ends: %v", err)
	}
}
