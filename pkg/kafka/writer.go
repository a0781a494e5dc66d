package kafka

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// renewEvery is how often a Writer makes a client at most.
const renewEvery = time.Second

// Writer writes with a client, and with another like it once that has given up: a client asks for a producer id when it first
// writes, and if its user may write to no topic at all then, it fails whatever it is given from then on, also once ACLs allow
// it. It is safe for concurrent use.
type Writer struct {
	first   *kgo.Client
	log     *slog.Logger
	client  atomic.Pointer[kgo.Client]
	closing context.Context
	close   context.CancelFunc

	mu      sync.Mutex
	renewed time.Time
	gone    sync.WaitGroup // clients that are being closed
}

// NewWriter writes with a client, which remains its maker's to close, after the Writer. The client has no transactions.
func NewWriter(client *kgo.Client, log *slog.Logger) *Writer {
	w := &Writer{first: client, log: log}
	w.closing, w.close = context.WithCancel(context.Background())
	w.client.Store(client)
	return w
}

// Produce is the client's. A record that it fails may be given again.
func (w *Writer) Produce(ctx context.Context, r *kgo.Record, promise func(*kgo.Record, error)) {
	client := w.client.Load()
	client.Produce(ctx, r, func(r *kgo.Record, err error) {
		w.heed(client, err)
		promise(r, err)
	})
}

// TryProduce is the client's.
func (w *Writer) TryProduce(ctx context.Context, r *kgo.Record, promise func(*kgo.Record, error)) {
	client := w.client.Load()
	client.TryProduce(ctx, r, func(r *kgo.Record, err error) {
		w.heed(client, err)
		promise(r, err)
	})
}

// ProduceSync is the client's.
func (w *Writer) ProduceSync(ctx context.Context, records ...*kgo.Record) kgo.ProduceResults {
	client := w.client.Load()
	results := client.ProduceSync(ctx, records...)
	w.heed(client, results.FirstErr())
	return results
}

// Flush returns when all that was given is written or failed, or ctx ends.
func (w *Writer) Flush(ctx context.Context) error {
	err := w.client.Load().Flush(ctx)
	return errors.Join(err, w.first.Flush(ctx))
}

// Close ends what the Writer made.
func (w *Writer) Close() {
	w.mu.Lock()
	w.close()
	w.mu.Unlock()
	w.gone.Wait()
	if client := w.client.Load(); client != w.first {
		client.Close()
	}
}

// heed takes another client if err says that client has no producer id.
func (w *Writer) heed(client *kgo.Client, err error) {
	if err == nil || !errors.Is(err, kerr.ClusterAuthorizationFailed) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.client.Load() != client || w.closing.Err() != nil || time.Since(w.renewed) < renewEvery {
		return
	}
	w.renewed = time.Now()
	another, err := kgo.NewClient(slices.DeleteFunc(slices.Clone(w.first.Opts()), reads)...)
	if err != nil {
		w.log.Error("kafka: no client could be made to write again with", "error", err)
		return
	}
	w.client.Store(another)
	if client == w.first {
		return
	}
	w.gone.Go(func() {
		_ = client.Flush(w.closing) // fails what came meanwhile as it failed the rest
		client.Close()
	})
}

// reads reports whether an option is for reading alone.
func reads(o kgo.Opt) bool {
	_, consumer := o.(kgo.ConsumerOpt)
	_, group := o.(kgo.GroupOpt)
	return consumer || group
}
