package bench

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
)

// The bare hop, tuned: the reasons are those of package kafka's transactions.
const (
	hopRate              = 200 // events a second of the open loop
	hopRecords           = 2048
	betweenTransactions  = 2 * time.Millisecond
	concurrentBackoff    = 4 * time.Millisecond
	hopBacklogPerSecond  = 40_000 // events of the backlog, for each second of the run
	hopBacklogValueBytes = 1 << 10
)

// bareHop is one transaction after another that reads, writes what it read to another topic, and commits both: the ceiling of whatever
// matches exactly once.
func bareHop() Case {
	return Case{
		Name: "bare-hop", Unit: "events",
		Title: "a transactional hop from topic to topic, nothing else: latency at 200/s, rate with a backlog",
		Run:   runBareHop,
	}
}

func runBareHop(ctx context.Context, bed *Bed) (Sample, error) {
	log, err := bed.Log(ctx)
	if err != nil {
		return Sample{}, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	h := &hop{log: log}
	running, run := errgroup.WithContext(ctx)
	running.Go(func() error { return ended(run, h.transact(run)) })
	running.Go(func() error { return ended(run, h.read(run, bed)) })
	s, err := h.measure(run, bed)
	stop()
	if failed := running.Wait(); failed != nil {
		return Sample{}, failed
	}
	return s, err
}

// ended is err, but nil once ctx has ended: that is how the work is stopped.
func ended(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// hop is the hop and what came out of it.
type hop struct {
	log     *Log
	out     atomic.Int64
	from    atomic.Int64 // Unix nanoseconds: latencies are of what was due from then on; 0: none
	latency atomic.Pointer[Histogram]
}

// measure is the open loop at hopRate, then a backlog.
func (h *hop) measure(ctx context.Context, bed *Bed) (Sample, error) {
	warm := warmUp(bed.Time)
	// The group needs longer to form than the loop to warm up.
	if err := h.through(ctx, 1, bed.BodyBytes); err != nil {
		return Sample{}, err
	}
	began := time.Now()
	h.from.Store(began.Add(warm).UnixNano())
	before := h.out.Load()
	plan := arrivals(hopRate, warm+bed.Time)
	err := openLoop(ctx, began, plan, func(_ int, at time.Time) error {
		h.produce(ctx, body(at, bed.BodyBytes))
		return nil
	})
	if err != nil {
		return Sample{}, err
	}
	if err := h.await(ctx, before+int64(len(plan))); err != nil {
		return Sample{}, err
	}
	h.from.Store(0)
	n := max(1000, int(bed.Time.Seconds()*hopBacklogPerSecond))
	watch := StartWatch(h.log.Process)
	if err := h.through(ctx, n, hopBacklogValueBytes); err != nil {
		return Sample{}, err
	}
	seconds, cpu := watch.Stop(n)
	figures := quantiles(h.latency.Load().Clone())
	figures["rate"] = float64(n) / seconds
	return Sample{Figures: figures, CPU: cpu}, nil
}

// through sends n events at once and returns when they have come out.
func (h *hop) through(ctx context.Context, n, bytes int) error {
	want := h.out.Load() + int64(n)
	value := body(time.Now(), bytes)
	for range n {
		h.produce(ctx, value)
	}
	return h.await(ctx, want)
}

func (h *hop) await(ctx context.Context, want int64) error {
	return await(ctx, readyEvery, patience, "the hop", func() (bool, error) { return h.out.Load() >= want, nil })
}

// produce writes an event. One that is lost is missed at the other end.
func (h *hop) produce(ctx context.Context, value []byte) {
	h.log.Client.Produce(ctx, &kgo.Record{Topic: h.log.Topics.Events, Value: value}, nil)
}

// transact is the hop, until ctx ends.
func (h *hop) transact(ctx context.Context) error {
	name := h.log.Kafka.TopicPrefix + "bare-hop"
	session, err := h.log.Kafka.NewTransactSession("bare-hop", slog.New(slog.DiscardHandler),
		kgo.ConsumerGroup(name), kgo.TransactionalID(name), kgo.ConsumeTopics(h.log.Topics.Events),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.SessionTimeout(kafka.SessionTimeout), kgo.TransactionTimeout(kafka.SessionTimeout),
		kgo.ProducerLinger(0), kgo.ConcurrentTransactionsBackoff(concurrentBackoff))
	if err != nil {
		return err
	}
	defer session.Close()
	for ctx.Err() == nil {
		records := session.PollRecords(ctx, hopRecords).Records()
		if len(records) == 0 {
			continue
		}
		if err := session.Begin(); err != nil {
			return fmt.Errorf("begin: %w", err)
		}
		for _, r := range records {
			session.Produce(ctx, &kgo.Record{Topic: h.log.Topics.Deliveries, Value: r.Value}, nil)
		}
		if _, err := session.End(ctx, kgo.TryCommit); err != nil {
			return fmt.Errorf("end: %w", err)
		}
		if err := pause(ctx, betweenTransactions); err != nil {
			return err
		}
	}
	return nil
}

// read takes what comes out, until ctx ends.
func (h *hop) read(ctx context.Context, bed *Bed) error {
	h.latency.Store(&Histogram{})
	client, err := bed.client(h.log, "bare-hop-reader", kgo.ConsumeTopics(h.log.Topics.Deliveries),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		now, from := time.Now(), h.from.Load()
		fetches.EachRecord(func(r *kgo.Record) {
			if at, ok := bodyTime(r.Value); ok && from != 0 && at.UnixNano() >= from {
				h.latency.Load().Add(now.Sub(at))
			}
			h.out.Add(1)
		})
	}
	return nil
}
