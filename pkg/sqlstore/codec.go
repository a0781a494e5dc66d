package sqlstore

import (
	"time"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

func list[T any](v []T) string {
	if len(v) == 0 {
		return "[]"
	}
	return sqldb.AsJSON(v)
}

func dict[T any](v map[string]T) string {
	if len(v) == 0 {
		return "{}"
	}
	return sqldb.AsJSON(v)
}

// The JSON columns' shapes; nouns have no tags.
type (
	headerRow struct {
		Name   string `json:"name"`
		Value  string `json:"value,omitempty"`  // if it is not sealed
		KeyID  string `json:"key_id,omitempty"` // if it is sealed, with Sealed
		Sealed []byte `json:"sealed,omitempty"`
	}
	signingKeyRow struct {
		Scheme    string `json:"scheme"`
		KeyID     string `json:"key_id"`
		Secret    []byte `json:"secret"`
		ExpiresAt int64  `json:"expires_at,omitempty"`
	}
	payloadRow struct {
		Format    string    `json:"format,omitempty"`
		Exclude   *[]string `json:"exclude,omitempty"`
		Stringify *bool     `json:"stringify,omitempty"`
	}
	policyRow struct {
		WarnAfter           *int   `json:"warn_after,omitempty"`
		DisableAfter        *int   `json:"disable_after,omitempty"`
		MaxWebhooksPerEvent *int   `json:"max_webhooks_per_event,omitempty"`
		RetryCount          *int   `json:"retry_count,omitempty"`
		TimeoutSeconds      *int64 `json:"timeout_seconds,omitempty"`
		Reactivation        string `json:"reactivation,omitempty"`
		KeepAnswers         *bool  `json:"keep_answers,omitempty"`
		Validate            string `json:"validate,omitempty"`
	}
)

func headerToRow(h webhook.Header) headerRow {
	if h.Value.IsPlain() {
		return headerRow{Name: h.Name, Value: string(h.Value.Bytes)}
	}
	return headerRow{Name: h.Name, KeyID: h.Value.KeyID, Sealed: h.Value.Bytes}
}

func (r headerRow) header() webhook.Header {
	if r.KeyID == "" {
		return webhook.Header{Name: r.Name, Value: webhook.Plain([]byte(r.Value))}
	}
	return webhook.Header{Name: r.Name, Value: webhook.Sealed{KeyID: r.KeyID, Bytes: r.Sealed}}
}

func payloadToRow(p webhook.Payload) payloadRow {
	return payloadRow{Format: string(p.Format), Exclude: p.Exclude, Stringify: p.Stringify}
}

func (r payloadRow) payload() webhook.Payload {
	return webhook.Payload{Format: webhook.Format(r.Format), Exclude: r.Exclude, Stringify: r.Stringify}
}

func policyToRow(p tenant.Policy) policyRow {
	return policyRow{
		WarnAfter: p.WarnAfter, DisableAfter: p.DisableAfter, MaxWebhooksPerEvent: p.MaxWebhooksPerEvent,
		RetryCount: p.RetryCount, TimeoutSeconds: wholeSeconds(p.Timeout), Reactivation: p.Reactivation,
		KeepAnswers: p.KeepAnswers, Validate: p.Validate,
	}
}

func (r policyRow) policy() tenant.Policy {
	return tenant.Policy{
		WarnAfter: r.WarnAfter, DisableAfter: r.DisableAfter, MaxWebhooksPerEvent: r.MaxWebhooksPerEvent,
		RetryCount: r.RetryCount, Timeout: fromSeconds(r.TimeoutSeconds), Reactivation: r.Reactivation,
		KeepAnswers: r.KeepAnswers, Validate: r.Validate,
	}
}

func wholeSeconds(d *time.Duration) *int64 {
	if d == nil {
		return nil
	}
	n := int64(*d / time.Second)
	return &n
}

func fromSeconds(n *int64) *time.Duration {
	if n == nil {
		return nil
	}
	d := time.Duration(*n) * time.Second
	return &d
}
