package sqlhistory

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// SuspendedCounts are how many deliveries of these webhooks are suspended, and were at notBefore or later, by
// webhook; those without are absent. What was suspended earlier than the log goes back has no payload any more.
func (s *Store) SuspendedCounts(ctx context.Context, webhookIDs []string, notBefore time.Time) (map[string]int, error) {
	type count struct {
		webhookID string
		n         int
	}
	rows, err := sqldb.All(ctx, s.Read, func(row sqldb.Scanner) (c count, err error) {
		err = row.Scan(&c.webhookID, &c.n)
		return c, err
	}, s.suspendedCountsQuery(), s.list(webhookIDs), sqldb.Nanos(notBefore))
	if err != nil {
		return nil, fmt.Errorf("suspended deliveries of %d webhooks: %w", len(webhookIDs), err)
	}
	out := make(map[string]int, len(rows))
	for _, c := range rows {
		out[c.webhookID] = c.n
	}
	return out, nil
}

// suspendedCountsQuery counts most rows by the index alone: a delivery is suspended after its event was
// received, so when it was suspended matters only for events that are older than that.
func (s *Store) suspendedCountsQuery() string {
	part := "SELECT webhook_id FROM deliveries" + s.indexed("deliveries_webhook_status") + " WHERE webhook_id " + s.among() +
		" AND status = 'suspended' AND status <> 'delivered' AND "
	return "SELECT webhook_id, count(*) FROM (" + part + "received_at >= $2 UNION ALL " + part +
		"received_at < $2 AND updated_at >= $2) AS suspended GROUP BY webhook_id"
}

// SuspendedFilter says which suspended deliveries of a webhook Suspended reads. Fields but the first two do not
// filter where they are empty.
type SuspendedFilter struct {
	Tenant    string    // required
	WebhookID string    // required
	From, To  time.Time // of when it was suspended, the row's UpdatedAt: from inclusive, to exclusive
	Reason    delivery.SuspendReason
	IDs       []string
}

// Suspended reads the deliveries that are suspended now, in the order of ReceivedAt and id: up to limit of
// those behind after, of which the zero row is before all.
func (s *Store) Suspended(ctx context.Context, f SuspendedFilter, after history.Delivery, limit int) ([]history.Delivery, error) {
	statement, args := s.suspendedQuery(f, after, limit)
	rows, err := sqldb.All(ctx, s.Read, scanDelivery, statement, s.planned(args)...)
	if err != nil {
		return nil, fmt.Errorf("read suspended deliveries of webhook %s: %w", f.WebhookID, err)
	}
	return slices.DeleteFunc(rows, func(d history.Delivery) bool { return d.Tenant != text(f.Tenant) }), nil
}

// suspendedQuery leaves out the tenant, for a webhook's deliveries are all of one, and what follows from the status:
// each more condition makes PostgreSQL expect fewer rows, until it sorts all of the webhook's for every page.
func (s *Store) suspendedQuery(f SuspendedFilter, after history.Delivery, limit int) (statement string, args []any) {
	q := &query{page: Page{Ascending: true}, columns: deliveryColumns, table: "deliveries", order: deliveryOrder}
	index := "deliveries_webhook_status"
	if len(f.IDs) > 0 {
		index = "deliveries_id"
		q.and("id " + s.amongPlace(q.place(s.list(f.IDs))))
	}
	q.and("webhook_id = ?", text(f.WebhookID))
	q.and("status = 'suspended'")
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
	if after.ID != "" {
		q.beyond(sqldb.Nanos(after.ReceivedAt), text(after.ID))
	}
	q.max = q.place(int64(limit))
	return q.selected(s.indexed(index)), q.args
}

// Expiring is how many suspended deliveries of a webhook expire in one week.
type Expiring struct {
	Tenant    string
	WebhookID string
	Week      time.Time // its start, as failure.ExpiryWeek says
	Count     int
	First     time.Time // when the first of them expires
}

// weekLength is that of failure.ExpiryWeek.
const weekLength = int64(7 * 24 * time.Hour)

// Expiring counts the deliveries of all tenants that are suspended now and expire from that time on until
// before another, by webhook and week. A delivery expires when it has been suspended for the retention of the
// log.
func (s *Store) Expiring(ctx context.Context, retention time.Duration, from, to time.Time) ([]Expiring, error) {
	rows, err := sqldb.All(ctx, s.Read, func(row sqldb.Scanner) (Expiring, error) {
		var (
			e           Expiring
			week        int64
			suspendedAt time.Time
		)
		err := row.Scan(&e.Tenant, &e.WebhookID, &week, &e.Count, sqldb.Stamp{T: &suspendedAt})
		e.First = suspendedAt.Add(retention)
		e.Week = failure.ExpiryWeek(e.First)
		return e, err
	}, s.expiringQuery(), sqldb.Nanos(from.Add(-retention)), sqldb.Nanos(to.Add(-retention)), int64(retention))
	if err != nil {
		return nil, fmt.Errorf("count suspended deliveries that expire: %w", err)
	}
	return rows, nil
}

func (s *Store) expiringQuery() string {
	return fmt.Sprintf("SELECT tenant, webhook_id, (updated_at + $3) / %d AS week, count(*), min(updated_at) FROM deliveries%s"+
		" WHERE status = 'suspended' AND updated_at >= $1 AND updated_at < $2 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3", //nolint:gosec // constants
		weekLength, s.indexed("deliveries_suspended"))
}
