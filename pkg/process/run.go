package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// DefaultGrace is how long all stages together get to stop: a sender's longest attempt (30 s)
// with its 2 s to commit, and some for the stages after it. Kubernetes must wait longer than this.
const DefaultGrace = 45 * time.Second

// ErrForced says that a second signal ended the program while components were still stopping.
var ErrForced = errors.New("stopped at once by a second signal")

// Component is one named part of a program.
type Component struct {
	// Name says in errors and logs which part it is.
	Name string
	// Stage orders the stop: the highest stage stops first, components of one stage together.
	Stage int
	// Run works until its context ends, then finishes what is in flight and returns. A nil
	// error before that means that it is done and the others go on; an error stops them all.
	Run func(ctx context.Context) error
}

// Config says how a program stops. The zero value is right for a command.
type Config struct {
	// Grace is the time that all stages together get to stop. Default: DefaultGrace.
	Grace time.Duration
	// Signals delivers the requests to stop. Default: SIGINT and SIGTERM of this process.
	Signals <-chan os.Signal
	// Log tells of the stop. Default: slog.Default().
	Log *slog.Logger
}

// ended is what a component returned.
type ended struct {
	index int
	err   error
}

// Run starts the components and returns when all have ended. A signal or the end of ctx stops
// them and is no error. The error of a component names it. After ErrForced, and after the grace
// has run out, components may still be running: the caller should exit.
func Run(ctx context.Context, cfg Config, components ...Component) error {
	cfg, done := cfg.withDefaults()
	defer done()
	tuning, endTuning := context.WithCancel(ctx)
	var tuned sync.WaitGroup
	tuned.Go(func() { TuneGC(tuning) })
	defer tuned.Wait()
	defer endTuning()
	r := start(ctx, components)
	defer r.cancelAll()
	if r.serve(ctx, cfg) {
		return r.err
	}
	return errors.Join(r.err, r.drain(cfg))
}

// withDefaults fills in what was left out; done gives the process's signals back.
func (c Config) withDefaults() (Config, func()) {
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Signals != nil {
		return c, func() {}
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	c.Signals = signals
	return c, func() { signal.Stop(signals) }
}

// running is a set of started components.
type running struct {
	components []Component
	contexts   []context.Context // one for each component, ended when it is asked to stop
	cancel     []context.CancelFunc
	live       map[int]bool
	ended      chan ended
	err        error
}

// start starts all components, each with a context of its own: they stop one stage after
// another, not all at the moment that the program's context ends.
func start(ctx context.Context, components []Component) *running {
	r := &running{
		components: components,
		live:       make(map[int]bool, len(components)),
		ended:      make(chan ended, len(components)),
	}
	for i, c := range components {
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		r.contexts, r.cancel = append(r.contexts, own), append(r.cancel, cancel)
		r.live[i] = true
		go func() { r.ended <- ended{i, c.Run(own)} }()
	}
	return r
}

// serve waits until something asks for a stop; true means that all have ended by themselves.
func (r *running) serve(ctx context.Context, cfg Config) (all bool) {
	for len(r.live) > 0 {
		select {
		case e := <-r.ended:
			if r.note(e); r.err != nil {
				cfg.Log.Error("stopping, a component failed", "component", r.components[e.index].Name)
				return len(r.live) == 0
			}
		case s := <-cfg.Signals:
			cfg.Log.Info("stopping, a second signal stops at once", "signal", s.String())
			return false
		case <-ctx.Done():
			cfg.Log.Info("stopping")
			return false
		}
	}
	return true
}

// drain stops the stages that are left, the highest first.
func (r *running) drain(cfg Config) error {
	grace := time.NewTimer(cfg.Grace)
	defer grace.Stop()
	for _, stage := range r.stages() {
		for _, i := range r.liveIn(stage) {
			r.cancel[i]()
		}
		for len(r.liveIn(stage)) > 0 {
			select {
			case e := <-r.ended:
				r.note(e)
			case <-cfg.Signals:
				return ErrForced
			case <-grace.C:
				return fmt.Errorf("not stopped after %s: %s", cfg.Grace, strings.Join(r.names(), ", "))
			}
		}
	}
	return nil
}

// note records the end of a component. One that was asked to stop may say so with the error of
// its context.
func (r *running) note(e ended) {
	delete(r.live, e.index)
	asked := r.contexts[e.index].Err() != nil
	if e.err != nil && (!asked || !errors.Is(e.err, context.Canceled)) {
		r.err = errors.Join(r.err, fmt.Errorf("%s: %w", r.components[e.index].Name, e.err))
	}
}

// stages are the stages with a live component, the highest first.
func (r *running) stages() []int {
	var stages []int
	for i := range r.live {
		stages = append(stages, r.components[i].Stage)
	}
	slices.Sort(stages)
	stages = slices.Compact(stages)
	slices.Reverse(stages)
	return stages
}

func (r *running) liveIn(stage int) []int {
	var in []int
	for i := range r.live {
		if r.components[i].Stage == stage {
			in = append(in, i)
		}
	}
	return in
}

// names are the components still live, in the order they were given.
func (r *running) names() []string {
	var names []string
	for i, c := range r.components {
		if r.live[i] {
			names = append(names, c.Name)
		}
	}
	return names
}

func (r *running) cancelAll() {
	for _, cancel := range r.cancel {
		cancel()
	}
}

// ExitCode is what a program should exit with after Run: 0 for a clean stop, 130 (128 + SIGINT,
// as shells count) after a second signal, 1 otherwise.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ErrForced):
		return 130
	default:
		return 1
	}
}
