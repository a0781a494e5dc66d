package matcher

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/redisstate"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// refillBatch is how many events are remembered in one call.
const refillBatch = 1000

// refill remembers the ids of the events of the last 24 hours that were matched before this start:
// the embedded Redis forgets them with its process. Events not matched yet are left out, so that
// each is new when its turn comes.
func (s *Service) refill(ctx context.Context) error {
	began, left, err := s.refillRange(ctx)
	if err != nil {
		return fmt.Errorf("remember matched events: %w", err)
	}
	if len(left) == 0 {
		return nil
	}
	client, err := s.cfg.Kafka.NewClient("matcher-refill", s.log, kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{s.topics.Events: began}))
	if err != nil {
		return err
	}
	defer client.Close()
	var items []redisstate.Item
	total := 0
	flush := func() error {
		_, err := s.handler.seen(ctx, items)
		total += len(items)
		items = items[:0]
		return err
	}
	for len(left) > 0 {
		fetches := client.PollRecords(ctx, refillBatch)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fetches.EachRecord(func(r *kgo.Record) {
			end, open := left[r.Partition]
			if open && r.Offset < end && !r.Attrs.IsControl() {
				// What cannot be read was quarantined when its turn came.
				if e, err := wire.ReadEvent(r); err == nil && !e.IDAssigned {
					items = append(items, item(s.handler.topicID, found{e, r}))
				}
			}
			if r.Offset+1 >= end {
				delete(left, r.Partition)
			}
		})
		if err := flush(); err != nil {
			return fmt.Errorf("remember matched events: %w", err)
		}
	}
	s.log.Info("matched events remembered", "events", total)
	return nil
}

// refillRange says from where to where the partitions of `events` are to be read; ends are exclusive.
func (s *Service) refillRange(ctx context.Context) (began map[int32]kgo.Offset, ends map[int32]int64, err error) {
	admin := kafka.NewAdmin(s.client)
	committed, err := admin.GroupOffsets(ctx, s.cfg.Kafka.TopicPrefix+name)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return nil, nil, nil // the first start
	}
	if err = errors.Join(err, committed.Error()); err != nil {
		return nil, nil, err
	}
	first, err := admin.OffsetsAfter(ctx, s.now().Add(-redisstate.SeenFor).UnixMilli(), s.topics.Events)
	if err = errors.Join(err, first.Error()); err != nil {
		return nil, nil, err
	}
	began, ends = map[int32]kgo.Offset{}, map[int32]int64{}
	first.Each(func(o kadm.ListedOffset) {
		if c, ok := committed.Lookup(o.Topic, o.Partition); ok && o.Offset < c.At {
			began[o.Partition], ends[o.Partition] = kgo.NewOffset().At(o.Offset), c.At
		}
	})
	return began, ends, nil
}
