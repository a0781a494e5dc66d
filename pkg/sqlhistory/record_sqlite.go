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

// recordSQLite writes all rows in one transaction.
func (s *Store) recordSQLite(ctx context.Context, loads []load) error {
	return s.Change(ctx, func(tx *sql.Tx) error {
		for _, l := range loads {
			if err := l.insert(ctx, tx); err != nil {
				return fmt.Errorf("record %d rows of %s: %w", len(l.rows), l.table, err)
			}
		}
		return nil
	})
}

func (l load) insert(ctx context.Context, tx *sql.Tx) error {
	many, err := tx.PrepareContext(ctx, l.insertion(sqliteRows))
	if err != nil {
		return err
	}
	defer many.Close()
	left := l.rows
	for ; len(left) >= sqliteRows; left = left[sqliteRows:] {
		if _, err := many.ExecContext(ctx, slices.Concat(left[:sqliteRows]...)...); err != nil {
			return err
		}
	}
	if len(left) > 0 {
		_, err = tx.ExecContext(ctx, l.insertion(len(left)), slices.Concat(left...)...)
	}
	return err
}

func (l load) insertion(rows int) string {
	row := "(" + strings.TrimSuffix(strings.Repeat("?, ", len(columns(l.columns))), ", ") + ")"
	return "INSERT INTO " + l.table + " (" + l.columns + ") VALUES " + row + strings.Repeat(", "+row, rows-1) + " " + l.conflict()
}
