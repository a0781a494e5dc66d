package sqldb_test

import (
	"context"
	"database/sql/driver"
	"path/filepath"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// A statement that is interrupted costs the connection: what was prepared on it ends with it, the next one prepares
// anew, and all that was written is in the file when the database is closed.
func TestPreparedEndsWithItsConnection(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "raw.db")
	db, err := open(t.Context(), sqldb.Config{SQLitePath: path})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Write.ExecContext(t.Context(), "CREATE TABLE raws (n INTEGER)"); err != nil {
		t.Fatal(err)
	}
	var used []*sqldb.RawConn
	write := func(n int64) {
		t.Helper()
		if err := db.ChangeRaw(t.Context(), func(conn *sqldb.RawConn) error {
			used = append(used, conn)
			s, err := conn.Prepared(t.Context(), "INSERT INTO raws VALUES (?)")
			if err != nil {
				return err
			}
			_, err = s.ExecContext(t.Context(), []driver.NamedValue{{Ordinal: 1, Value: n}})
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	write(1)
	write(2)
	if used[0] != used[1] {
		t.Error("the connection did not stay")
	}
	for used[len(used)-1] == used[0] {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if _, err := db.Write.ExecContext(ctx, "INSERT INTO raws WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 100000000) SELECT max(n) FROM c"); err == nil {
			t.Fatal("it was not interrupted")
		}
		cancel()
		write(3)
	}
	write(4)
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(path + "-*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
