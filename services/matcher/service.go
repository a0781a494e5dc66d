package matcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/obs"
	"github.com/doorstep-dev/doorstep/pkg/quarantine"
	"github.com/doorstep-dev/doorstep/pkg/redisstate"
	"github.com/doorstep-dev/doorstep/pkg/registry"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// name is the matcher's in its group, its transactions, its clients and the quarantine.
const name = "matcher"

// Service is one matcher.
type Service struct {
	cfg     Config
	log     *slog.Logger
	now     func() time.Time
	topics  wire.Topics
	metrics *metrics

	webhooks *registry.Webhooks
	settings *registry.Settings
	states   *registry.States
	redis    *redisstate.Client
	client   *kgo.Client // for what is not part of a transaction
	writer   *kafka.Writer
	handler  *handler
	faults   *faults
	lag      *obs.Lag

	matching atomic.Bool
	pulse    kafka.Pulse // of the matchers' group
}

// New makes a matcher; Run runs it. No server need be there yet.
func New(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("matcher: %w", err)
	}
	if cfg.Instance == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("matcher: no instance is set and the host has no name: %w", err)
		}
		cfg.Instance = host
	}
	topics, err := cfg.Kafka.Topics()
	if err != nil {
		return nil, fmt.Errorf("matcher: %w", err)
	}
	failures, err := obs.StoreFailures(reg)
	if err != nil {
		return nil, fmt.Errorf("matcher: %w", err)
	}
	cfg.Kafka.Failed, cfg.Redis.Failed = failures("kafka"), failures("redis")
	s := &Service{cfg: cfg, log: log, now: time.Now, topics: topics, lag: obs.NewLag(time.Now())}
	x := newIndex()
	keep, err := quarantine.New(topics.Quarantine, name, log, reg, s.now)
	if err != nil {
		return nil, fmt.Errorf("matcher: %w", err)
	}
	if err := s.connect(x, keep); err != nil {
		return nil, fmt.Errorf("matcher: %w", err)
	}
	s.metrics, s.faults = newMetrics(reg, s.lag, s.now), newFaults(topics.Attempts, cfg.Instance, log)
	s.handler = &handler{
		topics: topics, maxWebhooks: cfg.MaxWebhooksPerEvent, log: log, now: func() time.Time { return s.now() },
		trace: cfg.Trace, group: cfg.Kafka.TopicPrefix + name, index: x, keep: keep.Record,
		tenant: s.settings.Tenant, state: s.states.Get, seen: s.redis.Dedupe().Seen,
	}
	return s, nil
}

// connect makes the clients.
func (s *Service) connect(x *index, keep *quarantine.Quarantine) (err error) {
	if s.redis, err = redisstate.Connect(s.cfg.Redis); err != nil {
		return err
	}
	if s.client, err = s.cfg.Kafka.NewClient(name, s.log); err != nil {
		return err
	}
	s.writer = kafka.NewWriter(s.client, s.log)
	unreadable := registry.Quarantine(func(r *kgo.Record, reason error) { keep.Write(s.writer, r, reason) })
	// The index has all that is needed of a webhook.
	kept := registry.OnChange(x.changed)
	if s.webhooks, err = registry.NewWebhooks(s.cfg.Kafka, "matcher-webhooks", s.log, kept, registry.PassOn(), unreadable); err != nil {
		return err
	}
	if s.settings, err = registry.NewSettings(s.cfg.Kafka, "matcher-settings", s.log, unreadable); err != nil {
		return err
	}
	s.states, err = registry.NewStates(s.cfg.Kafka, "matcher-states", s.log, unreadable)
	return err
}

// Addr is empty: a matcher does not listen.
func (s *Service) Addr() string { return "" }

// Ready errs while the matcher cannot match yet, and says what it waits for.
func (s *Service) Ready() error {
	for _, view := range s.views() {
		select {
		case <-view.ready:
		default:
			return fmt.Errorf("matcher: reading %s", view.name)
		}
	}
	if err := s.pulse.Silent(time.Now()); err != nil {
		return fmt.Errorf("matcher: %w", err)
	}
	if !s.matching.Load() {
		return errors.New("matcher: not reading events yet")
	}
	return nil
}

// view is a compacted topic that is followed.
type view struct {
	name  string
	ready <-chan struct{}
	run   func(context.Context) error
}

func (s *Service) views() []view {
	return []view{
		{"webhooks", s.webhooks.Ready(), s.webhooks.Run},
		{"settings", s.settings.Ready(), s.settings.Run},
		{"states", s.states.Ready(), s.states.Run},
	}
}

// Run matches until ctx ends, then ends the open transaction and returns nil.
func (s *Service) Run(ctx context.Context) error {
	defer s.close()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var loops sync.WaitGroup
	loop := func(run func(context.Context) error) {
		loops.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				stop(err)
			}
		})
	}
	for _, view := range s.views() {
		loop(view.run)
	}
	loop(s.match)
	loops.Go(func() { s.faults.run(ctx, s.writer, s.cfg.Room) })
	loops.Go(func() { s.watch(ctx) })
	<-ctx.Done()
	loops.Wait()
	s.faults.tell(s.writer) // close waits until it is written
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("matcher: %w", err)
	}
	return nil
}

// match reads events once everything is known that they are matched by.
func (s *Service) match(ctx context.Context) error {
	t := s.topics
	if err := kafka.AwaitTopics(ctx, s.cfg.Kafka, name, s.log, t.Events, t.Deliveries, t.Suspended, t.Attempts, t.Quarantine); err != nil {
		return err
	}
	for _, view := range s.views() {
		select {
		case <-view.ready:
		case <-ctx.Done():
			return nil
		}
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	return kafka.Transact(ctx, s.cfg.Kafka, s.log, kafka.TransactOptions{
		Name: name, Instance: s.cfg.Instance, Topic: t.Events, Writes: []string{t.Deliveries, t.Suspended, t.Attempts, t.Quarantine},
		Room:    s.cfg.Room,
		Started: func() { s.matching.Store(true) },
		Ended:   s.ended,
		Pulse:   &s.pulse,
	}, s.handle)
}

// handle is a kafka.HandleFunc.
func (s *Service) handle(ctx context.Context, records []*kgo.Record, produce func(*kgo.Record)) error {
	s.lag.Took(oldest(records))
	return s.handler.handle(ctx, records, produce)
}

// prepare learns what duplicates are told by.
func (s *Service) prepare(ctx context.Context) error {
	details, err := kafka.NewAdmin(s.client).Topics(ctx, s.topics.Events)
	if err = errors.Join(err, details.Error()); err != nil {
		return fmt.Errorf("id of topic %s: %w", s.topics.Events, err)
	}
	s.handler.topicID = details[s.topics.Events].ID
	if !s.cfg.Kafka.Embedded {
		return nil
	}
	if err := s.refill(ctx); err != nil && ctx.Err() == nil {
		s.log.Warn("a duplicate of an event of before this start may be delivered", "error", err)
	}
	return nil
}

// ended is told of each transaction.
func (s *Service) ended(done kafka.Transaction) {
	t := s.handler.done
	s.metrics.add(t, done)
	fault := ""
	s.lag.Finished() // what was aborted is taken again, here or elsewhere
	if done.Committed {
		s.faults.add(t.failed, s.now())
	} else {
		fault = "transaction_aborted" // they are matched again
	}
	for _, span := range s.handler.spans {
		span.End(fault)
	}
	s.log.Debug("transaction", "committed", done.Committed, "records", done.Records, "events", t.events,
		"deliveries", t.deliveries, "suspended", t.suspended, "cut", t.cut, "condition_errors", t.conditions,
		"duplicates", t.duplicates, "not_looked_up", t.unlooked, "quarantined", t.quarantined,
		"produced", done.Produced, "bytes", done.Bytes, "seconds", done.Took.Seconds())
}

func (s *Service) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.writer.Flush(ctx); err != nil {
		s.log.Warn("quarantined records are not all written", "error", err)
	}
	s.writer.Close()
	s.client.Close()
	if err := s.redis.Close(); err != nil {
		s.log.Warn("redis not closed", "error", err)
	}
}
