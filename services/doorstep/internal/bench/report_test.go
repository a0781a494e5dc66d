package bench

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestValueText(t *testing.T) {
	for _, tt := range []struct {
		figure string
		value  float64
		want   string
	}{
		{"rate", 41234.5, "41,234/s"},
		{"hop rate", 99.96, "100/s"},
		{"p99", 0.00314159, "3.14 ms"},
		{"p99.9", 0.000001, "1 µs"},
		{"healthy p50", 2.5, "2.5 s"},
		{"ready time", 0, "0 s"},
		{"total cpu", 0.0123456, "0.0123 s"},
		{"memory", 300 << 20, "300 MiB"},
		{"index bytes", 1536, "1.5 KiB"},
		{"memory", 12, "12 B"},
		{"p99 ratio", 1.4999, "1.5"},
		{"deliveries", 1234567, "1,234,567"},
		{"deliveries", -1234, "-1,234"},
		{"deliveries", -123, "-123"},
		{"rate", math.Inf(1), "?/s"},
		{"parked", 0, "0"},
	} {
		if got := valueText(unitOf(tt.figure), tt.value); got != tt.want {
			t.Errorf("%s of %v is %q, want %q", tt.figure, tt.value, got, tt.want)
		}
	}
}

func TestVerdictText(t *testing.T) {
	o := Outcome{Ceiling: "bare-post"}
	for _, tt := range []struct {
		v                    Verdict
		wanted, shown, words string
	}{
		{Verdict{Figure: "rate", Of: "ceiling", Least: 0.9, Value: 0.95, Met: true}, "≥ 0.9 x bare-post", "0.95 x", "yes"},
		{Verdict{Figure: "p99", Most: 0.012, Value: 0.013}, "≤ 12 ms", "13 ms", "no"},
		{Verdict{Figure: "memory", Least: 1024, Most: 2048, Unknown: true}, "≥ 1 KiB, ≤ 2 KiB", "", "not measured"},
	} {
		if diff := cmp.Diff([]string{tt.wanted, tt.shown, tt.words}, []string{o.Wanted(tt.v), o.Shown(tt.v), tt.v.Word()}); diff != "" {
			t.Error(diff)
		}
	}
}

// Every point of a chart lies within its area, every tick too, and the ticks are as many as fit.
func TestChartLayout(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.Float64Range(1e-6, 1e9)
		c := chart{X: linearAxis(), Y: linearAxis(), yUnit: measureUnit(rapid.IntRange(int(inPlain), int(inBytes)).Draw(t, "unit"))}
		if rapid.Bool().Draw(t, "log") {
			c.Y = logAxis(false)
		}
		for range rapid.IntRange(1, 3).Draw(t, "lines") {
			var line []xy
			for range rapid.IntRange(2, 20).Draw(t, "points") {
				line = append(line, xy{value.Draw(t, "x"), value.Draw(t, "y")})
			}
			c.Lines = append(c.Lines, chartLine{points: line})
		}
		c.layout()
		for _, l := range c.Lines {
			for p := range strings.SplitSeq(strings.TrimPrefix(l.Path, "M"), "L") {
				var x, y float64
				if _, err := fmt.Sscan(p, &x, &y); err != nil {
					t.Fatalf("path %q: %v", l.Path, err)
				}
				if x < c.Left-0.1 || x > c.Right+0.1 || y < c.Top-0.1 || y > c.Bottom+0.1 {
					t.Fatalf("point %g %g is outside of %g %g %g %g", x, y, c.Left, c.Top, c.Right, c.Bottom)
				}
			}
		}
		if n := len(c.Y.Ticks); n < 1 || n > 17 {
			t.Fatalf("%d ticks: %v", n, c.Y.Ticks)
		}
		for _, tick := range c.Y.Ticks {
			if tick.At < c.Top-0.1 || tick.At > c.Bottom+0.1 {
				t.Fatalf("tick %v is outside of %g to %g", tick, c.Top, c.Bottom)
			}
		}
	})
}

// What cases and errors say is text on the page, whatever it looks like.
func TestPageEscapes(t *testing.T) {
	var page strings.Builder
	err := Report{Began: time.Unix(0, 0), Cases: []Outcome{{
		Name: "<b>", Title: `"><script>`, Unit: "&", Figures: map[string]Summary{"<i>": {1, 1, 1}, "rate": {1, 1, 1}}, CPU: map[string]Summary{`"<u>`: {1, 1, 1}},
		Rounds: []Round{{Error: "<script>alert(1)</script>"}, {Sample: Sample{Series: map[string][]Point{"<s>": {{0, 1}, {1, 2}}}}}},
	}}}.HTML(&page)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"<b>", "<script", "<i>", "<u>", "<s>"} {
		if strings.Contains(page.String(), bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	if !strings.Contains(page.String(), "&lt;script&gt;alert(1)") {
		t.Error("the page does not say what failed")
	}
}
