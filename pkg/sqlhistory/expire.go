package sqlhistory

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// expireRows are deleted in one transaction where rows are deleted one by one: some 10 ms.
const expireRows = 500

// Expire drops the days before the one (UTC) of `before`, and the notices, quarantined records and counters of
// condition errors that are older; from then on Record leaves out what belongs to these days. It returns how many partitions
// (PostgreSQL) and rows are gone. After an error the rest stays for the next time.
func (s *Store) Expire(ctx context.Context, before time.Time) (int64, error) {
	first := dayOf(sqldb.Nanos(before))
	s.days.expire(first)
	var gone int64
	var errs []error
	for _, table := range dayTables() {
		expire := s.deleteDays
		if s.Postgres() {
			expire = s.dropDays
		}
		n, err := expire(ctx, table, first)
		gone, errs = gone+n, append(errs, err)
	}
	for _, t := range []struct{ table, key, old string }{
		{"notices", "id", "raised_at < $1 AND mailed_at < $1"},
		{"quarantine", quarantine.key, "at < $1"},
		{conditionErrors.table, conditionErrors.key, "last_at < $1"},
	} {
		n, err := s.deleteOld(ctx, t.table, t.key, t.old, sqldb.Nanos(before))
		gone, errs = gone+n, append(errs, err)
	}
	return gone, errors.Join(errs...)
}

// dropDays drops a table's partitions before a day. Dropping takes an instant, but nobody may be using the
// table in it, and whoever comes while we wait for those, waits too: so we wait a second at most.
func (s *Store) dropDays(ctx context.Context, table string, first day) (gone int64, err error) {
	there, err := partitions(ctx, s.Write, table)
	if err != nil {
		return 0, err
	}
	for d := range there {
		if d >= first {
			continue
		}
		err := s.Change(ctx, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "SET LOCAL lock_timeout = '1s'; DROP TABLE IF EXISTS "+d.partition(table))
			return err
		})
		if err != nil {
			return gone, fmt.Errorf("drop %s: %w", d.partition(table), err)
		}
		gone++
	}
	return gone, nil
}

// deleteDays deletes a table's rows of the days before one. Keys begin with the tenant but for attempts.
func (s *Store) deleteDays(ctx context.Context, table string, first day) (gone int64, err error) {
	if table == attempts.table {
		return s.deleteOld(ctx, table, attempts.key, "received_at < $1", first.start())
	}
	key := deliveries.key
	if table == events.table {
		key = events.key
	}
	tenants, err := sqldb.All(ctx, s.Read, func(row sqldb.Scanner) (tenant string, err error) { return tenant, row.Scan(&tenant) },
		fmt.Sprintf(`WITH RECURSIVE t (tenant) AS (SELECT min(tenant) FROM %[1]s UNION ALL
			SELECT (SELECT min(tenant) FROM %[1]s AS other WHERE other.tenant > t.tenant) FROM t WHERE t.tenant IS NOT NULL)
			SELECT tenant FROM t WHERE tenant IS NOT NULL`, table))
	if err != nil {
		return 0, fmt.Errorf("tenants of %s: %w", table, err)
	}
	for _, tenant := range tenants {
		n, err := s.deleteOld(ctx, table, key, "received_at < $1 AND tenant = $2", first.start(), tenant)
		if gone += n; err != nil {
			return gone, err
		}
	}
	return gone, nil
}

// deleteOld deletes rows in short transactions, so that others write in between.
func (s *Store) deleteOld(ctx context.Context, table, key, old string, args ...any) (gone int64, err error) {
	query := fmt.Sprintf("DELETE FROM %s WHERE (%s) IN (SELECT %s FROM %s WHERE %s LIMIT %d)", table, key, key, table, old, expireRows) //nolint:gosec // constants
	for {
		done, err := s.Write.ExecContext(ctx, query, args...)
		if err != nil {
			return gone, fmt.Errorf("delete from %s: %w", table, err)
		}
		n, err := done.RowsAffected()
		if gone += n; err != nil || n < expireRows {
			return gone, err
		}
	}
}
