package sqlhistory

import "github.com/doorstep-dev/doorstep/pkg/history"

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

// SuspendedStatement is what Suspended runs.
func (s *Store) SuspendedStatement(f SuspendedFilter, after history.Delivery, limit int) Statement {
	text, args := s.suspendedQuery(f, after, limit)
	return Statement{text, args}
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
