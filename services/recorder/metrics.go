package recorder

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/obs"
)

// metrics are the recorder's. No label holds a tenant or a webhook.
type metrics struct {
	rows    *prometheus.CounterVec
	batch   prometheus.Histogram
	retries prometheus.Counter
}

// newMetrics makes them; late is how many rows were left out.
func newMetrics(reg prometheus.Registerer, l *obs.Lag, late func() uint64, now func() time.Time) *metrics {
	m := &metrics{
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "doorstep_recorder_rows_total", Help: "Rows written, by table; those that were there already included.",
		}, []string{"table"}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "doorstep_recorder_batch_seconds", Help: "Time of one transaction that writes a batch.",
			Buckets: obs.WorkBuckets(),
		}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "doorstep_recorder_retries_total", Help: "Times that SQL did not take a batch and it was tried again.",
		}),
	}
	reg.MustRegister(m.rows, m.batch, m.retries,
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "doorstep_recorder_late_rows_total", Help: "Rows that were not written because their day is beyond the retention.",
		}, func() float64 { return float64(late()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "doorstep_recorder_lag_records", Help: "Records of the log that no recorder has written yet; every recorder tells of all.",
		}, func() float64 { return float64(l.Behind()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "doorstep_recorder_lag_seconds", Help: "Age of the oldest record that this recorder has not written yet; 0 if there is none.",
		}, func() float64 { return l.Age(now()).Seconds() }))
	return m
}

// wrote counts the rows of a batch.
func (m *metrics) wrote(b *history.Batch) {
	for table, n := range map[string]int{
		"events": len(b.Events), "deliveries": len(b.Deliveries), "attempts": len(b.Attempts), "webhook_activity": len(b.Activities),
		"webhook_states": len(b.States), "notices": len(b.Notices), "quarantine": len(b.Quarantined),
		"webhook_condition_errors": len(b.ConditionErrors),
	} {
		m.rows.WithLabelValues(table).Add(float64(n))
	}
}
