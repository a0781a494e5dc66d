package bench

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestCasesFitTogether(t *testing.T) {
	var names []string
	for _, c := range cases() {
		if c.Name == "" || c.Title == "" || c.Unit == "" || c.Run == nil {
			t.Errorf("case %q lacks something", c.Name)
		}
		if slices.Contains(names, c.Name) {
			t.Errorf("two cases are %q", c.Name)
		}
		if c.Ceiling != "" && !slices.Contains(names, c.Ceiling) {
			t.Errorf("%s: its ceiling %q does not come before it", c.Name, c.Ceiling)
		}
		for _, target := range c.Targets {
			if (target.Least == 0) == (target.Most == 0) {
				t.Errorf("%s: %s must have one bound", c.Name, target.Figure)
			}
			if (target.Of == "ceiling") && c.Ceiling == "" || !slices.Contains([]string{"", "ceiling"}, target.Of) {
				t.Errorf("%s: %s is a ratio of nothing", c.Name, target.Figure)
			}
			if !slices.Contains([]string{"", "embedded", "servers"}, target.Where) {
				t.Errorf("%s: %s holds nowhere", c.Name, target.Figure)
			}
		}
		names = append(names, c.Name)
	}
}

func TestSizes(t *testing.T) {
	for _, tt := range []struct {
		time                       time.Duration
		drain, queued, isolationMs int
	}{
		{200 * time.Millisecond, 10_000, 40_000, 200},
		{time.Second, 20_000, 200_000, 1000},
		{5 * time.Second, 100_000, 1_000_000, 25_000},
		{time.Minute, 1_200_000, 1_000_000, 60_000},
	} {
		t.Run(tt.time.String(), func(t *testing.T) {
			if n := drainSize(tt.time); n != tt.drain {
				t.Errorf("drained: %d, want %d", n, tt.drain)
			}
			if n := scaled(memoryQueued, tt.time); n != tt.queued {
				t.Errorf("queued: %d, want %d", n, tt.queued)
			}
			if d := isolationFor(tt.time); d != time.Duration(tt.isolationMs)*time.Millisecond {
				t.Errorf("isolation: %s, want %d ms", d, tt.isolationMs)
			}
		})
	}
	if n := scaled(5, time.Nanosecond); n != 1 {
		t.Errorf("the least is %d", n)
	}
}

func TestAnsweredOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		types := rapid.IntRange(1, 60).Draw(t, "types")
		answering := rapid.IntRange(0, types).Draw(t, "answering")
		n := rapid.IntRange(0, 1000).Draw(t, "n")
		var want int64
		for i := range n {
			if i%types < answering {
				want++
			}
		}
		if got := answeredOf(n, types, answering); got != want {
			t.Fatalf("%d of %d for %d of %d, want %d", got, n, answering, types, want)
		}
	})
}

// Each event of the case is wanted by exactly matchFan webhooks of its tenant, and no type is left out.
func TestMatchFansOut(t *testing.T) {
	const tenants = 3
	wanted := map[string]int{}
	for _, w := range matchHooks(tenants) {
		for _, eventType := range w.EventTypes {
			wanted[w.Tenant+" "+eventType]++
		}
	}
	seen := map[string]bool{}
	for i := range tenants * matchPerTenant {
		key := tenantOf(i%tenants) + " " + typeOf(i/tenants)
		if seen[key] = true; wanted[key] != matchFan {
			t.Errorf("%d webhooks want %s", wanted[key], key)
		}
	}
	if want := tenants * matchPerTenant / matchFan; len(seen) != want {
		t.Errorf("%d kinds of events, want %d", len(seen), want)
	}
}

func TestExactly(t *testing.T) {
	paths := func(fast, hang, probe int64) map[string]Path {
		return map[string]Path{"fast": {Count: fast}, "hang": {Count: hang}, "probe": {Count: probe}}
	}
	for name, tt := range map[string]struct {
		got Received
		ok  bool
	}{
		"each once":             {Received{Paths: paths(8, 2, 0)}, true},
		"probes do not count":   {Received{Paths: paths(8, 2, 3)}, true},
		"one lost":              {Received{Paths: paths(9, 0, 0)}, false},
		"one too many":          {Received{Paths: paths(11, 0, 0)}, false},
		"one again, one lost":   {Received{Repeated: 1, Paths: paths(10, 0, 0)}, false},
		"nothing":               {Received{}, false},
		"probes make up for it": {Received{Paths: paths(9, 0, 1)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := exactly(tt.got, 10); (err == nil) != tt.ok {
				t.Error(err)
			}
		})
	}
}

func TestMeasuredAll(t *testing.T) {
	plan := []time.Duration{1, 5, 10, 20}
	received := func(count, measured int) Received {
		var h Histogram
		for range measured {
			h.Add(time.Millisecond)
		}
		return Received{Paths: map[string]Path{fast: {Count: int64(count), Latency: h}}}
	}
	if err := measuredAll(received(4, 2), plan, 10); err != nil {
		t.Error(err)
	}
	for _, wrong := range []Received{received(3, 2), received(4, 3), received(4, 1), {}} {
		if measuredAll(wrong, plan, 10) == nil {
			t.Errorf("%+v passes", wrong)
		}
	}
}

func TestIsolationFigures(t *testing.T) {
	of := func(latency time.Duration, rate, saturated float64) isolated {
		m := isolated{rate: rate, saturated: saturated}
		m.latency.Add(latency)
		return m
	}
	without := of(10*time.Millisecond, 100, 400)
	figures := of(20*time.Millisecond, 90, 100).figures(5, without)
	for name, want := range map[string]float64{
		"p99 ratio, 5 hang": 2, "p50 ratio, 5 hang": 2, "rate ratio, 5 hang": 0.9, "saturated rate ratio, 5 hang": 0.25,
	} {
		if got := figures[name]; fmt.Sprintf("%.2f", got) != fmt.Sprintf("%.2f", want) {
			t.Errorf("%s: %g, want %g", name, got, want)
		}
	}
	if alone := without.figures(0, without); alone["rate"] != 100*isolationWebhooks || alone["saturated rate"] != 400*isolationWebhooks {
		t.Errorf("without: %v", alone)
	}
	// Every target is a figure that the case has.
	all := of(1, 1, 1).figures(10, without)
	for _, target := range isolation().Targets {
		if _, at5 := figures[target.Figure]; !at5 {
			if _, at10 := all[target.Figure]; !at10 {
				t.Errorf("no figure %q", target.Figure)
			}
		}
	}
}
