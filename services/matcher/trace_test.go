package matcher_test

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/trace"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// tracing is what sends the spans of matchers to a collector. sent ends it, once all are there.
func tracing(t testing.TB, url string) (tracer *trace.Tracer, sent func()) {
	t.Helper()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
	p, err := trace.Open(t.Context(), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if tracer, err = p.Tracer("matcher"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	sent = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(sent)
	return tracer, sent
}

// within is a change of an event that was published in a trace.
func within(traceparent string) func(*event.Record) {
	return func(e *event.Record) { e.TraceContext = traceparent }
}

// An event that goes to more webhooks than a trace may have attempts ends its trace with the matcher's span: its deliveries stay in the
// trace, unsampled. What came unsampled has no span, and stays so.
func TestTheTraceOfALargeFanOut(t *testing.T) {
	const most = trace.MaxTracedDeliveries
	w := newWorld(t)
	c := testkit.NewCollector(t)
	var sent func()
	w.cfg.Trace, sent = tracing(t, c.URL)
	for i := range most {
		w.produce(wire.Webhook(w.topics.Webhooks, webhook.Webhook{
			ID: fmt.Sprintf("h%d", i), Tenant: "acme", URL: "https://example.com", Active: true, EventTypes: []string{"card.*"}, Generation: 1, Version: 1, CreatedAt: epoch,
		}))
	}
	w.flush()
	w.hook("one more", func(h *webhook.Webhook) { h.EventTypes = []string{"card.moved"} })
	m := w.start()
	events := []struct {
		eventType, flags string
		deliveries       int
		after            string // the flags of its deliveries
		traced           bool
	}{
		{"card.updated", "01", most, "01", true},
		{"card.moved", "01", most + 1, "00", true},
		{"card.moved", "03", most + 1, "02", true}, // a trace id that is random stays one
		{"card.updated", "00", most, "00", false},
		{"card.moved", "00", most + 1, "00", false},
	}
	all := 0
	for i, tt := range events {
		all += tt.deliveries
		w.publish(fmt.Sprintf("e%d", i), within(fmt.Sprintf("00-%032x-b7ad6b7169203331-%s", i+1, tt.flags)), func(e *event.Record) { e.Type = tt.eventType })
	}
	w.eventually("matched", func() bool { return m.metric(t, "doorstep_deliveries_matched_total") == float64(all) })
	flags := map[string]map[string]int{} // by trace: flags of its deliveries
	for _, d := range w.deliveries(w.topics.Deliveries, all) {
		id := trace.ID(d.TraceContext)
		if flags[id] == nil {
			flags[id] = map[string]int{}
		}
		flags[id][d.TraceContext[53:]]++
	}
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	sent()
	for i, tt := range events {
		id := fmt.Sprintf("%032x", i+1)
		if len(flags[id]) != 1 || flags[id][tt.after] != tt.deliveries {
			t.Errorf("event %d: flags %v, want %d of %s", i, flags[id], tt.deliveries, tt.after)
		}
		spans := c.Spans(id)
		if len(spans) != map[bool]int{true: 1}[tt.traced] {
			t.Fatalf("event %d: spans %+v", i, spans)
		}
		if tt.traced && (spans[0].Attributes["doorstep.deliveries"] != strconv.Itoa(tt.deliveries) || spans[0].Attributes["messaging.consumer.group.name"] == "") {
			t.Errorf("event %d: %+v", i, spans[0])
		}
	}
}
