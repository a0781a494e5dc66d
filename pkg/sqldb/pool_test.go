package sqldb_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
)

// Statements that hang run out of time, all at once. Who waited for their connections gets new ones, and is not told that
// the database cannot be reached.
func TestWhoWaitsGetsNoClosedConnection(t *testing.T) {
	t.Parallel()
	const connections, rounds, waiting = 6, 5, 60
	cfg := sqldbtest.Postgres(t)
	cfg.MaxConnections = connections
	db, err := open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for range rounds {
		var hanging, asking sync.WaitGroup
		short, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		for range connections {
			hanging.Go(func() { _, _ = db.Read.ExecContext(short, "SELECT pg_sleep(60)") })
		}
		long, end := context.WithTimeout(t.Context(), time.Minute)
		failed := make(chan error, waiting)
		for range waiting {
			asking.Go(func() {
				var one int
				if err := db.Read.QueryRowContext(long, "SELECT 1").Scan(&one); err != nil {
					failed <- fmt.Errorf("%w", err)
				}
			})
		}
		hanging.Wait()
		asking.Wait()
		cancel()
		end()
		close(failed)
		for err := range failed {
			t.Error(err)
		}
	}
}
