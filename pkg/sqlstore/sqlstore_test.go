package sqlstore_test

import (
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/sqlstore/sqlstoretest"
)

func TestSQLite(t *testing.T)   { sqlstoretest.Run(t, sqlstoretest.SQLite) }
func TestPostgres(t *testing.T) { sqlstoretest.Run(t, sqlstoretest.Postgres) }
