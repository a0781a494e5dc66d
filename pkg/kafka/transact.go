package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Times and sizes of transactions.
const (
	// transactionTimeout is how long a broker waits for a producer that died in a transaction, if nobody
	// fences it before.
	transactionTimeout = SessionTimeout
	// betweenTransactions is waited from the end of one transaction to the next: a transaction that
	// begins right behind another meets CONCURRENT_TRANSACTIONS while the broker still writes the
	// markers, and then waits longer than this. The embedded log ends a transaction before it answers.
	betweenTransactions = 2 * time.Millisecond
	// concurrentBackoff is the wait after CONCURRENT_TRANSACTIONS; the client's own is 20 ms, five
	// times what a broker takes for its markers.
	concurrentBackoff = 4 * time.Millisecond

	// A transaction takes up to maxRecords records. That number is halved when their work took longer
	// than longWork or wrote more than largeTransaction, doubled while they stay below a quarter of both,
	// and 1 after a failure: a record whose work fills a transaction is alone. The time that the broker
	// takes to end a transaction does not count: when it is slow, larger transactions are what helps.
	maxRecords       = 2048
	firstRecords     = 16
	longWork         = 400 * time.Millisecond
	largeTransaction = 32 << 20

	// produceBufferBytes bounds what is written and not yet acknowledged; beyond it the handler waits.
	produceBufferBytes = 64 << 20
	// fetchBufferBytes bounds one fetch of records not handled yet.
	fetchBufferBytes = 8 << 20

	roomInterval = 250 * time.Millisecond
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 5 * time.Second
)

// MaxRecordBytes is the largest value that a record may have; the rest of a batch is for its key and
// headers. A larger one is never written, and so would hold up what it follows from.
const MaxRecordBytes = maxBatchBytes - 16<<10

// TransactOptions say what Transact reads, and as whom.
type TransactOptions struct {
	Name     string       // of client, group and transactional id, e.g. "matcher"; the last two under the topic prefix
	Instance string       // tells this process from others of the same name; the same again after a restart
	Topic    string       // to read
	Writes   []string     // topics that the handler writes to: transactions that hang there are ended
	Room     func() error // nil, or: nothing is read while it errs
	Started  func()       // nil, or called each time before the first poll of a session
	Ended    func(Transaction)
	Pulse    *Pulse // nil, or listens to the group over all sessions
}

// Transaction is one transaction that ended.
type Transaction struct {
	Committed bool
	Records   int           // read
	Produced  int           // written
	Bytes     int64         // written: keys and values
	Took      time.Duration // from its begin to its end
	Worked    time.Duration // of that, in the handler, with its waits for room to write
}

// HandleFunc does the work of the records of one transaction, which come in the order of their
// partitions. What it passes to produce is written in the same transaction; produce may wait for
// room. If it errs nothing of it is visible, and the same records come again.
type HandleFunc func(ctx context.Context, records []*kgo.Record, produce func(*kgo.Record)) error

// Transact reads a topic in a group and writes what handle makes of it, each record exactly once
// (on Apache Kafka): the records written and the offsets read are one transaction. It returns nil
// when ctx ends, after the transaction that is open then. A transaction that cannot be ended, a
// broker that is away, a fenced producer: the session is made anew and everything read since the
// last commit comes again. It errs if the settings are at fault, or if another process of the same
// instance has taken its place.
func Transact(ctx context.Context, cfg Config, log *slog.Logger, o TransactOptions, handle HandleFunc) error {
	id := cfg.TopicPrefix + o.Name + "." + o.Instance
	if cfg.Embedded {
		// A transaction that kill -9 left open there may be continued by mistake under the same id.
		id += "." + uuid.NewString()
	}
	backoff := firstBackoff
	for ctx.Err() == nil {
		s, err := newSession(cfg, log, o, id)
		if err != nil {
			return err
		}
		s.handle = handle
		err = s.run(ctx)
		s.close()
		switch {
		case ctx.Err() != nil:
			continue // which ends the loop: stopping is no failure
		case errors.Is(err, kerr.FencedInstanceID):
			return fmt.Errorf("%s: another process runs as instance %q and has taken its place: %w", o.Name, o.Instance, err)
		}
		if s.commits > 0 {
			backoff = firstBackoff
		}
		log.Warn("transactions begin anew", "reader", o.Name, "after", backoff, "error", err)
		wait(ctx, backoff)
		backoff = min(2*backoff, lastBackoff)
	}
	return nil
}

// session is a group member with a transactional producer.
type session struct {
	*kgo.GroupTransactSession
	options  TransactOptions
	embedded bool
	log      *slog.Logger
	handle   HandleFunc
	size     int // records that the next transaction may take
	commits  int
	backoff  time.Duration
	full     bool // there was no room when last asked
	said     told
	id       string // transactional
	group    string
	look     time.Time // again for what hangs
}

func newSession(cfg Config, log *slog.Logger, o TransactOptions, transactionalID string) (*session, error) {
	shared, err := cfg.options(o.Name, log)
	if err != nil {
		return nil, fmt.Errorf("kafka transactions of %s: %w", o.Name, err)
	}
	if o.Pulse != nil {
		shared = append(shared, kgo.WithHooks(o.Pulse))
	}
	inner, err := kgo.NewGroupTransactSession(append(shared,
		kgo.ConsumerGroup(cfg.TopicPrefix+o.Name),
		kgo.ConsumeTopics(o.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxBytes(fetchBufferBytes),
		// Static: a process that is killed and comes back within the session timeout takes its
		// partitions again at once, without a rebalance. Offsets are fetched "stable" by every group
		// consumer of this client, so none is read that an open transaction is about to move.
		kgo.InstanceID(o.Instance),
		kgo.SessionTimeout(SessionTimeout), kgo.HeartbeatInterval(time.Second),
		kgo.OnPartitionsAssigned(func(ctx context.Context, client *kgo.Client, _ map[string][]int32) {
			if cfg.Embedded {
				return // there is one of each service
			}
			gone, fenced, err := fenceGone(ctx, client, cfg.TopicPrefix+o.Name, cfg.TopicPrefix+o.Name+".")
			if len(fenced) > 0 {
				log.Info("transactions of members that are gone are aborted", "reader", o.Name, "transactions", fenced)
			}
			if err != nil && ctx.Err() == nil {
				log.Warn("open transactions of members that are gone are left to the broker", "reader", o.Name, "error", err)
			}
			if err := endHanging(ctx, client, log.With("reader", o.Name), gone, o.Writes...); err != nil && ctx.Err() == nil {
				log.Warn("no look for what hangs of members that are gone", "reader", o.Name, "error", err)
			}
		}),
		// Cooperative: when a member joins or leaves, those that keep their partitions read on, and only
		// the transactions of members that give some up are aborted. The plain balancers take everything
		// from everyone, so that each change would abort every open transaction.
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.TransactionalID(transactionalID),
		kgo.TransactionTimeout(transactionTimeout),
		kgo.ConcurrentTransactionsBackoff(concurrentBackoff),
		kgo.ProducerLinger(0),
		kgo.MaxBufferedBytes(produceBufferBytes),
	)...)
	if err != nil {
		return nil, fmt.Errorf("kafka transactions of %s: %w", o.Name, err)
	}
	return &session{
		GroupTransactSession: inner, options: o, embedded: cfg.Embedded, log: log, size: firstRecords, backoff: firstBackoff, id: transactionalID,
		group: cfg.TopicPrefix + o.Name,
	}, nil
}

// close does not wait for brokers that are away longer than the session would live anyway.
func (s *session) close() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Close()
	}()
	select {
	case <-done:
	case <-time.After(transactionTimeout):
	}
}

// run makes transactions until ctx ends or one cannot be ended.
func (s *session) run(ctx context.Context) error {
	// First, since the next act makes the coordinator forget how the last transaction ended.
	s.endHanging(ctx)
	// This ends the transaction that a former life of the instance may have left open. The fetch of
	// the offsets would otherwise wait for its timeout.
	if _, _, err := s.Client().ProducerID(ctx); err != nil {
		return s.heard(fmt.Errorf("fetch producer id of transactional id %s: %w", s.id, Denied(err)))
	}
	if s.options.Started != nil {
		s.options.Started()
	}
	for ctx.Err() == nil {
		s.endHanging(ctx)
		if !s.room() {
			wait(ctx, roomInterval)
			continue
		}
		records, err := s.poll(ctx)
		if err != nil {
			return err
		}
		if len(records) == 0 {
			continue
		}
		if err := s.transaction(ctx, records); err != nil {
			return err
		}
		if !s.embedded {
			wait(ctx, betweenTransactions)
		}
	}
	return nil
}

// endHanging ends what hangs of this session's transactions and of those of its former life. A broker's restart
// makes such, and the client may not even notice the restart, so it looks every now and then.
func (s *session) endHanging(ctx context.Context) {
	if s.embedded || time.Now().Before(s.look) {
		return
	}
	s.look = time.Now().Add(hangingInterval)
	err := endHanging(ctx, s.Client(), s.log.With("reader", s.options.Name), []string{s.id}, s.options.Writes...)
	if errors.Is(err, ErrHangingDenied) {
		s.look = time.Now().Add(hangingDenied)
	}
	if err != nil && ctx.Err() == nil && s.said.due("hanging", time.Now()) {
		s.log.Warn("no look for transactions that hang", "reader", s.options.Name, "error", err)
	}
}

// room reports whether there is room, and logs when that changes.
func (s *session) room() bool {
	if s.options.Room == nil {
		return true
	}
	err := s.options.Room()
	if full := err != nil; full != s.full {
		s.full = full
		if full {
			s.log.Warn("reading stops for want of room", "reader", s.options.Name, "error", err)
		} else {
			s.log.Info("there is room again, reading goes on", "reader", s.options.Name)
		}
	}
	return err == nil
}

// poll waits for records. It errs if the instance was fenced; the client goes on by itself after
// any other error.
func (s *session) poll(ctx context.Context) ([]*kgo.Record, error) {
	// Not for ever: it waits for offsets too, which what hangs may hold up.
	within, cancel := context.WithTimeout(ctx, hangingInterval)
	defer cancel()
	fetches := s.PollRecords(within, s.size)
	for _, e := range fetches.Errors() {
		if errors.Is(e.Err, kerr.FencedInstanceID) {
			return nil, e.Err
		}
		err := s.heard(Denied(e.Err))
		if within.Err() == nil && s.said.due("fetch", time.Now()) {
			s.log.Warn("fetch failed", "reader", s.options.Name, "group", s.group, "topic", e.Topic, "partition", e.Partition, "error", err)
		}
	}
	return fetches.Records(), nil
}

// heard tells the pulse of an error, and returns it.
func (s *session) heard(err error) error {
	if s.options.Pulse != nil {
		s.options.Pulse.Heard(err, time.Now())
	}
	return err
}

// transaction handles records. It errs if the session can no longer be used.
func (s *session) transaction(ctx context.Context, records []*kgo.Record) error {
	began := time.Now()
	if err := s.Begin(); err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	// The open transaction is ended even while the process stops.
	life, cancel := context.WithTimeout(context.WithoutCancel(ctx), transactionTimeout)
	defer cancel()
	out := &output{session: s, began: began}
	out.written = out.done
	failed := s.handle(life, records, func(r *kgo.Record) { out.produce(life, r) })
	worked := time.Since(began)
	if failed == nil {
		failed = errors.Join(s.Client().Flush(life), out.failure())
	}
	committed, err := s.End(life, kgo.TransactionEndTry(failed == nil))
	done := Transaction{
		Committed: committed, Records: len(records), Produced: out.count, Bytes: out.bytes, Worked: worked, Took: time.Since(began),
	}
	s.resize(done)
	if s.options.Ended != nil {
		s.options.Ended(done)
	}
	if err != nil {
		return s.heard(fmt.Errorf("end transaction of %d records: %w", len(records), Denied(errors.Join(err, failed))))
	}
	if failed != nil {
		first := records[0]
		s.log.Warn("transaction aborted, its records are read again", "reader", s.options.Name, "records", len(records),
			"topic", first.Topic, "partition", first.Partition, "offset", first.Offset, "after", s.backoff, "error", failed)
		wait(ctx, s.backoff)
		s.backoff = min(2*s.backoff, lastBackoff)
	}
	return nil
}

// resize says how many records the next transaction may take.
func (s *session) resize(t Transaction) {
	switch {
	case !t.Committed:
		s.size = 1
		return
	case t.Worked > longWork || t.Bytes > largeTransaction:
		s.size = max(1, min(s.size, t.Records)/2)
	case t.Worked < longWork/4 && t.Bytes < largeTransaction/4:
		s.size = min(2*s.size, maxRecords)
	}
	s.commits++
	s.backoff = firstBackoff
}

// output is what a transaction writes.
type output struct {
	session *session
	began   time.Time
	written func(*kgo.Record, error) // done, made once and not for each record
	count   int
	bytes   int64

	mu  sync.Mutex
	err error // the first
}

func (o *output) produce(ctx context.Context, r *kgo.Record) {
	o.count++
	o.bytes += int64(len(r.Key) + len(r.Value))
	if r.Timestamp.IsZero() {
		r.Timestamp = o.began // the client would ask the clock for each record
	}
	o.session.Produce(ctx, r, o.written)
}

// done is told of each record.
func (o *output) done(r *kgo.Record, err error) {
	if err == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = o.session.heard(fmt.Errorf("produce to %s: %w", r.Topic, Denied(err)))
	}
}

func (o *output) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}
