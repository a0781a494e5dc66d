package sqlhistory_test

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
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

// TestReadTimes loads a history of HISTORY_ROWS deliveries and prints how long every list, filter and lookup
// takes: the median and the longest of 20. It asserts nothing, so it is run by hand:
//
//	HISTORY_ROWS=1000000 go test ./sqlhistory -run TestReadTimes/postgres -v -count=1 -timeout=1h
func TestReadTimes(t *testing.T) {
	rows, err := strconv.Atoi(os.Getenv("HISTORY_ROWS"))
	if err != nil {
		t.Skip("HISTORY_ROWS names no number of deliveries")
	}
	sqldbtest.Each(t, func(t *testing.T, cfg sqldb.Config) {
		store, err := sqlhistory.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		load := sqlhistorytest.Load{Start: loadStart, Days: 10, Deliveries: rows, Tenants: 20, Webhooks: 500, Types: 30}
		start := time.Now()
		if err := load.Record(t.Context(), store); err != nil {
			t.Fatal(err)
		}
		took := time.Since(start)
		t.Logf("%d deliveries in %s: %.0f/s", rows, took.Round(time.Millisecond), float64(rows)/took.Seconds())
		analyse(t, store)
		timeLists(t, store, load)
		timeLookups(t, store, load)
	})
}

var loadStart = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// analyse brings PostgreSQL's statistics up to date, as its autovacuum does within minutes.
func analyse(t *testing.T, s *sqlhistory.Store) {
	t.Helper()
	if !s.Postgres() {
		return // which chooses without
	}
	if _, err := s.Write.ExecContext(t.Context(), "VACUUM ANALYZE"); err != nil {
		t.Fatal(err)
	}
}

// deliveryFilters are lists that people ask for, and some that are hard: what is rare among what is frequent.
// last is a webhook and a type that have few deliveries.
func deliveryFilters(load sqlhistorytest.Load, of sqlhistory.ListedDelivery) map[string]sqlhistory.DeliveryFilter {
	tenant, big, rare := load.Tenant(0), load.Webhook(0), load.Type(load.Types-1)
	small := load.Webhook(load.Webhooks - load.Tenants)
	from, to := load.Start.AddDate(0, 0, load.Days/2), load.Start.AddDate(0, 0, load.Days/2+1)
	filters := map[string]sqlhistory.DeliveryFilter{
		"tenant":                        {},
		"small tenant":                  {Tenant: load.Tenant(load.Tenants - 1)},
		"no such tenant":                {Tenant: "nobody"},
		"webhook":                       {WebhookID: big},
		"small webhook":                 {WebhookID: small},
		"another tenant's webhook":      {WebhookID: load.Webhook(1)},
		"event":                         {EventID: of.EventID},
		"type":                          {EventType: load.Type(0)},
		"rare type":                     {EventType: rare},
		"no such type":                  {EventType: "card.none"},
		"reference":                     {ExternalReference: of.ExternalReference},
		"no such reference":             {ExternalReference: "none"},
		"a day":                         {From: from, To: to},
		"webhook, a day":                {WebhookID: big, From: from, To: to},
		"webhook, type":                 {WebhookID: big, EventType: load.Type(0)},
		"webhook, rare type":            {WebhookID: big, EventType: rare},
		"webhook, no such type":         {WebhookID: big, EventType: "card.none"},
		"webhook, reference":            {WebhookID: big, ExternalReference: of.ExternalReference},
		"webhook, event":                {WebhookID: big, EventID: of.EventID},
		"type, reference":               {EventType: of.EventType, ExternalReference: of.ExternalReference},
		"type, a day":                   {EventType: rare, From: from, To: to},
		"type, exhausted":               {EventType: load.Type(0), Statuses: []delivery.Status{delivery.Exhausted}},
		"rare type, suspended":          {EventType: rare, Statuses: []delivery.Status{delivery.Suspended}},
		"type, delivered":               {EventType: rare, Statuses: []delivery.Status{delivery.Delivered}},
		"reference, exhausted":          {ExternalReference: of.ExternalReference, Statuses: []delivery.Status{delivery.Exhausted}},
		"event, delivered":              {EventID: of.EventID, Statuses: []delivery.Status{delivery.Delivered}},
		"webhook, rare type, exhausted": {WebhookID: big, EventType: rare, Statuses: []delivery.Status{delivery.Exhausted}},
		"a day, exhausted":              {From: from, To: to, Statuses: []delivery.Status{delivery.Exhausted}},
	}
	for name, statuses := range map[string][]delivery.Status{
		"delivered":          {delivery.Delivered},
		"pending":            {delivery.Pending},
		"retrying (none)":    {delivery.Retrying},
		"exhausted":          {delivery.Exhausted},
		"suspended":          {delivery.Suspended},
		"unfinished":         {delivery.Pending, delivery.Retrying, delivery.Suspended},
		"delivered, pending": {delivery.Delivered, delivery.Pending},
		"all statuses":       allStatuses,
	} {
		filters[name] = sqlhistory.DeliveryFilter{Statuses: statuses}
		filters["webhook, "+name] = sqlhistory.DeliveryFilter{WebhookID: big, Statuses: statuses}
		filters["small webhook, "+name] = sqlhistory.DeliveryFilter{WebhookID: small, Statuses: statuses}
	}
	for name, f := range filters {
		if f.Tenant == "" {
			f.Tenant = tenant
		}
		filters[name] = f
	}
	return filters
}

var allStatuses = []delivery.Status{
	delivery.Pending, delivery.Retrying, delivery.Delivered, delivery.Exhausted, delivery.Suspended, delivery.Cancelled,
	delivery.Discarded, delivery.Capped,
}

func eventFilters(load sqlhistorytest.Load, of sqlhistory.ListedDelivery) map[string]sqlhistory.EventFilter {
	from, to := load.Start.AddDate(0, 0, load.Days/2), load.Start.AddDate(0, 0, load.Days/2+1)
	filters := map[string]sqlhistory.EventFilter{
		"tenant":            {},
		"small tenant":      {Tenant: load.Tenant(load.Tenants - 1)},
		"id":                {ID: of.EventID},
		"no such id":        {ID: "none"},
		"type":              {Type: load.Type(0)},
		"rare type":         {Type: load.Type(load.Types - 1)},
		"no such type":      {Type: "card.none"},
		"reference":         {ExternalReference: of.ExternalReference},
		"no such reference": {ExternalReference: "none"},
		"type, reference":   {Type: of.EventType, ExternalReference: of.ExternalReference},
		"id, type":          {ID: of.EventID, Type: of.EventType},
		"a day":             {From: from, To: to},
		"rare type, a day":  {Type: load.Type(load.Types - 1), From: from, To: to},
	}
	for name, f := range filters {
		if f.Tenant == "" {
			f.Tenant = load.Tenant(0)
		}
		filters[name] = f
	}
	return filters
}

// sample is a delivery of the biggest tenant with an external reference, from the middle of the load.
func sample(t *testing.T, s *sqlhistory.Store, load sqlhistorytest.Load) sqlhistory.ListedDelivery {
	t.Helper()
	rows, _, err := s.Deliveries(t.Context(), sqlhistory.DeliveryFilter{
		Tenant: load.Tenant(0), WebhookID: load.Webhook(0), To: load.Start.AddDate(0, 0, load.Days/2+1),
	}, sqlhistory.Page{Limit: 500})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range rows {
		if d.ExternalReference != "" {
			return d
		}
	}
	t.Fatalf("none of %d deliveries has a reference", len(rows))
	return sqlhistory.ListedDelivery{}
}

func timeLists(t *testing.T, s *sqlhistory.Store, load sqlhistorytest.Load) {
	of := sample(t, s, load)
	deep := load.Start.AddDate(0, 0, load.Days/2).Add(12 * time.Hour)
	deliveries := deliveryFilters(load, of)
	for _, name := range sorted(deliveries) {
		f := deliveries[name]
		list := func(p sqlhistory.Page) (int, string, error) {
			rows, next, err := s.Deliveries(t.Context(), f, p)
			return len(rows), next, err
		}
		until := f
		until.To = deep
		_, next, err := s.Deliveries(t.Context(), until, sqlhistory.Page{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		timePages(t, "deliveries: "+name, list, next)
	}
	events := eventFilters(load, of)
	for _, name := range sorted(events) {
		f := events[name]
		list := func(p sqlhistory.Page) (int, string, error) {
			rows, next, err := s.Events(t.Context(), f, p)
			return len(rows), next, err
		}
		until := f
		until.To = deep
		_, next, err := s.Events(t.Context(), until, sqlhistory.Page{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		timePages(t, "events: "+name, list, next)
	}
}

// timePages times the first page in both directions, and one deep in.
func timePages(t *testing.T, name string, list func(sqlhistory.Page) (int, string, error), deep string) {
	pages := []struct {
		name string
		page sqlhistory.Page
	}{
		{"newest 50", sqlhistory.Page{Limit: 50}}, {"oldest 50", sqlhistory.Page{Limit: 50, Ascending: true}},
		{"newest 500", sqlhistory.Page{Limit: 500}}, {"deep 50", sqlhistory.Page{Limit: 50, After: deep}},
	}
	for _, p := range pages {
		if p.page.After == "" && p.name == "deep 50" {
			continue
		}
		measure(t, name+", "+p.name, func() (int, error) {
			n, _, err := list(p.page)
			return n, err
		})
	}
}

func timeLookups(t *testing.T, s *sqlhistory.Store, load sqlhistorytest.Load) {
	ctx, of := t.Context(), sample(t, s, load)
	measure(t, "delivery", func() (int, error) { _, err := s.Delivery(ctx, of.Tenant, of.ID); return 1, err })
	measure(t, "its attempts", func() (int, error) { rows, err := s.Attempts(ctx, of.Delivery); return len(rows), err })
	measure(t, "event", func() (int, error) { _, err := s.Event(ctx, of.Tenant, of.EventID); return 1, err })
	measure(t, "condition errors", func() (int, error) { rows, err := s.ConditionErrors(ctx, of.Tenant, of.EventID); return len(rows), err })
	var webhooks []string
	for i := range load.Webhooks {
		webhooks = append(webhooks, load.Webhook(i))
	}
	for _, n := range []int{1, 50, 500} {
		measure(t, fmt.Sprintf("activities of %d webhooks", n), func() (int, error) { m, err := s.Activities(ctx, webhooks[:n]); return len(m), err })
		measure(t, fmt.Sprintf("suspended of %d webhooks", n), func() (int, error) { m, err := s.SuspendedCounts(ctx, webhooks[:n], time.Time{}); return len(m), err })
	}
	rows, posts := auditRows(t, s, load)
	measure(t, fmt.Sprintf("missing among %d deliveries", len(rows)), func() (int, error) { m, err := s.MissingDeliveries(ctx, rows); return len(m), err })
	measure(t, fmt.Sprintf("missing among %d attempts", len(posts)), func() (int, error) { m, err := s.MissingAttempts(ctx, posts); return len(m), err })
}

// auditRows are some thousand rows of the biggest tenant, of which each tenth is changed so that it is not there.
func auditRows(t *testing.T, s *sqlhistory.Store, load sqlhistorytest.Load) (rows []history.Delivery, posts []history.Attempt) {
	t.Helper()
	after := ""
	for range 10 {
		list, next, err := s.Deliveries(t.Context(), sqlhistory.DeliveryFilter{Tenant: load.Tenant(0)}, sqlhistory.Page{Limit: 500, After: after})
		if err != nil {
			t.Fatal(err)
		}
		after = next
		for i, d := range list {
			if i%10 == 0 {
				d.ID, d.LastAttempt.DeliveryID = "other", "other"
			}
			rows = append(rows, d.Delivery)
			posts = append(posts, d.LastAttempt)
		}
	}
	return rows, posts
}

func measure(t *testing.T, name string, f func() (int, error)) {
	var times []time.Duration
	var n int
	for range 20 {
		start := time.Now()
		var err error
		if n, err = f(); err != nil {
			t.Fatal(err)
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	ms := func(d time.Duration) string { return fmt.Sprintf("%8.2f", float64(d.Microseconds())/1000) }
	mark := ""
	if times[len(times)-1] > 100*time.Millisecond {
		mark = "  over 100 ms"
	}
	t.Log(strings.TrimRight(fmt.Sprintf("%-60s %5d rows %s %s ms%s", name, n, ms(times[len(times)/2]), ms(times[len(times)-1]), mark), " "))
}

func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
