// Package retry says what follows a failed attempt, and when.
//
// Attempts count from 1 within a run. Delays are measured from the end of the failed attempt.
// A try is an attempt that counts against the webhook's retry_count: every one but those whose
// receiver asked for a wait (429 or 503 with Retry-After) within MaxPutOff of the first such answer.
package retry

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of a schedule.
const (
	MaxDelays = 12 // as a webhook's retry_count
	MinDelay  = time.Millisecond
	MaxDelay  = 24 * time.Hour // far below the retention of a tier's topic
)

// Schedule is the delay after each failed try: Schedule[0] follows the first. The last repeats.
// Delays need not grow; equal ones share a tier.
type Schedule []time.Duration

// Parse reads delays parted by commas, e.g. "1m,5m,60m": 1 to MaxDelays of them, each of whole
// milliseconds from MinDelay to MaxDelay, in units that time.ParseDuration knows.
func Parse(text string) (Schedule, error) {
	parts := strings.Split(text, ",")
	if len(parts) > MaxDelays {
		return nil, fmt.Errorf("retry tiers %q: %d delays, the limit is %d", text, len(parts), MaxDelays)
	}
	s := make(Schedule, len(parts))
	for i, part := range parts {
		delay, err := time.ParseDuration(strings.TrimSpace(part))
		switch {
		case err != nil:
			return nil, fmt.Errorf("retry tiers %q: %q is not a delay such as 30s or 5m", text, part)
		case delay < MinDelay || delay > MaxDelay || delay%time.Millisecond != 0:
			return nil, fmt.Errorf("retry tiers %q: %q must be whole milliseconds from %s to %s", text, part, MinDelay, MaxDelay)
		}
		s[i] = delay
	}
	return s, nil
}

// String is what Parse reads, with each delay by its tier's name.
func (s Schedule) String() string {
	names := make([]string, len(s))
	for i, delay := range s {
		names[i] = TierName(delay)
	}
	return strings.Join(names, ",")
}

// Tiers are the distinct delays, shortest first: one topic each.
func (s Schedule) Tiers() []time.Duration {
	return slices.Compact(slices.Sorted(slices.Values(s)))
}

// TierName names a tier in its topic: whole minutes as "60m" (minutes are the largest unit, as in
// the topics' names), else whole seconds as "90s", else milliseconds as "500ms".
func TierName(tier time.Duration) string {
	switch {
	case tier%time.Minute == 0:
		return strconv.FormatInt(int64(tier/time.Minute), 10) + "m"
	case tier%time.Second == 0:
		return strconv.FormatInt(int64(tier/time.Second), 10) + "s"
	default:
		return strconv.FormatInt(tier.Milliseconds(), 10) + "ms"
	}
}

// Next is the delay after the failed try of that number, from 1, of a webhook that is retried
// retryCount times, and false if none follows.
func (s Schedule) Next(try, retryCount int) (delay time.Duration, again bool) {
	if len(s) == 0 || try < 1 || try > retryCount {
		return 0, false
	}
	return s[min(try, len(s))-1], true
}

// Hold is the tier that holds a delivery whose receiver is not to be sent to for remaining: the
// longest not longer than that. It is false if every tier is longer: then the delivery is parked.
// So a wait is made of tiers, each of which stays in the order of its due times.
func Hold(remaining time.Duration, tiers []time.Duration) (tier time.Duration, ok bool) {
	for _, t := range tiers {
		if t <= remaining && t > tier {
			tier = t
		}
	}
	return tier, tier > 0
}
