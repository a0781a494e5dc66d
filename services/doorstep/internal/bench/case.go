package bench

import (
	"context"
	"time"
)

// Case is one thing that is measured.
type Case struct {
	Name  string // as in --only, e.g. "drain"
	Title string // a line for readers: what is done
	Unit  string // what is counted, e.g. "deliveries"
	// Ceiling names the case that this one is a ratio of; empty: it is a ceiling itself, or has none.
	Ceiling string
	Targets []Target
	// Run does it once, for about bed.Time.
	Run func(ctx context.Context, bed *Bed) (Sample, error)
}

// Target is what a figure should be.
type Target struct {
	Figure string  // e.g. "rate", "p99", "memory"
	Of     string  // "ceiling": as a ratio to the ceiling's figure in the same round; "": as it is
	Least  float64 // 0: no lower bound
	Most   float64 // 0: no upper bound
	Where  string  // "embedded", "servers"; empty: both
}

// Sample is one run of a case.
type Sample struct {
	// Figures by name: "rate" in units per second; "p50", "p90", "p99", "p99.9" in seconds; "memory" in bytes; and what a
	// case adds.
	Figures map[string]float64 `json:"figures,omitempty"`
	// CPU is the CPU seconds per 1,000 units, by process.
	CPU map[string]float64 `json:"cpu,omitempty"`
	// Series are for plots. A series has the unit of a figure of its name.
	Series map[string][]Point `json:"series,omitempty"`
}

// Point is one value in time.
type Point struct {
	// At is the time since the measurement began, in nanoseconds as JSON.
	At    time.Duration `json:"at"`
	Value float64       `json:"value"`
}
