package sqlhistory_test

import (
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory/sqlhistorytest"
)

func TestRecordOnSQLite(t *testing.T)   { sqlhistorytest.RunRecord(t, sqldbtest.SQLite) }
func TestRecordOnPostgres(t *testing.T) { sqlhistorytest.RunRecord(t, sqldbtest.Postgres) }
