// Package app is the whole of Doorstep in one process: the stores that have no address embedded,
// topics and tables made, every service run, one HTTP address for the API and the probes.
//
//	a, err := app.New(ctx, cfg, log)   // listens; errs in one line: port in use, data in use, ...
//	go a.Run(ctx)                      // until ctx ends or a signal; drains
//	err = a.WaitReady(ctx)
//	a.URL(), a.GRPC(), a.Key()
package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/doorstep-dev/doorstep/pkg/embedded"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/obs"
	"github.com/doorstep-dev/doorstep/pkg/process"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/trace"
	"github.com/doorstep-dev/doorstep/services/console"
	"github.com/doorstep-dev/doorstep/services/ingest"
	"github.com/doorstep-dev/doorstep/services/matcher"
	"github.com/doorstep-dev/doorstep/services/notifier"
	"github.com/doorstep-dev/doorstep/services/recorder"
	"github.com/doorstep-dev/doorstep/services/sender"
)

// topicsTimeout bounds connecting to the log and making its topics at start.
const topicsTimeout = 30 * time.Second

// readyEvery is how often WaitReady looks.
const readyEvery = 10 * time.Millisecond

// App is a Doorstep in this process.
type App struct {
	log     *slog.Logger
	stores  *embedded.Servers
	spans   *trace.Provider
	kafka   kafka.Config
	admin   *process.Admin
	metrics *prometheus.Registry
	ingest  *ingest.Service
	console *console.Service
	parts   []process.Component
	scheme  string // of URL
	grpcTLS bool

	mu       sync.Mutex
	firstKey string
}

// service is what runs in an App.
type service interface {
	Run(ctx context.Context) error
	Ready() error
}

// The order of a stop: what takes work in first, what finishes it next, what writes it down, the stores last.
const (
	stageStores = iota
	stageRecorder
	stageNotifier
	stageSender
	stageMatcher
	stageIntake
)

// New opens the stores, makes topics and tables, and makes the services, which then listen. Run must
// follow: it frees what New took.
func New(ctx context.Context, cfg Config, log *slog.Logger) (*App, error) {
	metrics := obs.Registry()
	a := &App{log: log, scheme: "http://", admin: process.NewAdmin(metrics), metrics: metrics}
	metrics.MustRegister(a.admin)
	if err := a.openStores(ctx, &cfg, metrics); err != nil {
		return nil, err
	}
	a.kafka = cfg.Kafka
	err := applyTopics(ctx, cfg.Kafka, log)
	if err == nil {
		a.spans, err = trace.Open(ctx, log.With("service", "traces"), metrics)
	}
	if err == nil {
		err = a.trace(&cfg)
	}
	if err == nil {
		err = a.makeServices(cfg, metrics)
	}
	if err != nil {
		a.abandon(ctx)
		return nil, err
	}
	return a, nil
}

// trace gives the services that have spans what makes them.
func (a *App) trace(cfg *Config) (err error) {
	for service, tracer := range map[string]**trace.Tracer{
		"ingest": &cfg.Ingest.Publish.Trace, "console": &cfg.Console.Publish.Trace, "matcher": &cfg.Matcher.Trace, "sender": &cfg.Sender.Trace,
	} {
		if *tracer, err = a.spans.Tracer(service); err != nil {
			return err
		}
	}
	return nil
}

// abandon frees what was made before something failed: services free what they have when their Run
// ends.
func (a *App) abandon(ctx context.Context) {
	ended, cancel := context.WithCancel(ctx)
	cancel()
	a.log = slog.New(slog.DiscardHandler)
	_ = a.Run(ended) // what failed before says more
}

// openStores starts the embedded stores and puts their addresses into cfg.
func (a *App) openStores(ctx context.Context, cfg *Config, metrics prometheus.Registerer) error {
	c := embedded.Config{
		Dir: cfg.Dir, Log: len(cfg.Kafka.Brokers) == 0, Redis: cfg.Redis.URL == "", SQL: cfg.SQL.PostgresURL == "",
		LogMaxBytes: cfg.LogMaxBytes, LogSync: cfg.LogSync, CheckSQL: checkSQL, Logger: a.log.With("service", "stores"), Metrics: metrics,
	}
	if c.Log {
		topics, err := cfg.Kafka.Topics()
		if err != nil {
			return err
		}
		// Until a person releases or discards them; and what is known of mails, which a notifier reads from the start.
		c.Kept = []string{topics.Suspended, topics.Notices}
		if c.Readers, err = recorder.Reads(cfg.Kafka); err != nil {
			return err
		}
	}
	stores, err := embedded.Open(ctx, c)
	if err != nil {
		return err
	}
	a.stores, cfg.history = stores, cfg.SQL
	if c.Log {
		cfg.Kafka.Brokers, cfg.Kafka.Embedded = stores.Brokers(), true
	}
	if c.Redis {
		cfg.Redis.URL = stores.RedisURL()
	}
	if c.SQL {
		cfg.SQL.SQLitePath, cfg.history.SQLitePath = stores.SQLPath(), stores.HistoryPath()
	}
	return nil
}

// checkSQL errs in one line if a database cannot be used.
func checkSQL(ctx context.Context, sql, history string) error {
	if err := sqlstore.CheckSQLite(ctx, sql); err != nil {
		return err
	}
	return sqlhistory.CheckSQLite(ctx, history)
}

func applyTopics(ctx context.Context, cfg kafka.Config, log *slog.Logger) error {
	topics, err := cfg.Topics()
	if err != nil {
		return err
	}
	client, err := cfg.NewClient("topics", log)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, topicsTimeout)
	defer cancel()
	if err := kafka.Ping(ctx, client); err != nil {
		return fmt.Errorf("no broker answers at %v: %w", cfg.Brokers, err)
	}
	var options kafka.TopicOptions
	if cfg.Embedded {
		options = kafka.EmbeddedTopics()
	}
	return kafka.Apply(ctx, kadm.NewClient(client), topics, options)
}

func (a *App) makeServices(cfg Config, metrics prometheus.Registerer) (err error) {
	r := cfg.Recorder
	r.Kafka, r.SQL, r.Instance = cfg.Kafka, cfg.history, cfg.Instance
	if _, err = add(a, "recorder", stageRecorder, metrics, r, recorder.New); err != nil {
		return err
	}
	if a.console, err = add(a, "console", stageIntake, metrics, a.consoleConfig(cfg), console.New); err != nil {
		return err
	}
	n := cfg.Notifier
	n.Kafka, n.Redis, n.Mail, n.Instance, n.DisableAfter = cfg.Kafka, cfg.Redis, cfg.Mail, cfg.Instance, cfg.Sender.DisableAfter
	n.ConsoleURL = cmp.Or(n.ConsoleURL, a.URL())
	if _, err = add(a, "notifier", stageNotifier, metrics, n, notifier.New); err != nil {
		return err
	}
	in := cfg.Ingest
	in.Kafka, in.TLS, in.Room = cfg.Kafka, cfg.TLS, a.stores.Room
	serving, err := in.TLS.Of("grpc", in.OwnTLS, in.ClientCAFile)
	if err != nil {
		return err
	}
	a.grpcTLS = serving.CertFile != ""
	if a.ingest, err = add(a, "ingest", stageIntake, metrics, in, ingest.New); err != nil {
		return err
	}
	m := cfg.Matcher
	m.Kafka, m.Redis, m.Instance, m.Room = cfg.Kafka, cfg.Redis, cfg.Instance, a.stores.RoomToMatch
	if _, err = add(a, "matcher", stageMatcher, metrics, m, matcher.New); err != nil {
		return err
	}
	s := cfg.Sender
	s.Kafka, s.Redis, s.Egress, s.Sealing, s.Instance, s.Version = cfg.Kafka, cfg.Redis, cfg.Egress, cfg.Sealing, cfg.Instance, obs.Version()
	_, err = add(a, "sender", stageSender, metrics, s, sender.New)
	return err
}

func (a *App) consoleConfig(cfg Config) console.Config {
	c := cfg.Console
	c.Kafka, c.SQL, c.History, c.Egress, c.Sealing, c.Room = cfg.Kafka, cfg.SQL, cfg.history, cfg.Egress, cfg.Sealing, a.stores.Room
	c.TLS = cfg.TLS
	if serving, err := c.Serving(); err == nil && serving.CertFile != "" { // New says what is wrong with it
		a.scheme = "https://"
	}
	c.PublicURL, c.Redis = cfg.Notifier.ConsoleURL, cfg.Redis
	if _, port, err := net.SplitHostPort(c.HTTP); c.PublicURL == "" && err == nil && port != "0" {
		c.PublicURL = a.scheme + local(c.HTTP)
	}
	mount, told := c.Mount, c.FirstKey
	c.Mount = func(mux *http.ServeMux) {
		a.admin.Mount(mux)
		if mount != nil {
			mount(mux)
		}
	}
	c.FirstKey = func(key string) {
		a.mu.Lock()
		a.firstKey = key
		a.mu.Unlock()
		if told != nil {
			told(key)
		}
	}
	return c
}

// add makes one service and adds it to what is run. Its metrics carry its name, since several
// services count the same things.
func add[C any, S service](a *App, name string, stage int, metrics prometheus.Registerer, cfg C, build func(C, *slog.Logger, prometheus.Registerer) (S, error)) (S, error) {
	s, err := build(cfg, a.log.With("service", name), prometheus.WrapRegistererWith(prometheus.Labels{"service": name}, metrics))
	if err != nil {
		return s, err
	}
	a.admin.AddCheck(name, func(context.Context) error { return s.Ready() })
	a.parts = append(a.parts, process.Component{Name: name, Stage: stage, Run: s.Run})
	return s, nil
}

// Run runs everything, and beside it whatever else is given, until ctx ends or a signal comes, then
// drains. A second signal ends it at once, with process.ErrForced.
//
// Should the embedded log not be writable any more, Run returns at once why, and what ran still does: nothing
// that it did could be noted, and the caller should exit.
func (a *App) Run(ctx context.Context, beside ...process.Component) error {
	parts := append(append(beside, a.parts...), process.Component{Name: "stores", Stage: stageStores, Run: a.stores.Run},
		process.Component{Name: "traces", Stage: stageStores, Run: a.spans.Run})
	ended := make(chan error, 1)
	go func() { ended <- process.Run(ctx, process.Config{Log: a.log}, parts...) }()
	select {
	case err := <-ended:
		return err
	case <-a.stores.Failed():
		return a.stores.Err()
	}
}

// WaitReady returns once every service is ready. It errs if ctx ends before, and says what was not.
func (a *App) WaitReady(ctx context.Context) error {
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for {
		r := a.admin.Readiness(ctx)
		if r.Ready {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return notReady(r, ctx.Err())
		}
	}
}

func notReady(r process.Readiness, err error) error {
	for name, state := range r.Checks {
		if state != "ok" {
			err = errors.Join(err, fmt.Errorf("%s is not ready: %s", name, state))
		}
	}
	return err
}

// URL is where REST, /healthz, /readyz and /metrics answer, e.g. http://127.0.0.1:8080, or https:// with TLS.
func (a *App) URL() string { return a.scheme + local(a.console.Addr()) }

// GRPC is where producers publish, host:port, with https:// before it if they need TLS.
func (a *App) GRPC() string {
	if a.grpcTLS {
		return "https://" + local(a.ingest.Addr())
	}
	return local(a.ingest.Addr())
}

// local is an address that this machine can dial: for all of its addresses, loopback.
func local(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr
}

// Kafka is where the log is, embedded or not, and how its topics are named.
func (a *App) Kafka() kafka.Config { return a.kafka }

// Metrics is what /metrics shows.
func (a *App) Metrics() *prometheus.Registry { return a.metrics }

// Key is the platform key that was generated at this start, known once WaitReady has returned; empty
// if there was one already or the settings named one.
func (a *App) Key() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.firstKey
}
