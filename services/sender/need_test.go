package sender_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// gauge is the value of a metric, with a label's value if it has one.
func gauge(t *testing.T, metrics *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("no metric %s %s", name, label)
	return 0
}

// What waits for a receiver that hangs is told as that, and asks for no sender; what one sender has no room for is told
// apart, also what it has not read, and asks for more, up to the number of partitions.
func TestBacklogIsToldApart(t *testing.T) {
	t.Parallel()
	r := newRig(t, "1m")
	r.cfg.MaxInFlight, r.cfg.MaxQueued = 16, 200 // four POSTs at a time of those that answer
	rec := newReceiver(t, func(path string, _ int) int {
		if path == "/dead" {
			return 0
		}
		time.Sleep(100 * time.Millisecond) // a receiver at work
		return http.StatusNoContent
	})
	metrics := prometheus.NewRegistry()
	stop := r.startObserved("a", r.log(), metrics)
	dead := r.webhook(rec.URL+"/dead", nil)
	for n := range 100 {
		r.deliver(dead, n)
	}
	eventually(t, func() error {
		if n := gauge(t, metrics, "doorstep_sender_backlog", "receivers"); n < 50 || gauge(t, metrics, "doorstep_sender_partitions", "") != 4 {
			return fmt.Errorf("%v deliveries wait for receivers", n)
		}
		return nil
	})
	var hooks []webhook.Webhook
	for i := range 8 {
		hooks = append(hooks, r.webhook(rec.URL+fmt.Sprint("/", i), nil))
	}
	for n := range 1200 {
		r.deliver(hooks[n%len(hooks)], 1000+n)
	}
	eventually(t, func() error {
		need, held := gauge(t, metrics, "doorstep_sender_required_replicas", ""), gauge(t, metrics, "doorstep_sender_backlog", "senders")
		if need < 1.5 || need > 4 || held < 200 {
			return fmt.Errorf("%v senders for a backlog of %v", need, held)
		}
		return nil
	})
	rec.letGo()
	stop()
}
