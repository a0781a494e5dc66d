package failure

import (
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
)

// Policy holds the lengths of a fail streak, in attempts, at which something is done.
type Policy struct {
	WarnAfter    int // administrators are warned; 0: never. Without effect if not below DisableAfter
	DisableAfter int // the webhook is disabled; 0: never
}

// DefaultPolicy is the policy where neither the installation nor the tenant says otherwise.
func DefaultPolicy() Policy { return Policy{WarnAfter: 250, DisableAfter: 500} }

// Effect is something that outcomes brought about. Any effect means that the state is written to
// `states` at once; without one, once a second will do.
type Effect struct {
	Kind   EffectKind
	Notice Notice // of Warned and Disabled; it also stands in the state's PendingNotices
}

// EffectKind is what came about.
type EffectKind string

// The kinds.
const (
	StreakStarted EffectKind = "streak_started"
	StreakEnded   EffectKind = "streak_ended"
	PutOff        EffectKind = "put_off" // not to be sent to before DisabledUntil
	Warned        EffectKind = "warned"
	Disabled      EffectKind = "disabled"
)

// Apply returns s after the outcomes, in their order, and what they brought about. The result is
// Newer than s if it has to be stored. WebhookID and Tenant of s must be set.
func Apply(s State, p Policy, outcomes []Outcome) (State, []Effect) {
	var effects []Effect
	for _, o := range outcomes {
		if o.Generation < s.Generation {
			continue
		}
		moved := o.Generation > s.Generation
		s = s.At(o.Generation)
		at := o.At.UTC().Round(0) // as it comes back from a store
		switch {
		case !o.OK:
			effects = append(effects, s.fail(p, o, at)...)
		case !s.clean(at):
			effects = append(effects, s.succeed(at)...)
		case !moved:
			continue
		}
		s.Version++
	}
	return s, effects
}

// clean reports whether a success at that time leaves s as it is. A success while the webhook is put
// off was in flight when another attempt was asked to wait: it does not void that demand.
func (s State) clean(at time.Time) bool {
	return s.FailStreak == 0 && s.WarnedAt.IsZero() && (s.DisabledUntil.IsZero() || at.Before(s.DisabledUntil))
}

// At is s as it reads for a webhook of that generation: an older state counts as empty, apart from
// what is of all time and notices not yet written. The version stays.
func (s State) At(generation uint64) State {
	if generation <= s.Generation {
		return s
	}
	return State{
		WebhookID: s.WebhookID, Tenant: s.Tenant, Generation: generation, Version: s.Version,
		LastFailureAt: s.LastFailureAt, FailureCount: s.FailureCount, LastSuccessAt: s.LastSuccessAt,
		LastStatusCode: s.LastStatusCode, LastError: s.LastError,
		PendingNotices: s.PendingNotices, Unknown: s.Unknown,
	}
}

func (s *State) succeed(at time.Time) (effects []Effect) {
	if s.FailStreak > 0 {
		effects = append(effects, Effect{Kind: StreakEnded})
	}
	s.FailStreak = 0
	s.FailStreakStartedAt, s.LastFailedAt = time.Time{}, time.Time{}
	s.WarnedAt = time.Time{}
	if !at.Before(s.DisabledUntil) {
		s.DisabledUntil = time.Time{}
	}
	s.LastSuccessAt = later(s.LastSuccessAt, at)
	return effects
}

func (s *State) fail(p Policy, o Outcome, at time.Time) (effects []Effect) {
	if s.FailStreak == 0 {
		s.FailStreakStartedAt = at
		effects = append(effects, Effect{Kind: StreakStarted})
	}
	s.FailStreak++
	s.FailureCount++
	s.LastFailedAt, s.LastFailureAt = later(s.LastFailedAt, at), later(s.LastFailureAt, at)
	s.LastStatusCode, s.LastError = o.StatusCode, o.Error
	if o.RetryAfter > 0 {
		if !at.Before(s.DisabledUntil) {
			effects = append(effects, Effect{Kind: PutOff})
		}
		s.DisabledUntil = later(s.DisabledUntil, at.Add(min(o.RetryAfter, delivery.MaxRetryAfter)))
	}
	switch {
	case s.Disabled:
	case o.Gone:
		effects = append(effects, s.disable(DisabledByGone, NoticeGone, at))
	case p.DisableAfter > 0 && s.FailStreak >= p.DisableAfter:
		effects = append(effects, s.disable(DisabledByStreak, NoticeDisabled, at))
	case p.WarnAfter > 0 && s.FailStreak >= p.WarnAfter && s.WarnedAt.IsZero():
		s.WarnedAt = at
		effects = append(effects, Effect{Kind: Warned, Notice: s.raise(NoticeWarning, at)})
	}
	return effects
}

func (s *State) disable(reason DisableReason, kind NoticeKind, at time.Time) Effect {
	s.Disabled, s.DisabledAt, s.DisableReason = true, at, reason
	return Effect{Kind: Disabled, Notice: s.raise(kind, at)}
}

func (s *State) raise(kind NoticeKind, at time.Time) Notice {
	n := Notice{
		ID:   NoticeID(s.WebhookID, s.Generation, s.FailStreakStartedAt, kind),
		Kind: kind, Tenant: s.Tenant, WebhookID: s.WebhookID, Generation: s.Generation,
		FailStreak: s.FailStreak, FailStreakStartedAt: s.FailStreakStartedAt, RaisedAt: at,
		LastStatusCode: s.LastStatusCode, LastError: s.LastError,
	}
	s.PendingNotices = append(slices.Clip(s.PendingNotices), n) // never into the caller's array
	return n
}

// Written is s once the notices with these ids stand in `notices`. It is Newer than s if any of
// them was pending.
func (s State) Written(ids ...string) State {
	var left []Notice
	for _, n := range s.PendingNotices {
		if !slices.Contains(ids, n.ID) {
			left = append(left, n)
		}
	}
	if len(left) < len(s.PendingNotices) {
		s.PendingNotices = left
		s.Version++
	}
	return s
}

// noticeSpace is the UUIDv5 name space of notice ids; it is frozen.
var noticeSpace = uuid.MustParse("2c0f3c0b-64c5-4f0e-8a3c-5f5f1a1d9e42")

// NoticeID is the id of a notice: the same whenever it is worked out again. A streak is known by
// its start, to the nanosecond.
func NoticeID(webhookID string, generation uint64, streakStart time.Time, kind NoticeKind) string {
	name := webhookID + "\x00" + strconv.FormatUint(generation, 10) + "\x00" +
		strconv.FormatInt(streakStart.UnixNano(), 10) + "\x00" + string(kind)
	return uuid.NewSHA1(noticeSpace, []byte(name)).String()
}

// MailedID is the id of the record that a notice was mailed to an administrator: there is one for each pair.
func MailedID(noticeID, administratorID string) string {
	return uuid.NewSHA1(noticeSpace, []byte(noticeID+"\x00"+administratorID)).String()
}

// ExpiryWeek is the week that an expiry falls into, as its start in UTC: deliveries that expire in one week are
// told of together.
func ExpiryWeek(expiresAt time.Time) time.Time {
	const week = 7 * 24 * time.Hour
	return time.Unix(0, expiresAt.UnixNano()/int64(week)*int64(week)).UTC()
}

// ExpiryID is the id of the notice that a webhook's suspended deliveries expire in that week.
func ExpiryID(webhookID string, week time.Time) string {
	return uuid.NewSHA1(noticeSpace, []byte(webhookID+"\x00"+string(NoticeExpiry)+"\x00"+strconv.FormatInt(week.Unix(), 10))).String()
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
