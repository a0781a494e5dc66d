package sender

import (
	"context"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

// receipt waits until everything that follows from one record is acknowledged by the log.
type receipt struct {
	open   atomic.Int32
	failed atomic.Bool
	then   func(ok bool)
}

// newReceipt makes a receipt that is held open until its close.
func newReceipt(then func(ok bool)) *receipt {
	r := &receipt{then: then}
	r.open.Store(1)
	return r
}

// close ends the hold; no more is written under this receipt.
func (r *receipt) close() { r.acknowledge(nil) }

// fail makes the receipt one of failure.
func (r *receipt) fail() { r.failed.Store(true) }

func (r *receipt) acknowledge(err error) {
	if err != nil {
		r.failed.Store(true)
	}
	if r.open.Add(-1) == 0 {
		r.then(!r.failed.Load())
	}
}

// producer writes to the log: kafka.Lanes.
type producer interface {
	Produce(ctx context.Context, r *kgo.Record, promise func(*kgo.Record, error))
}

// write writes a record under a receipt. The producer tries until the log has it or it is closed.
func (r *receipt) write(p producer, record *kgo.Record) {
	r.open.Add(1)
	p.Produce(context.Background(), record, func(_ *kgo.Record, err error) { r.acknowledge(err) })
}
