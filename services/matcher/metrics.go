package matcher

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/obs"
)

// metrics are the matcher's; they count what was committed. No label holds a tenant or a webhook.
type metrics struct {
	events      prometheus.Counter
	deliveries  prometheus.Counter
	suspended   prometheus.Counter
	cut         prometheus.Counter
	conditions  prometheus.Counter
	duplicates  prometheus.Counter
	unlooked    prometheus.Counter
	quarantined *prometheus.CounterVec
	transaction prometheus.Histogram
	aborted     prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	m := &metrics{
		events:     counter("doorstep_events_matched_total", "Events matched."),
		deliveries: counter("doorstep_deliveries_matched_total", "Deliveries made of events, suspended ones included."),
		suspended:  counter("doorstep_deliveries_suspended_at_match_total", "Deliveries made for a disabled or paused webhook."),
		cut:        counter("doorstep_webhooks_cut_total", "Webhooks that an event would have fired beyond its tenant's cap."),
		conditions: counter("doorstep_condition_errors_total", "Conditions of webhooks that could not be evaluated."),
		duplicates: counter("doorstep_duplicates_total", "Events that came again with the same id."),
		unlooked:   counter("doorstep_events_not_looked_up_total", "Events matched without a look for duplicates, because Redis was away."),
		aborted:    counter("doorstep_transactions_aborted_total", "Transactions that were aborted; their events are matched again."),
		transaction: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "doorstep_transaction_seconds", Help: "From the begin of a transaction of the matcher to its end.",
			Buckets: obs.WorkBuckets(),
		}),
		quarantined: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "doorstep_quarantined_total", Help: "Records that could not be read.",
		}, []string{"reader", "topic"}),
	}
	reg.MustRegister(m.transaction)
	m.quarantined = registerShared(reg, m.quarantined)
	return m
}

// registerShared registers a collector that several services of one process have in common.
func registerShared(reg prometheus.Registerer, c *prometheus.CounterVec) *prometheus.CounterVec {
	var was prometheus.AlreadyRegisteredError
	if err := reg.Register(c); errors.As(err, &was) {
		if shared, ok := was.ExistingCollector.(*prometheus.CounterVec); ok {
			return shared
		}
	}
	return c
}

// tally is what one transaction did.
type tally struct {
	events      int
	deliveries  int
	suspended   int
	cut         int
	conditions  int
	duplicates  int
	unlooked    int
	quarantined int
}

func (m *metrics) add(t tally, done kafka.Transaction, topic string) {
	m.transaction.Observe(done.Took.Seconds())
	if !done.Committed {
		m.aborted.Inc()
		return
	}
	m.deliveries.Add(float64(t.deliveries))
	m.suspended.Add(float64(t.suspended))
	m.cut.Add(float64(t.cut))
	m.conditions.Add(float64(t.conditions))
	m.duplicates.Add(float64(t.duplicates))
	m.unlooked.Add(float64(t.unlooked))
	m.events.Add(float64(t.events))
	if t.quarantined > 0 {
		m.quarantined.WithLabelValues(name, topic).Add(float64(t.quarantined))
	}
}
