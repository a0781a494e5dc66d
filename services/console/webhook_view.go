package console

import (
	"cmp"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// Webhook is a webhook with what is known of its failures.
type Webhook struct {
	ID                string            `json:"id" format:"uuid"`
	Name              string            `json:"name"`
	Description       string            `json:"description"`
	URL               string            `json:"url"`
	Active            bool              `json:"active" doc:"False: what is under way is suspended, and nothing new is matched, save for a webhook that was disabled before: its events are suspended until it is reactivated"`
	EventTypes        []string          `json:"event_types"`
	Filters           map[string]string `json:"filters"`
	Condition         string            `json:"condition"`
	Headers           map[string]string `json:"headers" doc:"Values are told when they are given at creation, and to a key that may change the webhook, save in lists; elsewhere *** stands for one that looks like a secret, and everywhere for one that cannot be read"`
	Payload           Payload           `json:"payload" doc:"As it is sent: the webhook's own, else its tenant's, else the default"`
	RetryCount        int               `json:"retry_count" doc:"The webhook's own, else its tenant's, else 3"`
	TimeoutSeconds    int               `json:"timeout_seconds" doc:"The webhook's own, else its tenant's, else 10"`
	RateLimit         int               `json:"rate_limit" doc:"POSTs per second; 0: not limited"`
	MaxInFlight       int               `json:"max_in_flight" doc:"POSTs at once; 0: the default"`
	ExternalReference string            `json:"external_reference"`
	Metadata          map[string]string `json:"metadata"`
	Secret            string            `json:"secret,omitempty" doc:"The signing secret; told when it is made or rotated, and to a key that may change the webhook, never in lists; absent too while it cannot be read"`
	PublicKey         *string           `json:"public_key" doc:"whpk_..., which verifies v1a signatures; null: the webhook has no key pair, or it cannot be read"`
	APIKeyID          *string           `json:"api_key_id" format:"uuid" doc:"The API key that made it, as GET /api/v1/me shows it; null: a person made it in the web console"`
	DeveloperClientID *string           `json:"developer_client_id" doc:"The application that the key was given to; null: none"`
	ThirdParty        bool              `json:"third_party" doc:"True: a program made it, with an API key; false: a person, in the web console"`

	FailStreak          int        `json:"fail_streak" doc:"Failed attempts in a row"`
	FailStreakStartedAt *time.Time `json:"fail_streak_started_at"`
	FailureCount        uint64     `json:"failure_count" doc:"Failed attempts of all time"`
	LastTriggeredAt     *time.Time `json:"last_triggered_at" doc:"The last attempt, as soon as the history has it"`
	LastSuccessAt       *time.Time `json:"last_success_at"`
	LastFailedAt        *time.Time `json:"last_failed_at" doc:"The last failed attempt of the streak"`
	LastFailureAt       *time.Time `json:"last_failure_at" doc:"The last failed attempt of all time"`
	MailedWarningAt     *time.Time `json:"mailed_warning_at" doc:"When administrators were first mailed that this streak goes on, as soon as the history has it"`
	MailedDisabledAt    *time.Time `json:"mailed_disabled_at" doc:"When administrators were first mailed that it is disabled, as soon as the history has it"`
	DisabledUntil       *time.Time `json:"disabled_until" doc:"The receiver asked for a wait until then"`
	CanSend             bool       `json:"can_send" doc:"False while it is disabled, paused, or waits as its receiver asked"`
	SuspendedCount      *int       `json:"suspended_count" doc:"Deliveries that wait for a release; null: the history cannot be reached"`

	ConditionErrors *ConditionErrors `json:"condition_errors" doc:"How often the condition, as it is now, could not be evaluated, which counts as no match; null: the history cannot be reached"`

	Paused        bool                  `json:"paused" doc:"True: by hand; what is matched is suspended until it is resumed"`
	Disabled      bool                  `json:"disabled" doc:"True: by its failures; what is matched is suspended until it is reactivated by hand"`
	DisabledAt    *time.Time            `json:"disabled_at"`
	DisableReason failure.DisableReason `json:"disable_reason" doc:"Of a disabled one. fail_streak: too many failed attempts in a row. gone: its receiver answered 410"`

	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`

	ProductNames
}

// ConditionErrors say how often a condition could not be evaluated.
type ConditionErrors struct {
	Count     int        `json:"count" doc:"Within the time that the history is kept. A second late at most, and what a matcher had counted in its last second before it was killed is missing"`
	LastError string     `json:"last_error" doc:"What went wrong the last time; empty: nothing"`
	LastAt    *time.Time `json:"last_at"`
}

// Payload shapes the body that is sent.
type Payload struct {
	Format    webhook.Format `json:"format" enum:"raw,standard,cloudevents,thin,hook"`
	Exclude   []string       `json:"exclude" doc:"Paths of fields that are removed; *: all of the data"`
	Stringify bool           `json:"stringify" doc:"Every scalar is sent as a string"`
}

// view is a webhook as the API shows it at now, with what is given of its secrets.
func view(w webhook.Webhook, known secrets, of tenant.Tenant, s failure.State, now time.Time) Webhook {
	return Webhook{
		ID: w.ID, Name: w.Name, Description: w.Description, URL: w.URL, Active: w.Active,
		EventTypes: w.EventTypes, Filters: orEmpty(w.Filters), Condition: w.Condition, Headers: known.headers, Secret: known.secret,
		Payload:        payloadView(w.Payload.Over(of.Payload)),
		RetryCount:     *cmp.Or(w.RetryCount, of.Policy.RetryCount, new(webhook.DefaultRetryCount)),
		TimeoutSeconds: int(*cmp.Or(w.Timeout, of.Policy.Timeout, new(webhook.DefaultTimeout)) / time.Second),
		RateLimit:      w.RateLimit, MaxInFlight: w.MaxInFlight, ExternalReference: w.ExternalReference, Metadata: orEmpty(w.Metadata),
		PublicKey: known.publicKey, APIKeyID: textOrNull(w.APIKeyID), DeveloperClientID: textOrNull(w.DeveloperClientID), ThirdParty: w.ThirdParty,

		FailStreak: s.FailStreak, FailStreakStartedAt: orNull(s.FailStreakStartedAt), FailureCount: s.FailureCount,
		LastTriggeredAt: orNull(later(s.LastSuccessAt, s.LastFailureAt)), LastSuccessAt: orNull(s.LastSuccessAt),
		LastFailedAt: orNull(s.LastFailedAt), LastFailureAt: orNull(s.LastFailureAt), DisabledUntil: orNull(s.DisabledUntil),
		Paused: w.Paused, Disabled: s.Disabled, DisabledAt: orNull(s.DisabledAt), DisableReason: s.DisableReason,
		CanSend: !w.Paused && s.CanSend(now),

		CreatedAt: w.CreatedAt, UpdatedAt: w.UpdatedAt,
	}.named(of.Profile)
}

func payloadView(p webhook.Payload) Payload {
	v := Payload{Format: cmp.Or(p.Format, webhook.FormatRaw), Exclude: []string{}}
	if p.Exclude != nil {
		v.Exclude = append(v.Exclude, *p.Exclude...)
	}
	if p.Stringify != nil {
		v.Stringify = *p.Stringify
	}
	return v
}

// textOrNull is a text for JSON, null for none.
func textOrNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
