package console

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/publish"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// Resent names the run that was started.
type Resent struct {
	ID    string `json:"id" format:"uuid" doc:"The delivery"`
	RunID string `json:"run_id" format:"uuid"`
}

// runs makes the ids of runs, each greater than those before it.
type runs struct {
	mu   sync.Mutex
	last string
}

// next is the id of a run that is started now, after the run that the history knows as the latest.
func (r *runs) next(known string, now time.Time) string {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never errs
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = max(delivery.NewRunID(known, now, random), delivery.NewRunID(r.last, now, random))
	return r.last
}

func (s *Service) resend(ctx context.Context, in *idInput) (*output[Resent], error) {
	row, err := s.delivery(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if err := s.resendable(ctx, row); err != nil {
		return nil, err
	}
	d, err := s.record(ctx, row)
	if err != nil {
		return nil, err
	}
	before, again := promised[output[Resent]](ctx)
	run := before.Body.Data.RunID
	if !again {
		run = s.runs.next(row.RunID, time.Now())
	}
	d = d.Again(run, causeAgain(row.Cause, delivery.CauseResend))
	out := reply(ctx, Resent{ID: d.ID, RunID: d.RunID})
	if _, started := delivery.RunStartedAt(row.RunID); again && started && row.RunID >= run { // the first run sorts anywhere
		return out, nil // it was written, and who did died before it could say so
	}
	answering(ctx, func() any { return out })
	about := sqlstore.Subject{Kind: sqlstore.KindDelivery, ID: d.ID, Tenant: d.Tenant}
	if err := s.noted(ctx, about, map[string]any{"run_id": d.RunID, "webhook_id": d.WebhookID}, func() error { return s.send(ctx, d) }); err != nil {
		return nil, err
	}
	s.log.Info("delivery is sent again", "delivery", d.ID, "run", d.RunID, "webhook", d.WebhookID, "key", callerOf(ctx).Key.ID)
	return out, nil
}

// resendable errs if there is nobody to send a delivery to.
func (s *Service) resendable(ctx context.Context, row history.Delivery) error {
	if row.Status == delivery.Capped {
		return conflict("capped", "nothing was made for the webhooks that were cut, so nothing can be sent again")
	}
	store, err := s.sql()
	if err != nil {
		return err
	}
	if _, err = store.Webhook(ctx, row.Tenant, row.WebhookID); errors.Is(err, sqlstore.ErrNotFound) {
		return conflict("webhook_deleted", "the webhook was deleted, so there is nobody to send it to")
	}
	return err
}

func conflict(code, detail string) *Problem {
	p := newProblem(http.StatusConflict, detail)
	p.Code = code
	return p
}

// send writes a delivery to its lane, and returns once all in-sync replicas have it.
func (s *Service) send(ctx context.Context, d delivery.Delivery) error {
	if s.cfg.Room != nil && s.cfg.Room() != nil {
		return publish.ErrNoRoom
	}
	r, err := wire.Delivery(s.topics.Deliveries, d)
	if err != nil {
		return err
	}
	written := make(chan error, 1)
	// The caller's context is not the record's: it would take others of its batch along.
	s.publisher.Writer().Produce(context.WithoutCancel(ctx), r, func(_ *kgo.Record, err error) { written <- err })
	select {
	case err = <-written:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		s.seldom.Error(ctx, s.log, "run not written", "delivery", d.ID, "run", d.RunID, "error", err)
		return newProblem(http.StatusServiceUnavailable,
			"the log did not answer in time; look at the delivery before you try again, for it may be on its way")
	}
	return nil
}
