package trace_test

import (
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/trace"
)

// What a span costs its service: off, not sampled, and sampled.
func BenchmarkSpan(b *testing.B) {
	one := func(tracer *trace.Tracer, parent string) func(*testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				span := tracer.Send(parent, "doorstep.events")
				span.Event("acme", "0198a7c2-6d0e-7c2a-9b1e-2f1d3c4b5a69", "card.updated")
				span.At(3, 7)
				_ = span.Context()
				span.End("")
			}
		}
	}
	b.Run("off", one(nil, good))
	b.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", testkit.NewCollector(b).URL)
	tracer, _, _, stop := opened(b)
	b.Run("not sampled", one(tracer, trace.Unsampled(good)))
	b.Run("sampled", one(tracer, good))
	stop()
}
