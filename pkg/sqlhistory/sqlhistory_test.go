package sqlhistory_test

import (
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory/sqlhistorytest"
)

func TestRecordOnSQLite(t *testing.T)   { sqlhistorytest.RunRecord(t, sqldbtest.SQLite) }
func TestRecordOnPostgres(t *testing.T) { sqlhistorytest.RunRecord(t, sqldbtest.Postgres) }

// TestRecordWithTheSmallestPool holds that nothing of the write side needs two connections at once, beside
// the outbox's lock.
func TestRecordWithTheSmallestPool(t *testing.T) {
	sqlhistorytest.RunRecord(t, func(t *testing.T) sqldb.Config {
		cfg := sqldbtest.Postgres(t)
		cfg.MaxConnections = 2
		return cfg
	})
}
