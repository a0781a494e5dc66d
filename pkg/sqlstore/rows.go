package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// rowsAtOnce is how many rows a statement writes: a catalogue of a thousand types is so written in some 150 round
// trips. More would be slower with SQLite, which looks for each placeholder among all others.
const rowsAtOnce = 20

// insertRows inserts rows by as few statements as may be. end follows the values, such as what to do on a conflict.
func insertRows(ctx context.Context, tx *sql.Tx, table string, columns []string, end string, rows [][]any) error {
	for some := range slices.Chunk(rows, rowsAtOnce) {
		values := make([]string, len(some))
		for i := range some {
			values[i] = "(" + sqldb.PlacesFrom(1+i*len(columns), len(columns)) + ")"
		}
		query := "INSERT INTO " + table + " (" + strings.Join(columns, ", ") + ") VALUES " + strings.Join(values, ", ") + " " + end
		if _, err := tx.ExecContext(ctx, query, slices.Concat(some...)...); err != nil {
			return fmt.Errorf("insert %d rows into %s: %w", len(some), table, err)
		}
	}
	return nil
}
