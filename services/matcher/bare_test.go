package matcher_test

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// bare is a transactional hop that only copies: what the log costs a matcher at the least. It has the same settings
// as the matcher's (pkg/kafka/transact.go) and writes copies under keys of their own.
type bare struct {
	in, out string
	fanOut  int
	values  [][]byte      // of the copies, in turn; none: what was read
	pause   time.Duration // from the end of a transaction to the next

	session *kgo.GroupTransactSession
	next    int
	copied  atomic.Int64 // records read, in transactions that have ended
}

// newBare makes the topics and runs until the test ends.
func (w *world) newBare(fanOut int, values [][]byte, pause time.Duration) *bare {
	w.t.Helper()
	prefix := w.cfg.Kafka.TopicPrefix + "bare."
	h := &bare{in: prefix + "in", out: prefix + "out", fanOut: fanOut, values: values, pause: pause}
	testkit.Topics(w.t, w.cfg.Kafka.Brokers, 2, h.in, h.out)
	var err error
	h.session, err = kgo.NewGroupTransactSession(
		kgo.SeedBrokers(w.cfg.Kafka.Brokers...), kgo.ConsumerGroup(prefix+"group"), kgo.ConsumeTopics(h.in),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxWait(500*time.Millisecond), kgo.FetchMaxBytes(8<<20),
		kgo.TransactionalID(prefix+"id"), kgo.ConcurrentTransactionsBackoff(4*time.Millisecond),
		kgo.ProducerLinger(0), kgo.MaxBufferedRecords(1<<16), kgo.MaxBufferedBytes(64<<20),
	)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			if err := h.transaction(ctx); err != nil && ctx.Err() == nil {
				w.t.Error(err)
				return
			}
		}
	})
	w.t.Cleanup(func() { cancel(); running.Wait(); h.session.Close() })
	return h
}

func (h *bare) transaction(ctx context.Context) error {
	records := h.session.PollRecords(ctx, 2048).Records()
	if len(records) == 0 {
		return ctx.Err()
	}
	if err := h.session.Begin(); err != nil {
		return err
	}
	for _, r := range records {
		for i := range h.fanOut {
			out := &kgo.Record{Topic: h.out, Key: append([]byte{byte(i)}, r.Key...), Value: r.Value, Headers: r.Headers}
			if len(h.values) > 0 {
				out.Value = h.values[h.next%len(h.values)]
				h.next++
			}
			h.session.Produce(ctx, out, nil)
		}
	}
	if _, err := h.session.End(ctx, kgo.TryCommit); err != nil {
		return err
	}
	h.copied.Add(int64(len(records)))
	select {
	case <-time.After(h.pause):
	case <-ctx.Done():
	}
	return nil
}

// reader reads what is committed in topics and says when each record came, until the test ends.
func (w *world) reader(came func(*kgo.Record), topics ...string) {
	w.t.Helper()
	client, err := w.cfg.Kafka.NewClient("reader", slog.New(slog.DiscardHandler), kgo.ConsumeTopics(topics...),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			client.PollFetches(ctx).EachRecord(came)
		}
	})
	w.t.Cleanup(func() { cancel(); running.Wait(); client.Close() })
}

// cpu is what the process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
