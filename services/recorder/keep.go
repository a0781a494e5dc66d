package recorder

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

const (
	// retainEvery is how often days are made and dropped.
	retainEvery = time.Hour
	// daysAhead are made before their time.
	daysAhead = 3 * 24 * time.Hour
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
	s.lag.counted(n, s.now())
}

// count is how many records of the log no recorder has written.
func (s *Service) count(ctx context.Context) (int64, error) {
	adm, topics := kadm.NewClient(s.client), s.handler.read()
	// First what is written: what comes meanwhile counts as not.
	commits, err := adm.FetchOffsets(ctx, groupName(s.cfg.Kafka))
	if err != nil {
		return 0, fmt.Errorf("commits of the recorders: %w", err)
	}
	starts, err := adm.ListStartOffsets(ctx, topics...)
	if err = errors.Join(err, starts.Error()); err != nil {
		return 0, fmt.Errorf("starts of topics: %w", err)
	}
	ends, err := adm.ListCommittedOffsets(ctx, topics...)
	if err = errors.Join(err, ends.Error()); err != nil {
		return 0, fmt.Errorf("ends of topics: %w", err)
	}
	var n int64
	ends.Each(func(end kadm.ListedOffset) {
		from := int64(0)
		if start, ok := starts.Lookup(end.Topic, end.Partition); ok {
			from = start.Offset
		}
		if commit, ok := commits.Lookup(end.Topic, end.Partition); ok {
			from = max(from, commit.At)
		}
		n += max(0, end.Offset-from)
	})
	return n, nil
}
