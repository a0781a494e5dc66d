package sqlstoretest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/lists"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

// EventType is an event type with every field set.
func EventType(of, name string) tenant.EventType {
	return tenant.EventType{
		Tenant: of, Type: name, Group: "Card ✓", Description: "d", Kind: "nested", Schema: []byte(`{"type":"object"}`), Example: []byte(`{"a": 1.50}`),
		Deprecated: true, Attributes: []string{"b", "a"}, Profile: "vplan",
	}
}

func byAt(at time.Time) sqlstore.Author {
	by := By()
	by.At = at
	return by
}

// put makes a tenant's catalogue exactly these types.
func put(t *testing.T, s *sqlstore.Store, of string, at time.Time, types ...tenant.EventType) {
	t.Helper()
	err := s.ChangeCatalogue(context.Background(), byAt(at), of, func(x tenant.Tenant, _ []tenant.EventType) (tenant.Tenant, []tenant.EventType, error) {
		return x, types, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func catalogueWhole(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	whole, bare := EventType("acme", "card.updated"), tenant.EventType{Tenant: "acme", Type: "card.a", Kind: "normal"}
	put(t, s, "acme", now, whole, bare)
	put(t, s, "other", now, EventType("other", "card.updated"))
	whole.Version, whole.CreatedAt, whole.UpdatedAt = 1, now, now
	bare.Version, bare.CreatedAt, bare.UpdatedAt = 1, now, now
	if got, err := s.EventType(ctx, "acme", "card.updated"); err != nil || !cmp.Equal(whole, got) {
		t.Errorf("%v (-want +got):\n%s", err, cmp.Diff(whole, got))
	}
	if got, err := s.Catalogue(ctx, "acme"); err != nil || !cmp.Equal([]tenant.EventType{bare, whole}, got) {
		t.Errorf("%v (-want +got):\n%s", err, cmp.Diff([]tenant.EventType{bare, whole}, got))
	}
	light := whole
	light.Schema, light.Example = nil, nil
	if got, err := s.Outline(ctx, "acme"); err != nil || !cmp.Equal([]tenant.EventType{bare, light}, got) {
		t.Errorf("%v (-want +got):\n%s", err, cmp.Diff([]tenant.EventType{bare, light}, got))
	}
	q := func(values url.Values) lists.Query {
		q, err := sqlstore.EventTypeList([]string{"normal", "nested"}).Read(values)
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	for _, tt := range []struct {
		asked url.Values
		whole bool
		want  []tenant.EventType
	}{
		{url.Values{}, false, []tenant.EventType{bare, light}},
		{url.Values{"sort": {"-group"}}, true, []tenant.EventType{whole, bare}},
		{url.Values{"filter[group]": {"Card ✓"}}, false, []tenant.EventType{light}},
		{url.Values{"filter[attributes]": {"a"}, "filter[group][contains]": {"card"}}, false, []tenant.EventType{light}},
		{url.Values{"filter[kind]": {"normal"}}, false, []tenant.EventType{bare}},
	} {
		if got, _, err := s.EventTypes(ctx, "acme", tt.whole, q(tt.asked)); err != nil || !cmp.Equal(tt.want, got) {
			t.Errorf("%v: %v (-want +got):\n%s", tt.asked, err, cmp.Diff(tt.want, got))
		}
	}
	for _, missing := range [][2]string{{"acme", "card"}, {"other", "card.a"}, {"nobody", "card.updated"}, {"acme/card", "a"}} {
		if _, err := s.EventType(ctx, missing[0], missing[1]); !errors.Is(err, sqlstore.ErrNotFound) {
			t.Errorf("%v: %v, want ErrNotFound", missing, err)
		}
	}
}

func catalogueChanges(t *testing.T, s *sqlstore.Store) {
	ctx, later := context.Background(), now.Add(time.Hour)
	a, b, c := EventType("acme", "a"), EventType("acme", "b"), EventType("acme", "c")
	put(t, s, "acme", now, a, b, c)
	drain(t, s)

	put(t, s, "acme", later, a, b, c) // nothing is new
	if got, _ := changes(t, s); len(got) != 0 {
		t.Errorf("announced what did not change: %v", got)
	}

	b.Example, b.CreatedAt, b.Version = []byte(`{}`), later, 9 // time and version are not the caller's
	err := s.ChangeCatalogue(ctx, byAt(later), "acme", func(x tenant.Tenant, had []tenant.EventType) (tenant.Tenant, []tenant.EventType, error) {
		if x.ID != "acme" || !x.Open || len(had) != 3 {
			t.Errorf("changes %+v with %d types", x, len(had))
		}
		x.Open, x.Profile, x.Policy.RetryCount, x.Features = false, "vplan", new(2), map[string]bool{"webhooks": true}
		return x, []tenant.EventType{EventType("acme", "d"), b, a}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got, rows := changes(t, s)
	want := []string{"tenant acme", "event_type acme/d", "event_type acme/b", "event_type acme/c"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("outbox (-want +got):\n%s", d)
	}
	current, err := s.Current(ctx, rows)
	if err != nil {
		t.Fatal(err)
	}
	b.Version, b.CreatedAt, b.UpdatedAt = 2, now, later
	if d := cmp.Diff([]*tenant.EventType{&b, nil}, []*tenant.EventType{current[2].EventType, current[3].EventType}); d != "" {
		t.Errorf("current (-want +got):\n%s", d)
	}
	wantTenant := tenant.Tenant{
		ID: "acme", Name: "acme", Profile: "vplan", Policy: tenant.Policy{RetryCount: new(2)}, Features: map[string]bool{"webhooks": true},
		Version: 2, CreatedAt: now, UpdatedAt: later,
	}
	if d := cmp.Diff(&wantTenant, current[0].Tenant); d != "" {
		t.Errorf("tenant (-want +got):\n%s", d)
	}

	drain(t, s)
	refused := errors.New("refused")
	err = s.ChangeCatalogue(ctx, byAt(later), "new", func(x tenant.Tenant, _ []tenant.EventType) (tenant.Tenant, []tenant.EventType, error) {
		return x, []tenant.EventType{a}, refused
	})
	if _, missing := s.Tenant(ctx, "new"); !errors.Is(err, refused) || !errors.Is(missing, sqlstore.ErrNotFound) {
		t.Errorf("a change that errs: %v, and its tenant: %v", err, missing)
	}
	if got, _ := changes(t, s); len(got) != 0 {
		t.Errorf("announced what was refused: %v", got)
	}
}

// drain empties the outbox.
func drain(t *testing.T, s *sqlstore.Store) {
	t.Helper()
	_, rows := changes(t, s)
	if err := s.DeleteChanges(context.Background(), rows); err != nil {
		t.Fatal(err)
	}
}

func catalogueTogether(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			err := s.ChangeCatalogue(ctx, By(), "acme", func(x tenant.Tenant, had []tenant.EventType) (tenant.Tenant, []tenant.EventType, error) {
				return x, append(had, EventType("acme", fmt.Sprintf("t%d", i))), nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if types, err := s.Outline(ctx, "acme"); err != nil || len(types) != 8 {
		t.Errorf("%d types after 8 changes at once, %v", len(types), err)
	}
}

func catalogueGoes(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	put(t, s, "acme", now, EventType("acme", "a"))
	put(t, s, "other", now, EventType("other", "a"))
	drain(t, s)
	if err := s.Republish(ctx); err != nil {
		t.Fatal(err)
	}
	got, _ := changes(t, s)
	if d := cmp.Diff([]string{"tenant acme", "tenant other", "event_type acme/a", "event_type other/a"}, got); d != "" {
		t.Errorf("republished (-want +got):\n%s", d)
	}
	drain(t, s)
	if err := s.DeleteTenant(ctx, By(), "acme", 0); err != nil {
		t.Fatal(err)
	}
	if got, _ := changes(t, s); !cmp.Equal([]string{"event_type acme/a", "tenant acme"}, got) {
		t.Errorf("announced of a tenant that is gone: %v", got)
	}
	if types, err := s.Outline(ctx, "acme"); err != nil || len(types) != 0 {
		t.Errorf("types of a tenant that is gone: %v, %v", types, err)
	}
}
