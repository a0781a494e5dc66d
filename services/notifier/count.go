package notifier

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// Bounds of counting suspended deliveries.
const (
	maxCounted = 10_000 // records of the partition, those of other webhooks included
	countTime  = 5 * time.Second
	countChunk = 1000
)

// suspended counts the deliveries of a webhook that were suspended since a time; more: there are at least that
// many. It looks at a bounded part of the log.
func (s *Service) suspended(ctx context.Context, webhookID string, since time.Time) (n int, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, countTime)
	defer cancel()
	span, err := s.suspendedSince(ctx, webhookID, since)
	if err != nil {
		return 0, false, fmt.Errorf("count suspended deliveries of webhook %s: %w", webhookID, err)
	}
	if span.To-span.From > maxCounted {
		span.To, more = span.From+maxCounted, true
	}
	seen := map[string]bool{} // deliveries: one may have been suspended twice
	err = s.cfg.Kafka.Scan(ctx, name+"-count", s.log, []kafka.Span{span}, countChunk, func(records []*kgo.Record) error {
		for _, r := range records {
			if string(r.Key) != webhookID {
				continue
			}
			if d, err := wire.ReadDelivery(r); err == nil { // else its readers say so
				seen[d.ID] = true
			}
		}
		return nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		more, err = true, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("count suspended deliveries of webhook %s: %w", webhookID, err)
	}
	return len(seen), more && len(seen) > 0, nil
}

// suspendedSince is the part of the topic that holds a webhook's deliveries suspended since a time, and others'.
func (s *Service) suspendedSince(ctx context.Context, webhookID string, since time.Time) (kafka.Span, error) {
	topic, admin := s.topics.Suspended, kafka.NewAdmin(s.lanes.Client())
	starts, err := admin.OffsetsAfter(ctx, since.UnixMilli(), topic)
	if err = errors.Join(err, starts.Error()); err != nil {
		return kafka.Span{}, err
	}
	ends, err := admin.CommittedOffsets(ctx, topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		return kafka.Span{}, err
	}
	// As every producer of ours places a key.
	at := kgo.StickyKeyPartitioner(nil).ForTopic(topic).Partition(&kgo.Record{Key: []byte(webhookID)}, len(ends[topic]))
	p := int32(at) //nolint:gosec // partitions are few
	start, known := starts.Lookup(topic, p)
	end, also := ends.Lookup(topic, p)
	if !known || !also {
		return kafka.Span{}, fmt.Errorf("topic %s has no partition %d", topic, p)
	}
	return kafka.Span{Topic: topic, Partition: p, From: start.Offset, To: end.Offset}, nil
}
