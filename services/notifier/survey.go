package notifier

import (
	"context"

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
	topic := s.topics.Notices
	starts, ends, err := kafka.NewAdmin(s.lanes.Client()).Bounds(ctx, topic)
	if err != nil {
		s.log.Debug("bounds of notices not known, asking again", "error", err)
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
