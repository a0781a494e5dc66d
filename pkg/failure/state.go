package failure

import (
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
)

// State is what is known of a webhook's failures. Of two, the one with the higher (Generation,
// Version) holds.
type State struct {
	WebhookID           string
	Tenant              string
	Generation          uint64 // the webhook's generation that it belongs to
	Version             uint64 // grows with every change
	FailStreak          int    // consecutive failed attempts
	FailStreakStartedAt time.Time
	LastFailedAt        time.Time // of the current streak
	LastFailureAt       time.Time // of all time
	FailureCount        uint64    // of all time
	LastSuccessAt       time.Time // as of the last change of the state
	Disabled            bool
	DisabledAt          time.Time
	DisableReason       DisableReason
	DisabledUntil       time.Time // as the receiver asked; zero: not
	WarnedAt            time.Time // when this streak's warning was raised
	LastStatusCode      int
	LastError           string
	PendingNotices      []Notice // not known to be written yet

	// Unknown holds fields that a newer version wrote: carried on, never read.
	Unknown []byte
}

// CanSend reports whether the state allows sending at now. Active and Paused are the webhook's own.
func (s State) CanSend(now time.Time) bool { return !s.Disabled && !now.Before(s.DisabledUntil) }

// Newer reports whether s holds over other.
func (s State) Newer(other State) bool {
	if s.Generation != other.Generation {
		return s.Generation > other.Generation
	}
	return s.Version > other.Version
}

// Ahead is s with a version above any that a former owner can have reached before now: of the time, in microseconds, as
// no owner makes a change in each. So what the owner of s counts holds over what a store still has
// that it could not ask.
func (s State) Ahead(now time.Time) State {
	s.Version = max(s.Version+1, uint64(max(now.UnixMicro(), 0))) //nolint:gosec // not negative
	return s
}

// DisableReason is why a webhook was disabled.
type DisableReason string

// The reasons.
const (
	DisabledByStreak DisableReason = "fail_streak"
	DisabledByGone   DisableReason = "gone" // the receiver answered 410
)

// NoticeKind is what administrators are told.
type NoticeKind string

// The kinds.
const (
	NoticeWarning  NoticeKind = "warning"
	NoticeDisabled NoticeKind = "disabled"
	NoticeGone     NoticeKind = "gone"
	NoticeMailed   NoticeKind = "mailed" // written by the notifier: what came of one administrator's mail
	NoticeExpiry   NoticeKind = "expiry" // written by the console: suspended deliveries expire within a week
)

// NoticeKinds lists what administrators are told.
func NoticeKinds() []NoticeKind {
	return []NoticeKind{NoticeWarning, NoticeDisabled, NoticeGone, NoticeExpiry}
}

// MailResult is what came of a mail.
type MailResult string

// The results.
const (
	MailSent   MailResult = "sent"   // a mail server took it
	MailKept   MailResult = "kept"   // there is no mail server; it can be read in Doorstep
	MailFailed MailResult = "failed" // refused for good, or for too long
)

// Notice is something that a tenant's administrators are to be told.
type Notice struct {
	ID                  string // UUIDv5 of webhook, generation, streak start and kind
	Kind                NoticeKind
	Tenant              string
	WebhookID           string
	Generation          uint64
	FailStreak          int
	FailStreakStartedAt time.Time
	RaisedAt            time.Time
	LastStatusCode      int
	LastError           string

	// Of a NoticeMailed only; its ID is MailedID.
	NoticeID        string
	NoticeKind      NoticeKind // the kind of the notice that was mailed
	AdministratorID string
	MailTo          string
	MailedAt        time.Time
	MailResult      MailResult
	MailError       string // of a MailFailed: why, without addresses or secrets
	MailSubject     string
	MailText        string // the plain text part

	// Of a NoticeExpiry only; its ID is ExpiryID.
	Expiring  int       // how many suspended deliveries expire
	ExpiresAt time.Time // when the first of them does
}

// Outcome is one attempt as the failure policy sees it.
type Outcome struct {
	At         time.Time // end of the attempt
	Generation uint64    // the webhook's, when it was made
	OK         bool
	Gone       bool          // 410
	RetryAfter time.Duration // asked for by a 429 or 503; 0: not
	StatusCode int
	Error      string // in words, for the notice
}

// OutcomeOf is what the failure policy sees of an attempt.
func OutcomeOf(a delivery.Attempt) Outcome {
	return Outcome{
		At: a.FinishedAt, Generation: a.WebhookGeneration, OK: a.Outcome.OK(), Gone: a.Outcome.StatusCode == 410,
		RetryAfter: a.Outcome.RetryAfter, StatusCode: a.Outcome.StatusCode, Error: a.Outcome.Error,
	}
}
