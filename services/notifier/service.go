package notifier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/mail"
	"github.com/doorstep-dev/doorstep/pkg/obs"
	"github.com/doorstep-dev/doorstep/pkg/quarantine"
	"github.com/doorstep-dev/doorstep/pkg/redisstate"
	"github.com/doorstep-dev/doorstep/pkg/registry"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// name is the notifier's in its group, its clients and the quarantine.
const name = "notifier"

const (
	// mailTime is how long one mail may take in all, and giving partitions away waits for those under way.
	mailTime = 35 * time.Second
	// stopTime is how long a stop waits for mails under way, noteTime for the records of those that ended.
	stopTime = 3 * time.Second
	noteTime = time.Second

	watchEvery  = 200 * time.Millisecond
	forgetEvery = time.Hour
	askTime     = 5 * time.Second // for where partitions start and end
)

// Service is one notifier.
type Service struct {
	cfg     Config
	log     *slog.Logger
	now     func() time.Time
	jitter  func() float64 // from -1 to 1
	topics  wire.Topics
	metrics *metrics

	webhooks *registry.Webhooks
	settings *registry.Settings
	states   *registry.States
	redis    *redisstate.Client
	mailed   *redisstate.Mailed
	lanes    *kafka.Lanes
	keep     *quarantine.Quarantine
	sender   *mail.Sender // nil: mails are kept
	desk     *desk

	// work is the context of mails under way, life that of their records: both outlive the end of Run's.
	work, life       context.Context
	endWork, endLife context.CancelFunc
	running          sync.WaitGroup // letters

	polling atomic.Bool
	unsent  atomic.Bool // the last mail was not sent, and is tried again
	seldom  obs.Seldom
}

// New makes a notifier; Run runs it. No server need be there yet.
func New(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("notifier: %w", err)
	}
	cfg = cfg.withDefaults()
	failures, err := obs.StoreFailures(reg)
	if err != nil {
		return nil, fmt.Errorf("notifier: %w", err)
	}
	cfg.Kafka.Failed, cfg.Redis.Failed = failures("kafka"), failures("redis")
	s := &Service{cfg: cfg, log: log, now: time.Now, jitter: func() float64 { return 2*rand.Float64() - 1 }} //nolint:gosec // no secret
	if s.topics, err = cfg.Kafka.Topics(); err != nil {
		return nil, fmt.Errorf("notifier: %w", err)
	}
	if s.keep, err = quarantine.New(s.topics.Quarantine, name, log, reg, s.now); err != nil {
		return nil, fmt.Errorf("notifier: %w", err)
	}
	if cfg.Mail.URL != "" {
		if s.sender, err = mail.New(cfg.Mail); err != nil {
			return nil, fmt.Errorf("notifier: %w", err)
		}
	}
	s.desk = newDesk(log, cfg.GiveUp)
	if err := s.connect(); err != nil {
		return nil, fmt.Errorf("notifier: %w", err)
	}
	s.desk.admins, s.desk.holds = s.settings.Administrators, s.holds
	s.desk.quarantine = func(r *kgo.Record, reason error) { s.keep.Write(s.lanes.Writer(), r, reason) }
	s.work, s.endWork = context.WithCancel(context.Background())
	s.life, s.endLife = context.WithCancel(context.Background())
	s.metrics = newMetrics(reg, s.desk.waiting, s.now)
	return s, nil
}

// connect makes the clients; none of them needs its server to be there yet.
func (s *Service) connect() (err error) {
	if s.redis, err = redisstate.Connect(s.cfg.Redis); err != nil {
		return err
	}
	holder := s.cfg.Instance
	if holder == "" {
		holder = uuid.NewString()
	}
	s.mailed = s.redis.Mailed(holder)
	// Who reads them for their own sake quarantines what cannot be read.
	if s.webhooks, err = registry.NewWebhooks(s.cfg.Kafka, name+"-webhooks", s.log); err != nil {
		return err
	}
	if s.settings, err = registry.NewSettings(s.cfg.Kafka, name+"-settings", s.log); err != nil {
		return err
	}
	if s.states, err = registry.NewStates(s.cfg.Kafka, name+"-states", s.log); err != nil {
		return err
	}
	s.lanes, err = kafka.NewLanes(s.cfg.Kafka, kafka.LanesConfig{
		Topics: []string{s.topics.Notices}, Group: s.cfg.groupName(), Instance: s.cfg.Instance, Grace: mailTime,
		Revoked: s.desk.drop, Released: func([]*kafka.Part) {},
	}, s.log,
		kgo.AdjustFetchOffsetsFn(fromTheStart),
		// The last record may be a transaction's marker: without it the end would never be reached.
		kgo.KeepControlRecords(),
		// What came of a mail stands beside its notice, also once partitions were added.
		kgo.RecordPartitioner(kgo.ManualPartitioner()))
	return err
}

// fromTheStart reads every partition from its start, whatever is committed.
func fromTheStart(_ context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	for _, of := range offsets {
		for p := range of {
			of[p] = kgo.NewOffset().AtStart()
		}
	}
	return offsets, nil
}

// holds reports whether what a notice tells of is still so.
func (s *Service) holds(n failure.Notice, now time.Time) bool {
	hook, _ := s.webhooks.Get(n.WebhookID)
	return holds(n, hook, s.states.Get(n.WebhookID, hook.Generation), now)
}

// Addr is empty: a notifier does not listen.
func (s *Service) Addr() string { return "" }

// Ready errs while nothing can be mailed yet, and says what it waits for. A mail server need not be there.
func (s *Service) Ready() error {
	for name, ready := range s.followed() {
		select {
		case <-ready:
		default:
			return fmt.Errorf("notifier: reading %s", name)
		}
	}
	if err := s.lanes.Silent(); err != nil {
		return fmt.Errorf("notifier: %w", err)
	}
	if _, generation := s.lanes.Client().GroupMetadata(); !s.polling.Load() || generation < 0 {
		return errors.New("notifier: not in its group yet")
	}
	if parts := s.desk.unread(s.lanes.Parts()); len(parts) > 0 {
		return fmt.Errorf("notifier: reading %d partitions of notices", len(parts))
	}
	return nil
}

func (s *Service) followed() map[string]<-chan struct{} {
	return map[string]<-chan struct{}{"webhooks": s.webhooks.Ready(), "settings": s.settings.Ready(), "states": s.states.Ready()}
}

// Run mails until ctx ends. Mails under way have 3 s to end then.
func (s *Service) Run(ctx context.Context) error {
	defer s.close()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if s.sender == nil {
		s.log.Info("no mail server is named (--smtp-url): mails are kept, read them with `doorstep mails` or at /api/v1/mails")
	}
	var loops sync.WaitGroup
	loop := func(run func(context.Context) error) {
		loops.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				stop(err)
			}
		})
	}
	for _, run := range []func(context.Context) error{s.webhooks.Run, s.settings.Run, s.states.Run, s.read, s.watch, s.dispatch} {
		loop(run)
	}
	<-ctx.Done()
	loops.Wait()
	s.drain()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("notifier: %w", err)
	}
	return nil
}

// read reads notices once everything is known that they are judged by.
func (s *Service) read(ctx context.Context) error {
	if err := kafka.AwaitTopics(ctx, s.cfg.Kafka, name, s.log, s.topics.Notices, s.topics.Suspended); err != nil {
		return err
	}
	for _, ready := range s.followed() {
		select {
		case <-ready:
		case <-ctx.Done():
			return nil
		}
	}
	s.polling.Store(true)
	for {
		batches, err := s.lanes.Poll(ctx, kafka.MaxPoll)
		if err != nil {
			return err
		}
		for _, b := range batches {
			for !s.desk.bounded(b.Part) && !b.Part.Gone() {
				if s.survey(ctx); !s.desk.bounded(b.Part) && !pause(ctx, watchEvery) {
					return nil
				}
			}
			s.desk.take(b, s.now())
		}
	}
}

// watch commits what is done, asks for the ends of partitions that came, and forgets what is old.
func (s *Service) watch(ctx context.Context) error {
	forgot := s.now()
	for pause(ctx, watchEvery) {
		if !s.polling.Load() {
			continue
		}
		s.survey(ctx)
		if err := s.lanes.Commit(ctx); err != nil && ctx.Err() == nil {
			s.seldom.Warn(ctx, s.log, "commit failed, it is tried again", "error", err)
		}
		if now := s.now(); now.Sub(forgot) > forgetEvery {
			forgot = now
			s.desk.forget(now)
		}
	}
	return nil
}

// dispatch begins letters when they are due.
func (s *Service) dispatch(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.desk.wake:
		case <-timer.C:
		}
		timer.Reset(s.begin(ctx))
	}
}

// begin begins what is due now and returns when to look again.
func (s *Service) begin(ctx context.Context) time.Duration {
	for ctx.Err() == nil {
		if !s.lanes.Sure() {
			return watchEvery // others may own the partitions soon
		}
		now := s.now()
		l, look := s.desk.next(now)
		if l == nil {
			return look.Sub(now)
		}
		s.running.Go(func() { s.handle(l) })
	}
	return watchEvery
}

// drain waits for mails under way, then for their records.
func (s *Service) drain() {
	ended := make(chan struct{})
	go func() {
		s.running.Wait()
		close(ended)
	}()
	within := func(d time.Duration, then context.CancelFunc) {
		select {
		case <-ended:
		case <-time.After(d):
		}
		then()
	}
	within(stopTime, s.endWork)
	within(noteTime, s.endLife)
	<-ended
	ctx, cancel := context.WithTimeout(context.Background(), noteTime)
	defer cancel()
	if err := s.lanes.Commit(ctx); err != nil {
		s.log.Warn("last commit failed; what has ended is known by its records", "error", err)
	}
}

func (s *Service) close() {
	s.endWork()
	s.endLife()
	s.lanes.Close()
	if err := s.redis.Close(); err != nil {
		s.log.Warn("redis not closed", "error", err)
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
