package sqlhistory

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// recordPostgres writes all rows in one transaction, the partitions of their days made before.
func (s *Store) recordPostgres(ctx context.Context, loads []load) error {
	days := map[day]bool{}
	for _, l := range loads {
		for _, row := range l.rows {
			if l.byDay {
				days[dayOf(row[0].(int64))] = true
			}
		}
	}
	if err := s.prepare(ctx, days); err != nil {
		return err
	}
	err := s.copy(ctx, loads)
	if !noPartition(err) {
		return err
	}
	s.days.forget() // another process has dropped it since we looked
	if err := s.prepare(ctx, days); err != nil {
		return err
	}
	return s.copy(ctx, loads)
}

// noPartition reports whether an insert found no partition for a row.
func noPartition(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "23514" && pg.ConstraintName == ""
}

// copy sends rows by COPY into tables of the session's own, and takes them from there into ours. The
// session's tables stay, empty, with the connection: making them each time would swell the catalogue.
func (s *Store) copy(ctx context.Context, loads []load) error {
	conn, err := s.Write.Conn(ctx)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	defer conn.Close()
	return conn.Raw(func(driver any) error {
		return pgx.BeginFunc(ctx, driver.(interface{ Conn() *pgx.Conn }).Conn(), func(tx pgx.Tx) error {
			for _, l := range loads {
				if err := l.copy(ctx, tx); err != nil {
					return fmt.Errorf("record %d rows of %s: %w", len(l.rows), l.table, err)
				}
			}
			return nil
		})
	})
}

func (l load) copy(ctx context.Context, tx pgx.Tx) error {
	staged := "recorded_" + l.table
	if _, err := tx.Exec(ctx, "CREATE TEMPORARY TABLE IF NOT EXISTS "+staged+" (LIKE "+l.table+") ON COMMIT DELETE ROWS"); err != nil {
		return err
	}
	if _, err := tx.CopyFrom(ctx, pgx.Identifier{staged}, columns(l.columns), pgx.CopyFromRows(l.rows)); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, "INSERT INTO "+l.table+" ("+l.columns+") SELECT "+l.columns+" FROM "+staged+
		" ORDER BY "+l.key+" "+l.conflict())
	return err
}
