package sqlhistory_test

import (
	"database/sql"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory/sqlhistorytest"
)

// TestPlans holds that no read looks through all rows of a table.
func TestPlans(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, cfg sqldb.Config) {
		store, err := sqlhistory.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		load := sqlhistorytest.Load{Start: loadStart, Days: 3, Deliveries: 50_000, Tenants: 10, Webhooks: 100, Types: 30}
		if !store.Postgres() {
			load.Deliveries = 1000 // SQLite's plans do not depend on what is there
		}
		if err := load.Record(t.Context(), store); err != nil {
			t.Fatal(err)
		}
		if err := load.RecordNotices(t.Context(), store, load.Deliveries/5); err != nil {
			t.Fatal(err)
		}
		analyse(t, store)
		db := store.Read
		if store.Postgres() {
			if db, err = sql.Open("pgx", cfg.PostgresURL+"&default_query_exec_mode=simple_protocol"); err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			db.SetMaxOpenConns(1) // what is prepared there stays there
		}
		all := statements(t, store, load)
		for _, name := range sorted(all) {
			s := all[name]
			for how, plan := range plans(t, db, store.Postgres(), s) {
				for _, fault := range faults(store.Postgres(), name, plan) {
					t.Errorf("%s, %s: %s:\n%s\n%s", name, how, fault, s.SQL, plan)
				}
			}
		}
	})
}

// statements are those of all reads: lists from the start in both directions, and from deep in.
func statements(t *testing.T, s *sqlhistory.Store, load sqlhistorytest.Load) map[string]sqlhistory.Statement {
	t.Helper()
	of := sample(t, s, load)
	all := s.Lookups()
	until := load.Start.Add(time.Duration(load.Days) * 12 * time.Hour)
	_, deliveries, err := s.Deliveries(t.Context(), sqlhistory.DeliveryFilter{Tenant: of.Tenant, To: until}, sqlhistory.Page{Limit: 1})
	if err != nil || deliveries == "" {
		t.Fatal(deliveries, err)
	}
	_, events, err := s.Events(t.Context(), sqlhistory.EventFilter{Tenant: of.Tenant, To: until}, sqlhistory.Page{Limit: 1})
	if err != nil || events == "" {
		t.Fatal(events, err)
	}
	for name, p := range map[string]sqlhistory.Page{
		"newest": {Limit: 50}, "oldest": {Limit: 50, Ascending: true}, "deep in": {Limit: 50},
	} {
		for filter, f := range deliveryFilters(load, of) {
			if name == "deep in" {
				p.After = deliveries
			}
			if all["deliveries: "+filter+", "+name], err = s.DeliveriesStatement(f, p); err != nil {
				t.Fatal(err)
			}
			if all["deliveries counted: "+filter], err = s.DeliveriesTotalStatement(f); err != nil {
				t.Fatal(err)
			}
		}
		for filter, f := range eventFilters(load, of) {
			if name == "deep in" {
				p.After = events
			}
			if all["events: "+filter+", "+name], err = s.EventsStatement(f, p); err != nil {
				t.Fatal(err)
			}
			if all["events counted: "+filter], err = s.EventsTotalStatement(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	maps.Copy(all, mailStatements(t, s, of))
	maps.Copy(all, webhookStatements(s, of))
	return all
}

func mailStatements(t *testing.T, s *sqlhistory.Store, of sqlhistory.ListedDelivery) map[string]sqlhistory.Statement {
	t.Helper()
	_, after, err := s.Mails(t.Context(), sqlhistory.MailFilter{Tenant: of.Tenant}, sqlhistory.Page{Limit: 20})
	if err != nil || after == "" {
		t.Fatal(after, err)
	}
	all := map[string]sqlhistory.Statement{}
	for name, p := range map[string]sqlhistory.Page{
		"newest": {Limit: 50}, "oldest": {Limit: 50, Ascending: true}, "deep in": {Limit: 50, After: after},
	} {
		for filter, f := range map[string]sqlhistory.MailFilter{
			"tenant": {Tenant: of.Tenant}, "webhook": {Tenant: of.Tenant, WebhookID: of.WebhookID},
		} {
			if all["mails: "+filter+", "+name], err = s.MailsStatement(f, p); err != nil {
				t.Fatal(err)
			}
			if all["mails counted: "+filter], err = s.MailsTotalStatement(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	return all
}

func webhookStatements(s *sqlhistory.Store, of sqlhistory.ListedDelivery) map[string]sqlhistory.Statement {
	webhook := sqlhistory.WebhookFilter{Tenant: of.Tenant, WebhookID: of.WebhookID, Status: delivery.Suspended}
	some, between := webhook, webhook
	some.IDs = []string{"none", "another"}
	between.From, between.To, between.Reason = of.ReceivedAt, of.ReceivedAt.Add(time.Hour), delivery.SuspendPaused
	exhausted := webhook
	exhausted.Status, exhausted.From = delivery.Exhausted, of.ReceivedAt
	return map[string]sqlhistory.Statement{
		"suspended: webhook":  s.OfWebhookStatement(webhook, history.Delivery{}, 5),
		"suspended: deep in":  s.OfWebhookStatement(webhook, of.Delivery, 5),
		"suspended: between":  s.OfWebhookStatement(between, of.Delivery, 500),
		"suspended: some ids": s.OfWebhookStatement(some, history.Delivery{}, 500),
		"exhausted: since":    s.OfWebhookStatement(exhausted, history.Delivery{}, 200),
		"exhausted: count":    s.TypeCountsStatement(exhausted),
	}
}

// plans are how a statement is run: on PostgreSQL, which may forget a statement's values once it has seen it
// some times, with and without them.
func plans(t *testing.T, db *sql.DB, postgres bool, of sqlhistory.Statement) map[string]string {
	t.Helper()
	if !postgres {
		return map[string]string{"plan": explain(t, db, "EXPLAIN QUERY PLAN "+of.SQL, of.Args...)}
	}
	values := make([]string, len(of.Args))
	for i, v := range of.Args {
		values[i] = literal(v)
	}
	run(t, db, "PREPARE planned AS "+of.SQL)
	defer run(t, db, "DEALLOCATE planned")
	out := map[string]string{}
	for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
		run(t, db, "SET plan_cache_mode = "+mode)
		out[mode] = explain(t, db, "EXPLAIN EXECUTE planned ("+strings.Join(values, ", ")+")")
	}
	return out
}

func run(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.Exec(statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// explain is a plan, of which each row's last column says a step.
func explain(t *testing.T, db *sql.DB, statement string, args ...any) string {
	t.Helper()
	rows, err := db.Query(statement, args...)
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	for rows.Next() {
		row := make([]any, len(names))
		for i := range row {
			row[i] = new(any)
		}
		if err := rows.Scan(row...); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, fmt.Sprint(*row[len(row)-1].(*any)))
	}
	if rows.Err() != nil || len(steps) == 0 {
		t.Fatalf("%s: no plan: %v", statement, rows.Err())
	}
	return strings.Join(steps, "\n")
}

func literal(v any) string {
	switch v := v.(type) {
	case string:
		return "'" + strings.ReplaceAll(v, "'", "''") + "'"
	case []string:
		list := make([]string, len(v))
		for i, s := range v {
			list[i] = literal(s)
		}
		return "ARRAY[" + strings.Join(list, ", ") + "]"
	case []int64:
		return strings.ReplaceAll(fmt.Sprintf("ARRAY%d", v), " ", ", ")
	}
	return fmt.Sprint(v)
}

var (
	// Plans that look through a table. PostgreSQL scans webhook_activity, which is small, as it likes.
	scansPostgres = regexp.MustCompile(`Seq Scan on (deliveries|attempts|events|notices)`)
	scansSQLite   = regexp.MustCompile(`SCAN (deliveries|attempts|events|webhook_activity|notices?)`)
	// Lists that may have many rows are read in their order, to their limit; few rows may as well be sorted.
	longLists = regexp.MustCompile(`^(deliveries: (tenant|webhook|type|reference|a day|delivered|webhook, a day|webhook, delivered)|` +
		`events: (tenant|type|reference|a day)|mails: tenant), (newest|oldest|deep in)$|^suspended: (webhook|deep in)$`)
	sortsPostgres = regexp.MustCompile(`(?m)^[ >-]*Sort  \(`) // Incremental Sort reads on to the limit
	sortsSQLite   = regexp.MustCompile(`USE TEMP B-TREE FOR ORDER BY`)
)

// faults are what is wrong with a plan.
func faults(postgres bool, name, plan string) []string {
	scans, sorts := scansSQLite, sortsSQLite
	if postgres {
		scans, sorts = scansPostgres, sortsPostgres
	}
	var out []string
	if scans.MatchString(plan) {
		out = append(out, "looks through a table")
	}
	if longLists.MatchString(name) && sorts.MatchString(plan) {
		out = append(out, "sorts all rows")
	}
	return out
}
