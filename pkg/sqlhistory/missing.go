package sqlhistory

import (
	"context"
	"fmt"

	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// MissingDeliveries are those of the rows that are not stored, or whose stored row does not cover them: it is
// behind.
func (s *Store) MissingDeliveries(ctx context.Context, rows []history.Delivery) ([]history.Delivery, error) {
	covered := make([]bool, len(rows))
	keys := make([][]any, len(rows))
	for i, d := range rows {
		keys[i] = []any{text(d.Tenant), sqldb.Nanos(d.ReceivedAt), text(d.ID)}
	}
	err := s.lookUp(ctx, lookup{deliveryKey, storedDelivery, keys, func(row sqldb.Scanner) error {
		var (
			d  history.Delivery
			at int
		)
		if err := row.Scan(append(deliveryTargets(&d), &at)...); err != nil {
			return err
		}
		covered[at] = d.Covers(rows[at])
		return nil
	}})
	if err != nil {
		return nil, fmt.Errorf("look for %d deliveries: %w", len(rows), err)
	}
	return others(rows, covered), nil
}

var deliveryKey = []string{"tenant", "received_at", "id"}

const storedDelivery = "SELECT " + deliveryColumns + " FROM deliveries WHERE tenant = key.tenant AND received_at = key.received_at AND id = key.id"

// MissingAttempts are those of the rows that are not stored.
func (s *Store) MissingAttempts(ctx context.Context, rows []history.Attempt) ([]history.Attempt, error) {
	keys := make([][]any, len(rows))
	for i, a := range rows {
		keys[i] = []any{
			sqldb.Nanos(a.ReceivedAt), text(a.DeliveryID), sqldb.Nanos(a.StartedAt), text(a.RunID), int64(a.Attempt.Attempt), text(a.Kind),
		}
	}
	stored, err := s.stored(ctx, attemptKey, storedAttempt, keys)
	if err != nil {
		return nil, fmt.Errorf("look for %d attempts: %w", len(rows), err)
	}
	return others(rows, stored), nil
}

var attemptKey = []string{"received_at", "delivery_id", "started_at", "run_id", "attempt", "kind"}

const storedAttempt = `SELECT received_at FROM attempts WHERE received_at = key.received_at AND delivery_id = key.delivery_id
	AND started_at = key.started_at AND run_id = key.run_id AND attempt = key.attempt AND kind = key.kind`

// MissingEvents are those of the rows that are not stored.
func (s *Store) MissingEvents(ctx context.Context, rows []history.Event) ([]history.Event, error) {
	keys := make([][]any, len(rows))
	for i, e := range rows {
		keys[i] = []any{
			text(e.Tenant), sqldb.Nanos(e.ReceivedAt), text(e.ID), text(e.Position.Topic), int64(e.Position.Partition), e.Position.Offset,
		}
	}
	stored, err := s.stored(ctx, eventKey, storedEvent, keys)
	if err != nil {
		return nil, fmt.Errorf("look for %d events: %w", len(rows), err)
	}
	return others(rows, stored), nil
}

var eventKey = []string{"tenant", "received_at", "id", "log_topic", "log_partition", "log_offset"}

const storedEvent = `SELECT received_at FROM events WHERE tenant = key.tenant AND received_at = key.received_at AND id = key.id
	AND log_topic = key.log_topic AND log_partition = key.log_partition AND log_offset = key.log_offset`

// stored says for each key whether there is a row. The statement selects one column.
func (s *Store) stored(ctx context.Context, columns []string, statement string, keys [][]any) ([]bool, error) {
	is := make([]bool, len(keys))
	return is, s.lookUp(ctx, lookup{columns, statement, keys, func(row sqldb.Scanner) error {
		var (
			column any
			at     int
		)
		err := row.Scan(&column, &at)
		if err == nil {
			is[at] = true
		}
		return err
	}})
}

// others are the rows that are not among the found ones.
func others[T any](rows []T, found []bool) []T {
	var out []T
	for i, row := range rows {
		if !found[i] {
			out = append(out, row)
		}
	}
	return out
}
