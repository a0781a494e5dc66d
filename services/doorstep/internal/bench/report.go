package bench

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Report is what was measured; as JSON, all of it.
type Report struct {
	Version string    `json:"version"` // of Doorstep
	Began   time.Time `json:"began"`
	Took    float64   `json:"took_seconds"`
	Seconds float64   `json:"run_seconds"` // of each run, about
	Rounds  int       `json:"rounds"`
	Options Options   `json:"options"`
	Machine Machine   `json:"machine"`
	Cases   []Outcome `json:"cases"`
}

// Header is the header of Rows.
func Header() []string {
	return []string{"CASE", "FIGURE", "MEDIAN", "SPREAD", "OF CEILING", "TARGET", "MET"}
}

// Rows are the report as a table: a row for each figure, those with a target first, and one for a case that failed.
func (r Report) Rows() [][]string {
	var rows [][]string
	for _, o := range r.Cases {
		name := o.Name // once for all rows of a case
		for _, row := range o.rows() {
			rows = append(rows, append([]string{name}, row[:]...))
			name = ""
		}
		if len(o.CPU) > 0 {
			rows = append(rows, []string{name, "by process", "", o.cpuText()})
			name = ""
		}
		for i, round := range o.Rounds {
			if round.Error != "" {
				rows = append(rows, []string{name, fmt.Sprintf("round %d failed", i+1), "", "", "", "", firstLine(round.Error)})
				name = ""
			}
		}
	}
	return rows
}

// Met counts the targets that were met, and all.
func (r Report) Met() (met, all int) {
	for _, o := range r.Cases {
		for _, v := range o.Targets {
			all++
			if v.Met {
				met++
			}
		}
	}
	return met, all
}

// row is figure, median, spread, ratio, target, met.
type row [6]string

func (o Outcome) rows() []row {
	var rows []row
	for _, name := range o.names() {
		s := o.Figures[name]
		line := row{name, o.text(name, s.Median), o.spread(name, s)}
		if ratio, known := o.Ratios[name]; known {
			line[3] = number(ratio.Median)
			if ratio.Least != ratio.Most {
				line[3] += " (" + number(ratio.Least) + " to " + number(ratio.Most) + ")"
			}
		}
		var targets, met []string
		for _, v := range o.Targets {
			if v.Figure == name {
				targets, met = append(targets, o.Wanted(v)), append(met, v.Word())
			}
		}
		line[4], line[5] = strings.Join(targets, ", "), strings.Join(met, ", ")
		rows = append(rows, line)
	}
	for _, v := range o.Targets {
		if _, known := o.Figures[v.Figure]; !known && v.Unknown {
			rows = append(rows, row{v.Figure, "", "", "", o.Wanted(v), v.Word()})
		}
	}
	return rows
}

// names are the figures: those with a target first, then "rate", then by name.
func (o Outcome) names() []string {
	rank := func(name string) int {
		switch {
		case slices.ContainsFunc(o.Targets, func(v Verdict) bool { return v.Figure == name }):
			return 0
		case name == "rate":
			return 1
		}
		return 2
	}
	return slices.SortedFunc(maps.Keys(o.Figures), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
	})
}

// cpuText is the CPU by process, most first.
func (o Outcome) cpuText() string {
	names := slices.SortedFunc(maps.Keys(o.CPU), func(a, b string) int {
		return cmp.Or(cmp.Compare(o.CPU[b].Median, o.CPU[a].Median), cmp.Compare(a, b))
	})
	for i, name := range names {
		names[i] += " " + number(o.CPU[name].Median)
	}
	return strings.Join(names, ", ")
}

func (o Outcome) text(figure string, v float64) string { return valueText(unitOf(figure), v) }

// spread is empty where all rounds say the same.
func (o Outcome) spread(figure string, s Summary) string {
	if s.Least == s.Most {
		return ""
	}
	return o.text(figure, s.Least) + " to " + o.text(figure, s.Most)
}

// Wanted is a target in words.
func (o Outcome) Wanted(v Verdict) string {
	show := func(x float64) string {
		if v.Of == "ceiling" {
			return number(x) + " x " + o.Ceiling
		}
		return o.text(v.Figure, x)
	}
	var parts []string
	if v.Least > 0 {
		parts = append(parts, "≥ "+show(v.Least))
	}
	if v.Most > 0 {
		parts = append(parts, "≤ "+show(v.Most))
	}
	return strings.Join(parts, ", ")
}

// Shown is what a target is held against.
func (o Outcome) Shown(v Verdict) string {
	switch {
	case v.Unknown:
		return ""
	case v.Of == "ceiling":
		return number(v.Value) + " x"
	}
	return o.text(v.Figure, v.Value)
}

// Word says whether the target is met.
func (v Verdict) Word() string {
	switch {
	case v.Unknown:
		return "not measured"
	case v.Met:
		return "yes"
	}
	return "no"
}

// valueText shows a value in its unit.
func valueText(unit measureUnit, v float64) string {
	switch unit {
	case inRate:
		return number(v) + "/s"
	case inSeconds:
		return secondsText(v)
	case inCPU:
		return number(v) + " s"
	case inBytes:
		return bytesText(v)
	default:
		return number(v)
	}
}

// number shows three digits that count; whole numbers from 100 on, with a comma for each thousand.
func number(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "?"
	}
	if math.Abs(v) < 99.95 {
		text := strconv.FormatFloat(v, 'g', 3, 64)
		if f, err := strconv.ParseFloat(text, 64); err == nil && math.Abs(f) >= 0.001 {
			text = strconv.FormatFloat(f, 'f', -1, 64)
		}
		return text
	}
	text := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func secondsText(v float64) string {
	switch {
	case v == 0:
		return "0 s"
	case v < 0.001:
		return number(v*1e6) + " µs"
	case v < 1:
		return number(v*1e3) + " ms"
	}
	return number(v) + " s"
}

func bytesText(v float64) string {
	unit := byteUnit(v)
	return number(v/unit.bytes) + " " + unit.name
}

// sizeUnit is a unit of sizes.
type sizeUnit struct {
	bytes float64
	name  string
}

// byteUnit is the unit that a size is shown in.
func byteUnit(v float64) sizeUnit {
	for _, unit := range []sizeUnit{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if v >= unit.bytes {
			return unit
		}
	}
	return sizeUnit{1, "B"}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
