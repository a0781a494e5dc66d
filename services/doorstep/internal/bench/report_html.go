package bench

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
)

//go:embed report.html
var page string

// HTML writes the report as one page that needs nothing else: plots are SVG, nothing is loaded.
func (r Report) HTML(w io.Writer) error {
	t, err := template.New("report").Funcs(template.FuncMap{"colour": colour}).Parse(page)
	if err != nil {
		return fmt.Errorf("the report's page: %w", err)
	}
	met, all := r.Met()
	err = t.Execute(w, struct {
		Report
		Met, Targets int
		Latency      *chart
		CPU          []cpuBar
		Legend       []string
		Series       []chart
	}{r, met, all, latencyChart(r.Cases), cpuBars(r.Cases), processes(busy(r.Cases)), seriesCharts(r.Cases)})
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// Table is a case's rows, for the page.
func (o Outcome) Table() []PageRow {
	var rows []PageRow
	for _, r := range o.rows() {
		rows = append(rows, PageRow{r[0], r[1], r[2], r[3]})
	}
	return rows
}

// PageRow is one figure.
type PageRow struct{ Figure, Median, Spread, Ratio string }

// colours is how many colours the page has.
const colours = 8

// colour is the class of the i-th line, bar or process.
func colour(i int) string { return fmt.Sprintf("c%d", i%colours) }

// quantileNames are the figures of a latency curve, in order.
var quantileNames = []struct {
	figure string
	part   float64 // that takes longer
}{{"p50", 0.5}, {"p90", 0.1}, {"p99", 0.01}, {"p99.9", 0.001}}

// latencyChart has a curve for each case that has all quantiles; nil if none has.
func latencyChart(cases []Outcome) *chart {
	c := chart{Title: "Latency by quantile", X: logAxis(true), Y: logAxis(false), yUnit: inSeconds}
	for _, q := range quantileNames {
		c.xTicks = append(c.xTicks, axisTick{q.part, q.figure})
	}
	for _, o := range cases {
		var line []xy
		for _, q := range quantileNames {
			if s, known := o.Figures[q.figure]; known && s.Median > 0 {
				line = append(line, xy{q.part, s.Median})
			}
		}
		if len(line) == len(quantileNames) {
			c.Lines = append(c.Lines, chartLine{Name: o.Name, points: line})
		}
	}
	if len(c.Lines) == 0 {
		return nil
	}
	c.layout()
	return &c
}

// seriesCharts are the series of all cases: a chart for each, with a line for each round.
func seriesCharts(cases []Outcome) []chart {
	var charts []chart
	for _, o := range cases {
		names := map[string]bool{}
		for _, r := range o.Rounds {
			for name := range r.Series {
				names[name] = true
			}
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			c := chart{Title: o.Name + ": " + name, X: linearAxis(), Y: linearAxis(), xUnit: inSeconds, yUnit: unitOf(name), small: true}
			for i, r := range o.Rounds {
				var line []xy
				for _, p := range r.Series[name] {
					line = append(line, xy{p.At.Seconds(), p.Value})
				}
				if len(line) > 1 {
					c.Lines = append(c.Lines, chartLine{Name: fmt.Sprintf("round %d", i+1), points: line})
				}
			}
			if len(c.Lines) > 0 {
				c.layout()
				charts = append(charts, c)
			}
		}
	}
	return charts
}

// cpuBar is the CPU of one case as a bar of pieces.
type cpuBar struct {
	Name   string
	Total  string
	Pieces []cpuPiece
}

// cpuPiece is one process's part: Share of the longest bar, in percent.
type cpuPiece struct {
	Process string
	Colour  int
	Share   float64
	Text    string
}

// cpuBars are bars of one scale. Cases at a fixed rate are left out: they are idle most of the time, which costs more for each of their few units.
func cpuBars(cases []Outcome) []cpuBar {
	cases = busy(cases)
	all, longest := processes(cases), 0.0
	for _, o := range cases {
		longest = max(longest, medianCPU(o))
	}
	var bars []cpuBar
	for _, o := range cases {
		bar := cpuBar{Name: o.Name, Total: valueText(inCPU, medianCPU(o)) + " / 1,000 " + o.Unit}
		for i, p := range all {
			if s, used := o.CPU[p]; used {
				bar.Pieces = append(bar.Pieces, cpuPiece{p, i, 100 * s.Median / longest, p + ": " + valueText(inCPU, s.Median)})
			}
		}
		bars = append(bars, bar)
	}
	return bars
}

// busy are the cases that work as fast as they can.
func busy(cases []Outcome) []Outcome {
	return slices.DeleteFunc(slices.Clone(cases), func(o Outcome) bool {
		_, fast := o.Figures["rate"]
		return !fast || len(o.CPU) == 0
	})
}

// medianCPU is the sum of the processes' medians, so that a bar is as long as its pieces.
func medianCPU(o Outcome) (all float64) {
	for _, s := range o.CPU {
		all += s.Median
	}
	return all
}

// processes are the names of all processes, those that use most first.
func processes(cases []Outcome) []string {
	used := map[string]float64{}
	for _, o := range cases {
		for name, s := range o.CPU {
			used[name] += s.Median
		}
	}
	return slices.SortedFunc(maps.Keys(used), func(a, b string) int {
		return cmp.Or(cmp.Compare(used[b], used[a]), cmp.Compare(a, b))
	})
}
