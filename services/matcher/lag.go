package matcher

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
)

const (
	// watchEvery is how often the lag is counted.
	watchEvery = 5 * time.Second
	// watchTime bounds counting it.
	watchTime = 5 * time.Second
)

// watch counts the lag until ctx ends.
func (s *Service) watch(ctx context.Context) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		if n, err := s.behind(ctx); err == nil {
			s.lag.Counted(n, s.now())
		} else if ctx.Err() == nil {
			s.log.Debug("lag not counted", "error", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// behind is how many events of the log no matcher has matched.
func (s *Service) behind(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, watchTime)
	defer cancel()
	_, n, err := kafka.NewAdmin(s.client).Committed(ctx, s.cfg.Kafka.TopicPrefix+name, s.topics.Events)
	return n, err
}

func oldest(records []*kgo.Record) (at time.Time) {
	for _, r := range records {
		if at.IsZero() || r.Timestamp.Before(at) {
			at = r.Timestamp
		}
	}
	return at
}
