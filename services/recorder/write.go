package recorder

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// take writes what records say, and what was held before, but for what is held now, and quarantines what cannot be
// read or written. It errs if ctx ends while SQL is away. What is under way ends with work, which outlives ctx.
func (s *Service) take(ctx, work context.Context, records []*kgo.Record, held *hold) error {
	batch, readable, faults := s.handler.rows(records)
	for _, f := range faults {
		s.quarantine(f.record, f.reason)
	}
	now := s.now()
	readable = held.exchange(&batch, readable, readUpTo(records, s.topics().Attempts, now), now)
	refused, err := s.write(ctx, work, &batch, readable)
	if err != nil {
		return err
	}
	if refused+len(faults) > 0 {
		flush, cancel := context.WithTimeout(work, commitTime)
		defer cancel()
		if err := s.writer.Flush(flush); err != nil {
			s.log.Error("quarantined records are not all written", "error", err)
		}
	}
	return nil
}

// write writes a batch, which is what records say, and returns how many of them SQL refused. If it refuses the
// batch, the halves are tried, until what it refuses stands alone.
func (s *Service) write(ctx, work context.Context, batch *history.Batch, records []*kgo.Record) (refused int, err error) {
	if batch.Empty() {
		return 0, nil
	}
	err = s.persist(ctx, work, batch)
	if !sqldb.Refused(err) {
		return 0, err
	}
	if len(records) == 1 {
		s.quarantine(records[0], err)
		return 1, nil
	}
	s.log.Warn("SQL refuses a batch, trying its halves", "records", len(records), "error", err)
	half := len(records) / 2
	for _, part := range [][]*kgo.Record{records[:half], records[half:]} {
		rows, readable, _ := s.handler.rows(part)
		n, err := s.write(ctx, work, &rows, readable)
		refused += n
		if err != nil {
			return refused, err
		}
	}
	return refused, nil
}

// persist writes a batch, again and again until SQL takes it or refuses it for good. It errs if it is
// refused, or ctx ends.
func (s *Service) persist(ctx, work context.Context, batch *history.Batch) error {
	s.busy.Store(s.now().UnixNano())
	defer s.busy.Store(0)
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		err := s.try(work, batch)
		if err == nil || sqldb.Refused(err) {
			if wait > firstWait {
				s.log.Info("SQL answers again")
			}
			return err
		}
		s.metrics.retries.Inc()
		s.seldom.Warn(ctx, s.log, "SQL does not take the batch in hand; trying again, nothing is read meanwhile", "error", err)
		if !pause(ctx, wait) {
			return context.Cause(ctx)
		}
	}
}

func (s *Service) try(work context.Context, batch *history.Batch) error {
	ctx, cancel := context.WithTimeout(work, writeTime)
	defer cancel()
	began := time.Now()
	if err := s.store.Load().Record(ctx, batch); err != nil {
		return err
	}
	s.metrics.batch.Observe(time.Since(began).Seconds())
	s.metrics.wrote(batch)
	return nil
}

// quarantine keeps a record that has no rows. One that is itself of the quarantine is only told of, else it
// would come back for ever.
func (s *Service) quarantine(r *kgo.Record, reason error) {
	if r.Topic == s.topics().Quarantine {
		_, _ = s.keep.Record(r, reason) // which logs and counts it
		return
	}
	s.keep.Write(s.writer, r, reason)
}
