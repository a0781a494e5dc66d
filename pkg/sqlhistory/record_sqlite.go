package sqlhistory

import (
	"context"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// sqliteRows are the numbers of rows that one statement writes: preparing one takes as long as it takes to write some
// of its rows, so these stay prepared.
func sqliteRows() []int { return []int{50, 10, 1} }

// progress is deliveries for rows that name no external reference, as those of attempts: SQLite writes every
// index anew that has a column which is set, and these leave that one alone.
var progress = target{
	table: deliveries.table, columns: deliveries.columns, key: deliveries.key,
	change: replace(deliveryProgress) + " WHERE " + deliveryHolds,
}

// split puts deliveries' rows without an external reference apart, to be written as progress.
func split(loads []load) (out []load) {
	at := slices.Index(columns(deliveryColumns), "external_reference")
	for _, l := range loads {
		if l.table != deliveries.table {
			out = append(out, l)
			continue
		}
		with, without := load{target: deliveries}, load{target: progress}
		for _, row := range l.rows {
			if row[at] == "" {
				without.rows = append(without.rows, row)
			} else {
				with.rows = append(with.rows, row)
			}
		}
		out = append(out, with, without)
	}
	return out
}

// recordSQLite writes all rows in one transaction.
func (s *Store) recordSQLite(ctx context.Context, loads []load) error {
	return s.ChangeRaw(ctx, func(conn *sqldb.RawConn) error {
		for _, l := range split(loads) {
			if err := insert(ctx, conn, l); err != nil {
				return fmt.Errorf("record %d rows of %s: %w", len(l.rows), l.table, err)
			}
		}
		return nil
	})
}

// insert writes the rows by as few statements as there are of the sizes that stay prepared.
func insert(ctx context.Context, conn *sqldb.RawConn, l load) error {
	left := l.rows
	var values []driver.NamedValue
	for _, size := range sqliteRows() {
		if len(left) < size {
			continue
		}
		statement, err := conn.Prepared(ctx, insertion(l.target, size))
		if err != nil {
			return err
		}
		for ; len(left) >= size; left = left[size:] {
			values = values[:0]
			for _, row := range left[:size] {
				for _, v := range row {
					values = append(values, driver.NamedValue{Ordinal: len(values) + 1, Value: v})
				}
			}
			if _, err := statement.ExecContext(ctx, values); err != nil {
				return err
			}
		}
	}
	return nil
}

// insertion is the statement that inserts a number of rows.
func insertion(of target, rows int) string {
	row := "(" + strings.TrimSuffix(strings.Repeat("?, ", len(columns(of.columns))), ", ") + ")"
	return "INSERT INTO " + of.table + " (" + of.columns + ") VALUES " + row + strings.Repeat(", "+row, rows-1) + " " + of.conflict()
}
