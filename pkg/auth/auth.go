// Package auth says who a caller is and what it may do: API keys, their scopes, and the tenant
// that a call acts for.
//
// A key is 24 random bytes, so its SHA-256 is enough to store: there is nothing to guess from. Keys
// and hashes never appear in errors.
//
// A key is looked up by its hash, not compared: how long that takes may depend on how far the hash of what was shown
// agrees with hashes that are stored. That tells nobody anything, since who does not know a key cannot choose what its
// SHA-256 begins with but by trying, and each try says no more than the next; to come closer to a stored hash step
// by step would be to find a preimage.
package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

// Errors of Authenticate and Tenant. ErrNoKey and ErrWrongKey are gRPC's UNAUTHENTICATED and HTTP's
// 401, ErrOtherTenant is PERMISSION_DENIED and 403.
var (
	ErrNoKey       = errors.New("no API key: send authorization: Bearer KEY")
	ErrWrongKey    = errors.New("the API key is not known or has expired")
	ErrOtherTenant = errors.New("the API key belongs to another tenant")
)

// TenantHeader is the HTTP header, and in lower case the gRPC metadata, with which a platform key
// names the tenant that it acts for.
const TenantHeader = "Doorstep-Tenant"

const (
	keyPrefix    = "dsk_"
	prefixLength = 8   // characters
	maxKeyLength = 256 // characters; far above our own, for keys that people chose
)

// NewKey makes a key of 192 random bits: "dsk_" and 48 characters of hex.
func NewKey(random [24]byte) string { return keyPrefix + hex.EncodeToString(random[:]) }

// Hash is what is stored of a key.
func Hash(key string) [32]byte { return sha256.Sum256([]byte(key)) }

// Prefix is what is shown of a key, to tell keys apart: its first 8 characters.
func Prefix(key string) string { return key[:min(len(key), prefixLength)] }

// Principal is a caller that has shown a key.
type Principal struct{ Key tenant.APIKey }

// Authenticate finds the caller of an authorization header, "Bearer KEY". It errs with ErrNoKey if
// there is no key in it, and with ErrWrongKey if find does not know the key's hash or it has expired.
func Authenticate(find func(hash [32]byte) (tenant.APIKey, bool), authorization string, now time.Time) (Principal, error) {
	scheme, key, _ := strings.Cut(authorization, " ")
	key = strings.TrimSpace(key)
	if !strings.EqualFold(scheme, "Bearer") || key == "" {
		return Principal{}, ErrNoKey
	}
	if len(key) > maxKeyLength {
		return Principal{}, ErrWrongKey
	}
	k, ok := find(Hash(key))
	if !ok || expired(k, now) {
		return Principal{}, ErrWrongKey
	}
	return Principal{Key: k}, nil
}

// Renew looks the caller's key up again, for calls that last: it may have expired, changed or gone.
func (p Principal) Renew(find func(hash [32]byte) (tenant.APIKey, bool), now time.Time) (Principal, error) {
	k, ok := find(p.Key.Hash)
	if !ok || expired(k, now) {
		return Principal{}, ErrWrongKey
	}
	return Principal{Key: k}, nil
}

func expired(k tenant.APIKey, now time.Time) bool {
	return !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt)
}

// Allows reports whether the key has the scope. "webhooks" covers "webhooks:read", and so on; no
// scope covers another kind.
func (p Principal) Allows(scope tenant.Scope) bool {
	if slices.Contains(p.Key.Scopes, scope) {
		return true
	}
	whole, read := strings.CutSuffix(string(scope), ":read")
	return read && slices.Contains(p.Key.Scopes, tenant.Scope(whole))
}

// Platform reports whether the key belongs to the platform, not to a tenant.
func (p Principal) Platform() bool { return p.Key.Tenant == "" }

// Tenant is the tenant that a call acts for, which named it (empty: it did not). A platform key acts
// for any, without a name for "default"; a tenant's key only for its own, else ErrOtherTenant. A name
// that cannot be a tenant's is an invalid.Fields.
func (p Principal) Tenant(named string) (string, error) {
	switch {
	case !p.Platform() && named != "" && named != p.Key.Tenant:
		return "", ErrOtherTenant
	case !p.Platform():
		return p.Key.Tenant, nil
	case named == "":
		return event.DefaultTenant, nil
	case !event.ValidTenant(named):
		var f invalid.Fields
		f.Add(TenantHeader, "may hold a-z, 0-9, '-' and '_', at most %d characters", event.MaxTenantLength)
		return "", f
	}
	return named, nil
}
