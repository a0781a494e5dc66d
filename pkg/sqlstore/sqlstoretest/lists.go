package sqlstoretest

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/lists"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// asked is a page of a list in its own order.
func asked(l lists.List, limit int) lists.Query {
	q, err := l.Page(limit, "")
	if err != nil {
		panic(err)
	}
	return q
}

// tester is a *testing.T or a *rapid.T.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
}

// walk reads all pages of a list, of the limit that values has.
func walk[T any](t tester, l lists.List, values url.Values, read func(lists.Query) ([]T, lists.Found, error)) []T {
	t.Helper()
	var all []T
	for values = clone(values); ; {
		q, err := l.Read(values)
		if err != nil {
			t.Fatalf("%s: %v", values.Encode(), err)
		}
		rows, found, err := read(q)
		if err != nil {
			t.Fatalf("%s: %v", values.Encode(), err)
		}
		if all = append(all, rows...); found.Next == "" {
			return all
		}
		if len(rows) != q.Limit || len(all) > 1000 {
			t.Fatalf("%s: a page of %d, and a next one", values.Encode(), len(rows))
		}
		values.Set("cursor", found.Next)
	}
}

func clone(v url.Values) url.Values {
	out := url.Values{}
	for name, values := range v {
		out[name] = slices.Clone(values)
	}
	return out
}

// pool is a list whose rows Go knows, with what each of its fields is there.
type pool[T any] struct {
	list   lists.List
	rows   []T
	fields map[string]func(T) any // strings, int64, bools, []string
	read   func(lists.Query) ([]T, lists.Found, error)
}

// texts are values that fold, quote, escape and sort in ways of their own.
var texts = []string{"", "a", "A", "aB", "Ab", "ab", "b", "é", "É", "ß", "%", "_", "a_b", "a%b", `'`, `"`, `\`, "a b", "a,b", "Z", "z", "ü✓", "[]"}

func pagesAreWhatGoFinds(t *testing.T, s *sqlstore.Store) {
	t.Run("webhooks", func(t *testing.T) { checkPool(t, webhookPool(t, s)) })
	t.Run("keys", func(t *testing.T) { checkPool(t, keyPool(t, s)) })
	t.Run("jobs", func(t *testing.T) { checkPool(t, jobPool(t, s)) })
	t.Run("administrators", func(t *testing.T) { checkPool(t, administratorPool(t, s)) })
	t.Run("audit log", func(t *testing.T) { checkPool(t, auditPool(t, s)) })
	t.Run("tenants", func(t *testing.T) { checkPool(t, tenantPool(t, s)) })
}

// checkPool asks a list at random, and compares with what a filter and a sort in Go find.
func checkPool[T any](t *testing.T, p pool[T]) {
	for _, f := range p.list.Fields {
		if p.fields[f.Name] == nil {
			t.Fatalf("%s is not known", f.Name)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		values := drawValues(rt, p)
		q, err := p.list.Read(values)
		if err != nil {
			rt.Fatalf("%s: %v", values.Encode(), err)
		}
		want := p.found(q)
		got := walk(rt, p.list, values, p.read)
		if d := gocmp.Diff(p.keys(want), p.keys(got)); d != "" {
			rt.Fatalf("%s (-want +got):\n%s", values.Encode(), d)
		}
		q.Total = true
		if _, found, err := p.read(q); err != nil || *found.Total != len(want) || found.More {
			rt.Fatalf("%s: total %v, %v, want %d", values.Encode(), found.Total, err, len(want))
		}
	})
}

func (p pool[T]) keys(rows []T) []any {
	keys := []any{}
	for _, r := range rows {
		keys = append(keys, p.fields[p.list.KeyName()](r))
	}
	return keys
}

// drawValues asks for up to three filters, in an order by up to three fields.
func drawValues[T any](t *rapid.T, p pool[T]) url.Values {
	values := url.Values{"limit": {strconv.Itoa(rapid.IntRange(1, 12).Draw(t, "limit"))}}
	var order []string
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(p.list.Sorted()), 0, 3, rapid.ID).Draw(t, "sort") {
		if rapid.Bool().Draw(t, "descending") {
			name = "-" + name
		}
		order = append(order, name)
	}
	if order != nil {
		values.Set("sort", strings.Join(order, ","))
	}
	for range rapid.IntRange(0, 3).Draw(t, "filters") {
		f, _ := p.list.Field(rapid.SampledFrom(p.list.Filtered()).Draw(t, "field"))
		op := rapid.SampledFrom(f.Operators()).Draw(t, "op")
		of := func() string { return p.drawText(t, f, op) }
		all := []string{of()}
		if op == lists.In {
			for range rapid.IntRange(0, 3).Draw(t, "more") {
				all = append(all, of())
			}
		}
		values.Set(fmt.Sprintf("filter[%s][%s]", f.Name, op), strings.Join(all, ","))
	}
	return values
}

// drawText is a value that some row has, or a part of one.
func (p pool[T]) drawText(t *rapid.T, f lists.Field, op lists.Op) string {
	r := rapid.SampledFrom(p.rows).Draw(t, "row")
	switch v := p.fields[f.Name](r).(type) {
	case string:
		if op == lists.Contains {
			v = rapid.SampledFrom(texts[1:]).Draw(t, "part")
		}
		if v == "" || op == lists.In && strings.Contains(v, ",") {
			return cmp.Or(strings.Join(f.Values, ","), "none")
		}
		return v
	case []string:
		if len(v) == 0 {
			return append(slices.Clone(f.Values), "none")[0]
		}
		return rapid.SampledFrom(v).Draw(t, "member")
	case bool:
		return strconv.FormatBool(v)
	case int64:
		if f.Kind != lists.Time {
			return strconv.FormatInt(v, 10)
		}
		if v == 0 && (op == lists.Eq || op == lists.Ne) {
			return "null"
		}
		return time.Unix(0, v).UTC().Format(time.RFC3339Nano)
	}
	panic(f.Name)
}

// found is what a query finds, in its order.
func (p pool[T]) found(q lists.Query) []T {
	var out []T
	for _, r := range p.rows {
		if !slices.ContainsFunc(q.Filter, func(c lists.Condition) bool { return !holds(c, p.fields[c.Field.Name](r)) }) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b T) int {
		for _, o := range q.Sort {
			c := compare(p.fields[o.Field.Name](a), p.fields[o.Field.Name](b))
			if o.Descending {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return 0
	})
	return out
}

func compare(a, b any) int {
	switch a := a.(type) {
	case string:
		return cmp.Compare(a, b.(string))
	case int64:
		return cmp.Compare(a, b.(int64))
	}
	number := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	return number(a.(bool)) - number(b.(bool))
}

func holds(c lists.Condition, v any) bool {
	if members, ok := v.([]string); ok {
		some := slices.ContainsFunc(c.Values, func(v any) bool { return slices.Contains(members, v.(string)) })
		return some == (c.Op != lists.Ne)
	}
	if c.Field.Null && v == int64(0) {
		return (c.Op == lists.Eq) == c.Null() && (c.Op == lists.Eq || c.Op == lists.Ne)
	}
	if c.Null() {
		return c.Op == lists.Ne
	}
	switch first := c.Values[0]; c.Op {
	case lists.Eq:
		return v == first
	case lists.Ne:
		return v != first
	case lists.In:
		return slices.Contains(c.Values, v)
	case lists.Contains:
		return strings.Contains(fold(v.(string)), fold(first.(string)))
	case lists.Gt:
		return compare(v, first) > 0
	case lists.Gte:
		return compare(v, first) >= 0
	case lists.Lt:
		return compare(v, first) < 0
	default:
		return compare(v, first) <= 0
	}
}

// fold makes letters of A to Z small.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func nanos(t time.Time) any { return sqldb.Nanos(t) }

// text, at and so on are the nth of some values, of which each comes several times.
func text(n int) string { return texts[n%len(texts)] }

func at(n int) time.Time { return now.Add(time.Duration(n%5) * time.Second) }

func maybe(n int) time.Time {
	if n%3 == 0 {
		return time.Time{}
	}
	return at(n)
}

// rowsOfPool is how many rows a pool has.
const rowsOfPool = 40

func webhookPool(t *testing.T, s *sqlstore.Store) pool[webhook.Webhook] {
	p := pool[webhook.Webhook]{list: sqlstore.WebhookList(), read: func(q lists.Query) ([]webhook.Webhook, lists.Found, error) {
		return s.Webhooks(context.Background(), "acme", q)
	}}
	for n := range rowsOfPool {
		w := Webhook("acme", at(n))
		w.ID, w.Name, w.Description, w.URL, w.Condition = uuid.NewString(), text(n), text(n*3), "https://example.com/"+text(n*5), text(n*7)
		w.Active, w.Paused, w.ThirdParty, w.RateLimit, w.MaxInFlight = n%2 == 0, n%3 == 0, n%5 == 0, n%4, n%6
		w.EventTypes = [][]string{{"card.updated"}, {"card.*", "card.updated"}, {"*"}, {"board.created", "card.*"}}[n%4]
		w.ExternalReference, w.APIKeyID, w.DeveloperClientID, w.UpdatedAt = text(n*11), text(n%3), text(n%4), at(n*3)
		p.rows = append(p.rows, create(t, s, w))
	}
	create(t, s, Webhook("other", now))
	p.fields = map[string]func(webhook.Webhook) any{
		"id": func(w webhook.Webhook) any { return w.ID }, "name": func(w webhook.Webhook) any { return w.Name },
		"description": func(w webhook.Webhook) any { return w.Description }, "url": func(w webhook.Webhook) any { return w.URL },
		"active": func(w webhook.Webhook) any { return w.Active }, "paused": func(w webhook.Webhook) any { return w.Paused },
		"event_types": func(w webhook.Webhook) any { return w.EventTypes }, "condition": func(w webhook.Webhook) any { return w.Condition },
		"rate_limit":          func(w webhook.Webhook) any { return int64(w.RateLimit) },
		"max_in_flight":       func(w webhook.Webhook) any { return int64(w.MaxInFlight) },
		"external_reference":  func(w webhook.Webhook) any { return w.ExternalReference },
		"api_key_id":          func(w webhook.Webhook) any { return w.APIKeyID },
		"developer_client_id": func(w webhook.Webhook) any { return w.DeveloperClientID },
		"third_party":         func(w webhook.Webhook) any { return w.ThirdParty },
		"created_at":          func(w webhook.Webhook) any { return nanos(w.CreatedAt) }, "updated_at": func(w webhook.Webhook) any { return nanos(w.UpdatedAt) },
	}
	return p
}

func auditPool(t *testing.T, s *sqlstore.Store) pool[sqlstore.AuditEntry] {
	p := pool[sqlstore.AuditEntry]{list: sqlstore.AuditList(), read: func(q lists.Query) ([]sqlstore.AuditEntry, lists.Found, error) {
		return s.AuditLog(context.Background(), "pool", q)
	}}
	for n := range rowsOfPool {
		by := sqlstore.Author{
			Kind: []sqlstore.AuthorKind{sqlstore.ByAPIKey, sqlstore.BySession, sqlstore.BySystem}[n%3], KeyID: uuid.NewString(), Platform: n%2 == 0,
			Action: "a" + text(n), RequestID: text(n * 3), At: at(n),
		}
		of := sqlstore.Subject{Kind: []sqlstore.Kind{sqlstore.KindDelivery, sqlstore.KindJob}[n%2], ID: text(n * 5), Tenant: "pool"}
		id, err := s.Note(context.Background(), by, of, nil)
		if err != nil {
			t.Fatal(err)
		}
		e := sqlstore.AuditEntry{ID: id, CreatedAt: by.At, Author: by, Subject: of, Result: sqlstore.AuditBegun}
		if n%3 == 0 {
			if err := s.Noted(context.Background(), by, id, nil); err != nil {
				t.Fatal(err)
			}
			e.Result = sqlstore.AuditDone
		}
		p.rows = append(p.rows, e)
	}
	p.fields = map[string]func(sqlstore.AuditEntry) any{
		"id": func(e sqlstore.AuditEntry) any { return e.ID }, "created_at": func(e sqlstore.AuditEntry) any { return nanos(e.CreatedAt) },
		"author": func(e sqlstore.AuditEntry) any { return string(e.Author.Kind) }, "key_id": func(e sqlstore.AuditEntry) any { return e.Author.KeyID },
		"platform": func(e sqlstore.AuditEntry) any { return e.Author.Platform }, "action": func(e sqlstore.AuditEntry) any { return e.Author.Action },
		"kind": func(e sqlstore.AuditEntry) any { return string(e.Subject.Kind) }, "subject_id": func(e sqlstore.AuditEntry) any { return e.Subject.ID },
		"result": func(e sqlstore.AuditEntry) any { return string(e.Result) }, "request_id": func(e sqlstore.AuditEntry) any { return e.Author.RequestID },
	}
	return p
}

func keyPool(t *testing.T, s *sqlstore.Store) pool[tenant.APIKey] {
	p := pool[tenant.APIKey]{list: sqlstore.APIKeyList(), read: func(q lists.Query) ([]tenant.APIKey, lists.Found, error) {
		return s.APIKeys(context.Background(), "acme", q)
	}}
	for n := range rowsOfPool {
		k := Key("acme", byte(n))
		k.Name, k.Prefix, k.DeveloperClientID, k.CreatedAt, k.ExpiresAt = text(n), "dsk_"+text(n*3), text(n*5), at(n), maybe(n)
		k.UpdatedAt, k.LastUsedAt = maybe(n+1), maybe(n+2)
		k.Scopes = [][]tenant.Scope{nil, {"events"}, {"events", "webhooks"}, tenant.Scopes()}[n%4]
		k, err := s.CreateAPIKey(context.Background(), By(), k)
		if err != nil {
			t.Fatal(err)
		}
		p.rows = append(p.rows, k)
	}
	p.fields = map[string]func(tenant.APIKey) any{
		"id": func(k tenant.APIKey) any { return k.ID }, "name": func(k tenant.APIKey) any { return k.Name },
		"prefix":              func(k tenant.APIKey) any { return k.Prefix },
		"developer_client_id": func(k tenant.APIKey) any { return k.DeveloperClientID },
		"created_at":          func(k tenant.APIKey) any { return nanos(k.CreatedAt) }, "expires_at": func(k tenant.APIKey) any { return nanos(k.ExpiresAt) },
		"updated_at": func(k tenant.APIKey) any { return nanos(k.UpdatedAt) }, "last_used_at": func(k tenant.APIKey) any { return nanos(k.LastUsedAt) },
		"scopes": func(k tenant.APIKey) any {
			var names []string
			for _, s := range k.Scopes {
				names = append(names, string(s))
			}
			return names
		},
	}
	return p
}

func jobPool(t *testing.T, s *sqlstore.Store) pool[sqlstore.Job] {
	p := pool[sqlstore.Job]{list: sqlstore.JobList(), read: func(q lists.Query) ([]sqlstore.Job, lists.Found, error) {
		return s.Jobs(context.Background(), "acme", q)
	}}
	hooks := []string{uuid.NewString(), uuid.NewString(), uuid.NewString()}
	for n := range rowsOfPool {
		j := NewJob("acme")
		j.Kind, j.WebhookID = []sqlstore.JobKind{sqlstore.JobRelease, sqlstore.JobDiscard, sqlstore.JobRecover}[n%3], hooks[n/2%3]
		j.Status = []sqlstore.JobStatus{sqlstore.JobWaiting, sqlstore.JobRunning, sqlstore.JobDone, sqlstore.JobFailed}[n%4]
		j.Changed, j.CreatedAt, j.UpdatedAt, j.FinishedAt = int64(n%7), at(n), at(n*3), maybe(n)
		j, err := s.CreateJob(context.Background(), By(), j)
		if err != nil {
			t.Fatal(err)
		}
		p.rows = append(p.rows, j)
	}
	p.fields = map[string]func(sqlstore.Job) any{
		"id": func(j sqlstore.Job) any { return j.ID }, "kind": func(j sqlstore.Job) any { return string(j.Kind) },
		"webhook_id": func(j sqlstore.Job) any { return j.WebhookID }, "status": func(j sqlstore.Job) any { return string(j.Status) },
		"changed":    func(j sqlstore.Job) any { return j.Changed },
		"created_at": func(j sqlstore.Job) any { return nanos(j.CreatedAt) }, "updated_at": func(j sqlstore.Job) any { return nanos(j.UpdatedAt) },
		"finished_at": func(j sqlstore.Job) any { return nanos(j.FinishedAt) },
	}
	return p
}

func administratorPool(t *testing.T, s *sqlstore.Store) pool[tenant.Administrator] {
	kinds := []string{"warning", "disabled", "gone"}
	p := pool[tenant.Administrator]{list: sqlstore.AdministratorList(kinds), read: func(q lists.Query) ([]tenant.Administrator, lists.Found, error) {
		return s.Administrators(context.Background(), "acme", q)
	}}
	for n := range rowsOfPool {
		a := Administrator("acme", fmt.Sprintf("Admin-%d@example.com", n))
		a.Name, a.Language, a.Notices, a.CreatedAt, a.UpdatedAt = text(n), []string{"en", "nl"}[n%2], kinds[:n%4], at(n), at(n*3)
		p.rows = append(p.rows, createAdministrator(t, s, a))
	}
	p.fields = map[string]func(tenant.Administrator) any{
		"id": func(a tenant.Administrator) any { return a.ID }, "email": func(a tenant.Administrator) any { return a.Email },
		"name": func(a tenant.Administrator) any { return a.Name }, "language": func(a tenant.Administrator) any { return a.Language },
		"notices":    func(a tenant.Administrator) any { return a.Notices },
		"created_at": func(a tenant.Administrator) any { return nanos(a.CreatedAt) }, "updated_at": func(a tenant.Administrator) any { return nanos(a.UpdatedAt) },
	}
	return p
}

// tenantPool has the tenants of the other pools too.
func tenantPool(t *testing.T, s *sqlstore.Store) pool[tenant.Tenant] {
	ctx := context.Background()
	for n := range rowsOfPool {
		of := tenant.Tenant{ID: fmt.Sprintf("t-%d", n), Name: text(n), Open: n%2 == 0, Profile: text(n * 3), CreatedAt: at(n), UpdatedAt: at(n * 3)}
		if _, err := s.CreateTenant(ctx, By(), of); err != nil {
			t.Fatal(err)
		}
	}
	all, _, err := s.Tenants(ctx, asked(sqlstore.TenantList(), lists.MaxLimit))
	if err != nil || len(all) < rowsOfPool {
		t.Fatalf("%d tenants, %v", len(all), err)
	}
	return pool[tenant.Tenant]{
		list: sqlstore.TenantList(), rows: all, read: func(q lists.Query) ([]tenant.Tenant, lists.Found, error) { return s.Tenants(ctx, q) },
		fields: map[string]func(tenant.Tenant) any{
			"id": func(t tenant.Tenant) any { return t.ID }, "name": func(t tenant.Tenant) any { return t.Name },
			"open": func(t tenant.Tenant) any { return t.Open }, "profile": func(t tenant.Tenant) any { return t.Profile },
			"created_at": func(t tenant.Tenant) any { return nanos(t.CreatedAt) }, "updated_at": func(t tenant.Tenant) any { return nanos(t.UpdatedAt) },
		},
	}
}

// pagesHold walks lists while rows come, change and go: the others come once each, in their order.
func pagesHold(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	for _, sort := range []string{"name", "-name", "created_at", "-created_at,name", "active,-updated_at"} {
		of := "acme" + strings.NewReplacer(",", "", "_", "").Replace(sort)
		var stays []webhook.Webhook
		add := func(n int) webhook.Webhook {
			w := Webhook(of, at(n))
			w.Name, w.Active, w.UpdatedAt = text(n), n%2 == 0, at(n*3)
			return create(t, s, w)
		}
		for n := range 12 {
			stays = append(stays, add(n))
		}
		values := url.Values{"limit": {"2"}, "sort": {sort}}
		want := walk(t, sqlstore.WebhookList(), values, func(q lists.Query) ([]webhook.Webhook, lists.Found, error) { return s.Webhooks(ctx, of, q) })
		n := 100
		got := walk(t, sqlstore.WebhookList(), values, func(q lists.Query) ([]webhook.Webhook, lists.Found, error) {
			rows, found, err := s.Webhooks(ctx, of, q)
			if n++; n < 112 { // not for ever: a list that grows as fast as it is read has no end
				gone := add(n + 50)
				add(n)
				if err := s.DeleteWebhook(ctx, By(), of, gone.ID, 0); err != nil {
					t.Fatal(err)
				}
				w, err := s.Webhook(ctx, of, stays[n%12].ID)
				if err == nil {
					w.Description = "changed"
					_, err = s.UpdateWebhook(ctx, By(), w)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			return rows, found, err
		})
		ids := func(rows []webhook.Webhook) []string {
			var ids []string
			for _, w := range rows {
				if slices.ContainsFunc(stays, func(s webhook.Webhook) bool { return s.ID == w.ID }) {
					ids = append(ids, w.ID)
				}
			}
			return ids
		}
		if d := gocmp.Diff(ids(want), ids(got)); d != "" {
			t.Errorf("%s (-want +got):\n%s", sort, d)
		}
	}
}

// totals counts no further than it says.
func totals(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	if err := s.EnsureTenant(ctx, By(), "acme", now); err != nil {
		t.Fatal(err)
	}
	document := "'[]'"
	if s.Postgres() {
		document += "::jsonb"
	}
	if _, err := s.Write.ExecContext(ctx, `INSERT INTO administrators (id, tenant, email, email_lower, name, language, notices, version, created_at, updated_at)
		WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 10001)
		SELECT 'a-' || n, 'acme', 'a-' || n, 'a-' || n, 'name', 'en', `+document+`, 1, n, n FROM n`); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]lists.Found{
		"total=true": {Total: new(lists.MaxCounted), More: true},
		"total=true&filter[created_at][gt]=1970-01-01T00:00:00.000000001Z": {Total: new(lists.MaxCounted)},
		"total=true&filter[email]=a-7":                                     {Total: new(1)},
		"total=true&filter[email]=none":                                    {Total: new(0)},
		"total=false":                                                      {},
	} {
		values, _ := url.ParseQuery(query)
		q, err := sqlstore.AdministratorList(nil).Read(values)
		if err != nil {
			t.Fatal(err)
		}
		_, got, err := s.Administrators(ctx, "acme", q)
		if got.Next = ""; err != nil || !gocmp.Equal(want, got) {
			t.Errorf("%s: %v (-want +got):\n%s", query, err, gocmp.Diff(want, got))
		}
	}
}
