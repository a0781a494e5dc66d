package trace_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/trace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lines is a log that counts its lines.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// opened is tracing as the environment says it. stop ends it and says how long that took.
func opened(t testing.TB) (tracer *trace.Tracer, reg *prometheus.Registry, log *lines, stop func() time.Duration) {
	t.Helper()
	log, reg = &lines{}, prometheus.NewRegistry()
	p, err := trace.Open(t.Context(), slog.New(slog.NewTextHandler(log, nil)), reg)
	if err != nil {
		t.Fatal(err)
	}
	if tracer, err = p.Tracer("test"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	stop = sync.OnceValue(func() time.Duration {
		begun := time.Now()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		return time.Since(begun)
	})
	t.Cleanup(func() { stop() })
	return tracer, reg, log, stop
}

// spans reads doorstep_spans_total.
func spans(t *testing.T, reg *prometheus.Registry, outcome string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "doorstep_spans_total" && m.GetLabel()[0].GetValue() == outcome {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func TestOffWithoutACollector(t *testing.T) {
	for _, env := range []map[string]string{
		{}, {"OTEL_SERVICE_NAME": "x"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
	} {
		t.Run(fmt.Sprint(env), func(t *testing.T) {
			for k, v := range env {
				t.Setenv(k, v)
			}
			tracer, _, _, stop := opened(t)
			if tracer != nil {
				t.Fatal("spans are made")
			}
			span := tracer.Send(good, "events")
			span.Event("acme", "1", "card.updated")
			if span.End(""); span.Context() != good {
				t.Errorf("the context became %q", span.Context())
			}
			if took := stop(); took > time.Second {
				t.Errorf("stopped after %s", took)
			}
		})
	}
}

func TestValuesThatCannotBeUsed(t *testing.T) {
	const secret = "hidden-word"
	for variable, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT":        "collector:4317/" + secret,
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "ftp://" + secret + "@collector",
		"OTEL_EXPORTER_OTLP_PROTOCOL":        "http/json" + secret,
		"OTEL_TRACES_EXPORTER":               "zipkin" + secret,
		"OTEL_BSP_MAX_QUEUE_SIZE":            "-1" + secret,
	} {
		t.Run(variable, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
			t.Setenv(variable, value)
			_, err := trace.Open(t.Context(), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
			if err == nil || !strings.HasPrefix(err.Error(), variable+": must be ") || strings.Contains(err.Error(), secret) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestSpansAsTheVariablesSay(t *testing.T) {
	c := testkit.NewCollector(t)
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", c.URL)
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
	tracer, reg, _, stop := opened(t)
	span := tracer.Send(good, "doorstep.events")
	span.Event("acme", "1", "card.updated")
	span.At(3, 7)
	span.End("busy")
	if id := trace.ID(span.Context()); id != trace.ID(good) || span.Context() == good {
		t.Errorf("context %s", span.Context())
	}
	const target = "https://user:hidden@example.com/hidden?hidden=hidden#hidden"
	sent := delivery.Delivery{
		ID: "d", Tenant: "acme", WebhookID: "w", EventID: "e", EventType: "card.updated", ExternalReference: "hidden", Attempt: 2,
		Cause: delivery.CauseFirst, Body: []byte("hidden"),
	}
	root := tracer.Attempt(&sent, target, time.Now())
	root.Attempted(&delivery.Attempt{
		Status: delivery.Retrying, Lane: "doorstep.deliveries.1m", FinishedAt: time.Now(),
		Outcome: delivery.Outcome{
			URL: target, StatusCode: 503, ErrorCode: "status", RemoteAddress: "192.0.2.1:443", Error: "hidden", ResponseBody: []byte("hidden"),
			RequestHeaders: []delivery.Header{{Name: "hidden", Value: "hidden"}}, ResponseHeaders: []delivery.Header{{Name: "hidden", Value: "hidden"}},
		},
	})
	cut := tracer.Attempt(&sent, target, time.Now())
	cut.End("cancelled")
	if took := stop(); took > 5*time.Second {
		t.Errorf("the last spans took %s", took)
	}
	got := c.Spans(trace.ID(good))
	if len(got) != 1 || got[0].Service != "doorstep-test" || got[0].Name != "send doorstep.events" || got[0].Fault != "busy" || got[0].Parent != good[36:52] {
		t.Fatalf("spans %+v", got)
	}
	for name, want := range map[string]string{
		"messaging.system": "kafka", "messaging.destination.name": "doorstep.events", "messaging.destination.partition.id": "3",
		"messaging.kafka.offset": "7", "doorstep.tenant": "acme", "doorstep.event.id": "1", "doorstep.event.type": "card.updated", "error.type": "busy",
	} {
		if got[0].Attributes[name] != want {
			t.Errorf("%s is %q, want %q", name, got[0].Attributes[name], want)
		}
	}
	post := c.Spans(trace.ID(root.Context()))
	if len(post) != 1 || post[0].Parent != "" {
		t.Fatalf("POST: %+v", post)
	}
	for name, want := range map[string]string{
		"http.request.method": "POST", "http.response.status_code": "503", "error.type": "503", "http.request.resend_count": "1", "server.address": "example.com",
		"server.port": "443", "network.peer.address": "192.0.2.1", "doorstep.webhook.id": "w", "doorstep.attempt": "2",
		"doorstep.delivery.id": "d", "doorstep.event.id": "e", "doorstep.tenant": "acme", "doorstep.run.cause": "first",
		"doorstep.status": "retrying", "doorstep.lane": "doorstep.deliveries.1m",
	} {
		if post[0].Attributes[name] != want {
			t.Errorf("%s is %q, want %q", name, post[0].Attributes[name], want)
		}
	}
	if given := c.Spans(trace.ID(cut.Context())); len(given) != 1 || given[0].Fault != "cancelled" || given[0].Attributes["doorstep.delivery.id"] != "d" {
		t.Errorf("POST that a stop cut short: %+v", given)
	}
	if strings.Contains(string(c.Raw()), "hidden") || !strings.Contains(string(c.Raw()), "deployment.environment.name") {
		t.Errorf("told: %q", c.Raw())
	}
	if n := spans(t, reg, "sent"); n != 3 {
		t.Errorf("%v spans sent", n)
	}
}

// What went wrong is told, and whose fault it is: a call that is refused for what it asks is no fault of the server.
func TestFaults(t *testing.T) {
	c := testkit.NewCollector(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	tracer, _, _, stop := opened(t)
	want := map[string]string{}
	for status, fault := range map[string]string{
		"OK": "", "INVALID_ARGUMENT": "", "RESOURCE_EXHAUSTED": "", "UNAVAILABLE": "UNAVAILABLE", "INTERNAL": "INTERNAL",
	} {
		span := tracer.Call("", "doorstep.v1.IngestService", "Publish")
		want[span.Context()] = fault
		span.Returned(status)
	}
	for status, fault := range map[int]string{200: "", 422: "", 429: "", 503: "503"} {
		span := tracer.Request("", "GET", "/api/v1/webhooks/{id}")
		want[span.Context()] = fault
		span.Answered(status)
	}
	for outcome, fault := range map[*delivery.Outcome]string{
		{StatusCode: 204}: "", {StatusCode: 302, ErrorCode: "redirect"}: "redirect", {StatusCode: 410, ErrorCode: "status"}: "410",
		{StatusCode: 200, ErrorCode: "timeout"}: "timeout", {ErrorCode: "dns"}: "dns",
	} {
		span := tracer.Attempt(&delivery.Delivery{}, "https://example.com", time.Now())
		want[span.Context()] = fault
		span.Attempted(&delivery.Attempt{Outcome: *outcome, FinishedAt: time.Now()})
	}
	span := tracer.Process("", "doorstep.events", "doorstep.matcher")
	want[span.Context()] = "quarantined"
	span.Fault("quarantined")
	span.End("")
	stop()
	for context, fault := range want {
		got := c.Spans(trace.ID(context))
		if len(got) != 1 || got[0].Fault != fault || got[0].Attributes["error.type"] != fault {
			t.Errorf("%+v, want the fault %q", got, fault)
		}
	}
}

// What a producer does not sample is not sent, and neither are spans of sampled traces when the variables say never.
func TestSampling(t *testing.T) {
	c := testkit.NewCollector(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	t.Setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
	tracer, _, _, stop := opened(t)
	for _, parent := range []string{"", trace.Unsampled(good), good} {
		span := tracer.Process(parent, "doorstep.events", "doorstep.matcher")
		if span.End(""); trace.Parent(span.Context()) == "" {
			t.Errorf("under %q there is no context: %q", parent, span.Context())
		}
	}
	stop()
	if got := c.Spans(""); len(got) != 1 || got[0].Parent != good[36:52] {
		t.Errorf("spans %+v", got)
	}
}

// A collector that is away, or hangs, costs dropped spans and one line; nobody waits for it, and a stop a second at most.
func TestACollectorThatIsAway(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, url := range map[string]func() string{
		"gone":  func() string { return gone },
		"hangs": func() string { c := testkit.NewCollector(t); t.Cleanup(c.Hang()); return c.URL },
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url())
			t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "200")
			t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
			t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
			t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "50")
			tracer, reg, log, stop := opened(t)
			begun, n := time.Now(), 0
			for ; n < 1000; n++ {
				tracer.Send("", "doorstep.events").End("")
			}
			took := time.Since(begun)
			testkit.Eventually(t, 30*time.Second, func() error {
				if dropped := spans(t, reg, "dropped"); dropped < 900 || !strings.Contains(log.String(), "spans cannot be sent") {
					return fmt.Errorf("%v of %d dropped, log %q", dropped, n, log.String())
				}
				return nil
			})
			if took > 10*time.Second {
				t.Errorf("%d spans took %s", n, took)
			}
			tracer.Send("", "doorstep.events").End("")
			stopped := stop()
			t.Logf("%d spans took their callers %s, the stop %s", n, took, stopped)
			if stopped > 10*time.Second {
				t.Errorf("the stop took %s", stopped)
			}
			if told := strings.Count(log.String(), "spans cannot be sent"); told != 1 {
				t.Errorf("told %d times:\n%s", told, log)
			}
		})
	}
}
