package publish

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/doorstep-dev/doorstep/pkg/auth"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/obs"
)

// metrics are shared by all publishers of one registry.
type metrics struct {
	accepted, unavailable, busy, noRoom, forbidden, invalid, failed prometheus.Counter

	inFlight, inFlightBytes prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	received, err := obs.Shared(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "doorstep_events_received_total",
		Help: "Events that producers sent, by what became of them: accepted means durable in Kafka.",
	}, []string{"outcome"}))
	if err != nil {
		return nil, err
	}
	inFlight, err := obs.Shared(reg, prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "doorstep_publish_in_flight", Help: "Events on their way to Kafka.",
	}))
	if err != nil {
		return nil, err
	}
	inFlightBytes, err := obs.Shared(reg, prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "doorstep_publish_in_flight_bytes", Help: "Bytes of events on their way to Kafka.",
	}))
	if err != nil {
		return nil, err
	}
	return &metrics{
		accepted: received.WithLabelValues("accepted"), unavailable: received.WithLabelValues("unavailable"),
		busy: received.WithLabelValues("busy"), noRoom: received.WithLabelValues("no_room"),
		forbidden: received.WithLabelValues("forbidden"), invalid: received.WithLabelValues("invalid"),
		failed: received.WithLabelValues("failed"), inFlight: inFlight, inFlightBytes: inFlightBytes,
	}, nil
}

// count counts an event by what became of it.
func (m *metrics) count(err error) { m.outcome(err).Inc() }

func (m *metrics) outcome(err error) prometheus.Counter {
	var fields invalid.Fields
	switch {
	case err == nil:
		return m.accepted
	case errors.Is(err, ErrUnavailable):
		return m.unavailable
	case errors.Is(err, ErrBusy):
		return m.busy
	case errors.Is(err, ErrNoRoom):
		return m.noRoom
	case errors.Is(err, auth.ErrOtherTenant):
		return m.forbidden
	case errors.As(err, &fields):
		return m.invalid
	}
	return m.failed
}
