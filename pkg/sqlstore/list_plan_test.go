package sqlstore_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/lists"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore/sqlstoretest"
)

// longLists are six tables of 12,000 rows, of which one tenant has 10,000.
var longLists = []string{
	`INSERT INTO tenants SELECT 't-' || n, 'n' || (n % 997), TRUE, '{}', '{}', '{}', '', 1, n, n + 1 FROM n`,
	`INSERT INTO webhooks (id, tenant, name, description, url, active, paused, event_types, filters, condition, headers, payload, rate_limit,
		max_in_flight, external_reference, metadata, signing_keys, api_key_id, developer_client_id, third_party, generation, version, created_at, updated_at)
		SELECT 'w-' || n, TENANT, 'n' || (n % 997), '', 'u' || (n % 991), n % 2 = 0, FALSE, '[]', '{}', '', '[]', '{}', 0, 0, 'r' || (n % 983), '{}', '[]', 'k', '', FALSE,
		1, 1, n, n * 7 % 12007 FROM n`,
	`INSERT INTO administrators SELECT 'a-' || n, TENANT, 'a-' || n, 'a-' || n, 'n' || (n % 997), 'en', '[]', 1, n, n * 7 % 12007 FROM n`,
	`INSERT INTO api_keys (id, tenant, name, prefix, hash, scopes, developer_client_id, version, created_at, expires_at)
		SELECT 'k-' || n, TENANT, 'n' || (n % 997), 'dsk', CAST(n AS BLOB), '[]', '', 1, n, n * 7 % 12007 FROM n`,
	`INSERT INTO jobs (id, tenant, webhook_id, kind, selection, status, requested_by, changed, skipped, error, version, created_at, updated_at, finished_at)
		SELECT 'j-' || n, TENANT, 'w' || (n % 991), 'release', '{}', 'done', 'k', 0, 0, '', 1, n, n + 1, n * 7 % 12007 FROM n`,
	`INSERT INTO audit_log SELECT 'e-' || n, TENANT, (TENANT), n, 'api_key', 'k', 'n', FALSE, 'a', 'webhook', 's-' || (n % 900), '', '', 'done', '', 'r' FROM n`,
}

// TestListPlans holds that whatever a list is sorted by has an index, which the list is read along, to its limit and in
// either direction, and that a second field sorts no more than the rows that the first has alike, where these are few;
// and that a filter by a reference, a webhook or ids looks at the rows of these.
func TestListPlans(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, cfg sqldb.Config) {
		s := sqlstoretest.Open(t, cfg)
		types := strings.NewReplacer("TENANT", "CASE WHEN n <= 10000 THEN 't-1' ELSE 't-' || (1 + n % 300) END")
		if s.Postgres() {
			types = strings.NewReplacer("TENANT", "CASE WHEN n <= 10000 THEN 't-1' ELSE 't-' || (1 + n % 300) END",
				"'[]'", "'[]'::jsonb", "'{}'", "'{}'::jsonb", "CAST(n AS BLOB)", "CAST(CAST(n AS TEXT) AS BYTEA)")
		}
		for _, rows := range longLists {
			rows = strings.Replace(rows, "SELECT", "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 12000) SELECT", 1)
			if _, err := s.Write.ExecContext(t.Context(), types.Replace(rows)); err != nil {
				t.Fatalf("%s: %v", rows, err)
			}
		}
		if _, err := s.Write.ExecContext(t.Context(), "ANALYZE"); err != nil {
			t.Fatal(err)
		}
		for table, l := range map[string]lists.List{
			"webhooks": sqlstore.WebhookList(), "api_keys": sqlstore.APIKeyList(), "administrators": sqlstore.AdministratorList(nil),
			"tenants": sqlstore.TenantList(), "jobs": sqlstore.JobList(), "audit_log": sqlstore.AuditList(),
		} {
			for _, name := range l.Sorted() {
				checkPages(t, s, table, l, name, true)
				checkPages(t, s, table, l, "-"+name, true)
				if second := l.Sorted()[0]; second != name && name != "active" && name != "status" {
					checkPages(t, s, table, l, name+","+second, false)
					checkPages(t, s, table, l, "-"+name+","+second, false)
				}
			}
		}
		for table, values := range map[string]url.Values{
			"webhooks":       {"filter[external_reference]": {"r7"}, "total": {"true"}},
			"administrators": {"filter[email]": {"a-7"}, "total": {"true"}},
			"jobs":           {"filter[webhook_id]": {"0199c9a4-0000-7000-8000-00000000000a"}, "total": {"true"}},
			"api_keys":       {"filter[id][in]": {"0199c9a4-0000-7000-8000-00000000000a,0199c9a4-0000-7000-8000-00000000000b"}},
			"tenants":        {"filter[id]": {"t-7"}},
			"audit_log":      {"filter[subject_id]": {"s-7"}},
		} {
			checkFilter(t, s, table, values)
		}
	})
}

var (
	listScans = regexp.MustCompile(`(?m)\bSCAN (webhooks|api_keys|administrators|tenants|jobs|audit_log)$|Seq Scan`) // SQLite says SCAN too where it goes along an index
	listSorts = regexp.MustCompile(`(?m)USE TEMP B-TREE FOR ORDER BY|^[ >-]*Sort  \(`)
)

// checkPages holds that the first page, and one deep in if that too, are read along an index.
func checkPages(t *testing.T, s *sqlstore.Store, table string, l lists.List, sort string, too bool) {
	t.Helper()
	q, err := l.Read(url.Values{"sort": {sort}})
	if err != nil {
		t.Fatal(err)
	}
	deep := q
	for _, o := range q.Sort {
		switch o.Field.Kind {
		case lists.Bool:
			deep.After = append(deep.After, true)
		case lists.Time, lists.Number:
			deep.After = append(deep.After, int64(6000))
		default:
			deep.After = append(deep.After, "n5")
		}
	}
	for where, q := range map[string]lists.Query{"first": q, "deep in": deep} {
		if where == "deep in" && !too {
			continue
		}
		page, _ := s.ListStatement(table, "t-1", q)
		if plan := explain(t, s, page); listScans.MatchString(plan) || listSorts.MatchString(plan) {
			t.Errorf("%s by %s, %s:\n%s\n%s", table, sort, where, page, plan)
		}
	}
}

// checkFilter holds that few rows are looked at.
func checkFilter(t *testing.T, s *sqlstore.Store, table string, values url.Values) {
	t.Helper()
	l := map[string]lists.List{
		"webhooks": sqlstore.WebhookList(), "api_keys": sqlstore.APIKeyList(), "administrators": sqlstore.AdministratorList(nil),
		"tenants": sqlstore.TenantList(), "jobs": sqlstore.JobList(), "audit_log": sqlstore.AuditList(),
	}[table]
	q, err := l.Read(values)
	if err != nil {
		t.Fatal(err)
	}
	others := regexp.MustCompile(`by_(created|updated|expires)_at|audit_log_of`)
	page, total := s.ListStatement(table, "t-1", q)
	for _, statement := range []string{page, total} {
		if plan := explain(t, s, statement); listScans.MatchString(plan) || others.MatchString(plan) {
			t.Errorf("%s, %v:\n%s\n%s", table, values, statement, plan)
		}
	}
}

func explain(t *testing.T, s *sqlstore.Store, statement string) string {
	t.Helper()
	how := "EXPLAIN QUERY PLAN "
	if s.Postgres() {
		how = "EXPLAIN "
	}
	steps, err := sqldb.All(t.Context(), s.Read, func(row sqldb.Scanner) (step string, err error) {
		if s.Postgres() {
			return step, row.Scan(&step)
		}
		var id, parent, unused int
		return step, row.Scan(&id, &parent, &unused, &step)
	}, how+statement)
	if err != nil || len(steps) == 0 {
		t.Fatalf("%s: %v", statement, err)
	}
	return strings.Join(steps, "\n")
}
