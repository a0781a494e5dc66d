package console

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/obs"
	"github.com/doorstep-dev/doorstep/pkg/process"
	"github.com/doorstep-dev/doorstep/pkg/publish"
	"github.com/doorstep-dev/doorstep/pkg/quarantine"
	"github.com/doorstep-dev/doorstep/pkg/registry"
	"github.com/doorstep-dev/doorstep/pkg/seal"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// Service is a console.
type Service struct {
	cfg          Config
	log          *slog.Logger
	listener     net.Listener
	secure       *tls.Config // nil: plain
	settings     *registry.Settings
	states       *registry.States
	publisher    *publish.Publisher
	target       target
	sealing      seal.Keys // seal what is secret of webhooks
	resealer     resealer
	store        atomic.Pointer[sqlstore.Store]   // nil until SQL answered
	historyStore atomic.Pointer[sqlhistory.Store] // nil until its database answered
	historyTried chan struct{}                    // closed once the history was opened, or could not be at first
	payloads     payloads
	runs         runs
	topics       wire.Topics
	drainer      drainer
	jobs         jobs
	stopping     chan struct{} // closed when the console drains: answers that go on end
	tails        chan struct{} // one for each stream of attempts
	tests        tests
	audits       chan struct{}            // one for each audit
	tenants      sync.Map                 // ids of tenants that are known to exist
	firstKey     atomic.Pointer[[32]byte] // hash of the platform key made at this start; nil: none was
	requests     *prometheus.HistogramVec
	seldom       obs.Seldom
	keyUses      keyUses
	suspended    prometheus.Gauge
	rates        *rates       // nil: requests are not limited
	keysFromLog  atomic.Int64 // until when keys that the log knows are not looked up in SQL, Unix nanoseconds
}

// New listens; Run serves.
func New(cfg Config, log *slog.Logger, metrics prometheus.Registerer) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	failures, err := obs.StoreFailures(metrics)
	if err != nil {
		return nil, err
	}
	cfg.Kafka.Failed, cfg.Redis.Failed = failures("kafka"), failures("redis")
	cfg.SQL.Failed, cfg.History.Failed = failures("postgres"), failures("postgres")
	s := &Service{
		cfg: cfg, log: log, target: newTarget(cfg.Egress, nil), historyTried: make(chan struct{}),
		resealer: newResealer(), keyUses: newKeyUses(), stopping: make(chan struct{}), tails: make(chan struct{}, maxTails), audits: make(chan struct{}, 1),
		tests: newTests(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "doorstep_http_request_seconds", Help: "Time of requests to the console, by route and status.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route", "status"}),
		suspended: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "doorstep_deliveries_suspended", Help: "Deliveries that are suspended, as the history had it within the last minute; every console tells of all.",
		}),
		drainer: drainer{
			cfg: cfg.Kafka, log: log,
			records: prometheus.NewCounter(prometheus.CounterOpts{
				Name: "doorstep_outbox_records_total", Help: "Records of changed webhooks and settings written to the log.",
			}),
			faults: prometheus.NewCounter(prometheus.CounterOpts{
				Name: "doorstep_outbox_failures_total", Help: "Times that changes could not be written and were tried again.",
			}),
		},
	}
	if err := s.readKeys(); err != nil {
		return nil, err
	}
	if s.rates, err = newRates(cfg); err != nil {
		return nil, err
	}
	s.jobs = newJobs(s)
	for _, c := range append(append(s.jobs.metrics(), s.rates.metrics()...), s.requests, s.drainer.records, s.drainer.faults, s.resealer.webhooks, s.suspended) {
		if err := metrics.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of console: %w", err)
		}
	}
	if s.topics, err = cfg.Kafka.Topics(); err != nil {
		return nil, err
	}
	s.drainer.topics, s.jobs.topics = s.topics, s.topics
	if s.secure, err = secured(cfg, log); err != nil {
		return nil, err
	}
	if s.listener, err = process.Listen(cfg.HTTP, "http"); err != nil {
		return nil, err
	}
	if err := s.connect(metrics); err != nil {
		return nil, errors.Join(err, s.listener.Close())
	}
	return s, nil
}

func secured(cfg Config, log *slog.Logger) (*tls.Config, error) {
	serving, err := cfg.Serving()
	if err != nil {
		return nil, err
	}
	return serving.Config(log)
}

// connect makes the Kafka clients; they connect when they are used.
func (s *Service) connect(metrics prometheus.Registerer) error {
	keep, err := quarantine.New(s.topics.Quarantine, "console", s.log, metrics, time.Now)
	if err != nil {
		return err
	}
	// Records come only once Run follows the topics; the publisher is there by then.
	unreadable := registry.Quarantine(func(r *kgo.Record, reason error) { keep.Write(s.publisher.Writer(), r, reason) })
	if s.settings, err = registry.NewSettings(s.cfg.Kafka, "console-settings", s.log, unreadable); err != nil {
		return err
	}
	if s.states, err = registry.NewStates(s.cfg.Kafka, "console-states", s.log, unreadable); err != nil {
		return err
	}
	cfg := s.cfg.Publish
	cfg.Room = s.cfg.Room
	if s.publisher, err = publish.New(cfg, s.cfg.Kafka, "console", s.settings, s.log, metrics); err != nil {
		return err
	}
	reader, err := kafka.NewReader(s.cfg.Kafka, "console-reader", s.log)
	s.jobs.states, s.jobs.reader = s.states, reader
	s.payloads = payloads{
		reader: reader, admin: kafka.NewAdmin(s.publisher.Client()), embedded: s.cfg.Kafka.Embedded, away: s.logAway,
		retention: map[string]retention{},
	}
	return err
}

// Addr is the host:port that the console listens on.
func (s *Service) Addr() string { return s.listener.Addr().String() }

// Run serves until ctx ends, then finishes the requests under way.
func (s *Service) Run(ctx context.Context) error {
	defer s.publisher.Close()
	defer s.payloads.reader.Close()
	defer s.rates.close()
	server := &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		TLSConfig: s.secure, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := process.ServeHTTP(server, s.listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve http on %s: %w", s.Addr(), err)
		}
		return nil
	})
	// SQL and the log stay until the last request has ended.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	g.Go(func() error {
		defer stop()
		<-ctx.Done()
		close(s.stopping)
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if server.Shutdown(within) != nil {
			_ = server.Close() // what did not end in time is cut
		}
		return nil
	})
	g.Go(func() error { return s.settings.Run(background) })
	g.Go(func() error { return s.states.Run(background) })
	g.Go(func() error { return s.keep(background) })
	g.Go(func() error { return s.keepHistory(background) })
	return g.Wait()
}

// keep opens SQL, as soon as it answers, carries its changes into the log, and works its jobs.
func (s *Service) keep(ctx context.Context) error {
	store, err := s.open(ctx)
	if err != nil || store == nil {
		return err
	}
	defer func() {
		if err := store.Close(); err != nil {
			s.log.Warn("close SQL", "error", err)
		}
	}()
	s.drainer.store, s.jobs.store = store, store
	s.store.Store(store)
	var loops sync.WaitGroup
	loops.Go(func() { s.jobs.run(ctx) })
	loops.Go(func() { s.keepExpiry(ctx) })
	loops.Go(func() { s.keepSuspended(ctx) })
	loops.Go(func() { s.keepSealed(ctx) })
	loops.Go(func() { s.keepKeyUses(ctx, store) })
	loops.Go(func() { s.keepTrimmed(ctx, store) })
	s.drainer.run(ctx)
	loops.Wait()
	return nil
}

// open waits for SQL and prepares what is in it; it returns nil if ctx ends first.
func (s *Service) open(ctx context.Context) (*sqlstore.Store, error) {
	for {
		store, err := s.prepare(ctx)
		if err == nil {
			return store, nil
		}
		if ctx.Err() != nil {
			return nil, nil //nolint:nilerr // stopping is no failure
		}
		if s.cfg.SQL.PostgresURL == "" {
			return nil, err // a file does not come back by itself
		}
		s.seldom.Warn(ctx, s.log, "waiting for SQL; trying again", "error", err)
		if !wait(ctx, time.Second, nil) {
			return nil, nil //nolint:nilerr // stopping is no failure
		}
	}
}

// prepareTime bounds what is made in the tables at a start: the first key, and a row for each thing that is
// republished.
const prepareTime = time.Minute

func (s *Service) prepare(ctx context.Context) (*sqlstore.Store, error) {
	store, err := sqlstore.Open(ctx, s.cfg.SQL, s.log)
	if err != nil {
		return nil, err
	}
	within, cancel := context.WithTimeout(ctx, prepareTime)
	defer cancel()
	err = s.bootstrap(within, store)
	if err == nil {
		err = store.Republish(within)
	}
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return store, nil
}

// sql is the store, or the problem that there is none yet.
func (s *Service) sql() (*sqlstore.Store, error) {
	if store := s.store.Load(); store != nil {
		return store, nil
	}
	return nil, newProblem(http.StatusServiceUnavailable, "the database cannot be reached yet; try again")
}

// ready errs until what is followed has been read to the end that it had at the start.
func (s *Service) ready(followed <-chan struct{}) error {
	select {
	case <-followed:
		return nil
	default:
		return newProblem(http.StatusServiceUnavailable, "the log has not been read yet; try again")
	}
}

// Ready says what a console that has started still waits for, nil once it can serve everything. A store that goes away
// later does not change that: it is away for all consoles, and without them there would be nobody to serve what does
// not need it, and to say 503 and why to the rest.
func (s *Service) Ready() error {
	_, err := s.sql()
	select {
	case <-s.historyTried: // but it need not be there
	default:
		err = errors.Join(err, newProblem(http.StatusServiceUnavailable, "the history is being opened; try again"))
	}
	return errors.Join(err, s.ready(s.settings.Ready()), s.ready(s.states.Ready()), s.keyReady())
}

// keyReady errs until the first key is on the log, where ingest finds it: whoever waits for Doorstep to be
// ready may then publish.
func (s *Service) keyReady() error {
	hash := s.firstKey.Load()
	if hash == nil {
		return nil
	}
	if _, known := s.settings.Key(*hash); !known {
		return newProblem(http.StatusServiceUnavailable, "the first key is not on the log yet; try again")
	}
	return nil
}
