package console

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/match"
	"github.com/doorstep-dev/doorstep/pkg/signature"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// WebhookInput is what a caller may say of a webhook. Null and absent fields take the defaults.
type WebhookInput struct {
	Name              string            `json:"name,omitempty" maxLength:"150"`
	Description       string            `json:"description,omitempty" maxLength:"150"`
	URL               string            `json:"url,omitempty" maxLength:"512" doc:"Required. https, on port 443 or above 1023, to a public address"`
	Active            *bool             `json:"active,omitempty" doc:"Default true"`
	EventTypes        []string          `json:"event_types,omitempty" minItems:"1" maxItems:"200" doc:"Required. Types such as card.updated, prefixes such as card.*, or *"`
	Filters           map[string]string `json:"filters,omitempty" doc:"Attributes that an event must have, at most 16"`
	Condition         string            `json:"condition,omitempty" maxLength:"2048" doc:"CEL over event and data"`
	Headers           map[string]string `json:"headers,omitempty" doc:"Sent with every POST, at most 20. The value *** leaves one as it is"`
	Payload           *PayloadInput     `json:"payload,omitempty"`
	RetryCount        *int              `json:"retry_count,omitempty" minimum:"0" maximum:"12" doc:"Default: the tenant's, else 3"`
	TimeoutSeconds    *int              `json:"timeout_seconds,omitempty" minimum:"1" maximum:"30" doc:"Default: the tenant's, else 10"`
	RateLimit         int               `json:"rate_limit,omitempty" minimum:"0" maximum:"10000" doc:"POSTs per second; 0: not limited"`
	MaxInFlight       int               `json:"max_in_flight,omitempty" minimum:"0" maximum:"256" doc:"POSTs at once; 0: the default"`
	ExternalReference string            `json:"external_reference,omitempty" maxLength:"256"`
	Metadata          map[string]string `json:"metadata,omitempty" doc:"The caller's own, at most 32"`
	Secret            string            `json:"secret,omitempty" doc:"At creation only: whsec_ and base64 of 24 to 64 random bytes. Default: one is generated. Afterwards it is rotated"`
	KeyPair           *bool             `json:"key_pair,omitempty" doc:"True: it has an ed25519 key pair, and deliveries a v1a signature beside v1. False removes the pair at once. Default false"`
}

// PayloadInput shapes the body; absent fields are the tenant's, else the defaults.
type PayloadInput struct {
	Format    string    `json:"format,omitempty" enum:"raw,standard,cloudevents,thin,hook"`
	Exclude   *[]string `json:"exclude,omitempty" doc:"Paths of fields to remove, e.g. current.customer.email; * removes the whole of the data"`
	Stringify *bool     `json:"stringify,omitempty" doc:"Every scalar as a string"`
}

// readOnly are fields of a webhook that only Doorstep sets.
func readOnly() []string {
	return []string{
		"id", "api_key_id", "developer_client_id", "third_party", "fail_streak", "fail_streak_started_at", "failure_count",
		"last_triggered_at", "last_success_at", "last_failed_at", "last_failure_at", "mailed_warning_at", "mailed_disabled_at",
		"paused", "disabled", "disabled_at", "disable_reason", "disabled_until", "can_send", "public_key", "suspended_count", "condition_errors",
		"created_at", "updated_at",
	}
}

// inputOf is what a caller said of a webhook so far, but for its keys and the values of its headers.
func inputOf(w webhook.Webhook) WebhookInput {
	in := WebhookInput{
		Name: w.Name, Description: w.Description, URL: w.URL, Active: &w.Active, EventTypes: w.EventTypes, Filters: w.Filters,
		Condition: w.Condition, RetryCount: w.RetryCount, RateLimit: w.RateLimit, MaxInFlight: w.MaxInFlight,
		ExternalReference: w.ExternalReference, Metadata: w.Metadata, Headers: hiddenHeaders(w.Headers),
		Payload: &PayloadInput{Format: string(w.Payload.Format), Exclude: w.Payload.Exclude, Stringify: w.Payload.Stringify},
		KeyPair: new(hasKeyPair(w.SigningKeys)),
	}
	if w.Timeout != nil {
		in.TimeoutSeconds = new(int(*w.Timeout / time.Second))
	}
	return in
}

// patched is w with a merge patch (RFC 7396) applied but for its keys, and what the caller said of it. It
// checks all but where the URL leads. w itself stays.
func patched(w webhook.Webhook, patch []byte) (webhook.Webhook, WebhookInput, error) {
	in, err := merged(inputOf(w), patch, readOnly())
	if err != nil {
		return webhook.Webhook{}, WebhookInput{}, err
	}
	f := in.checkHidden(w)
	w = in.apply(w)
	f = append(f, w.Check()...)
	if len(f) == 0 {
		f = match.CheckCondition(w.Condition)
	}
	return w, in, f.Err()
}

// wantsKeyPair reports whether a webhook is to have an ed25519 key.
func (in WebhookInput) wantsKeyPair() bool { return in.KeyPair != nil && *in.KeyPair }

// hiddenHeaders are headers by name with every value hidden: what a caller does not touch stays as it is, sealed
// or not.
func hiddenHeaders(headers []webhook.Header) map[string]string {
	m := map[string]string{}
	for _, h := range headers {
		m[h.Name] = hidden
	}
	return m
}

// header is the header of that name that a webhook has.
func header(w webhook.Webhook, name string) (webhook.Header, bool) {
	i := slices.IndexFunc(w.Headers, func(h webhook.Header) bool { return h.Name == name })
	if i < 0 {
		return webhook.Header{}, false
	}
	return w.Headers[i], true
}

// checkHidden says which values are to stay that the webhook does not have.
func (in WebhookInput) checkHidden(w webhook.Webhook) (f invalid.Fields) {
	for _, name := range slices.Sorted(maps.Keys(in.Headers)) {
		if _, had := header(w, name); in.Headers[name] == hidden && !had {
			f.Add("headers["+name+"]", "*** stands for a value that is not told; give the value itself")
		}
	}
	return f
}

// apply is w with what a caller says of it. New values of headers are not sealed yet.
func (in WebhookInput) apply(w webhook.Webhook) webhook.Webhook {
	w.Name, w.Description, w.URL = in.Name, in.Description, in.URL
	w.Active = in.Active == nil || *in.Active
	w.EventTypes, w.Filters, w.Condition = in.EventTypes, in.Filters, in.Condition
	w.RetryCount, w.RateLimit, w.MaxInFlight = in.RetryCount, in.RateLimit, in.MaxInFlight
	w.ExternalReference, w.Metadata = in.ExternalReference, in.Metadata
	was := w
	w.Headers, w.Payload, w.Timeout = nil, webhook.Payload{}, nil
	for _, name := range slices.Sorted(maps.Keys(in.Headers)) {
		h, had := header(was, name)
		if value := in.Headers[name]; !had || value != hidden {
			h = webhook.Header{Name: name, Value: webhook.Plain([]byte(value))}
		}
		w.Headers = append(w.Headers, h)
	}
	if p := in.Payload; p != nil {
		w.Payload = webhook.Payload{Format: webhook.Format(p.Format), Exclude: p.Exclude, Stringify: p.Stringify}
	}
	if s := in.TimeoutSeconds; s != nil {
		// Beyond any limit it stays beyond the limit, and does not overflow.
		w.Timeout = new(time.Duration(min(max(*s, 0), 1000)) * time.Second)
	}
	return w
}

// activates reports whether a patch says active: true, whatever the webhook is.
func activates(patch []byte) bool {
	var said struct {
		Active *bool `json:"active"`
	}
	return json.Unmarshal(patch, &said) == nil && said.Active != nil && *said.Active
}

// signingKey is the key of a secret that a caller gave, or, for none, of the random bytes. It is not sealed yet.
func signingKey(text string, random [32]byte) (webhook.SigningKey, error) {
	secret := signature.NewSecret(random)
	if text != "" {
		var err error
		if secret, err = signature.ParseSecret(text); err != nil || secret.Scheme() != signature.SchemeHMAC {
			return webhook.SigningKey{}, invalid.Fields{{
				Name:    "secret",
				Message: fmt.Sprintf("must be whsec_ and base64 of %d to %d random bytes", signature.MinKeyLength, signature.MaxKeyLength),
			}}
		}
	}
	return webhook.SigningKey{Scheme: webhook.SchemeHMAC, Secret: webhook.Plain(secret.Raw())}, nil
}
