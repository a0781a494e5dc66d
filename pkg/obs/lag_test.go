package obs_test

import (
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/obs"
)

func TestLagsAge(t *testing.T) {
	epoch := time.Unix(1_700_000_000, 0)
	at := func(second int) time.Time { return epoch.Add(time.Duration(second) * time.Second) }
	for name, tt := range map[string]struct {
		happens func(*obs.Lag)
		want    time.Duration // at second 100
	}{
		"nothing was ever there":       {func(l *obs.Lag) { l.Counted(0, at(5)) }, 0},
		"SQL is away from the start":   {func(l *obs.Lag) { l.Counted(7, at(95)) }, 100 * time.Second},
		"a batch in hand":              {func(l *obs.Lag) { l.Counted(0, at(95)); l.Took(at(60)) }, 40 * time.Second},
		"and written":                  {func(l *obs.Lag) { l.Counted(0, at(95)); l.Took(at(60)); l.Finished() }, 0},
		"catching up":                  {func(l *obs.Lag) { l.Counted(9, at(95)); l.Took(at(60)); l.Finished() }, 40 * time.Second},
		"caught up, and a new one":     {func(l *obs.Lag) { l.Took(at(60)); l.Finished(); l.Counted(0, at(90)); l.Counted(1, at(95)) }, 10 * time.Second},
		"a clock that is ahead of us":  {func(l *obs.Lag) { l.Took(at(120)) }, 0},
		"old records, read after none": {func(l *obs.Lag) { l.Counted(0, at(90)); l.Took(at(10)) }, 90 * time.Second},
	} {
		l := obs.NewLag(at(0))
		tt.happens(l)
		if got := l.Age(at(100)); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}
