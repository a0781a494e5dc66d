package sqlstore_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore/sqlstoretest"
)

func TestSQLite(t *testing.T)   { sqlstoretest.Run(t, sqldbtest.SQLite) }
func TestPostgres(t *testing.T) { sqlstoretest.Run(t, sqldbtest.Postgres) }

// TestSmallestPool holds that nothing needs two connections at once, beside the outbox's lock.
func TestSmallestPool(t *testing.T) {
	sqlstoretest.Run(t, func(t *testing.T) sqldb.Config {
		cfg := sqldbtest.Postgres(t)
		cfg.MaxConnections = 2
		return cfg
	})
}

// TestLockEndsWithItsSession ends a lock's session on the server, as the death of its holder does.
func TestLockEndsWithItsSession(t *testing.T) {
	ctx := context.Background()
	cfg := sqldbtest.Postgres(t)
	other := sqlstoretest.Open(t, cfg)
	server, err := sql.Open("pgx", cfg.PostgresURL)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	cfg.PostgresURL += "&application_name=" + t.Name()
	holder := sqlstoretest.Open(t, cfg)
	lock, held, err := holder.TryLock(ctx, "outbox")
	if err != nil || !held {
		t.Fatalf("lock: %t, %v", held, err)
	}
	defer lock.Release()
	if _, held, err := other.TryLock(ctx, "outbox"); err != nil || held {
		t.Fatalf("a second program got the lock: %t, %v", held, err)
	}
	if _, err := server.Exec("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = $1", t.Name()); err != nil {
		t.Fatal(err)
	}
	if lock.Held(ctx) == nil {
		t.Error("the lock is held without a session")
	}
	if l, held, err := other.TryLock(ctx, "outbox"); err != nil || !held {
		t.Errorf("the lock after its holder's session: %t, %v", held, err)
	} else {
		l.Release()
	}
}
