package sender

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/registry"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// standings are how webhooks may stand.
var standings = []string{"fine", "failing", "put_off", "paused", "disabled", "inactive"}

// standing counts the webhooks by how they stand, when metrics are asked for.
type standing struct {
	webhooks *registry.Webhooks
	states   *registry.States
	now      func() time.Time
}

var webhooksStand = prometheus.NewDesc("doorstep_webhooks",
	"Webhooks by how they stand: fine, failing (the last attempt failed), put_off (their receiver asked for a wait), paused, disabled, inactive; every sender tells of all.",
	[]string{"state"}, nil)

// Describe and Collect make it a prometheus.Collector.
func (s *standing) Describe(out chan<- *prometheus.Desc) { out <- webhooksStand }

// Collect takes some tens of nanoseconds for each webhook.
func (s *standing) Collect(out chan<- prometheus.Metric) {
	counts := make(map[string]int, len(standings))
	now := s.now()
	s.webhooks.Each(func(w *webhook.Webhook) {
		counts[stands(w, s.states.Get(w.ID, w.Generation), now)]++
	})
	for _, state := range standings {
		out <- prometheus.MustNewConstMetric(webhooksStand, prometheus.GaugeValue, float64(counts[state]), state)
	}
}

// stands is how a webhook stands: by what keeps it from being sent to, before how it answers.
func stands(w *webhook.Webhook, state failure.State, now time.Time) string {
	switch {
	case !w.Active:
		return "inactive"
	case state.Disabled:
		return "disabled"
	case w.Paused:
		return "paused"
	case !state.CanSend(now):
		return "put_off"
	case state.FailStreak > 0:
		return "failing"
	}
	return "fine"
}
