package failure_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/failure"
)

// outcomes draws a history: mostly of one generation, with stragglers of older ones.
func outcomes() *rapid.Generator[[]failure.Outcome] {
	one := rapid.Custom(func(t *rapid.T) failure.Outcome {
		o := failure.Outcome{
			At:         noon.Add(time.Duration(rapid.IntRange(0, 1000).Draw(t, "at")) * time.Second),
			Generation: rapid.SampledFrom([]uint64{1, 1, 1, 1, 1, 0, 2}).Draw(t, "generation"),
		}
		switch rapid.SampledFrom([]string{"ok", "bad", "bad", "bad", "bad", "busy", "gone"}).Draw(t, "answer") {
		case "ok":
			o.OK, o.StatusCode = true, 200
		case "bad":
			o.StatusCode, o.Error = 500, "answered 500"
		case "busy":
			o.StatusCode, o.Error = 429, "answered 429"
			o.RetryAfter = time.Duration(rapid.IntRange(0, 7200).Draw(t, "retry after")) * time.Second
		case "gone":
			o.StatusCode, o.Error, o.Gone = 410, "answered 410", true
		}
		return o
	})
	return rapid.SliceOfN(one, 0, 60)
}

func policies() *rapid.Generator[failure.Policy] {
	return rapid.Custom(func(t *rapid.T) failure.Policy {
		return failure.Policy{
			WarnAfter:    rapid.IntRange(0, 4).Draw(t, "warn after"),
			DisableAfter: rapid.IntRange(0, 8).Draw(t, "disable after"),
		}
	})
}

// It does not matter how outcomes are batched.
func TestBatchesMayBeSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policy, all := policies().Draw(t, "policy"), outcomes().Draw(t, "outcomes")
		cut := rapid.IntRange(0, len(all)).Draw(t, "cut")
		whole, effects := failure.Apply(start(), policy, all)
		first, before := failure.Apply(start(), policy, all[:cut])
		second, after := failure.Apply(first, policy, all[cut:])
		if diff := cmp.Diff(whole, second); diff != "" {
			t.Fatal(diff)
		}
		if diff := cmp.Diff(effects, slices.Concat(before, after)); diff != "" && len(effects) > 0 {
			t.Fatal(diff)
		}
	})
}

// What is so after every single outcome, whatever the history.
func TestEveryStep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policy, s := policies().Draw(t, "policy"), start()
		for _, o := range outcomes().Draw(t, "outcomes") {
			was := s
			next, effects := failure.Apply(s, policy, []failure.Outcome{o})
			s = next
			switch {
			case o.Generation < was.Generation:
				if diff := cmp.Diff(was, s); diff != "" || effects != nil {
					t.Fatalf("an older generation counted: %s", diff)
				}
				continue
			case !s.Newer(was):
				if diff := cmp.Diff(was, s); diff != "" || effects != nil {
					t.Fatalf("changed without a new version: %s", diff)
				}
			case s.Version != was.Version+1 || s.Generation != o.Generation:
				t.Fatalf("(generation, version) went from (%d, %d) to (%d, %d)", was.Generation, was.Version, s.Generation, s.Version)
			}
			if o.OK && (s.FailStreak != 0 || !o.At.Before(s.DisabledUntil) && !s.DisabledUntil.IsZero() || !s.WarnedAt.IsZero()) {
				t.Fatalf("a success cleared too little: %+v", s)
			}
			if !o.OK && s.FailureCount != was.FailureCount+1 {
				t.Fatalf("failure count %d follows %d", s.FailureCount, was.FailureCount)
			}
			if was.Disabled && !s.Disabled && s.Generation == was.Generation {
				t.Fatal("enabled again within a generation")
			}
			if none := s.FailStreak == 0; s.FailStreakStartedAt.IsZero() != none || s.LastFailedAt.IsZero() != none {
				t.Fatalf("stamps do not fit a streak of %d: %+v", s.FailStreak, s)
			}
		}
	})
}

// The streak, the warnings and the disables against a plain reading of the rules: take what
// counts of each generation, cut it into streaks, look at each.
func TestAgainstTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policy, history := policies().Draw(t, "policy"), outcomes().Draw(t, "outcomes")
		warned, disabled, total, generation, streak := 0, 0, 0, uint64(1), 0
		var warnedNow, disabledNow bool
		for _, o := range history {
			if o.Generation < generation {
				continue
			}
			if o.Generation > generation {
				generation, streak, warnedNow, disabledNow = o.Generation, 0, false, false
			}
			if o.OK {
				streak, warnedNow = 0, false
				continue
			}
			streak++
			total++
			disable := o.Gone || policy.DisableAfter > 0 && streak >= policy.DisableAfter
			warn := policy.WarnAfter > 0 && streak >= policy.WarnAfter
			if disable && !disabledNow {
				disabled, disabledNow = disabled+1, true
			}
			if warn && !warnedNow && !disabledNow {
				warned, warnedNow = warned+1, true
			}
		}

		s, effects := failure.Apply(start(), policy, history)
		got := map[failure.EffectKind]int{}
		ids := map[string]bool{}
		for _, e := range effects {
			got[e.Kind]++
			ids[e.Notice.ID] = true
		}
		delete(ids, "")
		if got[failure.Warned] != warned || got[failure.Disabled] != disabled {
			t.Fatalf("warned %d and disabled %d times, want %d and %d", got[failure.Warned], got[failure.Disabled], warned, disabled)
		}
		if s.FailStreak != streak || s.FailureCount != uint64(total) || s.Disabled != disabledNow {
			t.Fatalf("streak %d of %d, disabled %t; want %d of %d, %t", s.FailStreak, s.FailureCount, s.Disabled, streak, total, disabledNow)
		}
		if len(s.PendingNotices) != warned+disabled {
			t.Fatalf("%d notices are pending, want %d", len(s.PendingNotices), warned+disabled)
		}
		for _, n := range s.PendingNotices {
			s = s.Written(n.ID)
		}
		if len(s.PendingNotices) != 0 {
			t.Fatalf("%d notices are left", len(s.PendingNotices))
		}
	})
}

// States are values: two that come from one do not touch one another.
func TestStatesShareNothing(t *testing.T) {
	policy := failure.Policy{WarnAfter: 1, DisableAfter: 2}
	base, _ := failure.Apply(start(), policy, []failure.Outcome{bad(1)})
	base.PendingNotices = append(make([]failure.Notice, 0, 8), base.PendingNotices...)
	one, _ := failure.Apply(base, policy, []failure.Outcome{bad(1)})
	want := slices.Clone(one.PendingNotices)
	other, _ := failure.Apply(base, policy, []failure.Outcome{gone(1)})
	if diff := cmp.Diff(want, one.PendingNotices); diff != "" || len(other.PendingNotices) != 2 {
		t.Error(diff)
	}
}
