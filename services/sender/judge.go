package sender

import (
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/retry"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// fate is what is to become of a delivery that is due.
type fate int

const (
	send fate = iota
	suspend
	cancel // its webhook is gone
	putOff // its receiver asked to wait
)

// judge decides by the webhook, nil if it is gone, and its state as they are now. A delivery that
// has waited for all the time that its receiver may ask for is sent, and uses tries: else it might wait for ever.
func judge(d *delivery.Delivery, w *webhook.Webhook, s failure.State, now time.Time) (fate, delivery.SuspendReason) {
	switch {
	case w == nil:
		return cancel, ""
	case d.Cause == delivery.CauseTest:
		return send, "" // a person wants to know whether the receiver is well again, before anything else is sent to it
	case s.Disabled: // first, as the matcher says it of one that was deactivated since
		return suspend, delivery.SuspendDisabled
	case !w.Active:
		return suspend, delivery.SuspendInactive
	case w.Paused:
		return suspend, delivery.SuspendPaused
	case now.Before(s.DisabledUntil) && retry.MayWait(*d, now):
		return putOff, ""
	}
	return send, ""
}

// after is what follows an attempt. A test is made once, whatever its receiver answers.
func after(schedule retry.Schedule, d delivery.Delivery, o delivery.Outcome, retryCount int, now time.Time) retry.Step {
	switch {
	case d.Cause != delivery.CauseTest:
		return schedule.Decide(d, o, retryCount, now)
	case o.OK():
		return retry.Step{Status: delivery.Delivered}
	}
	return retry.Step{Status: delivery.Exhausted}
}

// treatment is how often and how long a webhook is tried, and whether its answers are kept.
type treatment struct {
	retryCount  int
	timeout     time.Duration
	keepAnswers bool
}

// treat takes the webhook's own values, else its tenant's, else the defaults.
func treat(w *webhook.Webhook, t tenant.Tenant) treatment {
	out := treatment{webhook.DefaultRetryCount, webhook.DefaultTimeout, true}
	for _, n := range []*int{t.Policy.RetryCount, w.RetryCount} {
		if n != nil {
			out.retryCount = *n
		}
	}
	for _, d := range []*time.Duration{t.Policy.Timeout, w.Timeout} {
		if d != nil {
			out.timeout = *d
		}
	}
	if keep := t.Policy.KeepAnswers; keep != nil {
		out.keepAnswers = *keep
	}
	return out
}

// policyOf is the tenant's own failure policy where it has one.
func policyOf(p failure.Policy, t tenant.Tenant) failure.Policy {
	if n := t.Policy.WarnAfter; n != nil {
		p.WarnAfter = *n
	}
	if n := t.Policy.DisableAfter; n != nil {
		p.DisableAfter = *n
	}
	return p
}

// parked is d as it is parked at now, and the topic that takes it. No try is used.
func parked(d delivery.Delivery, topics wire.Topics, now time.Time) (string, delivery.Delivery) {
	tier := topics.Park(d.TimesParked)
	d.TimesParked++
	d.DueAt = now.Add(tier.Delay)
	return tier.Topic, d
}

// parkedUntil is d as it is parked for less than the lane's delay. It may have to wait for records
// before it that are due later, but keeps none behind it waiting.
func parkedUntil(d delivery.Delivery, until time.Time, topics wire.Topics, now time.Time) (string, delivery.Delivery) {
	topic, d := parked(d, topics, now)
	if until.Before(d.DueAt) {
		d.DueAt = until
	}
	return topic, d
}

// waiting is d as it waits, without an attempt, for the time until which its receiver wants nothing,
// and the topic that takes it. It comes back before that, to be judged again.
func waiting(d delivery.Delivery, until time.Time, schedule retry.Schedule, topics wire.Topics, now time.Time) (string, delivery.Delivery, error) {
	if d.PutOffSince.IsZero() {
		d.PutOffSince = now
	}
	delay, ok := retry.Hold(until.Sub(now), schedule)
	if !ok {
		topic, d := parkedUntil(d, until, topics, now)
		return topic, d, nil
	}
	topic, err := topics.Tier(delay)
	d.DueAt = now.Add(delay)
	return topic, d, err
}
