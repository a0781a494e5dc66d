package obs

import "github.com/prometheus/client_golang/prometheus"

// StoreFailures counts what stores did not answer. The function that it returns makes, for a store (kafka, redis, postgres),
// what is called for each.
func StoreFailures(reg prometheus.Registerer) (of func(store string) (failed func()), err error) {
	failures, err := Shared(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "doorstep_store_failures_total",
		Help: "Connections to a store (kafka, redis, postgres) that failed, and requests to kafka and redis without an answer.",
	}, []string{"store"}))
	if err != nil {
		return nil, err
	}
	return func(store string) func() { return failures.WithLabelValues(store).Inc }, nil
}
