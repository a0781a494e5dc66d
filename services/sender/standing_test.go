package sender_test

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// Each webhook is counted once: by what keeps it from being sent to, before how it answers.
func TestHowWebhooksStand(t *testing.T) {
	t.Parallel()
	r := newRig(t, "1m")
	soon, past := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	inactive := func(w *webhook.Webhook) { w.Active = false }
	paused := func(w *webhook.Webhook) { w.Paused = true }
	want := map[string]float64{}
	var last webhook.Webhook
	for _, tt := range []struct {
		want   string
		state  failure.State // of the webhook's generation where it names none
		change func(*webhook.Webhook)
	}{
		{"fine", failure.State{}, nil},
		{"fine", failure.State{FailureCount: 9}, nil},
		{"fine", failure.State{Generation: 1, Disabled: true, FailStreak: 500}, func(w *webhook.Webhook) { w.Generation = 2 }}, // was reactivated
		{"failing", failure.State{FailStreak: 1}, nil},
		{"failing", failure.State{FailStreak: 1, DisabledUntil: past}, nil}, // the wait is over
		{"put_off", failure.State{FailStreak: 1, DisabledUntil: soon}, nil},
		{"paused", failure.State{}, paused},
		{"paused", failure.State{FailStreak: 1, DisabledUntil: soon}, paused},
		{"disabled", failure.State{FailStreak: 500, Disabled: true}, nil},
		{"disabled", failure.State{Disabled: true}, paused},
		{"inactive", failure.State{FailStreak: 1}, inactive},
		{"inactive", failure.State{Disabled: true}, func(w *webhook.Webhook) { inactive(w); paused(w) }},
	} {
		last = r.webhook("https://example.com", tt.change)
		s := tt.state
		s.WebhookID, s.Tenant, s.Version = last.ID, last.Tenant, 1
		if s.Generation == 0 {
			s.Generation = last.Generation
		}
		r.produce(wire.State(r.topics.States, s))
		want[tt.want]++
	}
	metrics := prometheus.NewRegistry()
	r.startObserved("a", testkit.Log(t), metrics)
	stand := func() error {
		if got := labelled(t, metrics, "doorstep_webhooks"); !maps.Equal(got, want) {
			return fmt.Errorf("webhooks stand %v, want %v", got, want)
		}
		return nil
	}
	eventually(t, stand)
	r.change(last, func(w *webhook.Webhook) { w.Active, w.Paused, w.Generation = true, false, w.Generation+1 })
	want["inactive"]--
	want["fine"]++
	eventually(t, stand)
}

// labelled is a gauge by the value of its one label.
func labelled(t *testing.T, metrics *prometheus.Registry, name string) map[string]float64 {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				values[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
			}
		}
	}
	return values
}
