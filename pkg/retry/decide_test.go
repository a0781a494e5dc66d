package retry_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/retry"
)

var (
	now      = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	standard = retry.Schedule{time.Minute, 5 * time.Minute, time.Hour}
)

func status(code int) delivery.Outcome {
	o := delivery.Outcome{StatusCode: code}
	if code < 200 || code > 299 {
		o.ErrorCode = "status"
	}
	return o
}

func retryAfter(wait time.Duration) delivery.Outcome {
	o := status(429)
	o.RetryAfter = wait
	return o
}

func TestDecide(t *testing.T) {
	const h = time.Hour
	tries := func(n int) delivery.Delivery { return delivery.Delivery{Attempt: n} }
	waited := func(since time.Duration) delivery.Delivery {
		return delivery.Delivery{Attempt: 5, PutOffs: 3, PutOffSince: now.Add(-since)}
	}
	done, exhausted := retry.Step{Status: delivery.Delivered}, retry.Step{Status: delivery.Exhausted}
	after := func(tier time.Duration) retry.Step {
		return retry.Step{Status: delivery.Retrying, Tier: tier, NextAttemptAt: now.Add(tier)}
	}
	putOff := func(tier, wait time.Duration) retry.Step {
		return retry.Step{Status: delivery.Retrying, Tier: tier, PutOff: true, NextAttemptAt: now.Add(wait)}
	}
	for name, tt := range map[string]struct {
		delivery delivery.Delivery
		outcome  delivery.Outcome
		want     retry.Step
	}{
		"any 2xx ends it":                    {tries(1), status(204), done},
		"500 waits a minute":                 {tries(1), status(500), after(time.Minute)},
		"302 is a failure":                   {tries(3), status(302), after(h)},
		"no answer is a failure":             {tries(2), delivery.Outcome{ErrorCode: "timeout"}, after(5 * time.Minute)},
		"a cut 200 is a failure":             {tries(1), delivery.Outcome{StatusCode: 200, ErrorCode: "timeout"}, after(time.Minute)},
		"fourth failure ends it":             {tries(4), status(500), exhausted},
		"410 ends it at once":                {tries(1), status(410), exhausted},
		"a wait in the longest tier":         {tries(1), retryAfter(20 * time.Minute), putOff(5*time.Minute, 20*time.Minute)},
		"a wait below every tier":            {tries(1), retryAfter(time.Second), putOff(0, time.Second)},
		"a wait is cut to an hour":           {tries(1), retryAfter(6 * h), putOff(h, h)},
		"a wait after the last try":          {tries(4), retryAfter(h), putOff(h, h)},
		"a wait just within 24 h":            {waited(24*h - 1), retryAfter(h), putOff(h, h)},
		"after 24 h of waits it uses a try":  {waited(24 * h), retryAfter(h), after(5 * time.Minute)},
		"other failures use tries meanwhile": {waited(h), status(500), after(5 * time.Minute)},
		"a wait below zero is none":          {tries(1), retryAfter(-time.Second), after(time.Minute)},
	} {
		t.Run(name, func(t *testing.T) {
			got := standard.Decide(tt.delivery, tt.outcome, 3, now)
			if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(retry.Step{}, "Delivery")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDecideWritesTheNextRecord(t *testing.T) {
	was := delivery.Delivery{ID: "d", Attempt: 2, TimesParked: 3, DueAt: now.Add(-time.Second), Body: []byte("{}")}
	tried := delivery.Delivery{ID: "d", Attempt: 3, DueAt: now.Add(5 * time.Minute), Body: []byte("{}")}
	held := delivery.Delivery{ID: "d", Attempt: 3, PutOffs: 1, PutOffSince: now, DueAt: now.Add(time.Hour), Body: []byte("{}")}
	parked := held
	parked.DueAt = time.Time{}
	again := held
	again.Attempt, again.PutOffs, again.PutOffSince = 4, 2, now.Add(-time.Hour)
	before := held
	before.PutOffSince = again.PutOffSince

	for name, tt := range map[string]struct {
		was     delivery.Delivery
		outcome delivery.Outcome
		want    delivery.Delivery
	}{
		"tried":         {was, status(500), tried},
		"put off":       {was, retryAfter(time.Hour), held},
		"parked":        {was, retryAfter(time.Second), parked},
		"put off again": {before, retryAfter(time.Hour), again},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, standard.Decide(tt.was, tt.outcome, 3, now).Delivery); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Whatever the receiver answers, a run ends: with at most retryCount+1 tries, and its waits
// within MaxPutOff and the last demand.
func TestEveryRunEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := schedules().Draw(t, "schedule")
		retryCount := rapid.IntRange(0, 12).Draw(t, "retry_count")
		d, at, tries := delivery.Delivery{Attempt: 1}, now, 0
		for range 1 << 12 {
			outcome := status(500)
			if rapid.Bool().Draw(t, "put off") {
				outcome = retryAfter(time.Duration(rapid.Int64Range(int64(10*time.Minute), int64(3*time.Hour)).Draw(t, "wait")))
			}
			step := s.Decide(d, outcome, retryCount, at)
			if !step.PutOff {
				tries++
			}
			if step.Status == delivery.Exhausted {
				if tries != retryCount+1 {
					t.Fatalf("ended after %d tries, want %d", tries, retryCount+1)
				}
				return
			}
			if step.Delivery.Attempt != d.Attempt+1 {
				t.Fatalf("attempt %d follows %d", step.Delivery.Attempt, d.Attempt)
			}
			if step.PutOff && at.Sub(step.Delivery.PutOffSince) >= retry.MaxPutOff {
				t.Fatalf("put off %s after the first time", at.Sub(step.Delivery.PutOffSince))
			}
			d, at = step.Delivery, step.NextAttemptAt
		}
		t.Fatal("the run does not end")
	})
}
