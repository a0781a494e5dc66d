package sqlhistory

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// Delivery is the tenant's delivery of that id. It errs with sqldb.ErrNotFound, also for another tenant's.
// An event that was matched twice, because its producer sent it again a day later, has two rows of one
// delivery: this is the later one.
func (s *Store) Delivery(ctx context.Context, tenant, id string) (history.Delivery, error) {
	rows, err := sqldb.All(ctx, s.Read, scanDelivery, s.deliveryQuery(), text(id), text(tenant))
	if err == nil && len(rows) == 0 {
		err = sqldb.ErrNotFound
	}
	if err != nil {
		return history.Delivery{}, fmt.Errorf("delivery %s: %w", id, err)
	}
	return rows[0], nil
}

// deliveryQuery has no LIMIT: rows of an id are one or two, and PostgreSQL might else look for the first of
// them along the tenant's.
func (s *Store) deliveryQuery() string {
	return "SELECT " + deliveryColumns + " FROM deliveries" + s.indexed("deliveries_id") + " WHERE id = $1 AND tenant = $2 ORDER BY received_at DESC"
}

// Attempts are the attempts of every run of a delivery, and the decisions, by StartedAt.
func (s *Store) Attempts(ctx context.Context, d history.Delivery) ([]history.Attempt, error) {
	rows, err := sqldb.All(ctx, s.Read, scanAttempt, attemptsQuery, sqldb.Nanos(d.ReceivedAt), text(d.ID))
	if err != nil {
		return nil, fmt.Errorf("attempts of delivery %s: %w", d.ID, err)
	}
	return rows, nil
}

const attemptsQuery = "SELECT " + attemptColumns +
	" FROM attempts WHERE received_at = $1 AND delivery_id = $2 ORDER BY started_at, run_id, attempt, kind"

// Event is the tenant's event of that id, the earliest if its producer sent it again. It errs with
// sqldb.ErrNotFound, also for another tenant's.
func (s *Store) Event(ctx context.Context, tenant, id string) (history.Event, error) {
	e, err := sqldb.One(ctx, s.Read, scanEvent, s.eventQuery(), text(tenant), text(id))
	if err != nil {
		return history.Event{}, fmt.Errorf("event %s: %w", id, err)
	}
	return e, nil
}

func (s *Store) eventQuery() string {
	return "SELECT " + eventColumns + " FROM events" + s.indexed("events_id") +
		" WHERE tenant = $1 AND id = $2 ORDER BY received_at, log_topic, log_partition, log_offset LIMIT 1"
}

// ConditionErrors are the webhooks whose condition could not be evaluated for an event, which so got no
// delivery, as the matcher said it.
func (s *Store) ConditionErrors(ctx context.Context, tenant, eventID string) ([]history.Attempt, error) {
	rows, err := sqldb.All(ctx, s.Read, scanAttempt, s.conditionErrorsQuery(), text(tenant), text(eventID))
	if err != nil {
		return nil, fmt.Errorf("condition errors of event %s: %w", eventID, err)
	}
	return rows, nil
}

func (s *Store) conditionErrorsQuery() string {
	return "SELECT " + attemptColumns + " FROM attempts" + s.indexed("attempts_of_event") +
		" WHERE tenant = $1 AND event_id = $2 AND kind = 'condition_error' ORDER BY received_at, webhook_id, started_at"
}

// ConditionErrorsOf is how often the conditions of these webhooks could not be evaluated, each condition by the key that
// webhooks have it under (webhook.ConditionKey); those that never failed are absent.
func (s *Store) ConditionErrorsOf(ctx context.Context, conditions map[string]string) (map[string]history.ConditionErrors, error) {
	rows, err := sqldb.All(ctx, s.Read, func(row sqldb.Scanner) (c history.ConditionErrors, err error) {
		err = row.Scan(&c.WebhookID, &c.Condition, &c.Counter, &c.Tenant, &c.Count, &c.LastError, sqldb.Stamp{T: &c.LastAt})
		return c, err
	}, s.conditionErrorsOfQuery(), s.list(slices.Collect(maps.Keys(conditions))))
	if err != nil {
		return nil, fmt.Errorf("condition errors of %d webhooks: %w", len(conditions), err)
	}
	out := map[string]history.ConditionErrors{}
	for _, c := range rows {
		if conditions[c.WebhookID] != c.Condition {
			continue // of a condition that it had before
		}
		all := out[c.WebhookID]
		if c.LastAt.Before(all.LastAt) {
			c.LastAt, c.LastError = all.LastAt, all.LastError
		}
		c.Count += all.Count
		out[c.WebhookID] = c
	}
	return out, nil
}

func (s *Store) conditionErrorsOfQuery() string {
	return "SELECT " + conditionErrorColumns + " FROM webhook_condition_errors WHERE webhook_id " + s.among()
}

// Activities are when these webhooks were last sent to, by webhook; those never sent to are absent.
func (s *Store) Activities(ctx context.Context, webhookIDs []string) (map[string]history.Activity, error) {
	rows, err := sqldb.All(ctx, s.Read, func(row sqldb.Scanner) (a history.Activity, err error) {
		err = row.Scan(&a.WebhookID, &a.Tenant, sqldb.Stamp{T: &a.LastTriggeredAt}, sqldb.Stamp{T: &a.LastSuccessAt})
		return a, err
	}, s.activitiesQuery(), s.list(webhookIDs))
	if err != nil {
		return nil, fmt.Errorf("activities of %d webhooks: %w", len(webhookIDs), err)
	}
	out := make(map[string]history.Activity, len(rows))
	for _, a := range rows {
		out[a.WebhookID] = a
	}
	return out, nil
}

func (s *Store) activitiesQuery() string {
	return "SELECT webhook_id, tenant, last_triggered_at, last_success_at FROM webhook_activity WHERE webhook_id " + s.among()
}

// among is the condition of a column to be in the list $1, a value that list makes.
func (s *Store) among() string { return s.amongPlace("$1") }

// amongPlace is among for another placeholder.
func (s *Store) amongPlace(place string) string {
	if s.Postgres() {
		return "= ANY(" + place + ")"
	}
	return "IN (SELECT value FROM json_each(" + place + "))"
}

func (s *Store) list(ids []string) any {
	stored := make([]string, len(ids))
	for i, id := range ids {
		stored[i] = text(id)
	}
	if s.Postgres() {
		return stored
	}
	return sqldb.AsJSON(stored)
}
