package console

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

const (
	expiryLock = "expiry"
	// expiryEvery is how often it is looked for what expires; sooner where a look failed.
	expiryEvery   = time.Hour
	expiryRetry   = time.Minute
	expiryTimeout = time.Minute
	// expiryWarning is how long before suspended deliveries expire administrators are told.
	expiryWarning = 7 * 24 * time.Hour
	// jobsKept is for how long finished jobs are listed.
	jobsKept = 30 * 24 * time.Hour
)

// expiresAt is when the payload of a delivery expires that was suspended then.
func expiresAt(suspendedAt time.Time) time.Time { return suspendedAt.Add(kafka.SuspendedRetention) }

// keepExpiry tells administrators what expires, and drops old jobs, until ctx ends.
func (s *Service) keepExpiry(ctx context.Context) {
	for {
		pause := expiryEvery
		if _, err := s.history(); err != nil {
			pause = expiryRetry
		} else if err := s.tellExpiry(ctx, time.Now()); err != nil {
			if ctx.Err() != nil {
				return
			}
			s.log.Warn("suspended deliveries that expire were not told; trying again", "error", err)
			pause = expiryRetry
		}
		if !wait(ctx, pause, nil) {
			return
		}
	}
}

// suspendedEvery is how often suspended deliveries are counted, suspendedTime what that may take.
const (
	suspendedEvery = time.Minute
	suspendedTime  = 10 * time.Second
)

// keepSuspended counts what is suspended, for the metric, until ctx ends.
func (s *Service) keepSuspended(ctx context.Context) {
	for {
		pause := suspendedEvery
		if hist, err := s.history(); err != nil {
			pause = time.Second // it is being opened
		} else if err := s.countSuspended(ctx, hist); err != nil && ctx.Err() == nil {
			s.log.Debug("suspended deliveries not counted", "error", err)
		}
		if !wait(ctx, pause, nil) {
			return
		}
	}
}

func (s *Service) countSuspended(ctx context.Context, hist *sqlhistory.Store) error {
	ctx, cancel := context.WithTimeout(ctx, suspendedTime)
	defer cancel()
	n, err := hist.Suspended(ctx, time.Now().Add(-kafka.SuspendedRetention))
	if err == nil {
		s.suspended.Set(float64(n))
	}
	return err
}

// tellExpiry writes a notice for every webhook and week of which suspended deliveries begin to expire within
// the warning time, unless the history has that notice. Several consoles that come to it at once tell the same: a
// notice's id is worked out from webhook and week, and its mails are sent once.
func (s *Service) tellExpiry(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, expiryTimeout)
	defer cancel()
	store, err := s.sql()
	if err != nil {
		return err
	}
	lock, held, err := store.TryLock(ctx, expiryLock)
	if err != nil || !held {
		return err
	}
	defer lock.Release()
	if err := store.DeleteFinishedJobs(ctx, now.Add(-jobsKept)); err != nil {
		return err
	}
	hist, err := s.history()
	if err != nil {
		return err
	}
	// A week in whole, so that the one notice of it counts all: its last delivery expires within a week of its first.
	found, err := hist.Expiring(ctx, kafka.SuspendedRetention, now, now.Add(2*expiryWarning))
	if err != nil {
		return err
	}
	notices := expiryNotices(found, now)
	if notices, err = s.untold(ctx, store, hist, notices); err != nil {
		return err
	}
	return s.raise(ctx, notices)
}

// expiryNotices are the notices of what begins to expire within the warning time. Their generation is not known yet.
func expiryNotices(found []sqlhistory.Expiring, now time.Time) (notices []failure.Notice) {
	for _, e := range found {
		if e.First.After(now.Add(expiryWarning)) {
			continue
		}
		notices = append(notices, failure.Notice{
			ID: failure.ExpiryID(e.WebhookID, e.Week), Kind: failure.NoticeExpiry, Tenant: e.Tenant, WebhookID: e.WebhookID,
			RaisedAt: now.UTC(), Expiring: e.Count, ExpiresAt: e.First,
		})
	}
	return notices
}

// untold are the notices that the history does not have, of webhooks that there still are: what was suspended of
// another cannot be released.
func (s *Service) untold(ctx context.Context, store *sqlstore.Store, hist *sqlhistory.Store, notices []failure.Notice) ([]failure.Notice, error) {
	ids := make([]string, len(notices))
	for i, n := range notices {
		ids[i] = n.ID
	}
	told, err := hist.Notices(ctx, ids)
	if err != nil {
		return nil, err
	}
	var untold []failure.Notice
	for _, n := range notices {
		if told[n.ID] {
			continue
		}
		w, err := store.Webhook(ctx, n.Tenant, n.WebhookID)
		if errors.Is(err, sqlstore.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		n.Generation = w.Generation
		untold = append(untold, n)
	}
	return untold, nil
}

// raise writes notices to the log.
func (s *Service) raise(ctx context.Context, notices []failure.Notice) error {
	records := make([]*kgo.Record, len(notices))
	for i, n := range notices {
		r, err := wire.Notice(s.topics.Notices, n)
		if err != nil {
			return fmt.Errorf("notice %s of webhook %s: %w", n.ID, n.WebhookID, err)
		}
		records[i] = r
	}
	// The context is not the records': it would take others of their batch along.
	if err := s.publisher.Writer().ProduceSync(context.WithoutCancel(ctx), records...).FirstErr(); err != nil {
		return fmt.Errorf("write %d notices: %w", len(notices), err)
	}
	for _, n := range notices {
		s.log.Info("administrators are told that suspended deliveries expire", "notice", n.ID, "webhook", n.WebhookID, "expiring", n.Expiring, "expires_at", n.ExpiresAt)
	}
	return nil
}
