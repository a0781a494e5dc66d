package tenant

import (
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// Limits of a tenant.
const (
	MaxNameLength          = 150 // characters
	MaxThreshold           = 1_000_000
	MaxMaxWebhooksPerEvent = 10_000
)

// The values of Policy.Reactivation beside "", which means the installation's.
const (
	ReactivationConsole = "console" // by hand in the web console only
	ReactivationAny     = "any"     // also with an API key
)

// The values of Policy.Validate beside "", which is off.
const (
	ValidateReject = "reject" // an event whose data does not fit its type's schema is refused
	ValidateWarn   = "warn"   // it is taken; it is counted, and its answer tells
	ValidateOff    = "off"    // nobody looks
)

// Check says everything that is wrong with t. Fields are named as in the API.
func (t Tenant) Check() invalid.Fields {
	var f invalid.Fields
	if !event.ValidTenant(t.ID) {
		f.Add("id", "must begin with a-z or 0-9 and hold a-z, 0-9, '-' and '_' only, at most %d characters", event.MaxTenantLength)
	}
	if utf8.RuneCountInString(t.Name) > MaxNameLength || !utf8.ValidString(t.Name) {
		f.Add("name", "must have at most %d characters, in UTF-8", MaxNameLength)
	}
	for _, name := range slices.Sorted(maps.Keys(t.Features)) {
		if !slices.Contains(Features(), name) {
			f.Add("features."+clip(name), "is not a feature; there is %s", strings.Join(Features(), ", "))
		}
	}
	f = append(f, t.Policy.Check()...)
	return append(f, t.Payload.Check()...)
}

// Check says everything that is wrong with p, fields named policy.warn_after and so on. The thresholds
// are compared with each other only where the tenant has both: the installation's are its senders'.
func (p Policy) Check() invalid.Fields {
	var f invalid.Fields
	for _, n := range []struct {
		name     string
		value    *int
		min, max int
	}{
		{"policy.warn_after", p.WarnAfter, 1, MaxThreshold},
		{"policy.disable_after", p.DisableAfter, 1, MaxThreshold},
		{"policy.max_webhooks_per_event", p.MaxWebhooksPerEvent, 1, MaxMaxWebhooksPerEvent},
		{"policy.retry_count", p.RetryCount, 0, webhook.MaxRetryCount},
	} {
		if n.value != nil && (*n.value < n.min || *n.value > n.max) {
			f.Add(n.name, "must be %d to %d", n.min, n.max)
		}
	}
	if p.WarnAfter != nil && p.DisableAfter != nil && *p.WarnAfter >= *p.DisableAfter && len(f) == 0 {
		f.Add("policy.warn_after", "must be below policy.disable_after, which is %d", *p.DisableAfter)
	}
	if t := p.Timeout; t != nil && (*t < time.Second || *t > webhook.MaxTimeout || *t%time.Second != 0) {
		f.Add("policy.timeout_seconds", "must be 1 to %d", int(webhook.MaxTimeout/time.Second))
	}
	switch p.Reactivation {
	case "", ReactivationConsole, ReactivationAny:
	default:
		f.Add("policy.reactivation", "must be %s or %s", ReactivationConsole, ReactivationAny)
	}
	switch p.Validate {
	case "", ValidateReject, ValidateWarn, ValidateOff:
	default:
		f.Add("policy.validate", "must be %s, %s or %s", ValidateReject, ValidateWarn, ValidateOff)
	}
	return f
}

func clip(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "..."
	}
	return s
}
