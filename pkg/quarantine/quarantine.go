// Package quarantine keeps records that cannot be read: each goes to the topic `quarantine` with its
// position and the reason, a warning is logged and a metric counts it, and its reader goes on. A
// record that cannot be read never stops a partition.
package quarantine

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/obs"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// Quarantine is one reader's way to the topic.
type Quarantine struct {
	topic  string
	reader string
	log    *slog.Logger
	now    func() time.Time
	count  *prometheus.CounterVec
}

// keptBytes is what is kept of a value that would not fit whole.
const keptBytes = kafka.MaxRecordBytes / 2

// New makes the way of a reader, e.g. "sender". Readers of one process share the metric.
func New(topic, reader string, log *slog.Logger, reg prometheus.Registerer, now func() time.Time) (*Quarantine, error) {
	count, err := obs.Shared(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "doorstep_quarantined_total", Help: "Records that could not be read.",
	}, []string{"reader", "topic"}))
	if err != nil {
		return nil, err
	}
	return &Quarantine{topic: topic, reader: reader, log: log, now: now, count: count}, nil
}

// Record logs and counts r, and returns the record that keeps it. Of one that would not fit, the
// value's beginning is kept.
func (q *Quarantine) Record(r *kgo.Record, reason error) (*kgo.Record, error) {
	log := q.log.With("topic", r.Topic, "partition", r.Partition, "offset", r.Offset)
	log.Warn("record quarantined", "error", reason)
	q.count.WithLabelValues(q.reader, r.Topic).Inc()
	kept, err := wire.Quarantine(q.topic, q.reader, r, reason, q.now())
	if err == nil && len(kept.Value) > kafka.MaxRecordBytes {
		cut := &kgo.Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Value: r.Value[:min(len(r.Value), keptBytes)]}
		kept, err = wire.Quarantine(q.topic, q.reader, cut, fmt.Errorf("%w (too large to be kept whole)", reason), q.now())
	}
	if err != nil {
		log.Error("quarantine record not made", "error", err)
	}
	return kept, err
}

// Write keeps r and goes on at once; if it cannot be written, the warnings are what remains.
func (q *Quarantine) Write(writer *kafka.Writer, r *kgo.Record, reason error) {
	kept, err := q.Record(r, reason)
	if err != nil {
		return
	}
	writer.Produce(context.Background(), kept, func(_ *kgo.Record, err error) {
		if err != nil {
			q.log.Error("quarantine record not written", "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "error", err)
		}
	})
}
