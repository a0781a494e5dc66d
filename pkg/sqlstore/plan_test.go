package sqlstore_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore/sqlstoretest"
)

// manyRows are tenants with what belongs to them, of which few are open, expired or finished long ago.
var manyRows = []string{
	`INSERT INTO tenants SELECT 't-' || (n % 300), 'n', TRUE, '{}', '{}', '{}', '', 1, n, n FROM n WHERE n <= 300`,
	`INSERT INTO administrators SELECT 'a-' || n, 't-' || (n % 300), 'a-' || n, 'a-' || n, 'name', 'en', '[]', 1, n, n FROM n`,
	`INSERT INTO api_keys SELECT 'k-' || n, 't-' || (n % 300), 'n', 'dsk', CAST(n AS BLOB), '[]', '', 1, n, 0 FROM n`,
	`INSERT INTO sessions SELECT CAST(n AS BLOB), CAST(n AS BLOB), 't-' || (n % 300), n, n FROM n`,
	`INSERT INTO jobs (id, tenant, webhook_id, kind, selection, status, requested_by, changed, skipped, error, version, created_at, updated_at, finished_at)
		SELECT 'j-' || n, 't-' || (n % 300), 'w', 'release', '{}', CASE WHEN n % 100 = 0 THEN 'waiting' ELSE 'done' END, 'k', 0, 0, '', 1, n, n + 1,
		CASE WHEN n % 100 = 0 THEN 0 ELSE n END FROM n`,
}

// TestPlans holds that an index serves what is read often or deleted now and then.
func TestPlans(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, cfg sqldb.Config) {
		s := sqlstoretest.Open(t, cfg)
		explain, types := "EXPLAIN QUERY PLAN ", strings.NewReplacer()
		if s.Postgres() {
			explain, types = "EXPLAIN ", strings.NewReplacer("'[]'", "'[]'::jsonb", "'{}'", "'{}'::jsonb", "CAST(n AS BLOB)", "CAST(CAST(n AS TEXT) AS BYTEA)")
		}
		for _, rows := range manyRows {
			rows = strings.Replace(rows, "SELECT", "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 6000) SELECT", 1)
			if _, err := s.Write.ExecContext(t.Context(), types.Replace(rows)); err != nil {
				t.Fatalf("%s: %v", rows, err)
			}
		}
		if _, err := s.Write.ExecContext(t.Context(), "ANALYZE"); err != nil {
			t.Fatal(err)
		}
		scans := regexp.MustCompile(`(?m)\bSCAN \w+$|Seq Scan`) // SQLite says SCAN too where it goes along an index
		for name, statement := range sqlstore.Statements() {
			steps, err := sqldb.All(t.Context(), s.Read, func(row sqldb.Scanner) (step string, err error) {
				if s.Postgres() {
					return step, row.Scan(&step)
				}
				var id, parent, unused int
				return step, row.Scan(&id, &parent, &unused, &step)
			}, explain+statement)
			if plan := strings.Join(steps, "\n"); err != nil || plan == "" || scans.MatchString(plan) {
				t.Errorf("%s: %v\n%s\n%s", name, err, statement, plan)
			}
		}
	})
}
