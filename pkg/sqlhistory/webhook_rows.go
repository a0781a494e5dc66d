package sqlhistory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// WebhookFilter says which deliveries of a webhook OfWebhook reads. Fields but the first three do not filter where
// they are empty.
type WebhookFilter struct {
	Tenant    string          // required
	WebhookID string          // required
	Status    delivery.Status // required; not delivered, which the index leaves out
	From, To  time.Time       // of the row's UpdatedAt, when it came to its status: from inclusive, to exclusive
	Reason    delivery.SuspendReason
	IDs       []string
}

// OfWebhook reads the deliveries of a webhook that have a status now, in the order of ReceivedAt and id: up to limit
// of those behind after, of which the zero row is before all.
func (s *Store) OfWebhook(ctx context.Context, f WebhookFilter, after history.Delivery, limit int) ([]history.Delivery, error) {
	statement, args := s.ofWebhookQuery(f, after, limit)
	rows, err := sqldb.All(ctx, s.Read, scanDelivery, statement, s.planned(args)...)
	if err != nil {
		return nil, fmt.Errorf("read %s deliveries of webhook %s: %w", f.Status, f.WebhookID, err)
	}
	return slices.DeleteFunc(rows, func(d history.Delivery) bool { return d.Tenant != text(f.Tenant) }), nil
}

// ofWebhookQuery leaves out the tenant, for a webhook's deliveries are all of one, and what follows from the status:
// each more condition makes PostgreSQL expect fewer rows, until it sorts all of the webhook's for every page.
func (s *Store) ofWebhookQuery(f WebhookFilter, after history.Delivery, limit int) (statement string, args []any) {
	q := &query{page: Page{Ascending: true}, columns: deliveryColumns, table: "deliveries", order: deliveryOrder}
	index := s.whereOfWebhook(q, f)
	if after.ID != "" {
		q.beyond(sqldb.Nanos(after.ReceivedAt), text(after.ID))
	}
	q.max = q.place(int64(limit))
	return q.selected(s.indexed(index)), q.args
}

// whereOfWebhook adds the conditions of a filter, and names the index that serves them.
func (s *Store) whereOfWebhook(q *query, f WebhookFilter) (index string) {
	index = "deliveries_webhook_status"
	if len(f.IDs) > 0 {
		index = "deliveries_id"
		q.and("id " + s.amongPlace(q.place(s.list(f.IDs))))
	}
	q.and("webhook_id = ?", text(f.WebhookID))
	q.and("status = " + literal(f.Status))
	if !s.Postgres() {
		q.and("status <> 'delivered'") // the condition of the partial index, word for word
	}
	if !f.From.IsZero() {
		q.and("updated_at >= ?", sqldb.Nanos(f.From))
	}
	if !f.To.IsZero() {
		q.and("updated_at < ?", sqldb.Nanos(f.To))
	}
	if f.Reason != "" {
		q.and("suspend_reason = ?", text(f.Reason))
	}
	return index
}

// literal is a status as it stands in a statement, where a planner can see which rows it is of; one that is not
// known is that of no row.
func literal(s delivery.Status) string {
	switch s {
	case delivery.Pending, delivery.Retrying, delivery.Exhausted, delivery.Suspended, delivery.Cancelled, delivery.Discarded, delivery.Capped:
		return "'" + string(s) + "'"
	case delivery.Delivered:
	}
	return "''"
}

// TypeCounts are how many deliveries a filter holds, by event type.
func (s *Store) TypeCounts(ctx context.Context, f WebhookFilter) (map[string]int64, error) {
	type count struct {
		eventType string
		n         int64
	}
	statement, args := s.typeCountsQuery(f)
	rows, err := sqldb.All(ctx, s.Read, func(row sqldb.Scanner) (c count, err error) {
		err = row.Scan(&c.eventType, &c.n)
		return c, err
	}, statement, s.planned(args)...)
	if err != nil {
		return nil, fmt.Errorf("count %s deliveries of webhook %s: %w", f.Status, f.WebhookID, err)
	}
	out := make(map[string]int64, len(rows))
	for _, c := range rows {
		out[c.eventType] = c.n
	}
	return out, nil
}

func (s *Store) typeCountsQuery(f WebhookFilter) (statement string, args []any) {
	q := &query{table: "deliveries"}
	index := s.whereOfWebhook(q, f)
	return "SELECT event_type, count(*) FROM deliveries" + s.indexed(index) + " WHERE " + strings.Join(q.terms, " AND ") +
		" GROUP BY event_type", q.args
}

// Waiting is how many deliveries of a webhook are pending, which no attempt has been made of in their run, counted
// up to limit.
func (s *Store) Waiting(ctx context.Context, webhookID string, limit int) (n int, err error) {
	err = s.Read.QueryRowContext(ctx, s.waitingQuery(), text(webhookID), int64(limit)).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count pending deliveries of webhook %s: %w", webhookID, err)
	}
	return n, nil
}

func (s *Store) waitingQuery() string {
	return "SELECT count(*) FROM (SELECT 1 FROM deliveries" + s.indexed("deliveries_webhook_status") +
		" WHERE webhook_id = $1 AND status = 'pending' AND status <> 'delivered' LIMIT $2) AS waiting"
}
