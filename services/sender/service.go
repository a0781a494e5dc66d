package sender

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

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/obs"
	"github.com/doorstep-dev/doorstep/pkg/post"
	"github.com/doorstep-dev/doorstep/pkg/quarantine"
	"github.com/doorstep-dev/doorstep/pkg/redisstate"
	"github.com/doorstep-dev/doorstep/pkg/registry"
	"github.com/doorstep-dev/doorstep/pkg/retry"
	"github.com/doorstep-dev/doorstep/pkg/schedule"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// Service is one sender.
type Service struct {
	cfg      Config
	log      *slog.Logger
	now      func() time.Time
	topics   wire.Topics
	schedule retry.Schedule
	metrics  *metrics

	webhooks *registry.Webhooks
	settings *registry.Settings
	states   *registry.States
	redis    *redisstate.Client
	lanes    *kafka.Lanes
	post     *post.Client
	signers  *signers

	quarantine *quarantine.Quarantine

	keeper     *keeper
	dispatcher *dispatcher

	// work is the context of attempts and stores: it outlives a stop by drainTime.
	work    context.Context
	endWork context.CancelFunc
	running sync.WaitGroup // attempts, each with those that its worker makes after it
	workers *workers

	seldom obs.Seldom
	need   atomic.Pointer[measured]

	mu      sync.Mutex
	polling bool
}

// New makes a sender; Run runs it.
func New(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("sender: %w", err)
	}
	sealing, warning, err := cfg.Sealing.Read()
	if err != nil {
		return nil, fmt.Errorf("sender: %w", err)
	}
	if warning != "" {
		log.Warn(warning)
	}
	failures, err := obs.StoreFailures(reg)
	if err != nil {
		return nil, fmt.Errorf("sender: %w", err)
	}
	cfg.Kafka.Failed, cfg.Redis.Failed = failures("kafka"), failures("redis")
	s := &Service{cfg: cfg, log: log, now: time.Now, signers: newSigners(sealing)}
	if s.topics, err = cfg.Kafka.Topics(); err != nil {
		return nil, err
	}
	if s.schedule, err = cfg.Kafka.Schedule(); err != nil {
		return nil, err
	}
	if s.quarantine, err = quarantine.New(s.topics.Quarantine, "sender", log, reg, s.now); err != nil {
		return nil, fmt.Errorf("sender: %w", err)
	}
	if err := s.connect(); err != nil {
		return nil, fmt.Errorf("sender: %w", err)
	}
	s.work, s.endWork = context.WithCancel(context.Background())
	s.post = post.New(post.Config{Egress: cfg.Egress, RootCAs: cfg.RootCAs, Version: cfg.Version, MaxIdle: cfg.MaxInFlight, KeepAnswerBytes: &cfg.KeepAnswerBytes})
	s.keeper = newKeeper(s.redis.States(), s.states.Get,
		func(tenant string) failure.Policy { return policyOf(cfg.policy(), s.settings.Tenant(tenant)) },
		s.lanes, s.topics, log)
	s.dispatcher = newDispatcher(s, s.topics.Deliveries, s.lanes, schedule.Config{
		MaxQueued: cfg.MaxQueued, MaxInFlight: cfg.MaxInFlight,
	})
	s.dispatcher.waits = waitsOf(s.topics)
	s.workers = newWorkers(s.makeAttempt)
	s.metrics = newMetrics(reg)
	s.need.Store(&measured{})
	reg.MustRegister(newCollector(s.dispatcher, s.topics.Lanes(), s.now), newNeedCollector(s.need.Load), &standing{s.webhooks, s.states, s.now})
	return s, nil
}

// connect makes the clients; none of them needs its server to be there yet.
func (s *Service) connect() (err error) {
	if s.redis, err = redisstate.Connect(s.cfg.Redis); err != nil {
		return err
	}
	quarantined := registry.Quarantine(func(r *kgo.Record, reason error) { s.quarantine.Write(s.lanes.Writer(), r, reason) })
	changed := registry.OnChange(func(w webhook.Webhook, gone bool, _ delivery.Position) {
		if gone {
			s.signers.forget(w.ID)
		}
		s.dispatcher.signal()
	})
	if s.webhooks, err = registry.NewWebhooks(s.cfg.Kafka, "sender-webhooks", s.log, changed, quarantined); err != nil {
		return err
	}
	if s.settings, err = registry.NewSettings(s.cfg.Kafka, "sender-settings", s.log, quarantined); err != nil {
		return err
	}
	if s.states, err = registry.NewStates(s.cfg.Kafka, "sender-states", s.log, quarantined); err != nil {
		return err
	}
	s.lanes, err = kafka.NewLanes(s.cfg.Kafka, kafka.LanesConfig{
		Topics: s.topics.Lanes(), Group: s.cfg.Kafka.TopicPrefix + "sender", Instance: s.cfg.Instance, Grace: drainTime,
		Revoked:  func([]*kafka.Part) { s.dispatcher.drop() },
		Released: s.released,
	}, s.log)
	return err
}

// Ready errs while the sender cannot send yet, and says what it waits for.
func (s *Service) Ready() error {
	for name, ready := range map[string]<-chan struct{}{
		"webhooks": s.webhooks.Ready(), "settings": s.settings.Ready(), "states": s.states.Ready(),
	} {
		select {
		case <-ready:
		default:
			return fmt.Errorf("sender: reading %s", name)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.polling {
		return errors.New("sender: not reading yet")
	}
	if err := s.lanes.Silent(); err != nil {
		return fmt.Errorf("sender: %w", err)
	}
	return nil
}

// Addr is empty: a sender does not listen.
func (s *Service) Addr() string { return "" }

// Run sends until ctx ends, then finishes what is in flight, commits and returns nil.
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
	loop(s.webhooks.Run)
	loop(s.settings.Run)
	loop(s.states.Run)
	loop(s.read)
	loop(s.dispatch)
	loop(s.commit)
	loop(s.measure)
	<-ctx.Done()
	s.drain()
	loops.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("sender: %w", err)
	}
	return nil
}

// read reads the lanes once everything is known that records are judged by.
func (s *Service) read(ctx context.Context) error {
	if err := kafka.AwaitTopics(ctx, s.cfg.Kafka, "sender", s.log, s.topics.Lanes()...); err != nil {
		return err
	}
	for _, ready := range []<-chan struct{}{s.webhooks.Ready(), s.settings.Ready(), s.states.Ready()} {
		select {
		case <-ready:
		case <-ctx.Done():
			return nil
		}
	}
	s.mu.Lock()
	s.polling = true
	s.mu.Unlock()
	for {
		if full := s.dispatcher.hasRoom(); full != nil {
			select {
			case <-full:
			case <-ctx.Done():
				return nil
			}
			continue
		}
		batches, err := s.lanes.Poll(ctx, kafka.MaxPoll)
		if err != nil {
			return err
		}
		s.dispatcher.add(batches)
	}
}

// dispatch runs the dispatcher.
func (s *Service) dispatch(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.dispatcher.wake:
		case <-timer.C:
		}
		timer.Reset(s.dispatcher.step(s.now()))
	}
}

// commit commits what is done, and every so often writes states that have changed.
func (s *Service) commit(ctx context.Context) error {
	ticker := time.NewTicker(commitEvery)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := s.lanes.Commit(ctx); err != nil && ctx.Err() == nil {
			s.seldom.Warn(ctx, s.log, "commit failed, going on", "error", err)
		}
		if n%int(time.Second/commitEvery) == 0 {
			r := newReceipt(func(bool) {})
			s.keeper.flush(r)
			r.close()
		}
	}
}

// drain finishes what is in flight and commits it.
func (s *Service) drain() {
	s.dispatcher.stop()
	finished := make(chan struct{})
	go func() {
		s.running.Wait()
		close(finished)
	}()
	select {
	case <-finished:
	case <-time.After(drainTime):
		s.log.Warn("attempts still in flight are given up", "after", drainTime)
		s.endWork()
		<-finished
	}
	s.flush(5 * time.Second)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.lanes.Commit(ctx); err != nil {
		s.log.Warn("last commit failed, the last attempts are repeated", "error", err)
	}
}

// flush writes states that have changed, with their notices, and waits until the log has all that was written.
func (s *Service) flush(within time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	written := make(chan struct{})
	r := newReceipt(func(bool) { close(written) })
	s.keeper.flush(r)
	r.close()
	select {
	case <-written:
	case <-ctx.Done():
	}
	if err := s.lanes.Writer().Flush(ctx); err != nil {
		s.log.Warn("not all is written that follows from the last attempts; they are repeated", "error", err)
	}
}

// released is told which partitions have been given away, after their last commit.
func (s *Service) released(parts []*kafka.Part) {
	gone := map[int32]bool{}
	for _, p := range parts {
		if p.Topic == s.topics.Deliveries {
			gone[p.ID] = true
		}
	}
	s.flush(time.Second)
	s.keeper.forget(gone)
}

func (s *Service) close() {
	s.endWork()
	s.workers.close()
	s.lanes.Close()
	s.post.Close()
	if err := s.redis.Close(); err != nil {
		s.log.Warn("redis not closed", "error", err)
	}
}
