package obs

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Shared registers c, or returns the collector of the same description that another part of this
// process registered before.
func Shared[C prometheus.Collector](reg prometheus.Registerer, c C) (C, error) {
	err := reg.Register(c)
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if former, ok := already.ExistingCollector.(C); ok {
			return former, nil
		}
	}
	if err != nil {
		return c, fmt.Errorf("register a metric: %w", err)
	}
	return c, nil
}
