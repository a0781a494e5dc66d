// Package webhook is the noun webhook: a registered receiver with what it wants, how it wants it,
// and how it is to be treated.
package webhook

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Defaults where neither the webhook nor its tenant says otherwise.
const (
	DefaultRetryCount = 3
	DefaultTimeout    = 10 * time.Second
	ConnectTimeout    = 5 * time.Second // DNS, dial and TLS together; the same for all
)

// Webhook is a registered receiver.
type Webhook struct {
	ID                string // UUID
	Tenant            string
	Name              string
	Description       string
	URL               string
	Active            bool
	Held              bool // not active, but matched as long as it is disabled: what it would be sent is kept until it is reactivated
	Paused            bool
	EventTypes        []string          // a type, or a prefix ending in ".*", or "*"
	Filters           map[string]string // attribute equality; all must hold
	Condition         string            // CEL over event and data; may be empty
	Headers           []Header          // custom, sent with every POST
	Payload           Payload
	RetryCount        *int           // nil: the tenant's, else DefaultRetryCount
	Timeout           *time.Duration // whole seconds; nil: the tenant's, else DefaultTimeout
	RateLimit         int            // POSTs per second; 0: not limited
	MaxInFlight       int            // POSTs at once; 0: the sender's default
	ExternalReference string
	Metadata          map[string]string
	SigningKeys       []SigningKey // newest first
	APIKeyID          string
	DeveloperClientID string
	ThirdParty        bool
	Generation        uint64 // raised by a reactivation
	Version           uint64 // grows by one with every change
	CreatedAt         time.Time
	UpdatedAt         time.Time
}

// Header is one custom HTTP header. Its value is kept as a secret is: it may be one, as that of Authorization.
type Header struct {
	Name  string
	Value Sealed
}

// Scheme names a signature of Standard Webhooks.
type Scheme string

// The schemes.
const (
	SchemeHMAC    Scheme = "v1"  // HMAC-SHA256
	SchemeEd25519 Scheme = "v1a" // ed25519
)

// PlainKeyID is the key id of a secret that is not sealed.
const PlainKeyID = "plain"

// Sealed is a secret as it is stored and as it travels: sealed with the key of that id, or, under
// PlainKeyID, the secret itself. It prints as its key id only, in logs and JSON too.
type Sealed struct {
	KeyID string
	Bytes []byte
}

// Plain is a secret that is not sealed.
func Plain(secret []byte) Sealed { return Sealed{KeyID: PlainKeyID, Bytes: secret} }

// IsPlain reports whether the secret itself stands there.
func (s Sealed) IsPlain() bool { return s.KeyID == PlainKeyID }

// String hides the secret.
func (s Sealed) String() string { return "sealed:" + s.KeyID }

// Format hides the secret from every verb.
func (s Sealed) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText hides the secret from encoders, which the handlers of slog use.
func (s Sealed) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// SigningKey signs deliveries until it expires. Its secret is, unsealed, the raw key: 24-64 random
// bytes for SchemeHMAC, a 32-byte seed for SchemeEd25519.
type SigningKey struct {
	Scheme    Scheme
	Secret    Sealed
	ExpiresAt time.Time // zero: never
}

// Format is the shape of the body.
type Format string

// The formats.
const (
	FormatRaw         Format = "raw"         // data as given, byte for byte
	FormatStandard    Format = "standard"    // {"type","timestamp","data"}
	FormatCloudEvents Format = "cloudevents" // structured CloudEvents 1.0
	FormatThin        Format = "thin"        // no data
	FormatHook        Format = "hook"        // {"hook",attributes,"Id","payload"}, as PlanMill's
)

// ExcludeAll among the excluded paths excludes the whole of an event's data.
const ExcludeAll = "*"

// Payload shapes the body. Fields left out (empty, nil) are the tenant's, else the defaults.
type Payload struct {
	Format    Format
	Exclude   *[]string // dotted paths of fields to remove, or ExcludeAll
	Stringify *bool     // every scalar as a string
}

// Over returns p with the fields that it leaves out taken from defaults.
func (p Payload) Over(defaults Payload) Payload {
	if p.Format == "" {
		p.Format = defaults.Format
	}
	if p.Exclude == nil {
		p.Exclude = defaults.Exclude
	}
	if p.Stringify == nil {
		p.Stringify = defaults.Stringify
	}
	return p
}

// Wants reports whether the webhook's event types name t.
func (w Webhook) Wants(t string) bool {
	return slices.ContainsFunc(w.EventTypes, func(pattern string) bool { return TypeMatches(pattern, t) })
}

// TypeMatches reports whether a type pattern names t: equal, "*", or a prefix before ".*".
func TypeMatches(pattern, t string) bool {
	if prefix, wild := strings.CutSuffix(pattern, "*"); wild {
		return strings.HasPrefix(t, prefix)
	}
	return pattern == t
}
