package sender

import (
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/retry"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestJudge(t *testing.T) {
	active, test := webhook.Webhook{Active: true}, delivery.Delivery{Cause: delivery.CauseTest}
	waited := func(since time.Duration) delivery.Delivery { return delivery.Delivery{PutOffSince: noon.Add(-since)} }
	for name, tt := range map[string]struct {
		delivery delivery.Delivery
		webhook  webhook.Webhook
		exists   bool
		state    failure.State
		want     fate
		reason   delivery.SuspendReason
	}{
		"sent":                           {delivery.Delivery{}, active, true, failure.State{}, send, ""},
		"deleted":                        {delivery.Delivery{}, webhook.Webhook{}, false, failure.State{}, cancel, ""},
		"deactivated by a person":        {delivery.Delivery{}, webhook.Webhook{}, true, failure.State{}, suspend, delivery.SuspendInactive},
		"disabled":                       {delivery.Delivery{}, active, true, failure.State{Disabled: true}, suspend, delivery.SuspendDisabled},
		"disabled and paused":            {delivery.Delivery{}, webhook.Webhook{Active: true, Paused: true}, true, failure.State{Disabled: true}, suspend, delivery.SuspendDisabled},
		"disabled, then deactivated":     {delivery.Delivery{}, webhook.Webhook{}, true, failure.State{Disabled: true}, suspend, delivery.SuspendDisabled},
		"paused":                         {delivery.Delivery{}, webhook.Webhook{Active: true, Paused: true}, true, failure.State{}, suspend, delivery.SuspendPaused},
		"its receiver asked to wait":     {delivery.Delivery{}, active, true, failure.State{DisabledUntil: noon.Add(time.Second)}, putOff, ""},
		"and the wait is over":           {delivery.Delivery{}, active, true, failure.State{DisabledUntil: noon}, send, ""},
		"a long streak, not disabled":    {delivery.Delivery{}, active, true, failure.State{FailStreak: 499}, send, ""},
		"it has waited for almost a day": {waited(24*time.Hour - 1), active, true, failure.State{DisabledUntil: noon.Add(time.Second)}, putOff, ""},
		"a test, to a disabled one":      {test, active, true, failure.State{Disabled: true}, send, ""},
		"a test, to an inactive one":     {test, webhook.Webhook{}, true, failure.State{}, send, ""},
		"a test, to a paused one":        {test, webhook.Webhook{Active: true, Paused: true}, true, failure.State{}, send, ""},
		"a test, while it is to wait":    {test, active, true, failure.State{DisabledUntil: noon.Add(time.Hour)}, send, ""},
		"a test, to a deleted one":       {test, webhook.Webhook{}, false, failure.State{}, cancel, ""},
		"it has waited for a day":        {waited(24 * time.Hour), active, true, failure.State{DisabledUntil: noon.Add(time.Second)}, send, ""},
	} {
		t.Run(name, func(t *testing.T) {
			hook := &tt.webhook
			if !tt.exists {
				hook = nil
			}
			if f, reason := judge(&tt.delivery, hook, tt.state, noon); f != tt.want || reason != tt.reason {
				t.Errorf("%s (%s), want %s (%s)", f, reason, tt.want, tt.reason)
			}
		})
	}
}

func TestTreat(t *testing.T) {
	seven, five := 7, 5
	minute := 20 * time.Second
	if got := treat(&webhook.Webhook{}, tenant.Tenant{}); got != (treatment{3, 10 * time.Second, true}) {
		t.Errorf("defaults: %+v", got)
	}
	theirs := tenant.Tenant{Policy: tenant.Policy{RetryCount: &seven, Timeout: &minute}}
	if got := treat(&webhook.Webhook{}, theirs); got != (treatment{7, minute, true}) {
		t.Errorf("the tenant's: %+v", got)
	}
	if got := treat(&webhook.Webhook{RetryCount: &five}, theirs); got != (treatment{5, minute, true}) {
		t.Errorf("the webhook's: %+v", got)
	}
	for _, keep := range []bool{false, true} {
		theirs := tenant.Tenant{Policy: tenant.Policy{KeepAnswers: &keep}}
		if got := treat(&webhook.Webhook{}, theirs); got.keepAnswers != keep {
			t.Errorf("with keep_answers %v: %+v", keep, got)
		}
	}
}

func TestParkingAndWaiting(t *testing.T) {
	schedule := retry.Schedule{time.Minute, 5 * time.Minute, time.Hour}
	topics, err := wire.NewTopics("p.", schedule)
	if err != nil {
		t.Fatal(err)
	}
	d := delivery.Delivery{Attempt: 2}
	for i, want := range []string{"p.deliveries.parked", "p.deliveries.parked", "p.deliveries.parked", "p.deliveries.parked", "p.deliveries.parked.5m"} {
		var topic string
		if topic, d = parked(d, topics, noon); topic != want || d.Attempt != 2 || d.TimesParked != i+1 {
			t.Errorf("parked the %d. time: %s %+v, want %s", i+1, topic, d, want)
		}
	}
	for wait, want := range map[time.Duration]string{
		time.Hour: "p.deliveries.60m", 59 * time.Minute: "p.deliveries.5m", 3 * time.Minute: "p.deliveries.1m", 59 * time.Second: "p.deliveries.parked",
	} {
		topic, d, err := waiting(delivery.Delivery{Attempt: 1}, noon.Add(wait), schedule, topics, noon)
		if err != nil || topic != want || d.Attempt != 1 || !d.PutOffSince.Equal(noon) || d.DueAt.After(noon.Add(wait)) {
			t.Errorf("a wait of %s: %s %+v, %v, want %s", wait, topic, d, err, want)
		}
	}
}
