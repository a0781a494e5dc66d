package recorder

import (
	"sync"
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
func newMetrics(reg prometheus.Registerer, l *lag, late func() uint64, now func() time.Time) *metrics {
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
		}, func() float64 { return float64(l.behind()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "doorstep_recorder_lag_seconds", Help: "Age of the oldest record that this recorder has not written yet; 0 if there is none.",
		}, func() float64 { return l.age(now()).Seconds() }))
	return m
}

// wrote counts the rows of a batch.
func (m *metrics) wrote(b *history.Batch) {
	for table, n := range map[string]int{
		"events": len(b.Events), "deliveries": len(b.Deliveries), "attempts": len(b.Attempts), "webhook_activity": len(b.Activities),
		"webhook_states": len(b.States), "notices": len(b.Notices), "quarantine": len(b.Quarantined),
	} {
		m.rows.WithLabelValues(table).Add(float64(n))
	}
}

// lag is how far the tables are behind the log.
type lag struct {
	mu       sync.Mutex
	records  int64     // not written, when last counted
	caughtUp time.Time // when they were last counted and there were none; at first the start
	oldest   time.Time // oldest record of the batch in hand, or of the last one
	inHand   bool
}

// counted notes how many records of the log were not written at a time.
func (l *lag) counted(records int64, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = records
	if records == 0 {
		l.caughtUp = now
	}
}

// took notes that a batch is to be written.
func (l *lag) took(oldest time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.oldest, l.inHand = oldest, true
}

// wrote notes that it is.
func (l *lag) wrote() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inHand = false
}

func (l *lag) behind() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.records
}

// age is that of the oldest record not written. Of one that is not read yet the time is not known: it is no
// older than the last that were read, and came after there was none.
func (l *lag) age(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.inHand && l.records == 0 {
		return 0
	}
	oldest := l.oldest
	if !l.inHand && l.caughtUp.After(oldest) {
		oldest = l.caughtUp
	}
	return max(0, now.Sub(oldest))
}
