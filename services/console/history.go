package console

import (
	"context"
	"net/http"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// historyTimeout bounds how long a webhook waits for what the history knows of it.
const historyTimeout = time.Second

// keepHistory opens the history, as soon as its database answers, for as long as the console runs. Nothing
// but its own routes waits for it.
func (s *Service) keepHistory(ctx context.Context) error {
	if s.cfg.History.PostgresURL == "" && s.cfg.History.SQLitePath == "" {
		close(s.historyTried)
		return nil
	}
	store := s.openHistory(ctx)
	if store == nil {
		return nil
	}
	s.historyStore.Store(store)
	<-ctx.Done()
	if err := store.Close(); err != nil {
		s.log.Warn("close the history", "error", err)
	}
	return nil
}

// openHistory tries until it is open; it returns nil if ctx ends first.
func (s *Service) openHistory(ctx context.Context) *sqlhistory.Store {
	for try := 1; ; try++ {
		store, err := sqlhistory.Open(ctx, s.cfg.History, s.log)
		if try == 1 {
			close(s.historyTried)
		}
		if err == nil {
			return store
		}
		if ctx.Err() == nil {
			s.seldom.Warn(ctx, s.log, "waiting for the history; trying again", "error", err)
		}
		if !wait(ctx, time.Second, nil) {
			return nil
		}
	}
}

// history is the store of what has happened, or the problem that there is none yet.
func (s *Service) history() (*sqlhistory.Store, error) {
	if store := s.historyStore.Load(); store != nil {
		return store, nil
	}
	return nil, newProblem(http.StatusServiceUnavailable, "the history cannot be reached yet; try again")
}

// past is what the history knows of webhooks, by id. The zero value knows nothing.
type past struct {
	known      bool
	activities map[string]history.Activity
	suspended  map[string]int
	mailed     map[string]sqlhistory.Mailed
	conditions map[string]history.ConditionErrors
}

// pastOf asks the history. A webhook is shown without, if it does not answer.
func (s *Service) pastOf(ctx context.Context, webhooks []webhook.Webhook) past {
	store, err := s.history()
	if err != nil || len(webhooks) == 0 {
		return past{}
	}
	ids, conditions := make([]string, len(webhooks)), map[string]string{}
	for i, w := range webhooks {
		if ids[i] = w.ID; w.Condition != "" {
			conditions[w.ID] = webhook.ConditionKey(w.Condition)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, historyTimeout)
	defer cancel()
	p := past{known: true}
	if p.activities, err = store.Activities(ctx, ids); err == nil {
		p.suspended, err = store.SuspendedCounts(ctx, ids, time.Now().Add(-kafka.SuspendedRetention))
	}
	if err == nil {
		p.mailed, err = store.MailedAt(ctx, ids)
	}
	if err == nil && len(conditions) > 0 {
		p.conditions, err = store.ConditionErrorsOf(ctx, conditions)
	}
	if err != nil {
		s.seldom.Warn(ctx, s.log, "webhooks shown without their history", "error", err)
		return past{}
	}
	return p
}

// over is a webhook's view, which shows a state, with what the history knows of it.
func (p past) over(v Webhook, shown failure.State) Webhook {
	if !p.known {
		return v
	}
	a := p.activities[v.ID]
	v.LastTriggeredAt = orNull(later(orZero(v.LastTriggeredAt), a.LastTriggeredAt))
	v.LastSuccessAt = orNull(later(orZero(v.LastSuccessAt), a.LastSuccessAt))
	v.SuspendedCount = new(p.suspended[v.ID])
	errors := p.conditions[v.ID]
	v.ConditionErrors = &ConditionErrors{Count: errors.Count, LastError: errors.LastError, LastAt: orNull(errors.LastAt)}
	warned, disabled := mailedOf(shown, p.mailed[v.ID])
	v.MailedWarningAt, v.MailedDisabledAt = orNull(warned), orNull(disabled)
	return v
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}
