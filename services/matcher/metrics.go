package matcher

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
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
	transaction prometheus.Histogram
	aborted     prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, l *obs.Lag, now func() time.Time) *metrics {
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
	}
	reg.MustRegister(m.transaction,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "doorstep_matcher_lag_records", Help: "Events of the log that no matcher has matched yet; every matcher tells of all.",
		}, func() float64 { return float64(l.Behind()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "doorstep_matcher_lag_seconds", Help: "Age of the oldest event that this matcher has not matched yet; 0 if there is none.",
		}, func() float64 { return l.Age(now()).Seconds() }))
	return m
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
	failed      failed // conditions that could not be evaluated; nil: none
}

func (t *tally) fail(a delivery.Attempt) {
	if t.failed == nil {
		t.failed = failed{}
	}
	t.failed.add(a)
}

func (m *metrics) add(t tally, done kafka.Transaction) {
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
}
