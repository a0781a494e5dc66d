package console

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
)

// Of all consoles one drains the outbox and one works the jobs: the holder of a SQL lock, which writes in transactions.

const (
	transactionTimeout = 10 * time.Second // of one transaction, and of each of its records
	abortTimeout       = 2 * time.Second
	// stepTimeout bounds one step of such work, with what it asks of SQL. A database that takes a second for each answer is
	// waited for: to give a connection up is to begin with a new one, which takes longer still.
	stepTimeout = 30 * time.Second
)

// newSoleProducer is the client of such work, which writes to topics. What hangs of an earlier worker is ended first.
func newSoleProducer(ctx context.Context, cfg kafka.Config, log *slog.Logger, work string, topics ...string) (*kgo.Client, error) {
	client, err := cfg.NewClient(work, log, soleProducer(cfg, work)...)
	if err != nil || cfg.Embedded {
		return client, err
	}
	done, err := kafka.EndHanging(ctx, client, []string{cfg.TopicPrefix + work}, topics...)
	if len(done) > 0 {
		log.Warn("transactions hung, which the brokers took for ended; they are ended now", "work", work, "markers", done)
	}
	if err != nil && ctx.Err() == nil {
		level := slog.LevelWarn
		if errors.Is(err, kafka.ErrHangingDenied) && work != outboxWork {
			level = slog.LevelDebug // the outbox has said so once, jobs come and go
		}
		log.Log(ctx, level, "no look for transactions that hang", "work", work, "error", err)
	}
	return client, nil
}

// soleProducer has one transactional id for all consoles: a worker that lost its lock without knowing is fenced by its
// successor. The embedded log must not continue a transaction of a former life, and has one console only.
func soleProducer(cfg kafka.Config, work string) []kgo.Opt {
	id := cfg.TopicPrefix + work
	if cfg.Embedded {
		id += "." + rand.Text()
	}
	return []kgo.Opt{
		kgo.TransactionalID(id), kgo.TransactionTimeout(transactionTimeout), kgo.RecordDeliveryTimeout(transactionTimeout),
		// See the note on transactions that follow one another in the matcher's settings.
		kgo.ConcurrentTransactionsBackoff(4 * time.Millisecond),
	}
}

// unwritten is the first error of records that were written, with its topic.
func unwritten(results kgo.ProduceResults) error {
	for _, r := range results {
		if r.Err != nil {
			return fmt.Errorf("topic %s: %w", r.Record.Topic, kafka.Denied(r.Err))
		}
	}
	return nil
}

// inTransaction writes records in one transaction. If it errs it is not known whether they are there, and the client
// is to be given up: its successor's first act ends the transaction.
func inTransaction(ctx context.Context, client *kgo.Client, records []*kgo.Record) error {
	if len(records) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, transactionTimeout)
	defer cancel()
	// A broker that hangs holds what is under way, whatever its context says, until the client is closed.
	stop := context.AfterFunc(ctx, func() {
		<-time.After(2 * abortTimeout)
		client.Close()
	})
	defer stop()
	if err := client.BeginTransaction(); err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	if err := unwritten(client.ProduceSync(ctx, records...)); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
		defer cancel()
		return fmt.Errorf("write %d records: %w", len(records), errors.Join(err, client.EndTransaction(ctx, kgo.TryAbort)))
	}
	if err := client.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return fmt.Errorf("commit transaction: %w", err)
	}
	return nil
}
