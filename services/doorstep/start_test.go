package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// program is a service that runs alone.
type program struct {
	cmd   *exec.Cmd
	ended chan error

	mu  sync.Mutex
	err bytes.Buffer // its log
}

// Write takes what the program logs.
func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err.Write(b)
}

// logged are the lines of its log so far.
func (p *program) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err.String()
}

// complaints are its lines above Info, by message.
func (p *program) complaints() map[string]int {
	lines := map[string]int{}
	for line := range strings.Lines(p.logged()) {
		var l struct{ Level, Msg string }
		if json.Unmarshal([]byte(line), &l) == nil && (l.Level == "WARN" || l.Level == "ERROR") {
			lines[l.Msg]++
		}
	}
	return lines
}

func startProgram(t *testing.T, service string, env []string) (*program, error) {
	p := &program{cmd: exec.Command("doorstep", service), ended: make(chan error, 1)}
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Env = append(p.cmd.Env, "PATH="+os.Getenv("PATH"), "DOORSTEP_ADMIN_ADDR=127.0.0.1:0", "DOORSTEP_HTTP_ADDR=127.0.0.1:0",
		"DOORSTEP_GRPC_ADDR=127.0.0.1:0", "DOORSTEP_BOOTSTRAP_KEY=dsk_test_0123456789abcdef")
	p.cmd.Stderr = p
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { p.ended <- p.cmd.Wait() }()
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	return p, nil
}

// ask asks its admin address.
func (p *program) ask(path string) (status int, body string) {
	admin := ""
	for line := range strings.Lines(p.logged()) {
		var l struct{ Msg, Admin string }
		if json.Unmarshal([]byte(line), &l) == nil && l.Msg == "started" {
			admin = l.Admin
		}
	}
	if admin == "" {
		return 0, "not started"
	}
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get("http://" + admin + path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

// await waits until f returns nil, within a time.
func await(within time.Duration, f func() error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(within); ; <-tick.C {
		err := f()
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

func (p *program) awaitStatus(within time.Duration, path string, want int) error {
	return await(within, func() error {
		if status, body := p.ask(path); status != want {
			return fmt.Errorf("%s: %d, want %d: %s", path, status, want, body)
		}
		return nil
	})
}

// stop ends it as Kubernetes does, and says how long that took.
func (p *program) stop() (time.Duration, error) {
	began := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	select {
	case err := <-p.ended:
		return time.Since(began), err
	case <-time.After(30 * time.Second):
		return 0, errors.New("not stopped after 30 s")
	}
}

// storesOf are what a service uses, and whether it waits for it at its start.
func storesOf() map[string]map[string]bool {
	return map[string]map[string]bool{
		"ingest":   {"kafka": true},
		"matcher":  {"kafka": true, "redis": false},
		"sender":   {"kafka": true, "redis": false},
		"recorder": {"kafka": true, "postgres": true},
		"notifier": {"kafka": true, "redis": false, "smtp": false},
		"console":  {"kafka": true, "postgres": true},
	}
}

// surroundings are the stores of one program, each behind a network that fails.
type surroundings struct {
	networks map[string]*testkit.Proxy
	env      []string
}

// surround makes stores; without a PostgreSQL, one that never answers is named.
func surround(t *testing.T) surroundings {
	t.Helper()
	brokers, network := testkit.BrokerBehind(t)
	cfg := kafka.Config{Brokers: brokers, TopicPrefix: "doorstep.", RetryTiers: "1m,5m,60m"}
	topics, err := cfg.Topics()
	if err != nil {
		t.Fatal(err)
	}
	client, err := cfg.NewClient("test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := kafka.Apply(t.Context(), kadm.NewClient(client), topics, kafka.TopicOptions{Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	redis := testkit.NewProxy(t, miniredis.RunT(t).Addr())
	smtp := testkit.NewProxy(t, listen(t))
	s := surroundings{
		networks: map[string]*testkit.Proxy{"kafka": network, "redis": redis, "smtp": smtp},
		env: []string{
			"DOORSTEP_KAFKA_BROKERS=" + brokers[0], "DOORSTEP_REDIS_URL=redis://:hidden-word@" + redis.Addr,
			"DOORSTEP_SMTP_URL=smtp://someone:hidden-word@" + smtp.Addr,
		},
	}
	sql, address := &url.URL{Scheme: "postgres", Path: "/doorstep"}, listen(t)
	if os.Getenv("TEST_POSTGRES") != "" {
		if sql, err = url.Parse(sqldbtest.Postgres(t).PostgresURL); err != nil {
			t.Fatal(err)
		}
		address = sql.Host
	}
	s.networks["postgres"] = testkit.NewProxy(t, address)
	sql.User, sql.Host = url.UserPassword("doorstep", "doorstep"), s.networks["postgres"].Addr
	s.env = append(s.env, "DOORSTEP_POSTGRES_URL="+sql.String())
	return s
}

// listen is an address that takes connections and says nothing.
func listen(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// TestServicesWaitForTheirStores: each service is started with each of its stores away. It is alive, says what it waits for,
// is ready when that comes, and stops at once while it waits. What it does not need, it does not wait for.
// START_ORDER=full has every store; else those that each waits for.
func TestServicesWaitForTheirStores(t *testing.T) {
	t.Parallel()
	faults := map[string]func(*testkit.Proxy){
		"refusing": (*testkit.Proxy).Cut, "hanging": (*testkit.Proxy).Hang,
		"slow": func(p *testkit.Proxy) { p.Delay(time.Second) },
	}
	full := os.Getenv("START_ORDER") == "full"
	if full && os.Getenv("TEST_POSTGRES") == "" {
		t.Fatal("START_ORDER=full needs a PostgreSQL in TEST_POSTGRES")
	}
	var all sync.WaitGroup
	places := make(chan struct{}, 6) // they wait most of their time, but a start is work
	for service, stores := range storesOf() {
		for store, waits := range stores {
			for fault, begin := range faults {
				usesSQL := service == "recorder" || service == "console"
				if !full && (!waits || fault == "slow" || usesSQL && store == "kafka" && os.Getenv("TEST_POSTGRES") == "") {
					continue
				}
				s := surround(t)
				begin(s.networks[store])
				all.Go(func() {
					places <- struct{}{}
					defer func() { <-places }()
					began := time.Now()
					if err := s.try(t, service, store, fault, waits); err != nil {
						t.Errorf("%s, %s %s: %v", service, store, fault, err)
					}
					t.Logf("%s, %s %s: %s", service, store, fault, time.Since(began).Round(100*time.Millisecond))
				})
			}
		}
	}
	all.Wait()
}

// try starts a service and heals its store.
func (s surroundings) try(t *testing.T, service, store, fault string, waits bool) error {
	p, err := startProgram(t, service, s.env)
	if err != nil {
		return err
	}
	if err := p.awaitStatus(20*time.Second, "/healthz", http.StatusOK); err != nil {
		return err
	}
	if waits && fault != "slow" {
		if err := s.waiting(t, p, service, store); err != nil {
			return fmt.Errorf("%w; it says\n%s", err, p.logged())
		}
		s.networks[store].Heal()
	}
	if store == "postgres" && os.Getenv("TEST_POSTGRES") == "" {
		return nil
	}
	// With a second for each answer, the tables alone take a minute to make.
	if err := p.awaitStatus(3*time.Minute, "/readyz", http.StatusOK); err != nil {
		return fmt.Errorf("%w; it says\n%s", err, p.logged())
	}
	return nil
}

// waiting looks at a service that waits, and stops another one of its kind.
func (s surroundings) waiting(t *testing.T, p *program, service, store string) error {
	other, err := startProgram(t, service, s.env)
	if err != nil {
		return err
	}
	names := map[string]string{"kafka": "kafka", "postgres": "SQL"}
	err = await(20*time.Second, func() error { // at the latest once it has not been answered for a while
		for msg := range p.complaints() {
			if strings.Contains(msg, names[store]) || strings.Contains(msg, "topics") {
				return nil
			}
		}
		return errors.New("it does not say what it waits for")
	})
	if err != nil {
		return err
	}
	if status, body := p.ask("/readyz"); status != http.StatusServiceUnavailable || strings.Contains(body, "127.0.0.1") {
		return fmt.Errorf("/readyz: %d %s", status, body)
	}
	if status, _ := p.ask("/healthz"); status != http.StatusOK {
		return fmt.Errorf("/healthz: %d", status)
	}
	for msg, n := range p.complaints() {
		if n > 12 { // each of its clients once
			return fmt.Errorf("%d lines %q", n, msg)
		}
	}
	if strings.Contains(p.logged(), "hidden-word") {
		return errors.New("the log has a password")
	}
	if err := other.awaitStatus(20*time.Second, "/healthz", http.StatusOK); err != nil {
		return err
	}
	took, err := other.stop()
	if err != nil {
		return fmt.Errorf("stopped while it waited: %w; it says\n%s", err, other.logged())
	}
	if took > stopPromise {
		return fmt.Errorf("stopped after %s", took)
	}
	return nil
}

// stopPromise is 2 s for a service that waits, and the rest for a machine that has other things to do.
const stopPromise = 8 * time.Second
