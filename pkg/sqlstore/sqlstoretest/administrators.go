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
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

// Administrator is an administrator with every field set.
func Administrator(of, email string) tenant.Administrator {
	return tenant.Administrator{
		ID: uuid.Must(uuid.NewV7()).String(), Tenant: of, Email: email, Name: "Ädmin ✓", Language: "nl",
		Notices: []string{"warning", "disabled"}, CreatedAt: now, UpdatedAt: now,
	}
}

func createAdministrator(t *testing.T, s *sqlstore.Store, a tenant.Administrator) tenant.Administrator {
	t.Helper()
	a, err := s.CreateAdministrator(context.Background(), By(), a)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func administratorWhole(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	minimal := tenant.Administrator{ID: uuid.NewString(), Tenant: "acme", Email: "b@example.com", CreatedAt: now, UpdatedAt: now}
	for _, a := range []tenant.Administrator{Administrator("acme", "Admin@Example.com"), minimal} {
		want := createAdministrator(t, s, a)
		if got, err := s.Administrator(ctx, "acme", a.ID); err != nil || want.Version != 1 || !cmp.Equal(want, got) {
			t.Errorf("read back: %v (-want +got):\n%s", err, cmp.Diff(want, got))
		}
		if _, err := s.Administrator(ctx, "other", a.ID); !errors.Is(err, sqlstore.ErrNotFound) {
			t.Errorf("read by another tenant: %v, want ErrNotFound", err)
		}
	}
	if _, err := s.Tenant(ctx, "acme"); err != nil {
		t.Errorf("the tenant of an administrator: %v", err)
	}
}

func administratorVersion(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	first := createAdministrator(t, s, Administrator("acme", "admin@example.com"))
	a := first
	a.Email, a.Name, a.Language, a.Notices, a.UpdatedAt = "ADMIN@example.com", "", "en", nil, now.Add(time.Second)
	updated, err := s.UpdateAdministrator(ctx, By(), a) // its own address may be written in another way
	if err != nil || updated.Version != 2 {
		t.Fatalf("update: version %d, %v", updated.Version, err)
	}
	if got, _ := s.Administrator(ctx, "acme", a.ID); !cmp.Equal(updated, got) {
		t.Errorf("read back (-want +got):\n%s", cmp.Diff(updated, got))
	}
	stranger := updated
	stranger.Tenant = "other"
	if err := s.EnsureTenant(ctx, By(), "other", now); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ err, want error }{
		"update of version 1 again":           {second(s.UpdateAdministrator(ctx, By(), first)), sqlstore.ErrConflict},
		"update by another tenant":            {second(s.UpdateAdministrator(ctx, By(), stranger)), sqlstore.ErrNotFound},
		"update by a tenant that never was":   {second(s.UpdateAdministrator(ctx, By(), Administrator("nobody", "x@example.com"))), sqlstore.ErrNotFound},
		"deletion by another tenant":          {s.DeleteAdministrator(ctx, By(), "other", a.ID, 0), sqlstore.ErrNotFound},
		"deletion by a tenant that never was": {s.DeleteAdministrator(ctx, By(), "nobody", a.ID, 0), sqlstore.ErrNotFound},
	} {
		if !errors.Is(tt.err, tt.want) {
			t.Errorf("%s: %v, want %v", name, tt.err, tt.want)
		}
	}
	if err := s.DeleteAdministrator(ctx, By(), "acme", a.ID, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteAdministrator(ctx, By(), "acme", a.ID, 0); !errors.Is(err, sqlstore.ErrNotFound) {
		t.Errorf("delete again: %v, want ErrNotFound", err)
	}
	if _, err := s.UpdateAdministrator(ctx, By(), updated); !errors.Is(err, sqlstore.ErrNotFound) {
		t.Errorf("update after delete: %v, want ErrNotFound", err)
	}
}

func administratorOnce(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	createAdministrator(t, s, Administrator("acme", "Ädmin@example.com"))
	other := createAdministrator(t, s, Administrator("acme", "other@example.com"))
	createAdministrator(t, s, Administrator("globex", "ädmin@example.com")) // another tenant's
	_, before := changes(t, s)
	if _, err := s.CreateAdministrator(ctx, By(), Administrator("acme", "äDMIN@EXAMPLE.com")); !errors.Is(err, sqlstore.ErrExists) {
		t.Errorf("a second one of one address: %v, want ErrExists", err)
	}
	other.Email = "ÄDMIN@example.com"
	if _, err := s.UpdateAdministrator(ctx, By(), other); !errors.Is(err, sqlstore.ErrExists) {
		t.Errorf("moved to an address that another has: %v, want ErrExists", err)
	}
	if _, after := changes(t, s); len(after) != len(before) {
		t.Errorf("%d changes were announced, want %d", len(after), len(before))
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			_, err := s.CreateAdministrator(ctx, By(), Administrator("initech", "admin@example.com"))
			if err != nil && !errors.Is(err, sqlstore.ErrExists) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if list, _, err := s.Administrators(ctx, "initech", asked(sqlstore.AdministratorList(nil), 9)); err != nil || len(list) != 1 {
		t.Errorf("%d of one address made at once, %v, want 1", len(list), err)
	}
}

func administratorPages(t *testing.T, s *sqlstore.Store) {
	var want []string
	for i := range 5 {
		a := Administrator("acme", fmt.Sprintf("admin-%d@example.com", i))
		a.CreatedAt = now.Add(time.Duration(i/3) * time.Second) // several at one time
		want = append(want, createAdministrator(t, s, a).ID)
	}
	slices.Sort(want[:3])
	slices.Sort(want[3:])
	createAdministrator(t, s, Administrator("other", "admin@example.com"))
	var got []string
	for _, a := range walk(t, sqlstore.AdministratorList(nil), url.Values{"limit": {"2"}}, func(q lists.Query) ([]tenant.Administrator, lists.Found, error) {
		return s.Administrators(context.Background(), "acme", q)
	}) {
		got = append(got, a.ID)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("pages (-want +got):\n%s", d)
	}
}

func administratorAnnounced(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	a := createAdministrator(t, s, Administrator("acme", "a@example.com"))
	a, err := s.UpdateAdministrator(ctx, By(), a)
	if err != nil {
		t.Fatal(err)
	}
	gone := createAdministrator(t, s, Administrator("acme", "b@example.com"))
	if err := s.DeleteAdministrator(ctx, By(), "acme", gone.ID, 0); err != nil {
		t.Fatal(err)
	}
	got, rows := changes(t, s)
	want := []string{
		"tenant acme", "administrator " + a.ID, "administrator " + a.ID, "administrator " + gone.ID, "administrator " + gone.ID,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("outbox (-want +got):\n%s", d)
	}
	current, err := s.Current(ctx, rows)
	wantNow := []sqlstore.Current{
		{Kind: sqlstore.KindAdministrator, Key: a.ID, Administrator: &a}, {Kind: sqlstore.KindAdministrator, Key: gone.ID},
	}
	if len(current) != 3 {
		t.Fatalf("%d current values, %v", len(current), err)
	}
	if d := cmp.Diff(wantNow, current[1:]); d != "" {
		t.Errorf("current values (-want +got):\n%s", d)
	}
	if err := s.DeleteChanges(ctx, rows); err != nil {
		t.Fatal(err)
	}
	if err := s.Republish(ctx); err != nil {
		t.Fatal(err)
	}
	if got, _ := changes(t, s); !cmp.Equal([]string{"tenant acme", "administrator " + a.ID}, got) {
		t.Errorf("republished: %v", got)
	}
}

// tenantTakesAlong deletes a tenant that has all that goes with it, beside another that has the same.
func tenantTakesAlong(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	var gone, stays []string
	for i, of := range []string{"acme", "other"} {
		a := createAdministrator(t, s, Administrator(of, "a@example.com"))
		b := createAdministrator(t, s, Administrator(of, "b@example.com"))
		if err := s.CreateSession(ctx, NewSession(of, byte(i))); err != nil { //nolint:gosec // small
			t.Fatal(err)
		}
		createJob(t, s, NewJob(of))
		if of == "acme" {
			gone = []string{"administrator " + a.ID, "administrator " + b.ID, "tenant acme"}
		} else {
			stays = []string{a.ID, b.ID}
		}
	}
	_, rows := changes(t, s)
	if err := s.DeleteChanges(ctx, rows); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteTenant(ctx, By(), "acme", 0); err != nil {
		t.Fatal(err)
	}
	got, rows := changes(t, s)
	slices.Sort(gone)
	slices.Sort(got)
	if d := cmp.Diff(gone, got); d != "" {
		t.Errorf("outbox (-want +got):\n%s", d)
	}
	current, err := s.Current(ctx, rows)
	for _, c := range current {
		if c.Administrator != nil || c.Tenant != nil {
			t.Errorf("%s %s still stands", c.Kind, c.Key)
		}
	}
	if err != nil || has(s, "acme", 0) != (owned{}) {
		t.Errorf("left of a tenant that is gone: %+v, %v", has(s, "acme", 0), err)
	}
	if has(s, "other", 1) != (owned{administrators: len(stays), sessions: 1, jobs: 1}) {
		t.Errorf("left of another tenant: %+v", has(s, "other", 1))
	}
}

// owned is how much a tenant has.
type owned struct{ administrators, sessions, jobs int }

func has(s *sqlstore.Store, tenant string, session byte) (o owned) {
	ctx := context.Background()
	administrators, _, _ := s.Administrators(ctx, tenant, asked(sqlstore.AdministratorList(nil), 9))
	jobs, _, _ := s.Jobs(ctx, tenant, asked(sqlstore.JobList(), 9))
	if _, err := s.Session(ctx, NewSession(tenant, session).ID, now); err == nil {
		o.sessions = 1
	}
	o.administrators, o.jobs = len(administrators), len(jobs)
	return o
}
