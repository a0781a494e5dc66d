// Package obs is how a process lets itself be observed: its log, its metrics and its version.
//
// Every process writes JSON lines through log/slog and serves the registry that Registry makes.
// Metrics of the product are named doorstep_*, in base units (seconds, bytes); a component takes
// a prometheus.Registerer and a *slog.Logger, never a global one.
package obs

import (
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// version and commit are stamped by release builds, whose sources come without their history:
//
//	go build -ldflags "-X github.com/doorstep-dev/doorstep/pkg/obs.version=v1.2.3 -X github.com/doorstep-dev/doorstep/pkg/obs.commit=0123456789ab"
//
// The linker needs variables; nothing else writes them.
var version, commit string

// unknown is the version or commit of a program that nobody stamped and that was built outside of a repository.
const unknown = "unknown"

// shortRevision is how many digits of a commit's name tell it apart.
const shortRevision = 12

// Version is the version of this program: the stamped one, else the commit that it was built
// from, else "unknown".
func Version() string {
	if version != "" {
		return version
	}
	return Commit()
}

// Commit is the first 12 digits of the commit that this program was built from, with "-dirty" if the
// tree had changes, else "unknown".
func Commit() string {
	if commit != "" {
		return commit
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return unknown
	}
	return commitOf(info)
}

func commitOf(info *debug.BuildInfo) string {
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(len(s.Value), shortRevision)]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	if revision == "" {
		return unknown
	}
	return revision + dirty
}

// Logger writes JSON lines of a level (debug, info, warn, error) and above to w: what
// DOORSTEP_LOG_LEVEL sets. An empty level is info.
func Logger(w io.Writer, level string) (*slog.Logger, error) {
	l := slog.LevelInfo
	if level != "" {
		if err := l.UnmarshalText([]byte(strings.ToUpper(level))); err != nil {
			return nil, fmt.Errorf("log level %q: want debug, info, warn or error", level)
		}
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: l})), nil
}

// Registry is a fresh registry with what every process tells: the Go runtime, the process
// (memory, file descriptors, CPU) and doorstep_build_info.
func Registry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "doorstep_build_info",
		Help:        "Always 1; the labels tell the version of the program, its commit, and the version of Go.",
		ConstLabels: prometheus.Labels{"version": Version(), "commit": Commit(), "go_version": runtime.Version()},
	})
	build.Set(1)
	reg.MustRegister(build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

// DelayBuckets are histogram buckets in seconds from 0.5 ms to 2 h: for how long after its
// publication an event is first attempted, or how late a retry is. The low end resolves the
// targets (p50 of 3 ms embedded, 10 ms on Kafka); the high end sees the longest tier with room.
func DelayBuckets() []float64 {
	return []float64{
		0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5,
		1, 2, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200,
	}
}

// WorkBuckets are histogram buckets in seconds from 0.1 ms to 30 s: for one piece of work with a
// deadline, such as a POST, a transaction or a query.
func WorkBuckets() []float64 {
	return []float64{
		0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30,
	}
}
