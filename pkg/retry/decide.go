package retry

import (
	"net/http"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
)

// MaxPutOff is how long a run may wait on its receiver's demand without using up tries, counted
// from the first such answer. An answer within it may still ask for delivery.MaxRetryAfter more.
const MaxPutOff = 24 * time.Hour

// MayWait reports whether d may still wait on its receiver's demand at now.
func MayWait(d delivery.Delivery, now time.Time) bool {
	return d.PutOffSince.IsZero() || now.Before(d.PutOffSince.Add(MaxPutOff))
}

// Step is what follows an attempt.
type Step struct {
	Status delivery.Status // Delivered, Exhausted or Retrying

	// The rest is for Retrying only.
	Tier          time.Duration     // the tier that holds it; 0: it is parked
	PutOff        bool              // its receiver asked for the wait, no try was used
	NextAttemptAt time.Time         // not to be tried again before
	Delivery      delivery.Delivery // the record to write; DueAt is set for a tier, zero if parked
}

// Decide says what follows an attempt of d that ended at now with o. The webhook is retried
// retryCount times.
func (s Schedule) Decide(d delivery.Delivery, o delivery.Outcome, retryCount int, now time.Time) Step {
	switch {
	case o.OK():
		return Step{Status: delivery.Delivered}
	case o.StatusCode == http.StatusGone:
		return Step{Status: delivery.Exhausted}
	case o.RetryAfter > 0 && MayWait(d, now):
		return s.putOff(d, min(o.RetryAfter, delivery.MaxRetryAfter), now)
	}
	delay, again := s.Next(d.Attempt-d.PutOffs, retryCount)
	if !again {
		return Step{Status: delivery.Exhausted}
	}
	d.Attempt++
	d.TimesParked = 0
	d.DueAt = now.Add(delay)
	return Step{Status: delivery.Retrying, Tier: delay, NextAttemptAt: d.DueAt, Delivery: d}
}

// putOff waits without using up a try. PutOffSince stays for the rest of the run: it is 24 h in all.
func (s Schedule) putOff(d delivery.Delivery, wait time.Duration, now time.Time) Step {
	d.Attempt++
	d.PutOffs++
	d.TimesParked = 0
	d.DueAt = time.Time{}
	if d.PutOffSince.IsZero() {
		d.PutOffSince = now
	}
	tier, ok := Hold(wait, s)
	if ok {
		d.DueAt = now.Add(tier)
	}
	return Step{Status: delivery.Retrying, Tier: tier, PutOff: true, NextAttemptAt: now.Add(wait), Delivery: d}
}
