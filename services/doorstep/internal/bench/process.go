package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Times of a process.
const (
	readyWithin = 30 * time.Second
	readyEvery  = 2 * time.Millisecond
	stopWithin  = 20 * time.Second
	// startTries is how often a process is started that finds its port taken: between the moment that it is
	// found free and the process's own, somebody else may get it.
	startTries = 5
)

// Process is a child of the bench: doorstep with arguments.
type Process struct {
	Name string

	http, grpc, admin, pprof string
	log                      string
	began                    time.Time
	ready                    time.Duration
	cmd                      *exec.Cmd
	ended                    chan struct{} // closed once it has ended and is waited for

	mu    sync.Mutex
	asked bool // to end
}

// HTTP is where the process serves its DOORSTEP_HTTP_ADDR, host:port, if it does.
func (p *Process) HTTP() string { return p.http }

// GRPC is where the process serves its DOORSTEP_GRPC_ADDR, host:port, if it does.
func (p *Process) GRPC() string { return p.grpc }

// Admin is where /readyz and /metrics answer, host:port.
func (p *Process) Admin() string { return p.admin }

// Began is when the process was started.
func (p *Process) Began() time.Time { return p.began }

// Ready is how long after that it was ready.
func (p *Process) Ready() time.Duration { return p.ready }

// CPU is what the process has used, user and system; 0 where there is no /proc.
func (p *Process) CPU() time.Duration {
	select {
	case <-p.ended:
		return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
	default:
		return cpuOf(p.cmd.Process.Pid)
	}
}

// RSS is the memory of the process, now and at most so far, in bytes; 0 where there is no /proc.
func (p *Process) RSS() (now, peak int64) { return rssOf(p.cmd.Process.Pid) }

// Stop asks the process to end and waits. It errs if the process does not end well, or has ended before by itself.
func (p *Process) Stop(ctx context.Context) error {
	if p.Exited() {
		return fmt.Errorf("%s ended by itself (%s): %s", p.Name, p.cmd.ProcessState, p.tail())
	}
	p.ask(syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	select {
	case <-p.ended:
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("%s has not ended %s after it was asked to: %s", p.Name, stopWithin, p.tail())
	}
	if !p.cmd.ProcessState.Success() {
		return fmt.Errorf("%s ended with %s: %s", p.Name, p.cmd.ProcessState, p.tail())
	}
	return nil
}

// Kill ends the process at once and waits.
func (p *Process) Kill() {
	p.ask(syscall.SIGKILL)
	<-p.ended
}

func (p *Process) ask(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = true
	_ = p.cmd.Process.Signal(s) // errs if it has ended
}

// Exited reports whether the process has ended without being asked to.
func (p *Process) Exited() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.ended:
		return !p.asked
	default:
		return false
	}
}

// tail is the end of what the process has logged.
func (p *Process) tail() string {
	b, _ := os.ReadFile(p.log)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], " | ")
}

// launch is one start of a child.
type launch struct {
	program string
	dir     string // for its log
	name    string
	env     []string
	args    []string
}

// start starts a child on ports of its own and returns when it is ready.
func (l launch) start(ctx context.Context, t *thread) (*Process, error) {
	for try := 1; ; try++ {
		p, err := l.try(ctx, t)
		if err == nil {
			return p, nil
		}
		if p != nil {
			p.Kill()
			if try < startTries && strings.Contains(p.tail(), "address already in use") {
				continue
			}
		}
		return nil, err
	}
}

// try starts a child once. Where it errs, the process that it returns still has to be ended, if there is one.
func (l launch) try(ctx context.Context, t *thread) (*Process, error) {
	p := &Process{Name: l.name, log: filepath.Join(l.dir, l.name+".log"), ended: make(chan struct{})}
	for _, addr := range []*string{&p.http, &p.grpc, &p.admin, &p.pprof} {
		var err error
		if *addr, err = freeAddr(); err != nil {
			return nil, fmt.Errorf("start %s: %w", l.name, err)
		}
	}
	if len(l.args) > 0 && l.args[0] == "up" {
		p.admin = p.http // all in one has one address
	}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", l.name, err)
	}
	defer out.Close()
	p.cmd = exec.Command(l.program, l.args...) //nolint:gosec,noctx // this program; it ends by Stop and Kill
	p.cmd.Env = append(withoutOurs(os.Environ()), "DOORSTEP_ADMIN_ADDR="+p.admin, "DOORSTEP_HTTP_ADDR="+p.http, "DOORSTEP_GRPC_ADDR="+p.grpc, "DOORSTEP_PPROF_ADDR="+p.pprof,
		"DOORSTEP_ALLOW_NETWORKS=127.0.0.0/8", "DOORSTEP_ALLOW_HTTP=true", "DOORSTEP_CONSOLE_RATE_LIMIT=0", "DOORSTEP_INSTANCE="+l.name)
	p.cmd.Env = append(p.cmd.Env, l.env...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = attributes()
	p.began = time.Now()
	if err := t.do(p.cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", l.name, err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // ProcessState says what came of it
	}()
	if err := p.await(ctx); err != nil {
		return p, err
	}
	p.ready = time.Since(p.began)
	return p, nil
}

// await returns once the process is ready.
func (p *Process) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		err := isReady(ctx, client, p.admin)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.ended:
			return fmt.Errorf("%s ended before it was ready (%s): %s", p.Name, p.cmd.ProcessState, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w: %s", p.Name, errors.Join(ctx.Err(), err), p.tail())
		}
	}
}

func isReady(ctx context.Context, client *http.Client, addr string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz answers %d", resp.StatusCode)
	}
	return nil
}

// withoutOurs is an environment without settings of Doorstep: what was measured should not depend on them.
func withoutOurs(env []string) []string {
	var out []string
	for _, v := range env {
		if !strings.HasPrefix(v, "DOORSTEP_") {
			out = append(out, v)
		}
	}
	return out
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// thread is a thread of the system that lives as long as the bench and starts all children: Linux ends them when the
// thread that started them ends, and other threads come and go.
type thread struct{ work chan func() }

func newThread() *thread {
	t := &thread{work: make(chan func())}
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for f := range t.work {
			f()
		}
	}()
	return t
}

func (t *thread) do(f func() error) error {
	done := make(chan error, 1)
	t.work <- func() { done <- f() }
	return <-done
}

func (t *thread) end() { close(t.work) }
