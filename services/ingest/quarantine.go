package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// reader names this service in the records of `quarantine`.
const reader = "ingest"

// quarantine keeps settings that cannot be read.
type quarantine struct {
	client *kgo.Client // set before the first record is read
	topic  string
	log    *slog.Logger
	count  *prometheus.CounterVec
}

func newQuarantine(cfg kafka.Config, log *slog.Logger, reg prometheus.Registerer) (*quarantine, error) {
	topics, err := cfg.Topics()
	if err != nil {
		return nil, err
	}
	count := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "doorstep_quarantined_total", Help: "Records that could not be read.",
	}, []string{"reader", "topic"})
	err = reg.Register(count)
	var already prometheus.AlreadyRegisteredError // by another service of this process
	if errors.As(err, &already) {
		if former, ok := already.ExistingCollector.(*prometheus.CounterVec); ok {
			count, err = former, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("register metrics of ingest: %w", err)
	}
	return &quarantine{topic: topics.Quarantine, log: log, count: count}, nil
}

// put writes r to quarantine and goes on; if that fails too, the warning is what remains.
func (q *quarantine) put(r *kgo.Record, reason error) {
	log := q.log.With("topic", r.Topic, "partition", r.Partition, "offset", r.Offset)
	log.Warn("record quarantined", "error", reason)
	q.count.WithLabelValues(reader, r.Topic).Inc()
	kept, err := wire.Quarantine(q.topic, reader, r, reason, time.Now())
	if err != nil {
		log.Error("quarantine record not made", "error", err)
		return
	}
	q.client.Produce(context.Background(), kept, func(_ *kgo.Record, err error) {
		if err != nil {
			log.Error("quarantine record not written", "error", err)
		}
	})
}
