package sqlhistory

import (
	"context"
	"fmt"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/failure"
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

// Suspended is how many deliveries of all tenants are suspended, and were at notBefore or later.
func (s *Store) Suspended(ctx context.Context, notBefore time.Time) (n int64, err error) {
	if err := s.Read.QueryRowContext(ctx, s.suspendedQuery(), sqldb.Nanos(notBefore)).Scan(&n); err != nil {
		return 0, fmt.Errorf("count suspended deliveries: %w", err)
	}
	return n, nil
}

func (s *Store) suspendedQuery() string {
	return "SELECT count(*) FROM deliveries" + s.indexed("deliveries_suspended") + " WHERE status = 'suspended' AND updated_at >= $1" //nolint:gosec // constants
}

// suspendedCountsQuery counts most rows by the index alone: a delivery is suspended after its event was
// received, so when it was suspended matters only for events that are older than that.
func (s *Store) suspendedCountsQuery() string {
	part := "SELECT webhook_id FROM deliveries" + s.indexed("deliveries_webhook_status") + " WHERE webhook_id " + s.among() +
		" AND status = 'suspended' AND status <> 'delivered' AND "
	return "SELECT webhook_id, count(*) FROM (" + part + "received_at >= $2 UNION ALL " + part +
		"received_at < $2 AND updated_at >= $2) AS suspended GROUP BY webhook_id"
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
