package bench

import (
	"fmt"
	"math"
	"strings"
)

// chart is a plot of lines, laid out in the units of an SVG.
type chart struct {
	Title string
	Lines []chartLine
	X, Y  axis

	Width, Height            float64
	Left, Right, Top, Bottom float64 // of the area of the lines

	xUnit, yUnit measureUnit
	xTicks       []axisTick // empty: of the axis
	small        bool
}

// chartLine is one line; Path is its SVG path once it is laid out, End where its last point is.
type chartLine struct {
	Name string
	Path string
	End  xy

	points []xy
}

// xy is a point, in units of the axes before the layout and of the SVG after it.
type xy struct{ X, Y float64 }

// axis maps values to the SVG.
type axis struct {
	Ticks []PlacedTick

	log, falling   bool // falling: large values come first
	low, high      float64
	placed, length float64 // of low, and towards high
}

// axisTick is a value with its text, PlacedTick the same on the SVG.
type axisTick struct {
	value float64
	text  string
}

// PlacedTick is a mark of an axis.
type PlacedTick struct {
	At   float64
	Text string
}

func logAxis(falling bool) axis { return axis{log: true, falling: falling} }
func linearAxis() axis          { return axis{} }

// layout places everything.
func (c *chart) layout() {
	c.Width, c.Height = 640, 320
	if c.small {
		c.Width, c.Height = 360, 200
	}
	c.Left, c.Right, c.Top, c.Bottom = 64, c.Width-16, 12, c.Height-26
	c.X.fit(c.Lines, func(p xy) float64 { return p.X })
	c.Y.fit(c.Lines, func(p xy) float64 { return p.Y })
	c.X.placed, c.X.length = c.Left, c.Right-c.Left
	if c.X.falling {
		c.X.placed, c.X.length = c.Right, c.Left-c.Right
	}
	c.Y.placed, c.Y.length = c.Bottom, c.Top-c.Bottom
	c.X.mark(c.xTicks, c.xUnit)
	c.Y.mark(nil, c.yUnit)
	for i := range c.Lines {
		c.Lines[i].draw(c.X, c.Y)
	}
}

func (l *chartLine) draw(x, y axis) {
	var path strings.Builder
	for i, p := range l.points {
		l.End = xy{x.place(p.X), y.place(p.Y)}
		command := "L"
		if i == 0 {
			command = "M"
		}
		fmt.Fprintf(&path, "%s%.1f %.1f", command, l.End.X, l.End.Y)
	}
	l.Path = path.String()
}

// fit finds the ends of the axis: linear ones begin at 0, logarithmic ones end at 1, 2 or 5 times a power of ten, unless the
// values are quantiles.
func (a *axis) fit(lines []chartLine, of func(xy) float64) {
	a.low, a.high = math.Inf(1), math.Inf(-1)
	for _, l := range lines {
		for _, p := range l.points {
			a.low, a.high = min(a.low, of(p)), max(a.high, of(p))
		}
	}
	switch {
	case a.falling: // as they are
	case a.log:
		a.low, a.high = roundDown(a.low), roundUp(a.high)
		if a.low == a.high {
			a.high *= 2
		}
	default:
		a.low = 0
		if a.high <= 0 {
			a.high = 1
		}
	}
}

// place is where a value stands in the SVG.
func (a *axis) place(v float64) float64 {
	part := (v - a.low) / (a.high - a.low)
	if a.log {
		part = (math.Log(v) - math.Log(a.low)) / (math.Log(a.high) - math.Log(a.low))
	}
	return a.placed + part*a.length
}

// mark sets the ticks: those given, or round numbers.
func (a *axis) mark(given []axisTick, unit measureUnit) {
	if given == nil {
		for _, v := range a.round(unit) {
			given = append(given, axisTick{v, valueText(unit, v)})
		}
	}
	for _, t := range given {
		a.Ticks = append(a.Ticks, PlacedTick{a.place(t.value), t.text})
	}
}

// round are round numbers from end to end, ten at the most.
func (a *axis) round(unit measureUnit) (values []float64) {
	if !a.log {
		of := 1.0
		if unit == inBytes { // round in the unit that they are shown in
			of = byteUnit(a.high).bytes
		}
		step := roundUp((a.high-a.low)/of/5) * of
		for i := 0; float64(i)*step <= a.high*1.0001; i++ {
			values = append(values, float64(i)*step)
		}
		return values
	}
	tens := math.Log10(a.high / a.low)
	for v := roundDown(a.low); v <= a.high*1.0001; v = next(v) {
		if tens <= 3 || leading(v) == 1 {
			values = append(values, v)
		}
	}
	return values
}

// leading is the first digit of v, which is 1, 2 or 5 times a power of ten.
func leading(v float64) int {
	return int(math.Round(v / math.Pow(10, math.Floor(math.Log10(v)+1e-9))))
}

// next is the next larger of 1, 2 and 5 times powers of ten.
func next(v float64) float64 {
	if leading(v) == 2 {
		return v * 2.5
	}
	return v * 2
}

// roundUp is the least of 1, 2 and 5 times powers of ten that is not below v, which is above zero.
func roundUp(v float64) float64 {
	r := math.Pow(10, math.Floor(math.Log10(v)))
	for r < v*0.9999 {
		r = next(r)
	}
	return r
}

// roundDown is the largest of them that is not above v.
func roundDown(v float64) float64 {
	r := math.Pow(10, math.Floor(math.Log10(v)))
	for next(r) <= v*1.0001 {
		r = next(r)
	}
	return r
}
