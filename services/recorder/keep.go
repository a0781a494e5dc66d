package recorder

import (
	"context"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
)

const (
	// retainEvery is how often days are made and dropped.
	retainEvery = time.Hour
	// daysAhead are made before their time.
	daysAhead = 3 * 24 * time.Hour
	// retainTime bounds it: a server that hangs is asked again.
	retainTime = 10 * time.Minute
	// watchEvery is how often the lag is counted.
	watchEvery = 5 * time.Second
	// watchTime bounds counting it.
	watchTime = 5 * time.Second
)

// retain makes the partitions of the next days and drops what is older than the retention, unless another
// recorder is at it.
func (s *Service) retain(ctx context.Context) {
	if err := s.retainOnce(ctx); err != nil && ctx.Err() == nil {
		s.log.Warn("the history's retention has failed, it is tried again within the hour", "error", err)
	}
}

func (s *Service) retainOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, retainTime)
	defer cancel()
	store := s.store.Load()
	lock, ours, err := store.TryLock(ctx, "recorder.retention")
	if err != nil || !ours {
		return err
	}
	defer lock.Release()
	now := s.now()
	if err := store.Prepare(ctx, now, now.Add(daysAhead)); err != nil {
		return err
	}
	gone, err := store.Expire(ctx, now.Add(-s.cfg.Retention))
	if gone > 0 {
		s.log.Info("dropped old history", "before", now.Add(-s.cfg.Retention), "gone", gone)
	}
	return err
}

// watch counts the lag, and commits what an earlier commit left.
func (s *Service) watch(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, watchTime)
	defer cancel()
	if g := s.group.Load(); g != nil {
		if err := g.commit(ctx); err != nil {
			s.log.Debug("commit failed again", "error", err)
		}
	}
	n, err := s.count(ctx)
	if err != nil {
		s.log.Debug("lag not counted", "error", err)
		return
	}
	s.lag.Counted(n, s.now())
}

// count is how many records of the log no recorder has written.
func (s *Service) count(ctx context.Context) (int64, error) {
	_, behind, err := kafka.NewAdmin(s.client).Committed(ctx, groupName(s.cfg.Kafka), s.handler.read()...)
	return behind, err
}
