package publish

import (
	"errors"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/doorstep-dev/doorstep/pkg/auth"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/obs"
)

// metrics are shared by all publishers of one registry.
type metrics struct {
	accepted prometheus.Counter
	refused  map[string]prometheus.Counter // by why

	inFlight, inFlightBytes prometheus.Gauge

	misfits *prometheus.CounterVec
	mu      sync.Mutex
	types   map[string]bool // that misfits are counted by
}

// maxTypes bounds the event types that a metric tells apart; those that come after count as otherType.
const (
	maxTypes  = 200
	otherType = "other types"
)

// misfit counts an event whose data does not fit its type's schema, by what became of it.
func (m *metrics) misfit(eventType, validate string) {
	m.mu.Lock()
	if !m.types[eventType] {
		if len(m.types) < maxTypes {
			m.types[eventType] = true
		} else {
			eventType = otherType
		}
	}
	m.mu.Unlock()
	m.misfits.WithLabelValues(eventType, validate).Inc()
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
	misfits, err := obs.Shared(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "doorstep_events_misfit_total",
		Help: "Events whose data does not fit their type's schema, by type (200 at most) and the tenant's policy.validate: reject means that they were refused, warn that they were taken.",
	}, []string{"type", "validate"}))
	if err != nil {
		return nil, err
	}
	refused := map[string]prometheus.Counter{}
	for _, why := range refusals {
		refused[why] = received.WithLabelValues(why)
	}
	return &metrics{
		misfits: misfits, types: map[string]bool{}, accepted: received.WithLabelValues("accepted"), refused: refused,
		inFlight: inFlight, inFlightBytes: inFlightBytes,
	}, nil
}

// count counts an event by what became of it, and returns why it was refused, by a stable name; empty: it was not.
func (m *metrics) count(err error) (why string) {
	if err == nil {
		m.accepted.Inc() // before fields, which goes to the heap
		return ""
	}
	why = refusal(err)
	m.refused[why].Inc()
	return why
}

// refusals are why events are refused.
var refusals = []string{"unavailable", "busy", "no_room", "forbidden", "invalid", "failed"}

func refusal(err error) string {
	var fields invalid.Fields
	switch {
	case errors.Is(err, ErrUnavailable):
		return "unavailable"
	case errors.Is(err, ErrBusy):
		return "busy"
	case errors.Is(err, ErrNoRoom):
		return "no_room"
	case errors.Is(err, auth.ErrOtherTenant):
		return "forbidden"
	case errors.As(err, &fields):
		return "invalid"
	}
	return "failed"
}
