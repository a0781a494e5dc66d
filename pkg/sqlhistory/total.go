package sqlhistory

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// MaxLookedAt is how many rows, the newest of those that an index finds, are looked at to count a list.
const MaxLookedAt = 20_000

// Total is how many rows a list has. If there may be more, because not all were looked at, it says so.
type Total struct {
	Rows int
	More bool
}

// DeliveriesTotal counts the deliveries of a list.
func (s *Store) DeliveriesTotal(ctx context.Context, f DeliveryFilter) (Total, error) {
	return s.deliveriesTotal(ctx, f, MaxLookedAt)
}

func (s *Store) deliveriesTotal(ctx context.Context, f DeliveryFilter, most int) (Total, error) {
	statement, args, err := s.deliveriesTotalQuery(f, most)
	if err != nil {
		return Total{}, err
	}
	return s.total(ctx, "deliveries", most, statement, args)
}

// EventsTotal counts the events of a list.
func (s *Store) EventsTotal(ctx context.Context, f EventFilter) (Total, error) {
	statement, args, err := s.eventsTotalQuery(f, MaxLookedAt)
	if err != nil {
		return Total{}, err
	}
	return s.total(ctx, "events", MaxLookedAt, statement, args)
}

// MailsTotal counts the mails of a list.
func (s *Store) MailsTotal(ctx context.Context, f MailFilter) (Total, error) {
	statement, args, err := s.mailsTotalQuery(f, MaxLookedAt)
	if err != nil {
		return Total{}, err
	}
	return s.total(ctx, "mails", MaxLookedAt, statement, args)
}

func (s *Store) total(ctx context.Context, of string, most int, statement string, args []any) (Total, error) {
	var looked, rows int
	_, err := sqldb.One(ctx, s.Read, func(row sqldb.Scanner) (int, error) { return rows, row.Scan(&looked, &rows) }, statement, s.planned(args)...)
	if err != nil {
		return Total{}, fmt.Errorf("count %s: %w", of, err)
	}
	return Total{Rows: rows, More: looked > most}, nil
}

// deliveriesTotalQuery looks at what the filter's index finds, and counts what the rest of the filter leaves of it.
func (s *Store) deliveriesTotalQuery(f DeliveryFilter, most int) (statement string, args []any, err error) {
	found := DeliveryFilter{Tenant: f.Tenant, From: f.From, To: f.To}
	rare := len(f.Statuses) > 0 && !slices.Contains(f.Statuses, delivery.Delivered)
	switch deliveryIndex(f, rare) {
	case "deliveries_event":
		found.EventID = f.EventID
	case "deliveries_reference":
		found.ExternalReference = f.ExternalReference
	case "deliveries_webhook_status":
		found.WebhookID, found.Statuses = f.WebhookID, f.Statuses
	case "deliveries_webhook":
		found.WebhookID = f.WebhookID
	case "deliveries_status":
		found.Statuses = f.Statuses
	case "deliveries_type":
		found.EventType = f.EventType
	}
	if statement, args, err = s.deliveriesQuery(found, Page{Limit: most}); err != nil {
		return "", nil, err
	}
	q := &query{args: args}
	q.equal("webhook_id", f.WebhookID)
	q.equal("event_id", f.EventID)
	q.equal("event_type", f.EventType)
	q.equal("external_reference", f.ExternalReference)
	q.among("status", f.Statuses)
	return q.counted(statement), q.args, nil
}

func (s *Store) eventsTotalQuery(f EventFilter, most int) (statement string, args []any, err error) {
	found := EventFilter{Tenant: f.Tenant, From: f.From, To: f.To}
	switch eventIndex(f) {
	case "events_id":
		found.ID = f.ID
	case "events_reference":
		found.ExternalReference = f.ExternalReference
	case "events_type":
		found.Type = f.Type
	}
	if statement, args, err = s.eventsQuery(found, Page{Limit: most}); err != nil {
		return "", nil, err
	}
	q := &query{args: args}
	q.equal("id", f.ID)
	q.equal("type", f.Type)
	q.equal("external_reference", f.ExternalReference)
	return q.counted(statement), q.args, nil
}

func (s *Store) mailsTotalQuery(f MailFilter, most int) (statement string, args []any, err error) {
	if statement, args, err = s.mailsQuery(f, Page{Limit: most}); err != nil {
		return "", nil, err
	}
	return (&query{}).counted(statement), args, nil
}

// counted counts the rows of a statement, and those that the terms leave.
func (q *query) counted(statement string) string {
	rows := "count(*)"
	if len(q.terms) > 0 {
		rows = "count(CASE WHEN " + strings.Join(q.terms, " AND ") + " THEN 1 END)"
	}
	return "SELECT count(*), " + rows + " FROM (" + statement + ") AS seen"
}
