package bench

import (
	"encoding/json"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// A histogram's quantiles are those of the sorted values: never below, and at most 1 % above.
func TestHistogramQuantiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Int64Range(0, int64(time.Hour)), 1, 300).Draw(t, "values")
		q := rapid.Float64Range(0, 1).Draw(t, "q")
		cut := rapid.IntRange(0, len(values)).Draw(t, "cut")
		var h, other Histogram
		for i, v := range values {
			if i < cut {
				h.Add(time.Duration(v))
			} else {
				other.Add(time.Duration(v))
			}
		}
		h.Merge(other)
		slices.Sort(values)
		exact := values[max(0, int(math.Ceil(float64(len(values))*q-1e-6))-1)]
		got := h.Quantile(q)
		if got < time.Duration(exact) || float64(got) > float64(exact)*1.01+1 {
			t.Fatalf("quantile %v of %d values is %d, want %d", q, len(values), got, exact)
		}
		if n := h.Count(); n != int64(len(values)) {
			t.Fatalf("%d counted of %d", n, len(values))
		}
	})
}

// Every duration stands in the one bucket whose ends are around it.
func TestHistogramBuckets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "duration"))
		i := bucketOf(d)
		if bucketEnd(i) < d || i > 0 && bucketEnd(i-1) >= d {
			t.Fatalf("%d is in bucket %d, from %d to %d", d, i, bucketEnd(max(0, i-1)), bucketEnd(i))
		}
	})
}

func TestHistogramAsJSON(t *testing.T) {
	var h, back Histogram
	h.Add(-time.Second)
	h.Add(3 * time.Millisecond)
	text, err := json.Marshal(h)
	if err == nil {
		err = json.Unmarshal(text, &back)
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(h, back); diff != "" {
		t.Error(diff)
	}
	if got := (&Histogram{}).Quantile(0.5); got != 0 {
		t.Errorf("the median of nothing is %s", got)
	}
	if got := h.Quantile(0.5); got != 0 {
		t.Errorf("what is below zero counts as %s", got)
	}
}

func TestSummaryOf(t *testing.T) {
	for name, tt := range map[string]struct {
		values []float64
		want   Summary
		known  bool
	}{
		"nothing": {nil, Summary{}, false},
		"one":     {[]float64{3}, Summary{3, 3, 3}, true},
		"odd":     {[]float64{5, 1, 3}, Summary{3, 1, 5}, true},
		"even":    {[]float64{4, 1, 3, 2}, Summary{2.5, 1, 4}, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, known := summaryOf(tt.values)
			if got != tt.want || known != tt.known {
				t.Errorf("%+v %t, want %+v %t", got, known, tt.want, tt.known)
			}
		})
	}
}

func figures(pairs ...any) Round {
	f := map[string]float64{}
	for i := 0; i < len(pairs); i += 2 {
		f[pairs[i].(string)] = pairs[i+1].(float64)
	}
	return Round{Sample: Sample{Figures: f}}
}

// Ratios are of one round each: a machine that is slow in one round is slow for both.
func TestSummarize(t *testing.T) {
	cases := []Case{
		{Name: "bare", Unit: "POSTs"},
		{Name: "drain", Unit: "deliveries", Ceiling: "bare", Targets: []Target{
			{Figure: "rate", Of: "ceiling", Least: 0.9},
			{Figure: "memory", Most: 300},
			{Figure: "p99", Most: 1, Where: "servers"},
			{Figure: "p50", Most: 1, Where: "embedded"},
		}},
	}
	runs := [][]Round{
		{figures("rate", 100.0, totalCPU, 2.0), figures("rate", 10.0, totalCPU, 2.0), {Error: "broken"}},
		{figures("rate", 95.0, "memory", 301.0, totalCPU, 3.0), figures("rate", 9.2, totalCPU, 5.0), figures("rate", 50.0)},
	}
	got := summarize(cases, runs, true)
	if diff := cmp.Diff(map[string]Summary{"rate": {0.935, 0.92, 0.95}, totalCPU: {2, 1.5, 2.5}}, got[1].Ratios, near); diff != "" {
		t.Error("ratios", diff)
	}
	want := []Verdict{
		{Figure: "rate", Of: "ceiling", Least: 0.9, Value: 0.935, Met: true},
		{Figure: "memory", Most: 300, Value: 301},
		{Figure: "p50", Most: 1, Unknown: true},
	}
	if diff := cmp.Diff(want, got[1].Targets, near); diff != "" {
		t.Error("targets", diff)
	}
	if len(got[0].Ratios) != 0 || len(got[0].Targets) != 0 {
		t.Errorf("a ceiling is held against %+v %+v", got[0].Ratios, got[0].Targets)
	}
	report := Report{Cases: got}
	if met, all := report.Met(); met != 1 || all != 3 {
		t.Errorf("%d of %d met", met, all)
	}
	failed := slices.ContainsFunc(report.Rows(), func(r []string) bool { return r[1] == "round 3 failed" && r[6] == "broken" })
	if !failed {
		t.Errorf("no row says what failed: %q", report.Rows())
	}
	for _, r := range report.Rows() {
		if len(r) > len(Header()) {
			t.Errorf("%d columns: %q", len(r), r)
		}
	}
}

var near = cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-9 })

// A case at a fixed rate is idle most of the time: what that costs is not held against a ceiling that works as fast as it can.
func TestIdleCPUIsNoRatio(t *testing.T) {
	got := ratios([]Round{figures("p50", 2.0, totalCPU, 9.0)}, []Round{figures("p50", 1.0, "rate", 5.0, totalCPU, 1.0)})
	if diff := cmp.Diff(map[string]Summary{"p50": {2, 2, 2}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestChoose(t *testing.T) {
	all := []Case{{Name: "bare"}, {Name: "fed", Ceiling: "bare"}, {Name: "drain", Ceiling: "fed"}, {Name: "match"}}
	for name, tt := range map[string]struct {
		only []string
		want []string
		errs bool
	}{
		"all":                     {nil, []string{"bare", "fed", "drain", "match"}, false},
		"one":                     {[]string{"match"}, []string{"match"}, false},
		"with ceilings, in order": {[]string{"match", "drain"}, []string{"bare", "fed", "drain", "match"}, false},
		"not there":               {[]string{"match", "none"}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := choose(all, tt.only)
			if diff := cmp.Diff(tt.want, caseNames(got)); diff != "" || (err != nil) != tt.errs {
				t.Error(diff, err)
			}
		})
	}
}

// Each case's ceiling is there and comes before it, and every case says what it does.
func TestCasesAreInOrder(t *testing.T) {
	known := map[string]bool{"": true}
	for _, c := range cases() {
		if !known[c.Ceiling] {
			t.Errorf("%s comes before its ceiling %s", c.Name, c.Ceiling)
		}
		if known[c.Name] {
			t.Errorf("%s is there twice", c.Name)
		}
		known[c.Name] = true
		if c.Title == "" || c.Unit == "" || c.Run == nil {
			t.Errorf("%s lacks a title, a unit or what to run", c.Name)
		}
		for _, target := range c.Targets {
			if target.Of == "ceiling" && c.Ceiling == "" || target.Least == 0 && target.Most == 0 {
				t.Errorf("%s: target %+v can never be judged", c.Name, target)
			}
		}
	}
}
