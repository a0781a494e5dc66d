package failure_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/failure"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func start() failure.State {
	return failure.State{WebhookID: "11111111-2222-4333-8444-555555555555", Tenant: "acme", Generation: 1}
}

func bad(generation uint64) failure.Outcome {
	return failure.Outcome{At: noon, Generation: generation, StatusCode: 500, Error: "answered 500"}
}

func good(generation uint64) failure.Outcome {
	return failure.Outcome{At: noon.Add(time.Minute), Generation: generation, OK: true, StatusCode: 200}
}

func gone(generation uint64) failure.Outcome {
	return failure.Outcome{At: noon, Generation: generation, Gone: true, StatusCode: 410, Error: "answered 410"}
}

func asks(at, wait time.Duration) failure.Outcome {
	return failure.Outcome{At: noon.Add(at), Generation: 1, StatusCode: 429, RetryAfter: wait, Error: "answered 429"}
}

func times(n int, o failure.Outcome) []failure.Outcome { return slices.Repeat([]failure.Outcome{o}, n) }

func kinds(effects []failure.Effect) (got []failure.EffectKind) {
	for _, e := range effects {
		got = append(got, e.Kind)
	}
	return got
}

func TestEffects(t *testing.T) {
	const started, ended, warned, disabled, putOff = failure.StreakStarted, failure.StreakEnded, failure.Warned, failure.Disabled, failure.PutOff
	small := failure.Policy{WarnAfter: 2, DisableAfter: 4}
	for name, tt := range map[string]struct {
		policy   failure.Policy
		outcomes []failure.Outcome
		want     []failure.EffectKind
	}{
		"249 failures":              {failure.DefaultPolicy(), times(249, bad(1)), []failure.EffectKind{started}},
		"250 failures warn":         {failure.DefaultPolicy(), times(250, bad(1)), []failure.EffectKind{started, warned}},
		"499 failures":              {failure.DefaultPolicy(), times(499, bad(1)), []failure.EffectKind{started, warned}},
		"500 failures disable":      {failure.DefaultPolicy(), times(500, bad(1)), []failure.EffectKind{started, warned, disabled}},
		"1000 failures, once":       {failure.DefaultPolicy(), times(1000, bad(1)), []failure.EffectKind{started, warned, disabled}},
		"each streak warns":         {small, slices.Concat(times(2, bad(1)), times(1, good(1)), times(3, bad(1))), []failure.EffectKind{started, warned, ended, started, warned}},
		"never a threshold":         {failure.Policy{}, times(1000, bad(1)), []failure.EffectKind{started}},
		"warning not below disable": {failure.Policy{WarnAfter: 3, DisableAfter: 3}, times(9, bad(1)), []failure.EffectKind{started, disabled}},
		"410 disables at once":      {small, times(2, gone(1)), []failure.EffectKind{started, disabled}},
		"410 at the warning":        {small, []failure.Outcome{bad(1), gone(1)}, []failure.EffectKind{started, disabled}},
		"in flight when disabled":   {small, slices.Concat(times(4, bad(1)), times(1, good(1)), times(9, bad(1))), []failure.EffectKind{started, warned, disabled, ended, started}},
		"put off once":              {small, []failure.Outcome{asks(0, time.Minute), asks(time.Second, time.Minute)}, []failure.EffectKind{started, putOff, warned}},
		"put off again later":       {small, []failure.Outcome{asks(0, time.Minute), asks(time.Minute, time.Minute)}, []failure.EffectKind{started, putOff, putOff, warned}},
		"successes":                 {small, times(3, good(1)), nil},
		"older generation":          {small, times(9, gone(0)), nil},
		"newer generation":          {small, slices.Concat(times(4, bad(1)), times(3, bad(2))), []failure.EffectKind{started, warned, disabled, started, warned}},
	} {
		t.Run(name, func(t *testing.T) {
			_, effects := failure.Apply(start(), tt.policy, tt.outcomes)
			if diff := cmp.Diff(tt.want, kinds(effects)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheWholeState(t *testing.T) {
	small := failure.Policy{WarnAfter: 2, DisableAfter: 4}
	s, effects := failure.Apply(start(), small, []failure.Outcome{asks(0, 2*time.Hour), asks(time.Second, time.Minute)})
	want := start()
	want.Version, want.FailStreak, want.FailureCount = 2, 2, 2
	want.FailStreakStartedAt = noon
	want.LastFailedAt, want.LastFailureAt, want.WarnedAt = noon.Add(time.Second), noon.Add(time.Second), noon.Add(time.Second)
	want.DisabledUntil = noon.Add(time.Hour) // cut to an hour; the shorter demand does not shorten it
	want.LastStatusCode, want.LastError = 429, "answered 429"
	want.PendingNotices = []failure.Notice{{
		ID:   failure.NoticeID(want.WebhookID, 1, noon, failure.NoticeWarning),
		Kind: failure.NoticeWarning, Tenant: "acme", WebhookID: want.WebhookID, Generation: 1, FailStreak: 2,
		FailStreakStartedAt: noon, RaisedAt: noon.Add(time.Second), LastStatusCode: 429, LastError: "answered 429",
	}}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("put off and warned: %s", diff)
	}
	if diff := cmp.Diff(want.PendingNotices[0], effects[2].Notice); diff != "" {
		t.Errorf("notice: %s", diff)
	}
	if s.CanSend(noon.Add(time.Hour-1)) || !s.CanSend(noon.Add(time.Hour)) {
		t.Error("put off: not until DisabledUntil")
	}

	s, _ = failure.Apply(s, small, []failure.Outcome{good(1)}) // was in flight: the demand to wait holds
	want.Version, want.FailStreak = 3, 0
	want.FailStreakStartedAt, want.LastFailedAt, want.WarnedAt = time.Time{}, time.Time{}, time.Time{}
	want.LastSuccessAt = noon.Add(time.Minute)
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("success while put off: %s", diff)
	}
	late := good(1)
	late.At = noon.Add(time.Hour)
	s, _ = failure.Apply(s, small, []failure.Outcome{late})
	want.Version, want.DisabledUntil, want.LastSuccessAt = 4, time.Time{}, late.At
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("success: %s", diff)
	}

	s = s.Written(want.PendingNotices[0].ID)
	want.Version, want.PendingNotices = 5, nil
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("written: %s", diff)
	}
	if again := s.Written("unknown"); again.Newer(s) {
		t.Error("a notice that is not pending made a new version")
	}
}

func TestReactivation(t *testing.T) {
	policy := failure.Policy{DisableAfter: 2}
	disabled, effects := failure.Apply(start(), policy, []failure.Outcome{asks(0, time.Hour), bad(1)})
	if !disabled.Disabled || disabled.DisableReason != failure.DisabledByStreak || disabled.CanSend(noon.Add(48*time.Hour)) {
		t.Fatalf("not disabled: %+v", disabled)
	}
	read := disabled.At(2)
	want := failure.State{
		WebhookID: disabled.WebhookID, Tenant: "acme", Generation: 2, Version: 2,
		FailureCount: 2, LastFailureAt: noon, LastStatusCode: 500, LastError: "answered 500",
		PendingNotices: []failure.Notice{effects[2].Notice},
	}
	if diff := cmp.Diff(want, read); diff != "" {
		t.Errorf("read at the next generation: %s", diff)
	}
	if !read.Newer(disabled) || !read.CanSend(noon) {
		t.Error("the next generation does not hold over the former")
	}
	if diff := cmp.Diff(read, read.At(1)); diff != "" {
		t.Errorf("a generation of the past changed the state: %s", diff)
	}
	// A first success of the new generation tells the stored state of it, once.
	next, _ := failure.Apply(disabled, policy, []failure.Outcome{good(2), good(2)})
	want.Version = 3
	if diff := cmp.Diff(want, next); diff != "" {
		t.Errorf("success of the next generation: %s", diff)
	}
}

func TestNoticeID(t *testing.T) {
	const frozen = "5ccce403-4aa4-51ea-bdae-26daa73984ba"
	got := failure.NoticeID("11111111-2222-4333-8444-555555555555", 1, noon, failure.NoticeWarning)
	if got != frozen {
		t.Errorf("NoticeID = %s, was always %s", got, frozen)
	}
	if local := failure.NoticeID("11111111-2222-4333-8444-555555555555", 1, noon.In(time.FixedZone("", 3600)), failure.NoticeWarning); local != got {
		t.Error("the id depends on the time zone")
	}
	seen := map[string]bool{got: true}
	for _, other := range []string{
		failure.NoticeID("21111111-2222-4333-8444-555555555555", 1, noon, failure.NoticeWarning),
		failure.NoticeID("11111111-2222-4333-8444-555555555555", 2, noon, failure.NoticeWarning),
		failure.NoticeID("11111111-2222-4333-8444-555555555555", 1, noon.Add(1), failure.NoticeWarning),
		failure.NoticeID("11111111-2222-4333-8444-555555555555", 1, noon, failure.NoticeDisabled),
	} {
		if seen[other] {
			t.Errorf("%s stands for two notices", other)
		}
		seen[other] = true
	}
}
