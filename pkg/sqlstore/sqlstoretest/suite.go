// Package sqlstoretest is what a database must do for pkg/sqlstore: one suite, run on SQLite always
// and on PostgreSQL where the environment names one.
package sqlstoretest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/lists"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// Run runs the suite on a database that is new for every call of open.
func Run(t *testing.T, open func(t *testing.T) sqldb.Config) {
	for name, test := range map[string]func(*testing.T, *sqlstore.Store){
		"a webhook comes back whole":          webhookWhole,
		"a webhook of old comes back":         webhookOfOld,
		"webhooks of all tenants":             webhooksOfAll,
		"a scrub leaves nothing of old rows":  scrub,
		"an update needs the version":         updateVersion,
		"concurrent updates lose nothing":     updateConcurrently,
		"a tenant sees its own webhooks only": tenantsApart,
		"lists come in pages":                 pages,
		"pages are what Go finds":             pagesAreWhatGoFinds,
		"pages hold while rows come and go":   pagesHold,
		"totals end at a bound":               totals,
		"keys are found by hash":              keys,
		"the first key is made once":          firstKey,
		"tenants are made once":               tenants,
		"a tenant comes back whole":           tenantWhole,
		"a tenant's update needs the version": tenantVersion,
		"a tenant in use is not deleted":      tenantInUse,
		"a tenant is not deleted beneath":     tenantDeletedBeneath,
		"changes are announced":               announced,
		"what rolls back is not announced":    rolledBack,
		"a change while draining is kept":     changeWhileDraining,
		"republishing announces all, last":    republish,
		"a catalogue comes back whole":        catalogueWhole,
		"what changes in a catalogue is told": catalogueChanges,
		"a catalogue is changed by one":       catalogueTogether,
		"a catalogue goes with its tenant":    catalogueGoes,
		"a lock has one holder":               oneHolder,
		"the topic becomes what SQL holds":    topicIsSQL,

		"an administrator comes back whole":          administratorWhole,
		"an administrator's update needs a version":  administratorVersion,
		"a tenant has an address once":               administratorOnce,
		"administrators come in pages":               administratorPages,
		"administrators are announced":               administratorAnnounced,
		"a tenant takes along what goes with it":     tenantTakesAlong,
		"sessions end":                               sessions,
		"sessions end with their key":                sessionsEndWithTheirKey,
		"a job comes back whole":                     jobWhole,
		"a job's update needs the version":           jobVersion,
		"a job is taken by one":                      jobTakenOnce,
		"jobs are listed, and deleted when finished": jobLists,

		"changes are told without secrets":         auditChanges,
		"no change without its entry":              auditWithTheChange,
		"what goes elsewhere is noted":             auditNotes,
		"the audit log ends with time and tenants": auditEnds,

		"a request is claimed once":         onceClaims,
		"a request is done with its change": onceWithTheChange,
		"a promise outlives who made it":    oncePromised,
		"of many at once one makes it":      onceOfMany,
	} {
		t.Run(name, func(t *testing.T) { test(t, Open(t, open(t))) })
	}
	t.Run("two programs migrate once", func(t *testing.T) { migrateTogether(t, open(t)) })
	t.Run("a restart keeps everything", func(t *testing.T) { restart(t, open(t)) })
}

var now = time.Date(2026, 3, 4, 5, 6, 7, 89, time.UTC)

// Webhook is a webhook with every field set.
func Webhook(of string, at time.Time) webhook.Webhook {
	retries, timeout, stringify := 0, 7*time.Second, true
	return webhook.Webhook{
		ID: uuid.Must(uuid.NewV7()).String(), Tenant: of, Name: "Kaarten ✓", Description: "d", URL: "https://example.com/a?b=c",
		Active: true, Paused: true, EventTypes: []string{"card.updated", "board.*"}, Filters: map[string]string{"eventUser": "545"},
		Condition: `event.type == "x"`, Headers: []webhook.Header{
			{Name: "X-A", Value: webhook.Plain([]byte("1"))}, {Name: "X-B", Value: webhook.Sealed{KeyID: "k2", Bytes: []byte{0, 1, 255}}},
			{Name: "X-C", Value: webhook.Plain([]byte{})},
		},
		Payload:    webhook.Payload{Format: webhook.FormatThin, Exclude: &[]string{"a.b"}, Stringify: &stringify},
		RetryCount: &retries, Timeout: &timeout, RateLimit: 9, MaxInFlight: 8, ExternalReference: "ref",
		Metadata: map[string]string{"k": "v"}, APIKeyID: "key", DeveloperClientID: "client", ThirdParty: true, Held: true,
		SigningKeys: []webhook.SigningKey{
			{Scheme: webhook.SchemeHMAC, Secret: webhook.Sealed{KeyID: webhook.PlainKeyID, Bytes: []byte{0, 1, 255}}},
			{Scheme: webhook.SchemeEd25519, Secret: webhook.Sealed{KeyID: "k2", Bytes: []byte("old")}, ExpiresAt: at.Add(time.Hour)},
		},
		CreatedAt: at, UpdatedAt: at,
	}
}

func create(t *testing.T, s *sqlstore.Store, w webhook.Webhook) webhook.Webhook {
	t.Helper()
	w, err := s.CreateWebhook(context.Background(), By(), w)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func webhookWhole(t *testing.T, s *sqlstore.Store) {
	minimal := webhook.Webhook{
		ID: uuid.NewString(), Tenant: "acme", URL: "https://example.com", EventTypes: []string{"*"}, CreatedAt: now, UpdatedAt: now,
	}
	for _, w := range []webhook.Webhook{Webhook("acme", now), minimal} {
		want := create(t, s, w)
		if want.Version != 1 || want.Generation != 1 {
			t.Errorf("created as version %d of generation %d, want 1 and 1", want.Version, want.Generation)
		}
		got, err := s.Webhook(context.Background(), "acme", w.ID)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("read back (-want +got):\n%s", d)
		}
	}
}

func updateVersion(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	first := create(t, s, Webhook("acme", now))
	w := first
	w.Name, w.Timeout, w.Generation, w.UpdatedAt = "new", nil, 2, now.Add(time.Second)
	second, err := s.UpdateWebhook(ctx, By(), w)
	if err != nil || second.Version != 2 {
		t.Fatalf("update: version %d, %v", second.Version, err)
	}
	if got, _ := s.Webhook(ctx, "acme", w.ID); !cmp.Equal(second, got) {
		t.Errorf("read back (-want +got):\n%s", cmp.Diff(second, got))
	}
	if _, err := s.UpdateWebhook(ctx, By(), first); !errors.Is(err, sqlstore.ErrConflict) {
		t.Errorf("update of version 1 again: %v, want ErrConflict", err)
	}
	other := second
	other.Tenant = "other"
	if _, err := s.UpdateWebhook(ctx, By(), other); !errors.Is(err, sqlstore.ErrNotFound) {
		t.Errorf("update by another tenant: %v, want ErrNotFound", err)
	}
	if err := s.DeleteWebhook(ctx, By(), "acme", w.ID, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.UpdateWebhook(ctx, By(), second); !errors.Is(err, sqlstore.ErrNotFound) {
		t.Errorf("update after delete: %v, want ErrNotFound", err)
	}
	if err := s.DeleteWebhook(ctx, By(), "acme", w.ID, 0); !errors.Is(err, sqlstore.ErrNotFound) {
		t.Errorf("delete again: %v, want ErrNotFound", err)
	}
}

func updateConcurrently(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	w := create(t, s, Webhook("acme", now))
	const writers, each = 4, 10
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for done := 0; done < each; {
				w, err := s.Webhook(ctx, "acme", w.ID)
				if err == nil {
					w.RateLimit++
					_, err = s.UpdateWebhook(ctx, By(), w)
				}
				switch {
				case err == nil:
					done++
				case !errors.Is(err, sqlstore.ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	got, err := s.Webhook(ctx, "acme", w.ID)
	if err != nil || got.RateLimit != w.RateLimit+writers*each || got.Version != 1+writers*each {
		t.Errorf("after %d updates: rate limit %d, version %d, %v", writers*each, got.RateLimit, got.Version, err)
	}
}

func tenantsApart(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	w := create(t, s, Webhook("acme", now))
	if _, err := s.Webhook(ctx, "other", w.ID); !errors.Is(err, sqlstore.ErrNotFound) {
		t.Errorf("read by another tenant: %v, want ErrNotFound", err)
	}
	if err := s.DeleteWebhook(ctx, By(), "other", w.ID, 0); !errors.Is(err, sqlstore.ErrNotFound) {
		t.Errorf("delete by another tenant: %v, want ErrNotFound", err)
	}
	if list, next, err := s.Webhooks(ctx, "other", asked(sqlstore.WebhookList(), 9)); len(list) != 0 || next != (lists.Found{}) || err != nil {
		t.Errorf("list of another tenant: %d webhooks, %+v, %v", len(list), next, err)
	}
}

func pages(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	var want []string
	for i := range 7 {
		w := Webhook("acme", now.Add(time.Duration(i/3)*time.Second)) // several at one time
		want = append(want, create(t, s, w).ID)
	}
	slices.Sort(want[:3])
	slices.Sort(want[3:6])
	var got []string
	for _, w := range walk(t, sqlstore.WebhookList(), url.Values{"limit": {"2"}}, func(q lists.Query) ([]webhook.Webhook, lists.Found, error) {
		return s.Webhooks(ctx, "acme", q)
	}) {
		got = append(got, w.ID)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("pages (-want +got):\n%s", d)
	}
}

// Key is an API key with every field set.
func Key(of string, n byte) tenant.APIKey {
	return tenant.APIKey{
		ID: uuid.NewString(), Tenant: of, Name: "key", Prefix: "dsk_1234", Hash: [32]byte{n, 0, 255}, Scopes: tenant.Scopes(),
		DeveloperClientID: "client", CreatedAt: now.Add(time.Duration(n)), ExpiresAt: now.Add(time.Hour),
	}
}

func keys(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	mine, err := s.CreateAPIKey(ctx, By(), Key("acme", 1))
	if err != nil || mine.Version != 1 {
		t.Fatalf("create: version %d, %v", mine.Version, err)
	}
	platform, err := s.CreateAPIKey(ctx, By(), Key("", 2))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []tenant.APIKey{mine, platform} {
		got, err := s.APIKeyByHash(ctx, want.Hash)
		if err != nil || !cmp.Equal(want, got) {
			t.Errorf("by hash: %v\n%s", err, cmp.Diff(want, got))
		}
	}
	list, _, err := s.APIKeys(ctx, "acme", asked(sqlstore.APIKeyList(), 5))
	if err != nil || !cmp.Equal([]tenant.APIKey{mine}, list) {
		t.Errorf("list: %v\n%s", err, cmp.Diff([]tenant.APIKey{mine}, list))
	}
	if _, err := s.CreateAPIKey(ctx, By(), Key("acme", 1)); err == nil {
		t.Error("a second key of one hash was made")
	}
	if err := s.DeleteAPIKey(ctx, By(), "other", mine.ID, 0); !errors.Is(err, sqlstore.ErrNotFound) {
		t.Errorf("delete by another tenant: %v, want ErrNotFound", err)
	}
	if err := s.DeleteAPIKey(ctx, By(), "acme", mine.ID, 0); err != nil {
		t.Error(err)
	}
	if _, err := s.APIKeyByHash(ctx, mine.Hash); !errors.Is(err, sqlstore.ErrNotFound) {
		t.Errorf("by hash after delete: %v, want ErrNotFound", err)
	}
}

func firstKey(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	if _, err := s.CreateAPIKey(ctx, By(), Key("acme", 1)); err != nil {
		t.Fatal(err)
	}
	id := uuid.NewString()
	var made sync.Map
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			k := Key("", byte(10+i)) //nolint:gosec // small
			k.ID = id
			created, err := s.CreateFirstAPIKey(ctx, By(), k)
			if err != nil {
				t.Error(err)
			} else if created {
				made.Store(k.Hash, true)
			}
		})
	}
	wg.Wait()
	n := 0
	for hash := range made.Range {
		n++
		if k, err := s.APIKeyByHash(ctx, hash.([32]byte)); err != nil || k.Tenant != "" {
			t.Errorf("the key that was made: %+v, %v", k, err)
		}
	}
	if list, _, _ := s.APIKeys(ctx, "", asked(sqlstore.APIKeyList(), 9)); n != 1 || len(list) != 1 {
		t.Errorf("%d made, %d platform keys, want 1 and 1", n, len(list))
	}
}

func tenants(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	if _, err := s.Tenant(ctx, "acme"); !errors.Is(err, sqlstore.ErrNotFound) {
		t.Errorf("unknown tenant: %v, want ErrNotFound", err)
	}
	create(t, s, Webhook("acme", now))
	for range 2 {
		if err := s.EnsureTenant(ctx, By(), "acme", now.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	want := tenant.Tenant{ID: "acme", Name: "acme", Open: true, Version: 1, CreatedAt: now, UpdatedAt: now}
	if got, err := s.Tenant(ctx, "acme"); err != nil || !cmp.Equal(want, got) {
		t.Errorf("tenant: %v\n%s", err, cmp.Diff(want, got))
	}
	if err := s.EnsureTenant(ctx, By(), "b-1", now.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	all := walk(t, sqlstore.TenantList(), url.Values{"limit": {"1"}}, func(q lists.Query) ([]tenant.Tenant, lists.Found, error) { return s.Tenants(ctx, q) })
	if len(all) != 2 || all[0].ID != "acme" || all[1].ID != "b-1" {
		t.Errorf("tenants: %+v", all)
	}
	own, found, err := s.OwnTenant(ctx, "b-1", asked(sqlstore.TenantList(), 9))
	if err != nil || len(own) != 1 || own[0].ID != "b-1" || found.Next != "" {
		t.Errorf("its own tenant: %+v, %+v, %v", own, found, err)
	}
}

func oneHolder(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	take := func(name string, want bool) *sqldb.Lock {
		t.Helper()
		l, held, err := s.TryLock(ctx, name)
		if err != nil || held != want {
			t.Fatalf("lock %s: %t, %v, want %t", name, held, err, want)
		}
		return l
	}
	l := take("a", true)
	take("a", false)
	take("b", true).Release()
	if err := l.Held(ctx); err != nil {
		t.Error(err)
	}
	l.Release()
	take("a", true).Release()
}

func migrateTogether(t *testing.T, cfg sqldb.Config) {
	var wg sync.WaitGroup
	stores := make([]*sqlstore.Store, 8)
	for i := range stores {
		wg.Go(func() {
			s, err := sqlstore.Open(context.Background(), cfg, discard)
			if err != nil {
				t.Error(err)
				return
			}
			stores[i] = s
		})
	}
	wg.Wait()
	for _, s := range stores {
		if s == nil {
			continue
		}
		if v, err := s.SchemaVersion(context.Background()); v < 1 || err != nil {
			t.Errorf("schema version %d, %v", v, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func restart(t *testing.T, cfg sqldb.Config) {
	s, err := sqlstore.Open(context.Background(), cfg, discard)
	if err != nil {
		t.Fatal(err)
	}
	want := create(t, s, Webhook("acme", now))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = Open(t, cfg)
	if got, err := s.Webhook(context.Background(), "acme", want.ID); err != nil || !cmp.Equal(want, got) {
		t.Errorf("after a restart: %v\n%s", err, cmp.Diff(want, got))
	}
	if changes, err := s.Changes(context.Background(), 9); err != nil || len(changes) != 2 {
		t.Errorf("outbox after a restart: %s, %v, want tenant and webhook", fmt.Sprint(changes), err)
	}
}

// Open opens a store for the time of a test.
func Open(t *testing.T, cfg sqldb.Config) *sqlstore.Store {
	t.Helper()
	s, err := sqlstore.Open(context.Background(), cfg, discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// By is somebody who changes something.
func By() sqlstore.Author {
	return sqlstore.Author{Kind: sqlstore.ByAPIKey, KeyID: "k", KeyName: "tests", Action: "try", RequestID: "req_1", At: now}
}
