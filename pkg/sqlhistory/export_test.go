package sqlhistory

import (
	"context"

	"github.com/doorstep-dev/doorstep/pkg/history"
)

// Statement is what a read runs.
type Statement struct {
	SQL  string
	Args []any
}

// DeliveriesStatement is what Deliveries runs for the rows themselves.
func (s *Store) DeliveriesStatement(f DeliveryFilter, p Page) (Statement, error) {
	text, args, err := s.deliveriesQuery(f, p)
	return Statement{text, args}, err
}

// EventsStatement is what Events runs.
func (s *Store) EventsStatement(f EventFilter, p Page) (Statement, error) {
	text, args, err := s.eventsQuery(f, p)
	return Statement{text, args}, err
}

// MailsStatement is what Mails runs.
func (s *Store) MailsStatement(f MailFilter, p Page) (Statement, error) {
	text, args, err := s.mailsQuery(f, p)
	return Statement{text, args}, err
}

// OfWebhookStatement is what OfWebhook runs.
func (s *Store) OfWebhookStatement(f WebhookFilter, after history.Delivery, limit int) Statement {
	text, args := s.ofWebhookQuery(f, after, limit)
	return Statement{text, args}
}

// TypeCountsStatement is what TypeCounts runs.
func (s *Store) TypeCountsStatement(f WebhookFilter) Statement {
	text, args := s.typeCountsQuery(f)
	return Statement{text, args}
}

// fewLookedAt are so few of the rows of a test as MaxLookedAt are of a history's.
const fewLookedAt = 50

// DeliveriesTotalStatement is what DeliveriesTotal runs, over fewer rows.
func (s *Store) DeliveriesTotalStatement(f DeliveryFilter) (Statement, error) {
	text, args, err := s.deliveriesTotalQuery(f, fewLookedAt)
	return Statement{text, args}, err
}

// EventsTotalStatement is what EventsTotal runs, over fewer rows.
func (s *Store) EventsTotalStatement(f EventFilter) (Statement, error) {
	text, args, err := s.eventsTotalQuery(f, fewLookedAt)
	return Statement{text, args}, err
}

// MailsTotalStatement is what MailsTotal runs, over fewer rows.
func (s *Store) MailsTotalStatement(f MailFilter) (Statement, error) {
	text, args, err := s.mailsTotalQuery(f, fewLookedAt)
	return Statement{text, args}, err
}

// DeliveriesTotalOf is DeliveriesTotal that looks at most rows at most.
func (s *Store) DeliveriesTotalOf(ctx context.Context, f DeliveryFilter, most int) (Total, error) {
	return s.deliveriesTotal(ctx, f, most)
}

// Lookups are what the other reads run, with values that no row has.
func (s *Store) Lookups() map[string]Statement {
	ids := s.list([]string{"none"})
	all := map[string]Statement{
		"delivery":         {s.deliveryQuery(), []any{"none", "nobody"}},
		"attempts":         {attemptsQuery, []any{int64(1), "none"}},
		"event":            {s.eventQuery(), []any{"nobody", "none"}},
		"condition errors": {s.conditionErrorsQuery(), []any{"nobody", "none"}},
		"activities":       {s.activitiesQuery(), []any{ids}},
		"suspended counts": {s.suspendedCountsQuery(), []any{ids, int64(1)}},
		"waiting":          {s.waitingQuery(), []any{"none", int64(5)}},
		"expiring":         {s.expiringQuery(), []any{int64(1), int64(2), int64(3)}},
		"mail":             {mailQuery, []any{"none", "nobody"}},
		"notices":          {s.noticesQuery(), []any{ids}},
		"notices of":       {noticesOfQuery, []any{"none", "nobody", int64(5)}},
		"mailed at":        {s.mailedAtQuery(), []any{ids}},
		"walk":             {walkQuery, []any{"nobody", int64(1), "none", int64(1), int64(500)}},
		"stored":           {storedQuery, []any{"nobody", int64(1), "none"}},
	}
	for name, l := range map[string]lookup{
		"last posts":         {columns: lastPostKey, statement: lastPost, keys: [][]any{{int64(1), "none"}}},
		"missing deliveries": {columns: deliveryKey, statement: storedDelivery, keys: [][]any{{"nobody", int64(1), "none"}}},
		"missing attempts": {columns: attemptKey, statement: storedAttempt, keys: [][]any{
			{int64(1), "none", int64(1), "none", int64(1), "post"},
		}},
		"missing events": {columns: eventKey, statement: storedEvent, keys: [][]any{{"nobody", int64(1), "none", "none", int64(1), int64(1)}}},
	} {
		if s.Postgres() {
			all[name] = Statement{l.lateral(), l.arrays()}
		} else {
			all[name] = Statement{l.single(), append(l.keys[0], int64(0))}
		}
	}
	return all
}
