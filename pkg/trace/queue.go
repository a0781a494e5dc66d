package trace

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/doorstep-dev/doorstep/pkg/obs"
)

// queue is the library's batching, with what it drops known: it is never given more than it takes.
type queue struct {
	sdktrace.SpanProcessor
	exporter *exporter
	most     int64
	waiting  atomic.Int64 // ended and neither sent nor dropped
}

// OnEnd takes a span that has ended, without waiting.
func (q *queue) OnEnd(s sdktrace.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return
	}
	if q.waiting.Add(1) > q.most {
		q.waiting.Add(-1)
		q.exporter.dropped.Inc()
		return
	}
	q.SpanProcessor.OnEnd(s)
}

// exporter is OTLP's, with a count and a word of what it could not send.
type exporter struct {
	sdktrace.SpanExporter
	queue         *queue
	log           *slog.Logger
	seldom        obs.Seldom
	sent, dropped prometheus.Counter
}

// ExportSpans sends a batch. What fails is dropped: the library has tried it again for as long as it may take.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	e.queue.waiting.Add(-int64(len(spans)))
	if err != nil {
		e.dropped.Add(float64(len(spans)))
		e.seldom.Warn(ctx, e.log, "spans cannot be sent and are dropped", "spans", len(spans), "error", err)
		return nil
	}
	e.sent.Add(float64(len(spans)))
	return nil
}
