package sender

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/trace"
)

// metrics are the sender's. No label holds a tenant or a webhook.
type metrics struct {
	attempts         *prometheus.CounterVec
	publishToAttempt prometheus.Histogram
	duration         prometheus.Histogram
	lateness         prometheus.Histogram
	settledTotal     *prometheus.CounterVec

	secretsUnreadable prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "doorstep_attempts_total", Help: "Attempts by outcome: delivered, or what went wrong.",
		}, []string{"outcome"}),
		publishToAttempt: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "doorstep_publish_to_attempt_seconds", Help: "From an event's receipt to the start of its first attempt.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 20),
		}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "doorstep_attempt_duration_seconds", Help: "Time of one attempt.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}),
		lateness: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "doorstep_retry_lateness_seconds", Help: "From when a retry was due to the start of its attempt.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}),
		settledTotal: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "doorstep_deliveries_settled_total", Help: "Deliveries ended or moved without an attempt: parked, put_off, suspended, cancelled.",
		}, []string{"fate"}),
		secretsUnreadable: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "doorstep_sender_secrets_unreadable_total", Help: "Deliveries parked because their webhook's secrets cannot be read here.",
		}),
	}
	reg.MustRegister(m.attempts, m.publishToAttempt, m.duration, m.lateness, m.settledTotal, m.secretsUnreadable)
	return m
}

func (m *metrics) observe(a delivery.Attempt) {
	outcome := "delivered"
	if !a.Outcome.OK() {
		outcome = a.Outcome.ErrorCode
	}
	m.attempts.WithLabelValues(outcome).Inc()
	m.duration.Observe(a.FinishedAt.Sub(a.StartedAt).Seconds())
	switch {
	case a.Attempt == 1 && a.Cause == delivery.CauseFirst && a.DueAt.IsZero():
		m.publishToAttempt.Observe(a.StartedAt.Sub(a.ReceivedAt).Seconds())
	case !a.DueAt.IsZero():
		m.lateness.Observe(a.StartedAt.Sub(a.DueAt).Seconds())
	}
}

func (m *metrics) settled(f fate) {
	m.settledTotal.WithLabelValues(f.String()).Inc()
}

// String is the fate as metrics and logs name it.
func (f fate) String() string {
	switch f {
	case parkIt:
		return "parked"
	case suspend:
		return "suspended"
	case cancel:
		return "cancelled"
	case putOff:
		return "put_off"
	default:
		return "sent"
	}
}

// collector reads the dispatcher's counts when metrics are asked for.
type collector struct {
	dispatcher *dispatcher
	lanes      []string
	now        func() time.Time

	queued, bytes, held, inFlight, oldest *prometheus.Desc
}

func newCollector(d *dispatcher, lanes []string, now func() time.Time) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &collector{
		dispatcher: d, lanes: lanes, now: now,
		queued:   desc("doorstep_queue_depth", "Deliveries that are due and queued in this sender."),
		bytes:    desc("doorstep_queue_bytes", "Bytes of the deliveries that are queued."),
		held:     desc("doorstep_held_records", "Records read and held until they are due."),
		inFlight: desc("doorstep_in_flight", "POSTs in flight."),
		oldest:   desc("doorstep_lane_oldest_due_seconds", "How long the oldest delivery of a lane has been due and not been taken up.", "lane"),
	}
}

func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.queued, c.bytes, c.held, c.inFlight, c.oldest} {
		out <- d
	}
}

func (c *collector) Collect(out chan<- prometheus.Metric) {
	now := c.now()
	n := c.dispatcher.counts(now)
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(c.queued, float64(n.Queued))
	gauge(c.bytes, float64(n.Bytes))
	gauge(c.held, float64(n.held))
	gauge(c.inFlight, float64(n.InFlight))
	for _, lane := range c.lanes {
		age := 0.0
		if due, ok := n.oldestDue[lane]; ok {
			age = now.Sub(due).Seconds()
		}
		gauge(c.oldest, age, lane)
	}
}

// needCollector tells how many senders are needed, and why.
type needCollector struct {
	need func() *measured

	required, backlog, use, capacity, partitions *prometheus.Desc
}

func newNeedCollector(need func() *measured) *needCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &needCollector{
		need:       need,
		required:   desc("doorstep_sender_required_replicas", "Senders that this sender's partitions need, a fraction: how many there should be is the sum over all senders, rounded up."),
		backlog:    desc("doorstep_sender_backlog", "Deliveries of this sender's partitions that wait although they are due, by what they are bound by: senders, so that more of them would help, or receivers, which includes all that is parked.", "bound"),
		use:        desc("doorstep_sender_use_ratio", "Part of what this sender can do that POSTs take, 0 to 1, over 15 s: of its room in flight or of its processors, whichever is more."),
		capacity:   desc("doorstep_sender_capacity_per_second", "POSTs per second that this sender can make as things are, as measured; 0: not known yet."),
		partitions: desc("doorstep_sender_partitions", "Partitions, of all lanes together, that this sender owns."),
	}
}

func (c *needCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.required, c.backlog, c.use, c.capacity, c.partitions} {
		out <- d
	}
}

func (c *needCollector) Collect(out chan<- prometheus.Metric) {
	n := c.need()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(c.required, n.Required)
	gauge(c.backlog, n.Senders, "senders")
	gauge(c.backlog, n.Receivers, "receivers")
	gauge(c.use, n.Use)
	gauge(c.capacity, n.Capacity)
	gauge(c.partitions, float64(n.seats))
}

// logAttempt writes the one line of an attempt.
func logAttempt(log *slog.Logger, a delivery.Attempt) {
	if !log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	log.Debug("attempt",
		"delivery", a.DeliveryID, "run", a.RunID, "attempt", a.Attempt, "cause", a.Cause, "tenant", a.Tenant,
		"webhook", a.WebhookID, "event", a.EventID, "type", a.EventType, "lane", a.Lane,
		"status", a.Status, "status_code", a.Outcome.StatusCode, "error_code", a.Outcome.ErrorCode,
		"remote", a.Outcome.RemoteAddress, "trace_id", trace.ID(a.TraceContext), "started_at", a.StartedAt, "seconds", a.FinishedAt.Sub(a.StartedAt).Seconds(),
		"next_attempt_at", a.NextAttemptAt, "topic", a.Position.Topic, "partition", a.Position.Partition, "offset", a.Position.Offset)
}

func (s *Service) logSettled(h *held, f fate, reason delivery.SuspendReason) {
	s.log.Debug("no attempt", "fate", f.String(), "reason", reason, "delivery", h.delivery.ID, "attempt", h.delivery.Attempt,
		"tenant", h.delivery.Tenant, "webhook", h.delivery.WebhookID, "event", h.delivery.EventID, "trace_id", trace.ID(h.delivery.TraceContext), "lane", h.part.Topic)
}
