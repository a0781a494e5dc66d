// Package tenant is the noun tenant, one customer of the product, with what it owns beside
// webhooks: its policy, its API keys, its administrators and its catalogue of event types.
package tenant

import (
	"time"

	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// Tenant is one customer.
type Tenant struct {
	ID        string
	Name      string
	Open      bool // event types outside the catalogue are accepted
	Policy    Policy
	Payload   webhook.Payload // defaults of its webhooks
	Features  map[string]bool // by name; what is not said is on
	Profile   string          // the profile last applied; may be empty
	Version   uint64
	CreatedAt time.Time
	UpdatedAt time.Time
}

// FeatureWebhooks is the feature of registering webhooks and being sent events. Without it nothing new is matched, and
// what was matched before is still sent.
const FeatureWebhooks = "webhooks"

// Features are the names of all features.
func Features() []string { return []string{FeatureWebhooks} }

// Has reports whether t has a feature. It does unless it is said that it does not.
func (t Tenant) Has(feature string) bool {
	on, said := t.Features[feature]
	return on || !said
}

// Policy holds a tenant's own values; nil means the installation's.
type Policy struct {
	WarnAfter           *int // consecutive failed attempts
	DisableAfter        *int // consecutive failed attempts
	MaxWebhooksPerEvent *int
	RetryCount          *int
	Timeout             *time.Duration
	Reactivation        string // "console", "any", or empty
	KeepAnswers         *bool  // body and headers of receivers' answers are kept in attempts; nil: they are
	Validate            string // what becomes of events whose data does not fit their type's schema; empty: ValidateOff
}

// Scope is what an API key may do.
type Scope string

// The scopes. A scope without ":read" covers reading.
const (
	ScopeEvents         Scope = "events"
	ScopeWebhooks       Scope = "webhooks"
	ScopeWebhooksRead   Scope = "webhooks:read"
	ScopeDeliveries     Scope = "deliveries"
	ScopeDeliveriesRead Scope = "deliveries:read"
	ScopeAdmin          Scope = "admin"
)

// Scopes lists all scopes.
func Scopes() []Scope {
	return []Scope{ScopeEvents, ScopeWebhooks, ScopeWebhooksRead, ScopeDeliveries, ScopeDeliveriesRead, ScopeAdmin}
}

// APIKey lets a caller in. Only its holder knows the key itself.
type APIKey struct {
	ID                string
	Tenant            string // empty: a platform key
	Name              string
	Prefix            string // the key's first characters, to tell keys apart
	Hash              [32]byte
	Scopes            []Scope
	DeveloperClientID string
	Version           uint64
	CreatedAt         time.Time
	UpdatedAt         time.Time // zero: not since it was made
	ExpiresAt         time.Time // zero: never
	LastUsedAt        time.Time // zero: never, or not known
}

// Administrator gets a tenant's notices by mail.
type Administrator struct {
	ID       string
	Tenant   string
	Email    string
	Name     string
	Language string
	Notices  []string // which kinds of notices; empty: all
	Version  uint64

	CreatedAt time.Time
	UpdatedAt time.Time
}

// EventType is an entry of a tenant's catalogue.
type EventType struct {
	Tenant      string
	Type        string
	Group       string
	Description string
	Kind        string   // "normal", "nested" or "nested_pivot"
	Schema      []byte   // JSON Schema 2020-12; may be empty
	Example     []byte   // may be empty
	Deprecated  bool     // still accepted
	Attributes  []string // that filters may name; once a type of the catalogue has any, filters may name no others
	Profile     string   // that brought it; empty: the tenant's own
	Version     uint64
	CreatedAt   time.Time
	UpdatedAt   time.Time
}
