package bench

import (
	"iter"
	"math"
	"slices"
	"strings"
	"time"
)

// Round is one run of a case.
type Round struct {
	Sample
	Error string `json:"error,omitempty"` // why there is nothing

	err  error
	took time.Duration
}

// totalCPU is a figure that every case with CPU has: that of all processes, for 1,000 units. Its ratio tells more than that of the rates where
// something else keeps the machine busy.
const totalCPU = "total cpu"

func sum(values iter.Seq[float64]) (s float64) {
	for v := range values {
		s += v
	}
	return s
}

// Summary is a value over the rounds.
type Summary struct {
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
}

// summaryOf is false if there are no values.
func summaryOf(values []float64) (Summary, bool) {
	if len(values) == 0 {
		return Summary{}, false
	}
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return Summary{Median: (v[(n-1)/2] + v[n/2]) / 2, Least: v[0], Most: v[n-1]}, true
}

// Outcome is what was measured of a case.
type Outcome struct {
	Name    string  `json:"name"`
	Title   string  `json:"title"`
	Unit    string  `json:"unit"`
	Ceiling string  `json:"ceiling,omitempty"`
	Rounds  []Round `json:"rounds"`
	// Figures are those of Sample over the rounds. Ratios are a figure over the ceiling's of the same round, where it has one of that name.
	Figures map[string]Summary `json:"figures"`
	Ratios  map[string]Summary `json:"ratios,omitempty"`
	CPU     map[string]Summary `json:"cpu,omitempty"` // CPU seconds per 1,000 units, by process
	Targets []Verdict          `json:"targets,omitempty"`
}

// Verdict is a target and whether the median meets it.
type Verdict struct {
	Figure  string  `json:"figure"`
	Of      string  `json:"of,omitempty"` // "ceiling": Value is a ratio
	Least   float64 `json:"least,omitempty"`
	Most    float64 `json:"most,omitempty"`
	Value   float64 `json:"value"`
	Met     bool    `json:"met"`
	Unknown bool    `json:"unknown,omitempty"` // it was not measured
}

// summarize is the outcomes of cases; runs are each one's, by round.
func summarize(cases []Case, runs [][]Round, embedded bool) []Outcome {
	byName := map[string][]Round{}
	for i, c := range cases {
		byName[c.Name] = runs[i]
	}
	outcomes := make([]Outcome, len(cases))
	for i, c := range cases {
		o := Outcome{Name: c.Name, Title: c.Title, Unit: c.Unit, Ceiling: c.Ceiling, Rounds: runs[i]}
		o.Figures = overRounds(runs[i], func(r Round) map[string]float64 { return r.Figures })
		o.CPU = overRounds(runs[i], func(r Round) map[string]float64 { return r.CPU })
		o.Ratios = ratios(runs[i], byName[c.Ceiling])
		for _, t := range c.Targets {
			if t.Where == "" || (t.Where == "embedded") == embedded {
				o.Targets = append(o.Targets, judge(t, o))
			}
		}
		outcomes[i] = o
	}
	return outcomes
}

// overRounds sums values up by name. Rounds that lack one do not count for it.
func overRounds(rounds []Round, of func(Round) map[string]float64) map[string]Summary {
	values := map[string][]float64{}
	for _, r := range rounds {
		for name, v := range of(r) {
			values[name] = append(values[name], v)
		}
	}
	return summaries(values)
}

func summaries(values map[string][]float64) map[string]Summary {
	out := make(map[string]Summary, len(values))
	for name, v := range values {
		out[name], _ = summaryOf(v)
	}
	return out
}

// ratios are the figures over the ceiling's of the same round.
func ratios(rounds, ceiling []Round) map[string]Summary {
	values := map[string][]float64{}
	for i, r := range rounds[:min(len(rounds), len(ceiling))] {
		_, fast := r.Figures["rate"] // a case at a fixed rate is idle most of the time: its CPU says nothing
		for name, v := range r.Figures {
			if of := ceiling[i].Figures[name]; of > 0 && (fast || name != totalCPU) { //nolint:gosec // i is below len(ceiling)
				values[name] = append(values[name], v/of)
			}
		}
	}
	return summaries(values)
}

// judge holds a median against its target.
func judge(t Target, o Outcome) Verdict {
	from := o.Figures
	if t.Of == "ceiling" {
		from = o.Ratios
	}
	s, known := from[t.Figure]
	v := Verdict{Figure: t.Figure, Of: t.Of, Least: t.Least, Most: t.Most, Value: s.Median, Unknown: !known}
	v.Met = known && !math.IsNaN(s.Median) && s.Median >= t.Least && (t.Most == 0 || s.Median <= t.Most)
	return v
}

// measureUnit is what a figure is measured in, which its name says.
type measureUnit int

const (
	inPlain   measureUnit = iota
	inRate                // units per second
	inSeconds             // time
	inCPU                 // CPU seconds per 1,000 units
	inBytes
)

func unitOf(figure string) measureUnit {
	switch {
	case strings.Contains(figure, "ratio"):
		return inPlain
	case figure == "rate" || strings.HasSuffix(figure, " rate"):
		return inRate
	case figure == "cpu" || strings.HasSuffix(figure, " cpu"):
		return inCPU
	case isQuantile(figure), strings.HasSuffix(figure, "latency"), strings.HasSuffix(figure, "time"):
		return inSeconds
	case strings.Contains(figure, "memory"), strings.Contains(figure, "bytes"):
		return inBytes
	}
	return inPlain
}

// isQuantile reports whether a name is, or ends in, one like "p99.9".
func isQuantile(name string) bool {
	last := name[strings.LastIndexByte(name, ' ')+1:]
	return len(last) > 1 && last[0] == 'p' && strings.Trim(last[1:], "0123456789.") == ""
}
