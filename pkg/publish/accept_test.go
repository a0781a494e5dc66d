package publish

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/auth"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

// catalogues: "closed" takes card.updated only, all others are open.
type catalogues struct{}

func (catalogues) Tenant(id string) tenant.Tenant { return tenant.Tenant{ID: id, Open: id != "closed"} }

func (catalogues) EventType(tenantID, name string) (tenant.EventType, bool) {
	return tenant.EventType{}, tenantID == "closed" && name == "card.updated"
}

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func caller(owner string) Caller {
	c := Caller{Principal: auth.Principal{Key: tenant.APIKey{ID: "key-1", Tenant: owner}}, Tenant: owner, TraceContext: "trace"}
	if owner == "" {
		c.Tenant = "default"
	}
	return c
}

func TestAcceptFillsIn(t *testing.T) {
	before := now.Add(-time.Hour)
	for name, tt := range map[string]struct {
		caller Caller
		in     event.Event
		want   event.Record
	}{
		"all that was left out": {caller(""), event.Event{Type: "a.b"}, event.Record{
			Event:      event.Event{ID: "new", Tenant: "default", Type: "a.b", OccurredAt: now, Data: []byte("null")},
			ReceivedAt: now, IDAssigned: true, APIKeyID: "key-1", TraceContext: "trace",
		}},
		"nothing that was given": {caller("acme"), event.Event{ID: "e1", Tenant: "acme", Type: "a.b", OccurredAt: before, Data: []byte(` { "a" :1}`)}, event.Record{
			Event:      event.Event{ID: "e1", Tenant: "acme", Type: "a.b", OccurredAt: before, Data: []byte(` { "a" :1}`)},
			ReceivedAt: now, APIKeyID: "key-1", TraceContext: "trace",
		}},
		"a tenant that the platform's event names": {caller(""), event.Event{ID: "e1", Tenant: "globex", Type: "a.b", OccurredAt: before, Data: []byte("1")}, event.Record{
			Event:      event.Event{ID: "e1", Tenant: "globex", Type: "a.b", OccurredAt: before, Data: []byte("1")},
			ReceivedAt: now, APIKeyID: "key-1", TraceContext: "trace",
		}},
		"a type of a closed catalogue": {caller("closed"), event.Event{ID: "e1", Type: "card.updated", OccurredAt: before, Data: []byte("1")}, event.Record{
			Event:      event.Event{ID: "e1", Tenant: "closed", Type: "card.updated", OccurredAt: before, Data: []byte("1")},
			ReceivedAt: now, APIKeyID: "key-1", TraceContext: "trace",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := accept(catalogues{}, tt.caller, tt.in, now, func() string { return "new" })
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Fatalf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestAcceptRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		caller Caller
		in     event.Event
		fields string // at fault, in order; empty: ErrOtherTenant
	}{
		"nothing in it":               {caller(""), event.Event{}, "type"},
		"another's event":             {caller("acme"), event.Event{Type: "a", Tenant: "globex"}, ""},
		"no tenant's name":            {caller(""), event.Event{Type: "a", Tenant: "No!"}, "tenant"},
		"no tenant's name, of acme":   {caller("acme"), event.Event{Type: "a", Tenant: "No!"}, "tenant"},
		"a type that closed lacks":    {caller("closed"), event.Event{Type: "card.deleted"}, "type"},
		"the same, named by platform": {caller(""), event.Event{Type: "card.deleted", Tenant: "closed"}, "type"},
		"everything at once": {caller(""), event.Event{
			ID: "a.b", Type: "A", OccurredAt: now.Add(25 * time.Hour), ExternalReference: strings.Repeat("x", 257),
			Attributes: map[string]string{"k": strings.Repeat("x", 257)}, Data: []byte("{"),
		}, "id,type,occurred_at,external_reference,attributes[k],data"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := accept(catalogues{}, tt.caller, tt.in, now, func() string { t.Error("an id was made"); return "" })
			if tt.fields == "" {
				if !errors.Is(err, auth.ErrOtherTenant) {
					t.Fatalf("got %v", err)
				}
				return
			}
			var fields invalid.Fields
			if !errors.As(err, &fields) {
				t.Fatalf("got %v", err)
			}
			var names []string
			for _, f := range fields {
				names = append(names, f.Name)
			}
			if got := strings.Join(names, ","); got != tt.fields {
				t.Fatalf("fields %s, want %s", got, tt.fields)
			}
		})
	}
}

func TestNewIDsGrow(t *testing.T) {
	var ids []string
	for range 1000 {
		ids = append(ids, newID())
	}
	if !slices.IsSorted(ids) || len(slices.Compact(ids)) != 1000 {
		t.Fatal("assigned ids are not in order, each once")
	}
	if f := (event.Event{ID: ids[0], Type: "a"}).Check("", now); f != nil {
		t.Fatalf("an assigned id is not valid: %v", f)
	}
}
