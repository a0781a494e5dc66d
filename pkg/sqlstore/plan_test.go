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
	`INSERT INTO event_types SELECT 't-' || (n % 300) || '/t' || n, 't-' || (n % 300), 't' || n, '', '', 'normal', '', '', FALSE, '[]', '', 1, n, n FROM n`,
	`INSERT INTO api_keys SELECT 'k-' || n, 't-' || (n % 300), 'n', 'dsk', CAST(n AS BLOB), '[]', '', 1, n, 0, 0, 0 FROM n`,
	`INSERT INTO sessions SELECT CAST(n AS BLOB), CAST(n AS BLOB), 't-' || (n % 300), n, n FROM n`,
	`INSERT INTO jobs (id, tenant, webhook_id, kind, selection, status, requested_by, changed, skipped, error, version, created_at, updated_at, finished_at)
		SELECT 'j-' || n, 't-' || (n % 300), 'w', 'release', '{}', CASE WHEN n % 100 = 0 THEN 'waiting' ELSE 'done' END, 'k', 0, 0, '', 1, n, n + 1,
		CASE WHEN n % 100 = 0 THEN 0 ELSE n END FROM n`,
	`INSERT INTO audit_log SELECT 'e-' || n, 't-' || (n % 300), 't-' || (n % 300), n, 'api_key', 'k', 'n', FALSE, 'a', 'webhook', 's-' || (n % 900),
		'', '', 'done', '', 'r' FROM n`,
	`INSERT INTO idempotency_keys SELECT 't-' || (n % 300), 'k', 'r', 'i-' || n, CAST(n AS BLOB), '', 0, TRUE, '', n FROM n`,
}

// TestPlans holds that an index serves what is read often or deleted now and then.
func TestPlans(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, cfg sqldb.Config) {
		s := sqlstoretest.Open(t, cfg)
		types := strings.NewReplacer()
		if s.Postgres() {
			types = strings.NewReplacer("'[]'", "'[]'::jsonb", "'{}'", "'{}'::jsonb", "CAST(n AS BLOB)", "CAST(CAST(n AS TEXT) AS BYTEA)")
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
			if plan := explain(t, s, statement); scans.MatchString(plan) {
				t.Errorf("%s:\n%s\n%s", name, statement, plan)
			}
		}
	})
}
