package recorder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/obs"
	"github.com/doorstep-dev/doorstep/pkg/quarantine"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// name is the recorder's in its group, its clients and the quarantine.
const name = "recorder"

const (
	// Waits before SQL is tried again.
	firstWait = 100 * time.Millisecond
	lastWait  = 5 * time.Second
	// writeTime bounds one try: a server that hangs is like one that is away.
	writeTime = time.Minute
	// slow is how long a batch may take before the recorder is not ready.
	slow = 5 * time.Second
	// stopTime is how long a stop waits for the batch in hand; what is not written then is read again.
	stopTime = 5 * time.Second
)

// Service is one recorder.
type Service struct {
	cfg     Config
	log     *slog.Logger
	now     func() time.Time
	handler handler
	lag     *obs.Lag
	metrics *metrics
	client  *kgo.Client // for what is not read in the group
	writer  *kafka.Writer
	keep    *quarantine.Quarantine
	seldom  obs.Seldom

	store atomic.Pointer[sqlhistory.Store] // nil until SQL answered
	group atomic.Pointer[group]            // nil until then
	busy  atomic.Int64                     // since when the batch in hand is being written, Unix nanoseconds; 0: none is
}

// New makes a recorder; Run runs it. No server need be there yet.
func New(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("recorder: %w", err)
	}
	topics, err := cfg.Kafka.Topics()
	if err != nil {
		return nil, fmt.Errorf("recorder: %w", err)
	}
	failures, err := obs.StoreFailures(reg)
	if err != nil {
		return nil, fmt.Errorf("recorder: %w", err)
	}
	cfg.Kafka.Failed, cfg.SQL.Failed = failures("kafka"), failures("postgres")
	s := &Service{cfg: cfg, log: log, now: time.Now, handler: handler{topics}, lag: obs.NewLag(time.Now())}
	if s.keep, err = quarantine.New(topics.Quarantine, name, log, reg, s.now); err != nil {
		return nil, fmt.Errorf("recorder: %w", err)
	}
	if s.client, err = cfg.Kafka.NewClient(name, log); err != nil {
		return nil, fmt.Errorf("recorder: %w", err)
	}
	s.writer = kafka.NewWriter(s.client, log)
	s.metrics = newMetrics(reg, s.lag, s.late, s.now)
	return s, nil
}

// late is how many rows were left out because their day is dropped.
func (s *Service) late() uint64 {
	if store := s.store.Load(); store != nil {
		return store.Late()
	}
	return 0
}

// Addr is empty: a recorder does not listen.
func (s *Service) Addr() string { return "" }

// Ready errs while nothing can be recorded, and says why.
func (s *Service) Ready() error {
	g := s.group.Load()
	since := s.busy.Load()
	took := s.now().Sub(time.Unix(0, since))
	switch {
	case s.store.Load() == nil:
		return errors.New("recorder: waiting for SQL")
	case since != 0 && took > slow:
		return fmt.Errorf("recorder: SQL has taken nothing for %s", took.Round(time.Second))
	case g == nil:
		return errors.New("recorder: not in its group yet")
	}
	if err := g.pulse.Silent(s.now()); err != nil {
		return fmt.Errorf("recorder: %w", err)
	}
	if !g.joined() {
		return errors.New("recorder: not in its group yet")
	}
	return nil
}

// Run records until ctx ends. The batch in hand is still written then, if SQL takes it within 5 s.
func (s *Service) Run(ctx context.Context) error {
	defer s.client.Close()
	defer s.writer.Close()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var loops sync.WaitGroup
	loops.Go(func() { every(ctx, watchEvery, s.watch) })
	loops.Go(func() { stop(s.run(ctx)) })
	<-ctx.Done()
	loops.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("recorder: %w", err)
	}
	return nil
}

// run waits for what it needs, then records.
func (s *Service) run(ctx context.Context) error {
	topics := s.handler.read()
	if err := kafka.AwaitTopics(ctx, s.cfg.Kafka, name, s.log, topics...); err != nil {
		return err
	}
	store, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err := store.Close(); err != nil {
			s.log.Warn("close SQL", "error", err)
		}
	}()
	s.store.Store(store)
	g, err := newGroup(s.cfg, topics, s.log)
	if err != nil {
		return err
	}
	defer g.close()
	s.group.Store(g)
	keep, end := context.WithCancel(ctx)
	var keeping sync.WaitGroup
	keeping.Go(func() { every(keep, retainEvery, s.retain) })
	defer keeping.Wait()
	defer end()
	return s.record(ctx, g)
}

// open waits for SQL. A file does not come back by itself, so there the first error is the last.
func (s *Service) open(ctx context.Context) (*sqlhistory.Store, error) {
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		store, err := sqlhistory.Open(ctx, s.cfg.SQL, s.log)
		if err == nil || ctx.Err() == nil && s.cfg.SQL.PostgresURL == "" {
			return store, err
		}
		if ctx.Err() == nil {
			s.seldom.Warn(ctx, s.log, "waiting for SQL; trying again", "error", err)
		}
		if !pause(ctx, wait) {
			return nil, context.Cause(ctx)
		}
	}
}

// record writes what comes, batch by batch.
func (s *Service) record(ctx context.Context, g *group) error {
	work, end := outlive(ctx, stopTime)
	defer end()
	var held hold
	for {
		records, inHand, err := s.next(ctx, g, &held)
		if err != nil {
			return err
		}
		if !inHand {
			if ctx.Err() != nil {
				return nil
			}
			continue
		}
		s.lag.Took(oldest(records, held.records()))
		if err := s.take(ctx, work, records, &held); err != nil {
			g.drop()
			return nil //nolint:nilerr // stopped while SQL was away
		}
		s.lag.Finished()
		g.finish(work, records, held.records())
	}
}

// next is what is to be written next, if anything is in hand.
func (s *Service) next(ctx context.Context, g *group, held *hold) (records []*kgo.Record, inHand bool, err error) {
	if !held.empty() {
		return g.follow(ctx, s.cfg.BatchRecords, s.cfg.BatchWait)
	}
	records, err = g.gather(ctx, s.cfg.BatchRecords, s.cfg.BatchWait)
	return records, len(records) > 0, err
}

func oldest(lists ...[]*kgo.Record) (at time.Time) {
	for _, records := range lists {
		for _, r := range records {
			if at.IsZero() || r.Timestamp.Before(at) {
				at = r.Timestamp
			}
		}
	}
	return at
}

// outlive is a context that ends some time after ctx.
func outlive(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		pause(longer, by)
		cancel()
	})
	return longer, func() {
		stop()
		cancel()
	}
}

// every calls f at once and then again and again until ctx ends.
func every(ctx context.Context, d time.Duration, f func(context.Context)) {
	for f(ctx); pause(ctx, d); f(ctx) {
	}
}

// pause reports whether that time has passed before ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// topics are the names that this recorder reads and writes.
func (s *Service) topics() wire.Topics { return s.handler.topics }
