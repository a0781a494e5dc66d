package retry_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/retry"
)

func TestParse(t *testing.T) {
	const m = time.Minute
	for name, tt := range map[string]struct {
		text  string
		want  retry.Schedule
		fault string // part of the error
	}{
		"default":             {"1m,5m,60m", retry.Schedule{m, 5 * m, 60 * m}, ""},
		"spaces, hours":       {" 1m , 1h", retry.Schedule{m, 60 * m}, ""},
		"not sorted":          {"5m,1m,5m", retry.Schedule{5 * m, m, 5 * m}, ""},
		"short, for a test":   {"500ms,1.5s", retry.Schedule{500 * time.Millisecond, 1500 * time.Millisecond}, ""},
		"empty":               {"", nil, "is not a delay"},
		"empty among others":  {"1m,,5m", nil, "is not a delay"},
		"no unit":             {"60", nil, "is not a delay"},
		"zero":                {"0s", nil, "whole milliseconds"},
		"negative":            {"-1m", nil, "whole milliseconds"},
		"finer than a tier":   {"1500us", nil, "whole milliseconds"},
		"longer than a day":   {"25h", nil, "to 24h0m0s"},
		"twelve are the most": {strings.Repeat("1m,", 12) + "1m", nil, "13 delays, the limit is 12"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := retry.Parse(tt.text)
			if tt.fault != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fault) {
					t.Fatalf("Parse(%q) = %v, %v; want an error with %q", tt.text, got, err, tt.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTierName(t *testing.T) {
	for delay, want := range map[time.Duration]string{
		time.Minute:             "1m",
		5 * time.Minute:         "5m",
		time.Hour:               "60m",
		24 * time.Hour:          "1440m",
		90 * time.Second:        "90s",
		time.Second:             "1s",
		500 * time.Millisecond:  "500ms",
		1500 * time.Millisecond: "1500ms",
	} {
		if got := retry.TierName(delay); got != want {
			t.Errorf("TierName(%s) = %q, want %q", delay, got, want)
		}
	}
}

func TestTiersAreDistinctAndSorted(t *testing.T) {
	s, err := retry.Parse("5m,60s,1h,1m,5m")
	if err != nil {
		t.Fatal(err)
	}
	want := []time.Duration{time.Minute, 5 * time.Minute, time.Hour}
	if diff := cmp.Diff(want, s.Tiers()); diff != "" {
		t.Error(diff)
	}
	if got := s.String(); got != "5m,1m,60m,1m,5m" {
		t.Errorf("String() = %q", got)
	}
}

func TestNext(t *testing.T) {
	s := retry.Schedule{time.Minute, 5 * time.Minute, time.Hour}
	for name, tt := range map[string]struct {
		schedule        retry.Schedule
		try, retryCount int
		want            time.Duration // 0: none follows
	}{
		"after the first":      {s, 1, 3, time.Minute},
		"after the second":     {s, 2, 3, 5 * time.Minute},
		"after the third":      {s, 3, 3, time.Hour},
		"the fourth ends it":   {s, 4, 3, 0},
		"the last repeats":     {s, 12, 12, time.Hour},
		"more than the most":   {s, 13, 12, 0},
		"no retries":           {s, 1, 0, 0},
		"fewer than the tiers": {s, 2, 1, 0},
		"no such try":          {s, 0, 3, 0},
		"no schedule":          {nil, 1, 3, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, again := tt.schedule.Next(tt.try, tt.retryCount)
			if got != tt.want || again != (tt.want > 0) {
				t.Errorf("Next(%d, %d) = %s, %t; want %s", tt.try, tt.retryCount, got, again, tt.want)
			}
		})
	}
}

// schedules draws schedules as Parse gives them.
func schedules() *rapid.Generator[retry.Schedule] {
	return rapid.Custom(func(t *rapid.T) retry.Schedule {
		ms := rapid.SliceOfN(rapid.Int64Range(1, retry.MaxDelay.Milliseconds()), 1, retry.MaxDelays).Draw(t, "ms")
		s := make(retry.Schedule, len(ms))
		for i, n := range ms {
			s[i] = time.Duration(n) * time.Millisecond
		}
		return s
	})
}

func TestParseReadsWhatStringWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := schedules().Draw(t, "schedule")
		got, err := retry.Parse(s.String())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// A wait made of tiers and parkings ends when it should: never early by more than a parking,
// and no tier outlasts it.
func TestHoldMakesUpTheWait(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tiers := schedules().Draw(t, "schedule").Tiers()
		remaining := time.Duration(rapid.Int64Range(-1, int64(48*time.Hour)).Draw(t, "remaining"))
		tier, ok := retry.Hold(remaining, tiers)
		if !ok {
			if remaining >= tiers[0] {
				t.Fatalf("parked with %s left beside a tier of %s", remaining, tiers[0])
			}
			return
		}
		if tier > remaining {
			t.Fatalf("tier %s for a wait of %s", tier, remaining)
		}
		for _, other := range tiers {
			if other <= remaining && other > tier {
				t.Fatalf("tier %s taken, %s fits too", tier, other)
			}
		}
	})
}
