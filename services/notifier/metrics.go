package notifier

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the notifier's. No label holds a tenant or a webhook.
type metrics struct {
	mails   *prometheus.CounterVec
	retries prometheus.Counter
}

// newMetrics makes them; waiting is how many mails have not ended, and when the oldest notice of them was raised.
func newMetrics(reg prometheus.Registerer, waiting func() (int, time.Time), now func() time.Time) *metrics {
	m := &metrics{
		mails: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "doorstep_notifier_mails_total", Help: "Mails that have ended, by result (sent, kept, failed) and kind of notice.",
		}, []string{"result", "kind"}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "doorstep_notifier_retries_total", Help: "Tries to send a mail that failed and are made again.",
		}),
	}
	reg.MustRegister(m.mails, m.retries,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "doorstep_notifier_mails_waiting", Help: "Mails of this notifier that have not ended.",
		}, func() float64 {
			n, _ := waiting()
			return float64(n)
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "doorstep_notifier_oldest_waiting_seconds", Help: "Age of the oldest notice of which a mail has not ended; 0 if there is none.",
		}, func() float64 {
			n, oldest := waiting()
			if n == 0 {
				return 0
			}
			return max(0, now().Sub(oldest).Seconds())
		}))
	return m
}
