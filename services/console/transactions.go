package console

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
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
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
		defer cancel()
		return fmt.Errorf("write %d records: %w", len(records), errors.Join(err, client.EndTransaction(ctx, kgo.TryAbort)))
	}
	if err := client.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return fmt.Errorf("commit transaction: %w", err)
	}
	return nil
}
