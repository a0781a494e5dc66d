// Package cluster runs Doorstep as it runs in production, one process for each service, on servers
// that are there already, and starts, kills and stops its processes one by one.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Servers are the addresses of real servers.
type Servers struct {
	Kafka    string // host:port, comma separated
	Redis    string // URL
	Postgres string // URL
	// ACLs are the same brokers where ACLs hold (`servers up --acls`): each process signs in there as its service and may do
	// what `doorstep topics acls` says. Empty: at Kafka everybody may do everything.
	ACLs string
}

// FromEnv are the servers that TEST_KAFKA, TEST_REDIS and TEST_POSTGRES name, and whether all are; and TEST_KAFKA_ACLS.
func FromEnv() (Servers, bool) {
	s := Servers{os.Getenv("TEST_KAFKA"), os.Getenv("TEST_REDIS"), os.Getenv("TEST_POSTGRES"), os.Getenv("TEST_KAFKA_ACLS")}
	return s, s.Kafka != "" && s.Redis != "" && s.Postgres != ""
}

// Config says what runs.
type Config struct {
	Program  string // the doorstep program
	Dir      string // for logs
	Servers  Servers
	Key      string            // the first platform key
	Services []string          // that run from the start; nil: all
	Replicas map[string]int    // of each service; 1 where none is named
	Env      map[string]string // settings of all processes
	ACLs     []string          // further flags of the `doorstep topics acls` that makes them, where they hold
	// EnvOf gives settings of one process, by its name, which take the place of those of all. May be nil.
	EnvOf func(process string) map[string]string
}

// services in the order in which they start; any order works.
func services() []string {
	return []string{"console", "recorder", "ingest", "matcher", "sender", "notifier"}
}

// Cluster is a running Doorstep.
type Cluster struct {
	cfg       Config
	Processes []*Process
}

// Process is one service's process, over all its restarts.
type Process struct {
	Name    string // e.g. "sender-1": its instance
	Service string
	Addr    string // where it listens; empty for those that do not

	program string
	log     string
	admin   string
	env     []string

	mu  sync.Mutex
	cmd *exec.Cmd
}

// Build builds the doorstep program into dir.
func Build(dir string) (string, error) {
	bin := filepath.Join(dir, "doorstep")
	if out, err := exec.Command("go", "build", "-o", bin, "github.com/doorstep-dev/doorstep/services/doorstep").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build doorstep: %w\n%s", err, out)
	}
	return bin, nil
}

// Start makes the topics and starts every process; they are ready when it returns.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	c := &Cluster{cfg: cfg}
	if cfg.Servers.ACLs != "" {
		if err := c.allow(ctx); err != nil {
			return nil, err
		}
	}
	if _, err := c.Do(ctx, "topics", "topics", "apply"); err != nil {
		return nil, err
	}
	run := cfg.Services
	if run == nil {
		run = services()
	}
	for _, service := range run {
		for i := range max(1, cfg.Replicas[service]) {
			p, err := c.Add(service)
			if err != nil {
				return c, err
			}
			// The first console makes the tables and the first key; the others find them.
			if service == "console" && i == 0 {
				if err := p.Ready(ctx); err != nil {
					return c, err
				}
			}
		}
	}
	return c, c.Ready(ctx)
}

// Add starts one more process of a service.
func (c *Cluster) Add(service string) (*Process, error) {
	p, err := c.newProcess(service, len(c.Of(service)))
	if err != nil {
		return nil, err
	}
	c.Processes = append(c.Processes, p)
	return p, p.Start()
}

// allow makes the ACLs, as somebody who may.
func (c *Cluster) allow(ctx context.Context) error {
	_, err := c.Do(ctx, "", append([]string{"topics", "acls", "--apply", "--principal=User:{service}"}, c.cfg.ACLs...)...)
	return err
}

// Do runs the program once, e.g. for "topics apply", with the settings of all processes, and returns what it prints. as is whom it
// signs in as where ACLs hold; empty: nobody, who may do everything.
func (c *Cluster) Do(ctx context.Context, as string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.cfg.Program, args...)
	cmd.Env = c.env(as)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("doorstep %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func (c *Cluster) env(as string) []string {
	env := append(os.Environ(),
		"DOORSTEP_KAFKA_BROKERS="+c.cfg.Servers.Kafka, "DOORSTEP_REDIS_URL="+c.cfg.Servers.Redis,
		"DOORSTEP_POSTGRES_URL="+c.cfg.Servers.Postgres, "DOORSTEP_BOOTSTRAP_KEY="+c.cfg.Key, "DOORSTEP_CONSOLE_RATE_LIMIT=0")
	if c.cfg.Servers.ACLs != "" && as != "" {
		env = append(env, "DOORSTEP_KAFKA_BROKERS="+c.cfg.Servers.ACLs, "DOORSTEP_KAFKA_SASL=PLAIN", "DOORSTEP_KAFKA_USER="+as, "DOORSTEP_KAFKA_PASSWORD="+as)
	}
	for k, v := range c.cfg.Env {
		env = append(env, k+"="+v)
	}
	return env
}

func (c *Cluster) newProcess(service string, i int) (*Process, error) {
	name := fmt.Sprintf("%s-%d", service, i)
	p := &Process{Name: name, Service: service, program: c.cfg.Program, log: filepath.Join(c.cfg.Dir, name+".log")}
	var err error
	if p.admin, err = freeAddr(); err != nil {
		return nil, err
	}
	p.env = append(c.env(service), "DOORSTEP_INSTANCE="+name, "DOORSTEP_ADMIN_ADDR="+p.admin)
	if c.cfg.EnvOf != nil {
		for k, v := range c.cfg.EnvOf(name) {
			p.env = append(p.env, k+"="+v)
		}
	}
	for of, setting := range map[string]string{"console": "DOORSTEP_HTTP_ADDR", "ingest": "DOORSTEP_GRPC_ADDR"} {
		if service == of {
			if p.Addr, err = freeAddr(); err != nil {
				return nil, err
			}
			p.env = append(p.env, setting+"="+p.Addr)
		}
	}
	return p, nil
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// Use makes another build of the program that which Do and Add take; processes go on with theirs.
func (c *Cluster) Use(program string) { c.cfg.Program = program }

// Use makes another build of the program that which the process runs from its next start.
func (p *Process) Use(program string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.program = program
}

// Of are the processes of a service.
func (c *Cluster) Of(service string) []*Process {
	var out []*Process
	for _, p := range c.Processes {
		if p.Service == service {
			out = append(out, p)
		}
	}
	return out
}

// Ready returns once every process is.
func (c *Cluster) Ready(ctx context.Context) error {
	for _, p := range c.Processes {
		if err := p.Ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends every process with SIGTERM and errs if one does not end well.
func (c *Cluster) Stop() error {
	var errs []error
	for _, p := range slices.Backward(c.Processes) {
		errs = append(errs, p.Stop())
	}
	return errors.Join(errs...)
}

// Kill ends every process with SIGKILL.
func (c *Cluster) Kill() {
	for _, p := range c.Processes {
		p.Kill()
	}
}

// Start starts the process; what it logs is added to its file.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.program, p.Service)
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	p.cmd = cmd
	return nil
}

// Ready returns once the process says so, and errs if ctx ends first.
func (p *Process) Ready(ctx context.Context) error {
	for {
		resp, err := http.Get("http://" + p.admin + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("/readyz answers %d", resp.StatusCode)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w; its log ends: %s", p.Name, err, p.tail())
		}
	}
}

// Readiness is what the process answers to /readyz: status and body.
func (p *Process) Readiness(ctx context.Context) (status int, body string, err error) {
	return p.ask(ctx, "/readyz")
}

// Metric is the value of a metric of the process that has no labels, e.g. "doorstep_duplicates_total".
func (p *Process) Metric(ctx context.Context, name string) (float64, error) {
	_, body, err := p.ask(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(body) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("%s has no metric %s", p.Name, name)
}

func (p *Process) ask(ctx context.Context, path string) (status int, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+path, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// Admin is where the process's /metrics and /readyz answer, host:port.
func (p *Process) Admin() string { return p.admin }

// ID is the process's id, 0 while it does not run.
func (p *Process) ID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Signal sends a signal to the process, if it runs.
func (p *Process) Signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(s)
	}
}

// Kill ends the process with SIGKILL and waits.
func (p *Process) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.cmd = nil
	}
}

// Stop ends the process with SIGTERM, waits, and errs if it ended badly.
func (p *Process) Stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil
	}
	cmd := p.cmd
	p.cmd = nil
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s ended with %w: %s", p.Name, err, p.tail())
	}
	return nil
}

// Exited reports whether the process has ended by itself, and is not waited for.
func (p *Process) Exited() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return false
	}
	var status syscall.WaitStatus
	pid, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WNOHANG, nil)
	if err == nil && pid == p.cmd.Process.Pid {
		p.cmd = nil
		return true
	}
	return false
}

// Log is the file that the process logs to, over all its restarts.
func (p *Process) Log() string { return p.log }

func (p *Process) tail() string {
	b, _ := os.ReadFile(p.log)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], " | ")
}
