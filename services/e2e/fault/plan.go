package fault

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"time"

	"github.com/doorstep-dev/doorstep/services/e2e/cluster"
)

// kind is a way to disturb.
type kind string

// The kinds.
const (
	killProcess    kind = "kill -9"
	restartProcess kind = "restart" // SIGTERM, then start
	rollService    kind = "roll"    // restart every replica, one after the other
	pauseMatcher   kind = "pause"   // SIGSTOP for longer than its transaction may take
	killBroker     kind = "kill -9 broker"
	emptyRedis     kind = "empty redis"
	stopPostgres   kind = "stop postgres"
	stopRecorders  kind = "stop recorders" // all of them: what they are to record waits in the log
)

// step is one disturbance of a plan.
type step struct {
	kind  kind
	name  string        // of a process or server
	after time.Duration // since the step before was healed
	lasts time.Duration
}

func (s step) String() string { return fmt.Sprintf("%s %s for %s", s.kind, s.name, s.lasts) }

// plan makes steps for about a time from a seed.
func plan(seed uint64, total time.Duration, replicas map[string]int, brokers int) []step {
	chance := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a plan, not a secret
	between := func(least, most time.Duration) time.Duration {
		return least + time.Duration(chance.Int64N(int64(most-least)))
	}
	process := func(services ...string) string {
		s := services[chance.IntN(len(services))]
		return fmt.Sprintf("%s-%d", s, chance.IntN(replicas[s]))
	}
	var steps []step
	for spent := time.Duration(0); spent < total; {
		s := step{after: between(2*time.Second, 8*time.Second)}
		switch n := chance.IntN(100); {
		case n < 40:
			s.kind, s.name, s.lasts = killProcess, process("sender", "matcher", "sender", "matcher", "recorder", "ingest", "console", "notifier"), between(0, 4*time.Second)
		case n < 50: // gone for longer than the session
			s.kind, s.name, s.lasts = killProcess, process("sender", "matcher"), between(12*time.Second, 16*time.Second)
		case n < 60:
			s.kind, s.name, s.lasts = restartProcess, process("sender", "matcher", "recorder", "ingest", "console", "notifier"), between(0, time.Second)
		case n < 70:
			s.kind, s.name, s.lasts = rollService, []string{"sender", "matcher"}[chance.IntN(2)], 0
		case n < 77:
			s.kind, s.name, s.lasts = pauseMatcher, process("matcher"), between(13*time.Second, 16*time.Second)
		case n < 87:
			s.kind, s.name, s.lasts = killBroker, fmt.Sprintf("kafka-%d", 1+chance.IntN(brokers)), between(time.Second, 8*time.Second)
		case n < 92:
			s.kind, s.name, s.lasts = emptyRedis, "redis", between(0, 3*time.Second)
		case n < 96:
			s.kind, s.name, s.lasts = stopRecorders, "recorder", between(time.Minute, 2*time.Minute)
		default:
			s.kind, s.name, s.lasts = stopPostgres, "postgres", between(20*time.Second, time.Minute)
		}
		spent += s.after + s.lasts
		steps = append(steps, s)
	}
	return steps
}

// executor does the steps.
type executor struct {
	cluster *cluster.Cluster
	servers *cluster.Local
	history *History
}

func (e executor) process(name string) *cluster.Process {
	for _, p := range e.cluster.Processes {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// do does one step and returns once it is healed.
func (e executor) do(s step) error {
	name, _, _ := strings.Cut(s.name, "-")
	d := Disturbance{What: fmt.Sprintf("%s %s", s.kind, s.name), Kind: fmt.Sprintf("%s %s", s.kind, name), From: time.Now()}
	var err error
	switch s.kind {
	case killProcess:
		p := e.process(s.name)
		d.Repeats = p.Service == "sender"
		p.Kill()
		time.Sleep(s.lasts)
		err = p.Start()
	case restartProcess:
		p := e.process(s.name)
		if err = p.Stop(); err == nil {
			time.Sleep(s.lasts)
			err = p.Start()
		}
	case rollService:
		for _, p := range e.cluster.Of(s.name) {
			if err = p.Stop(); err != nil {
				break
			}
			if err = p.Start(); err != nil {
				break
			}
			time.Sleep(time.Second)
		}
	case pauseMatcher:
		p := e.process(s.name)
		p.Signal(syscall.SIGSTOP)
		time.Sleep(s.lasts)
		p.Signal(syscall.SIGCONT)
	case killBroker:
		// While a group's coordinator is away nothing is committed, and a member may lose its session.
		d.Repeats = true
		if err = e.servers.Do("kill", s.name); err == nil {
			time.Sleep(s.lasts)
			err = e.servers.Do("start", s.name)
		}
	case emptyRedis:
		if err = e.servers.Do("kill", s.name); err == nil {
			time.Sleep(s.lasts)
			err = e.servers.Do("start", s.name)
		}
	case stopRecorders:
		err = e.stopAll(s.name, s.lasts)
	case stopPostgres:
		if err = e.servers.Do("stop", s.name); err == nil {
			time.Sleep(s.lasts)
			err = e.servers.Do("start", s.name)
		}
	}
	d.To = time.Now()
	e.history.Disturb(d)
	return err
}

// stopAll stops every replica of a service for a while.
func (e executor) stopAll(service string, lasts time.Duration) error {
	var errs []error
	for _, p := range e.cluster.Of(service) {
		errs = append(errs, p.Stop())
	}
	time.Sleep(lasts)
	for _, p := range e.cluster.Of(service) {
		errs = append(errs, p.Start())
	}
	return errors.Join(errs...)
}
