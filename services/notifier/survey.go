package notifier

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
)

// survey asks where the partitions start and end that are not read yet.
func (s *Service) survey(ctx context.Context) {
	parts := s.desk.unread(s.lanes.Parts())
	if len(parts) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	admin, topic := kadm.NewClient(s.lanes.Client()), s.topics.Notices
	starts, err := kafka.Heed(ctx, func(ctx context.Context) (kadm.ListedOffsets, error) {
		return admin.ListStartOffsets(ctx, topic)
	})
	if err = errors.Join(err, starts.Error()); err != nil {
		s.log.Debug("starts of notices not listed, asking again", "error", err)
		return
	}
	ends, err := kafka.Heed(ctx, func(ctx context.Context) (kadm.ListedOffsets, error) {
		return admin.ListCommittedOffsets(ctx, topic)
	})
	if err = errors.Join(err, ends.Error()); err != nil {
		s.log.Debug("ends of notices not listed, asking again", "error", err)
		return
	}
	for _, p := range parts {
		start, known := starts.Lookup(topic, p.ID)
		end, also := ends.Lookup(topic, p.ID)
		if known && also {
			s.desk.bound(p, start.Offset, end.Offset, s.now())
		}
	}
}
