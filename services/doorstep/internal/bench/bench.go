// Package bench measures Doorstep from outside: children of the real program, against ceilings that are found in the same
// round. Machines are noisy, so a figure counts only as its ratio to a ceiling, or as a bound.
//
// A case (case.go) is run once in each round, on a bed of its own: processes, a log and a receiver that end with
// the run. The ceilings (bare_*.go) come before what is held against them. A report holds all that was measured and
// is printed as a table, as JSON or as an HTML page.
package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/obs"
)

// Config says what is measured, and for how long.
type Config struct {
	Time    time.Duration // of each run, about
	Rounds  int
	Only    []string // names of cases; empty: all. Their ceilings are run too
	Options Options
	Servers Servers
	Program string           // doorstep; empty: this program
	Told    func(ran Notice) // called after each run; may be nil
}

// Notice tells of a run that has ended.
type Notice struct {
	Case       string
	Round      int // from 1
	Rounds     int
	Took       time.Duration
	Err        error // the run failed
	Done, Todo int   // runs that have ended, and all
}

// String is a line of progress.
func (n Notice) String() string {
	s := fmt.Sprintf("%d/%d  round %d  %s  %.1f s", n.Done, n.Todo, n.Round, n.Case, n.Took.Seconds())
	if n.Err != nil {
		s += "  failed: " + n.Err.Error()
	}
	return s
}

// MinTime is the least time of a run: with less, nothing is warm.
const MinTime = 100 * time.Millisecond

// ErrFailed says that a case could not be measured. The report says which, and why.
var ErrFailed = errors.New("a case could not be measured")

// Names are the names and titles of all cases, in their order.
func Names() [][2]string {
	var names [][2]string
	for _, c := range cases() {
		names = append(names, [2]string{c.Name, c.Title})
	}
	return names
}

// CheckOnly errs if no case has one of those names.
func CheckOnly(names []string) error {
	_, err := choose(cases(), names)
	return err
}

// Run measures. Where it errs, the report holds what could be measured all the same.
func Run(ctx context.Context, cfg Config) (Report, error) {
	chosen, err := choose(cases(), cfg.Only)
	if err != nil {
		return Report{}, err
	}
	if cfg.Program == "" {
		if cfg.Program, err = os.Executable(); err != nil {
			return Report{}, fmt.Errorf("find this program: %w", err)
		}
	}
	b := &benching{
		cfg: cfg, cases: chosen, runs: make([][]Round, len(chosen)), thread: newThread(), began: time.Now(), machine: describe(ctx, cfg.Servers),
		prefix: cmp.Or(cfg.Servers.Kafka.TopicPrefix, "doorstep.") + "bench." + uuid.NewString()[:8] + ".",
	}
	defer b.thread.end()
	err = b.rounds(ctx)
	return b.report(), errors.Join(err, tidyGroups(ctx, cfg.Servers.Kafka, b.prefix))
}

// benching is a bench under way.
type benching struct {
	cfg     Config
	cases   []Case
	runs    [][]Round // of each case
	thread  *thread
	prefix  string // of what is made on given servers
	began   time.Time
	machine Machine
}

// rounds runs all cases in turn.
func (b *benching) rounds(ctx context.Context) error {
	failed := false
	for round := range b.cfg.Rounds {
		for i, c := range b.cases {
			r := b.runOnce(ctx, c)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			b.runs[i] = append(b.runs[i], r)
			failed = failed || r.Error != ""
			b.cfg.tell(c, round, i, len(b.cases), r)
		}
	}
	if failed {
		return ErrFailed
	}
	return nil
}

func (b *benching) report() Report {
	return Report{
		Version: obs.Version(), Began: b.began.UTC().Truncate(time.Second), Took: time.Since(b.began).Seconds(), Seconds: b.cfg.Time.Seconds(), Rounds: b.cfg.Rounds,
		Options: b.cfg.Options, Machine: b.machine, Cases: summarize(b.cases, b.runs, len(b.cfg.Servers.Kafka.Brokers) == 0),
	}
}

func (cfg Config) tell(c Case, round, i, n int, r Round) {
	if cfg.Told == nil {
		return
	}
	cfg.Told(Notice{Case: c.Name, Round: round + 1, Rounds: cfg.Rounds, Took: r.took, Err: r.err, Done: round*n + i + 1, Todo: cfg.Rounds * n})
}

// runOnce runs a case once, on a bed of its own. What goes wrong is the run's error.
func (b *benching) runOnce(ctx context.Context, c Case) Round {
	began := time.Now()
	s, err := b.runOn(ctx, c)
	r := Round{Sample: s, err: err, took: time.Since(began)}
	if err != nil {
		r.Sample, r.Error = Sample{}, err.Error()
	}
	if len(r.CPU) > 0 {
		r.Figures[totalCPU] = sum(maps.Values(r.CPU))
	}
	return r
}

func (b *benching) runOn(ctx context.Context, c Case) (s Sample, err error) {
	bed, err := newBed(b.cfg, b.prefix, b.thread)
	if err != nil {
		return Sample{}, err
	}
	defer func() { err = errors.Join(err, bed.close(ctx)) }()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return c.Run(ctx, bed)
}

// choose are the cases of those names, and the ceilings that they need, in the order of all. It errs on a name that no case has.
func choose(all []Case, only []string) ([]Case, error) {
	if len(only) == 0 {
		return all, nil
	}
	wanted := map[string]bool{}
	for _, name := range only {
		for name != "" && !wanted[name] {
			i := slices.IndexFunc(all, func(c Case) bool { return c.Name == name })
			if i < 0 {
				return nil, fmt.Errorf("--only: there is no case %q; there are %s", name, strings.Join(caseNames(all), ", "))
			}
			wanted[name] = true
			name = all[i].Ceiling
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(c Case) bool { return !wanted[c.Name] }), nil
}

func caseNames(all []Case) (names []string) {
	for _, c := range all {
		names = append(names, c.Name)
	}
	return names
}
