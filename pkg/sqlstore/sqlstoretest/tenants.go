package sqlstoretest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// Tenant is a tenant with every field set.
func Tenant(id string) tenant.Tenant {
	return tenant.Tenant{
		ID: id, Name: "Kaarten ✓", Open: true,
		Policy: tenant.Policy{
			WarnAfter: new(1), DisableAfter: new(2), MaxWebhooksPerEvent: new(10), RetryCount: new(0), Timeout: new(7 * time.Second),
			Reactivation: "any", KeepAnswers: new(false), Validate: "warn",
		},
		Payload:  webhook.Payload{Format: webhook.FormatThin, Exclude: &[]string{"a.b"}, Stringify: new(true)},
		Features: map[string]bool{"webhooks": true}, Profile: "planmill", CreatedAt: now, UpdatedAt: now,
	}
}

func createTenant(t *testing.T, s *sqlstore.Store, of tenant.Tenant) tenant.Tenant {
	t.Helper()
	of, err := s.CreateTenant(context.Background(), By(), of)
	if err != nil {
		t.Fatal(err)
	}
	return of
}

func tenantWhole(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	for _, of := range []tenant.Tenant{Tenant("acme"), {ID: "b", CreatedAt: now, UpdatedAt: now}} {
		want := createTenant(t, s, of)
		if got, err := s.Tenant(ctx, of.ID); err != nil || want.Version != 1 || !cmp.Equal(want, got) {
			t.Errorf("read back: %v (-want +got):\n%s", err, cmp.Diff(want, got))
		}
		if _, err := s.CreateTenant(ctx, By(), of); !errors.Is(err, sqlstore.ErrExists) {
			t.Errorf("made again: %v, want ErrExists", err)
		}
	}
	if got, rows := changes(t, s); len(rows) != 2 {
		t.Errorf("outbox: %v, want each tenant once", got)
	}
}

func tenantVersion(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	first := createTenant(t, s, Tenant("acme"))
	of := first
	of.Name, of.Open, of.Policy, of.Payload, of.Features, of.UpdatedAt = "new", false, tenant.Policy{}, webhook.Payload{}, nil, now.Add(time.Second)
	second, err := s.UpdateTenant(ctx, By(), of)
	if err != nil || second.Version != 2 {
		t.Fatalf("update: version %d, %v", second.Version, err)
	}
	if got, _ := s.Tenant(ctx, "acme"); !cmp.Equal(second, got) {
		t.Errorf("read back (-want +got):\n%s", cmp.Diff(second, got))
	}
	if _, err := s.UpdateTenant(ctx, By(), first); !errors.Is(err, sqlstore.ErrConflict) {
		t.Errorf("update of version 1 again: %v, want ErrConflict", err)
	}
	got, rows := changes(t, s)
	if d := cmp.Diff([]string{"tenant acme", "tenant acme"}, got); d != "" {
		t.Errorf("outbox (-want +got):\n%s", d)
	}
	current, err := s.Current(ctx, rows)
	if d := cmp.Diff([]sqlstore.Current{{Kind: sqlstore.KindTenant, Key: "acme", Tenant: &second}}, current); d != "" || err != nil {
		t.Errorf("current value: %v (-want +got):\n%s", err, d)
	}
	if err := s.DeleteTenant(ctx, By(), "acme", 0); err != nil {
		t.Fatal(err)
	}
	if current, err = s.Current(ctx, rows); err != nil || current[0].Tenant != nil {
		t.Errorf("after the deletion %+v stands, %v", current, err)
	}
	if got, _ := changes(t, s); len(got) != 3 {
		t.Errorf("outbox: %v, want the deletion too", got)
	}
	if _, err := s.UpdateTenant(ctx, By(), second); !errors.Is(err, sqlstore.ErrNotFound) {
		t.Errorf("update after delete: %v, want ErrNotFound", err)
	}
}

func tenantInUse(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	w := create(t, s, Webhook("acme", now))
	create(t, s, Webhook("other", now))
	k, err := s.CreateAPIKey(ctx, By(), Key("acme", 1))
	if err != nil {
		t.Fatal(err)
	}
	_, rows := changes(t, s)
	if err := s.DeleteChanges(ctx, rows); err != nil {
		t.Fatal(err)
	}
	refused := func(webhooks, keys int) {
		t.Helper()
		use := new(sqlstore.TenantInUseError)
		if err := s.DeleteTenant(ctx, By(), "acme", 0); !errors.As(err, &use) || use.Webhooks != webhooks || use.APIKeys != keys {
			t.Errorf("delete: %v, want a refusal for %d webhooks and %d keys", err, webhooks, keys)
		}
		if _, err := s.Tenant(ctx, "acme"); err != nil {
			t.Error(err)
		}
	}
	refused(1, 1)
	if got, _ := changes(t, s); len(got) != 0 {
		t.Errorf("the outbox holds %v after a deletion that was refused", got)
	}
	if err := s.DeleteWebhook(ctx, By(), "acme", w.ID, 0); err != nil {
		t.Fatal(err)
	}
	refused(0, 1)
	if err := s.DeleteAPIKey(ctx, By(), "acme", k.ID, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteTenant(ctx, By(), "acme", 0); err != nil {
		t.Error(err)
	}
	for name, id := range map[string]string{"again": "acme", "of what never was": "nobody"} {
		if err := s.DeleteTenant(ctx, By(), id, 0); !errors.Is(err, sqlstore.ErrNotFound) {
			t.Errorf("delete %s: %v, want ErrNotFound", name, err)
		}
	}
}

// Whoever gives a tenant something finds it there, however often it is deleted at the same time.
func tenantDeletedBeneath(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	const givers, each = 4, 15
	var wg sync.WaitGroup
	done := make(chan struct{})
	deleted := make(chan int)
	go func() {
		n := 0
		defer func() { deleted <- n }()
		for {
			select {
			case <-done:
				return
			default:
			}
			use := new(sqlstore.TenantInUseError)
			switch err := s.DeleteTenant(ctx, By(), "acme", 0); {
			case err == nil:
				n++
			case !errors.As(err, &use) && !errors.Is(err, sqlstore.ErrNotFound):
				t.Error(err)
				return
			}
		}
	}()
	for g := range givers {
		wg.Go(func() {
			for i := range each {
				if g%2 == 0 {
					w, err := s.CreateWebhook(ctx, By(), Webhook("acme", now))
					if _, readErr := s.Tenant(ctx, "acme"); err != nil || readErr != nil {
						t.Errorf("a webhook without its tenant: %v, %v", err, readErr)
						return
					}
					err = s.DeleteWebhook(ctx, By(), "acme", w.ID, 0)
					if err != nil {
						t.Error(err)
					}
					continue
				}
				k, err := s.CreateAPIKey(ctx, By(), Key("acme", byte(g*each+i+1))) //nolint:gosec // small
				if _, readErr := s.Tenant(ctx, "acme"); err != nil || readErr != nil {
					t.Errorf("a key without its tenant: %v, %v", err, readErr)
					return
				}
				if err := s.DeleteAPIKey(ctx, By(), "acme", k.ID, 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	close(done)
	t.Logf("deleted %d times", <-deleted)
}
