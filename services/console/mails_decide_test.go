package console

import (
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
)

func TestMailedOf(t *testing.T) {
	t.Parallel()
	at := func(minute int) time.Time { return time.Date(2026, 3, 4, 5, minute, 0, 123456789, time.UTC) }
	const generation = 3
	failing := failure.State{Generation: generation, FailStreak: 260, FailStreakStartedAt: at(0)}
	disabled := failing
	disabled.FailStreak, disabled.Disabled = 500, true
	gone := failure.State{Generation: generation, FailStreak: 1, FailStreakStartedAt: at(0), Disabled: true, DisableReason: failure.DisabledByGone}
	ended := failure.State{Generation: generation, LastSuccessAt: at(30)}
	now, before := sqlhistory.Streak{Generation: generation, StartedAt: at(0)}, sqlhistory.Streak{Generation: generation, StartedAt: at(-60)}
	older := sqlhistory.Streak{Generation: generation - 1, StartedAt: at(0)}
	warning := func(of sqlhistory.Streak) sqlhistory.Mailed {
		return sqlhistory.Mailed{WarningAt: at(10), WarningStreak: of}
	}
	disable := func(of sqlhistory.Streak) sqlhistory.Mailed {
		return sqlhistory.Mailed{DisabledAt: at(20), DisabledStreak: of}
	}
	both := sqlhistory.Mailed{WarningAt: at(10), WarningStreak: now, DisabledAt: at(20), DisabledStreak: now}
	elsewhere := now
	elsewhere.StartedAt = now.StartedAt.In(time.FixedZone("", 7200))
	for name, tt := range map[string]struct {
		state            failure.State
		mailed           sqlhistory.Mailed
		warned, disabled time.Time
	}{
		"never mailed":                             {state: disabled},
		"never failed, never mailed":               {},
		"of this streak":                           {failing, warning(now), at(10), time.Time{}},
		"of this streak, in another zone":          {failing, warning(elsewhere), at(10), time.Time{}},
		"of an earlier streak":                     {failing, warning(before), time.Time{}, time.Time{}},
		"of a streak that has ended":               {ended, warning(now), time.Time{}, time.Time{}},
		"of an earlier generation":                 {failing, warning(older), time.Time{}, time.Time{}},
		"warned, then disabled":                    {disabled, both, at(10), at(20)},
		"disabled":                                 {disabled, disable(now), time.Time{}, at(20)},
		"disabled in an earlier generation":        {disabled, disable(older), time.Time{}, time.Time{}},
		"reactivated, and failing again":           {failing, disable(older), time.Time{}, time.Time{}},
		"gone":                                     {gone, disable(now), time.Time{}, at(20)},
		"gone, after a streak that was warned of":  {gone, sqlhistory.Mailed{WarningAt: at(10), WarningStreak: before, DisabledAt: at(20), DisabledStreak: now}, time.Time{}, at(20)},
		"reactivated: all of it is of the past":    {failing.At(generation + 1), both, time.Time{}, time.Time{}},
		"reactivated: the generation goes on to 1": {failure.State{}.At(1), sqlhistory.Mailed{WarningAt: at(1), DisabledAt: at(2)}, time.Time{}, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			if warned, disabled := mailedOf(tt.state, tt.mailed); !warned.Equal(tt.warned) || !disabled.Equal(tt.disabled) {
				t.Errorf("warned %s, disabled %s; want %s and %s", warned, disabled, tt.warned, tt.disabled)
			}
		})
	}
}
