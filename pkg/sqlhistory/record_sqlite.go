package sqlhistory

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

// sqliteRows are written by one statement.
const sqliteRows = 50

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
	return s.Change(ctx, func(tx *sql.Tx) error {
		for _, l := range split(loads) {
			if err := l.insert(ctx, tx); err != nil {
				return fmt.Errorf("record %d rows of %s: %w", len(l.rows), l.table, err)
			}
		}
		return nil
	})
}

func (l load) insert(ctx context.Context, tx *sql.Tx) error {
	left := l.rows
	if len(left) >= sqliteRows {
		many, err := tx.PrepareContext(ctx, l.insertion(sqliteRows))
		if err != nil {
			return err
		}
		defer many.Close()
		for ; len(left) >= sqliteRows; left = left[sqliteRows:] {
			if _, err := many.ExecContext(ctx, slices.Concat(left[:sqliteRows]...)...); err != nil {
				return err
			}
		}
	}
	if len(left) == 0 {
		return nil
	}
	_, err := tx.ExecContext(ctx, l.insertion(len(left)), slices.Concat(left...)...)
	return err
}

func (l load) insertion(rows int) string {
	row := "(" + strings.TrimSuffix(strings.Repeat("?, ", len(columns(l.columns))), ", ") + ")"
	return "INSERT INTO " + l.table + " (" + l.columns + ") VALUES " + row + strings.Repeat(", "+row, rows-1) + " " + l.conflict()
}
