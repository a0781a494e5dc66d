package console

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// TenantInput is what a caller may say of a tenant. Null and absent fields take the defaults.
type TenantInput struct {
	ID       string         `json:"id,omitempty" maxLength:"64" pattern:"^[a-z0-9][a-z0-9_-]*$" doc:"At creation only, where it is required"`
	Name     string         `json:"name,omitempty" maxLength:"150" doc:"Default: the id"`
	Open     *bool          `json:"open,omitempty" doc:"Event types outside its catalogue are accepted; default true"`
	Policy   *Policy        `json:"policy,omitempty"`
	Payload  *PayloadInput  `json:"payload,omitempty" doc:"Defaults of its webhooks"`
	Features *FeaturesInput `json:"features,omitempty"`
}

// Policy holds a tenant's own values; null is the installation's.
type Policy struct {
	WarnAfter           *int    `json:"warn_after" required:"false" minimum:"1" maximum:"1000000" doc:"Failed attempts in a row after which its administrators are warned; below disable_after"`
	DisableAfter        *int    `json:"disable_after" required:"false" minimum:"1" maximum:"1000000" doc:"Failed attempts in a row after which a webhook is disabled"`
	MaxWebhooksPerEvent *int    `json:"max_webhooks_per_event" required:"false" minimum:"1" maximum:"10000" doc:"Webhooks that one event fires at most"`
	RetryCount          *int    `json:"retry_count" required:"false" minimum:"0" maximum:"12" doc:"Of webhooks that have none of their own"`
	TimeoutSeconds      *int    `json:"timeout_seconds" required:"false" minimum:"1" maximum:"30" doc:"Of webhooks that have none of their own"`
	Reactivation        *string `json:"reactivation" required:"false" enum:"console,any" doc:"Where a disabled webhook may be reactivated"`
	KeepAnswers         *bool   `json:"keep_answers" required:"false" doc:"Attempts keep the headers and the first bytes of the body that receivers answer; null: they do"`
	Validate            *string `json:"validate" required:"false" enum:"reject,warn,off" doc:"Published events whose data does not fit their type's JSON Schema are refused (reject), or taken and told of (warn); null: off"`
}

func policyView(p tenant.Policy) Policy {
	v := Policy{
		WarnAfter: p.WarnAfter, DisableAfter: p.DisableAfter, MaxWebhooksPerEvent: p.MaxWebhooksPerEvent,
		RetryCount: p.RetryCount, KeepAnswers: p.KeepAnswers,
	}
	if p.Timeout != nil {
		v.TimeoutSeconds = new(int(*p.Timeout / time.Second))
	}
	if p.Reactivation != "" {
		v.Reactivation = &p.Reactivation
	}
	if p.Validate != "" {
		v.Validate = &p.Validate
	}
	return v
}

func (v Policy) policy(f *invalid.Fields) tenant.Policy {
	p := tenant.Policy{
		WarnAfter: v.WarnAfter, DisableAfter: v.DisableAfter, MaxWebhooksPerEvent: v.MaxWebhooksPerEvent,
		RetryCount: v.RetryCount, KeepAnswers: v.KeepAnswers,
	}
	if s := v.TimeoutSeconds; s != nil {
		// Beyond any limit it stays beyond the limit, and does not overflow.
		p.Timeout = new(time.Duration(min(max(*s, 0), 1000)) * time.Second)
	}
	if r := v.Reactivation; r != nil {
		if p.Reactivation = *r; *r == "" {
			f.Add("policy.reactivation", "must be %s or %s, or null", tenant.ReactivationConsole, tenant.ReactivationAny)
		}
	}
	if r := v.Validate; r != nil {
		if p.Validate = *r; *r == "" {
			f.Add("policy.validate", "must be %s, %s or %s, or null", tenant.ValidateReject, tenant.ValidateWarn, tenant.ValidateOff)
		}
	}
	return p
}

// newTenant is the tenant that a caller describes.
func newTenant(body []byte) (tenant.Tenant, error) {
	in, err := merged(TenantInput{}, body, readOnlyOfTenant())
	if err != nil {
		return tenant.Tenant{}, err
	}
	return in.apply(tenant.Tenant{ID: in.ID})
}

// patchedTenant is t with a merge patch (RFC 7396) applied.
func patchedTenant(t tenant.Tenant, patch []byte) (tenant.Tenant, error) {
	policy := policyView(t.Policy)
	in, err := merged(TenantInput{
		Name: t.Name, Open: &t.Open, Policy: &policy,
		Payload:  &PayloadInput{Format: string(t.Payload.Format), Exclude: t.Payload.Exclude, Stringify: t.Payload.Stringify},
		Features: featuresInput(t.Features),
	}, patch, readOnlyOfTenant())
	if err == nil && (in.ID != "" || names(patch, "id")) {
		err = invalid.Fields{{Name: "id", Message: "can be given at creation only"}}
	}
	if err != nil {
		return tenant.Tenant{}, err
	}
	return in.apply(t)
}

// names reports whether a patch says something of a field, and not that it be left out.
func names(patch []byte, field string) bool {
	var said map[string]json.RawMessage
	_ = json.Unmarshal(patch, &said) // what cannot be read was told already
	raw, ok := said[field]
	return ok && !isNull(raw)
}

// readOnlyOfTenant are fields of a tenant that only Doorstep sets.
func readOnlyOfTenant() []string { return []string{"profile", "created_at", "updated_at"} }

// apply is t with what a caller says of it.
func (in TenantInput) apply(t tenant.Tenant) (tenant.Tenant, error) {
	var f invalid.Fields
	t.Name, t.Open = cmp.Or(in.Name, t.ID), in.Open == nil || *in.Open
	t.Policy, t.Payload = tenant.Policy{}, webhook.Payload{}
	if p := in.Policy; p != nil {
		t.Policy = p.policy(&f)
	}
	if p := in.Payload; p != nil {
		t.Payload = webhook.Payload{Format: webhook.Format(p.Format), Exclude: p.Exclude, Stringify: p.Stringify}
	}
	t.Features = in.Features.features()
	f = append(f, t.Check()...)
	return t, f.Err()
}

// checkOwnPatch says what of a patch only the platform may change: a tenant's own key changes how the
// tenant is called and what its webhooks send, not how it is treated.
func checkOwnPatch(patch []byte) error {
	var said map[string]json.RawMessage
	_ = json.Unmarshal(patch, &said) // what cannot be read is refused by patchedTenant
	var foreign []string
	for _, name := range slices.Sorted(maps.Keys(said)) {
		if name == "open" || name == "policy" || name == "features" {
			foreign = append(foreign, name)
		}
	}
	if len(foreign) == 0 {
		return nil
	}
	return newProblem(http.StatusForbidden, fmt.Sprintf(
		"only a platform key may change %s; a tenant's own key may change name and payload", strings.Join(foreign, " and ")))
}
