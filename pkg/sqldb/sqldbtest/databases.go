// Package sqldbtest gives tests a database of their own: SQLite in a new file, or a new schema of the
// PostgreSQL that the environment names.
package sqldbtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// Each runs a test on every database that there is: SQLite in a file of its own, and PostgreSQL in a
// schema of its own where TEST_POSTGRES holds a URL. TEST_REQUIRE_REAL=1 leaves SQLite to the tests on embedded servers.
func Each(t *testing.T, test func(t *testing.T, cfg sqldb.Config)) {
	if os.Getenv("TEST_REQUIRE_REAL") != "1" {
		t.Run("sqlite", func(t *testing.T) { test(t, SQLite(t)) })
	}
	t.Run("postgres", func(t *testing.T) { test(t, Postgres(t)) })
}

// Any is one database: PostgreSQL where TEST_POSTGRES holds a URL, else SQLite. The test's log says which.
func Any(t *testing.T) sqldb.Config {
	t.Helper()
	if os.Getenv("TEST_POSTGRES") != "" || os.Getenv("TEST_REQUIRE_REAL") == "1" {
		t.Log("sql: PostgreSQL")
		return Postgres(t)
	}
	t.Log("sql: SQLite")
	return SQLite(t)
}

// SQLite is a database in a new file.
func SQLite(t *testing.T) sqldb.Config {
	return sqldb.Config{SQLitePath: filepath.Join(t.TempDir(), "doorstep.db")}
}

// Postgres is a new schema of the database that TEST_POSTGRES names (a URL). Without it the test is
// skipped, or fails where TEST_REQUIRE_REAL is 1.
func Postgres(t *testing.T) sqldb.Config {
	t.Helper()
	return PostgresFor(t)
}

// PostgresFor is Postgres for a benchmark too.
func PostgresFor(t testing.TB) sqldb.Config {
	t.Helper()
	server := os.Getenv("TEST_POSTGRES")
	if server == "" {
		if os.Getenv("TEST_REQUIRE_REAL") == "1" {
			t.Fatal("TEST_POSTGRES names no PostgreSQL, and TEST_REQUIRE_REAL=1")
		}
		t.Skip("TEST_POSTGRES names no PostgreSQL")
	}
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal("TEST_POSTGRES is not a URL")
	}
	db, err := sql.Open("pgx", server)
	if err != nil {
		t.Fatal(err)
	}
	schema := "t_" + rand.Text()
	if _, err := db.ExecContext(t.Context(), `CREATE SCHEMA "`+schema+`"`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := db.ExecContext(context.Background(), `DROP SCHEMA "`+schema+`" CASCADE`); err != nil {
			t.Error(err)
		}
		_ = db.Close()
	})
	q := u.Query()
	q.Set("search_path", `"`+schema+`"`)
	u.RawQuery = q.Encode()
	return sqldb.Config{PostgresURL: u.String()}
}
