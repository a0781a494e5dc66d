package auth_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/auth"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

func TestNewKey(t *testing.T) {
	key := auth.NewKey([24]byte{0xab, 0xcd, 0xef, 1})
	if want := "dsk_abcdef01" + strings.Repeat("0", 40); key != want {
		t.Fatalf("key %q, want %q", key, want)
	}
	if got := auth.Prefix(key); got != "dsk_abcd" {
		t.Errorf("prefix %q", got)
	}
	if got := auth.Prefix("abc"); got != "abc" {
		t.Errorf("prefix of a short key %q", got)
	}
}

func TestKeysAndHashesDiffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) (b [24]byte) {
			copy(b[:], rapid.SliceOfN(rapid.Byte(), 24, 24).Draw(t, name))
			return b
		}
		a, b := draw("a"), draw("b")
		if same := auth.NewKey(a) == auth.NewKey(b); same != (a == b) {
			t.Fatal("keys are not one to one with their random bytes")
		}
		if same := auth.Hash(auth.NewKey(a)) == auth.Hash(auth.NewKey(b)); same != (a == b) {
			t.Fatal("hashes are not one to one with their keys")
		}
	})
}

func TestAuthenticate(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	known := map[[32]byte]tenant.APIKey{
		auth.Hash("dsk_good"): {ID: "good"},
		auth.Hash("dsk_soon"): {ID: "soon", ExpiresAt: now.Add(time.Nanosecond)},
		auth.Hash("dsk_late"): {ID: "late", ExpiresAt: now},
	}
	find := func(h [32]byte) (tenant.APIKey, bool) { k, ok := known[h]; return k, ok }
	for name, tt := range map[string]struct {
		header string
		id     string
		err    error
	}{
		"nothing":              {"", "", auth.ErrNoKey},
		"only the scheme":      {"Bearer", "", auth.ErrNoKey},
		"an empty key":         {"Bearer  ", "", auth.ErrNoKey},
		"another scheme":       {"Basic dsk_good", "", auth.ErrNoKey},
		"the key alone":        {"dsk_good", "", auth.ErrNoKey},
		"a known key":          {"Bearer dsk_good", "good", nil},
		"schemes have no case": {"bearer dsk_good", "good", nil},
		"an unknown key":       {"Bearer dsk_bad", "", auth.ErrWrongKey},
		"not yet expired":      {"Bearer dsk_soon", "soon", nil},
		"expired now":          {"Bearer dsk_late", "", auth.ErrWrongKey},
		"far too long":         {"Bearer " + strings.Repeat("x", 1<<20), "", auth.ErrWrongKey},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := auth.Authenticate(find, tt.header, now)
			if !errors.Is(err, tt.err) || p.Key.ID != tt.id {
				t.Fatalf("got key %q, error %v; want %q, %v", p.Key.ID, err, tt.id, tt.err)
			}
			if err != nil && strings.Contains(err.Error(), "dsk_") {
				t.Fatalf("the error holds the key: %v", err)
			}
		})
	}
}

func TestRenew(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	k := tenant.APIKey{ID: "k", Hash: auth.Hash("dsk_k"), ExpiresAt: now.Add(time.Hour)}
	known := map[[32]byte]tenant.APIKey{k.Hash: k}
	find := func(h [32]byte) (tenant.APIKey, bool) { k, ok := known[h]; return k, ok }
	p := auth.Principal{Key: k}

	if _, err := p.Renew(find, now); err != nil {
		t.Errorf("a key that still holds: %v", err)
	}
	if _, err := p.Renew(find, now.Add(time.Hour)); !errors.Is(err, auth.ErrWrongKey) {
		t.Errorf("expired meanwhile: %v", err)
	}
	k.Scopes = []tenant.Scope{tenant.ScopeEvents}
	known[k.Hash] = k
	if again, err := p.Renew(find, now); err != nil || !again.Allows(tenant.ScopeEvents) {
		t.Errorf("scopes given meanwhile: %+v, %v", again, err)
	}
	delete(known, k.Hash)
	if _, err := p.Renew(find, now); !errors.Is(err, auth.ErrWrongKey) {
		t.Errorf("deleted meanwhile: %v", err)
	}
}

func TestAllows(t *testing.T) {
	for name, tt := range map[string]struct {
		has  []tenant.Scope
		asks tenant.Scope
		want bool
	}{
		"none":                       {nil, tenant.ScopeEvents, false},
		"the same":                   {[]tenant.Scope{tenant.ScopeEvents}, tenant.ScopeEvents, true},
		"whole covers reading":       {[]tenant.Scope{tenant.ScopeWebhooks}, tenant.ScopeWebhooksRead, true},
		"reading covers no writing":  {[]tenant.Scope{tenant.ScopeWebhooksRead}, tenant.ScopeWebhooks, false},
		"another's reading":          {[]tenant.Scope{tenant.ScopeDeliveries}, tenant.ScopeWebhooksRead, false},
		"admin is no other":          {[]tenant.Scope{tenant.ScopeAdmin}, tenant.ScopeEvents, false},
		"one of several is enough":   {[]tenant.Scope{tenant.ScopeAdmin, tenant.ScopeEvents}, tenant.ScopeEvents, true},
		"deliveries:read by its own": {[]tenant.Scope{tenant.ScopeDeliveriesRead}, tenant.ScopeDeliveriesRead, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := auth.Principal{Key: tenant.APIKey{Scopes: tt.has}}
			if got := p.Allows(tt.asks); got != tt.want {
				t.Fatalf("Allows(%s) = %v with %v", tt.asks, got, tt.has)
			}
		})
	}
}

func TestTenant(t *testing.T) {
	for name, tt := range map[string]struct {
		owner, named string
		want         string
		err          error
	}{
		"a platform key without a name":  {"", "", "default", nil},
		"a platform key with a name":     {"", "acme", "acme", nil},
		"a tenant's key without a name":  {"acme", "", "acme", nil},
		"a tenant's key naming its own":  {"acme", "acme", "acme", nil},
		"a tenant's key naming another":  {"acme", "globex", "", auth.ErrOtherTenant},
		"a tenant's key naming nonsense": {"acme", "No Tenant!", "", auth.ErrOtherTenant},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := auth.Principal{Key: tenant.APIKey{Tenant: tt.owner}}.Tenant(tt.named)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Fatalf("got %q, %v; want %q, %v", got, err, tt.want, tt.err)
			}
		})
	}
	t.Run("a platform key naming nonsense", func(t *testing.T) {
		var fields invalid.Fields
		if _, err := (auth.Principal{}).Tenant("No Tenant!"); !errors.As(err, &fields) || fields[0].Name != "Doorstep-Tenant" {
			t.Fatalf("got %v", err)
		}
	})
}
