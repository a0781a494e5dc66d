package sqlhistory_test

import (
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory/sqlhistorytest"
)

func TestReadOnSQLite(t *testing.T)   { sqlhistorytest.RunRead(t, sqldbtest.SQLite) }
func TestReadOnPostgres(t *testing.T) { sqlhistorytest.RunRead(t, sqldbtest.Postgres) }
