package trace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/doorstep-dev/doorstep/pkg/obs"
)

// closeTime is how long the end of a process may wait for its last spans to be sent.
const closeTime = time.Second

// defaultQueue is how many spans wait to be sent where OTEL_BSP_MAX_QUEUE_SIZE does not say it.
const defaultQueue = 2048

// Provider sends the spans of the services of one process to a collector. A nil Provider is off.
type Provider struct {
	exporter *exporter
	queue    *queue
}

// LogTo sends what the OpenTelemetry library complains of, which would else go to stderr as it is, to l at level debug: a
// program calls it once, at its start.
func LogTo(l *slog.Logger) {
	otel.SetLogger(logr.FromSlogHandler(debug{l.Handler()}))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { l.Debug("opentelemetry", "error", err) }))
}

// debug makes every line one of level debug.
type debug struct{ slog.Handler }

func (d debug) Enabled(ctx context.Context, _ slog.Level) bool {
	return d.Handler.Enabled(ctx, slog.LevelDebug)
}

func (d debug) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return d.Handler.Handle(ctx, r)
}

// Open reads the variables of OpenTelemetry (OTEL_*) and returns what sends spans as they say; nil where they name no
// collector. It errs on values that it cannot use; the collector need not be there.
func Open(ctx context.Context, log *slog.Logger, reg prometheus.Registerer) (*Provider, error) {
	s, err := read(os.Getenv)
	if err != nil || !s.on {
		return nil, err
	}
	var client *otlptrace.Exporter
	if s.http {
		client, err = otlptracehttp.New(ctx)
	} else {
		client, err = otlptracegrpc.New(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	spans := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "doorstep_spans_total",
		Help: "Spans that ended, by what became of them: sent to the collector, or dropped, because it was away or the queue full.",
	}, []string{"outcome"})
	reg.MustRegister(spans)
	e := &exporter{SpanExporter: client, log: log, sent: spans.WithLabelValues("sent"), dropped: spans.WithLabelValues("dropped")}
	q := &queue{exporter: e, most: int64(s.queue), SpanProcessor: sdktrace.NewBatchSpanProcessor(e, sdktrace.WithMaxQueueSize(s.queue))}
	e.queue = q
	return &Provider{exporter: e, queue: q}, nil
}

// settings is what of the variables is ours to read; the library reads the rest.
type settings struct {
	on    bool
	http  bool // OTLP over HTTP, not gRPC
	queue int
}

// read looks at the variables that decide whether and how spans are sent. Its errors name the variable and never its value,
// which may hold a password.
func read(get func(string) string) (settings, error) {
	s := settings{queue: defaultQueue}
	either := func(name string) (variable, value string) {
		if v := get("OTEL_EXPORTER_OTLP_TRACES_" + name); v != "" {
			return "OTEL_EXPORTER_OTLP_TRACES_" + name, v
		}
		return "OTEL_EXPORTER_OTLP_" + name, get("OTEL_EXPORTER_OTLP_" + name)
	}
	variable, endpoint := either("ENDPOINT")
	if endpoint == "" || strings.EqualFold(get("OTEL_SDK_DISABLED"), "true") || get("OTEL_TRACES_EXPORTER") == "none" {
		return s, nil
	}
	s.on = true
	if u, err := url.Parse(endpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return s, fmt.Errorf("%s: must be a URL, e.g. http://collector:4317 or, with TLS, https://collector:4317", variable)
	}
	if e := get("OTEL_TRACES_EXPORTER"); e != "" && e != "otlp" {
		return s, errors.New("OTEL_TRACES_EXPORTER: must be otlp or none")
	}
	switch variable, protocol := either("PROTOCOL"); protocol {
	case "", "grpc":
	case "http/protobuf":
		s.http = true
	default:
		return s, fmt.Errorf("%s: must be grpc, which is the default, or http/protobuf", variable)
	}
	if v := get("OTEL_BSP_MAX_QUEUE_SIZE"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return s, errors.New("OTEL_BSP_MAX_QUEUE_SIZE: must be a number above 0")
		}
		s.queue = n
	}
	return s, nil
}

// Tracer makes the spans of a service, which are those of doorstep-SERVICE if OTEL_SERVICE_NAME says nothing else. It is called
// before the services run.
func (p *Provider) Tracer(service string) (*Tracer, error) {
	if p == nil {
		return nil, nil
	}
	host, _ := os.Hostname() // a pod's name; without one there is none
	res, err := resource.New(context.Background(),
		resource.WithAttributes(semconv.ServiceName("doorstep-"+service), semconv.ServiceVersion(obs.Version()), semconv.ServiceInstanceID(host)),
		resource.WithTelemetrySDK(),
		resource.WithFromEnv(), // what is said there counts
	)
	if err != nil {
		return nil, errors.New("OTEL_RESOURCE_ATTRIBUTES: must be name=value, comma separated")
	}
	made := sdktrace.NewTracerProvider(sdktrace.WithResource(res), sdktrace.WithSpanProcessor(p.queue))
	return &Tracer{tracer: made.Tracer("github.com/doorstep-dev/doorstep", oteltrace.WithInstrumentationVersion(obs.Version()))}, nil
}

// Run waits for the end of ctx and then sends what is left, for a second at most. It is the process's last part.
func (p *Provider) Run(ctx context.Context) error {
	<-ctx.Done()
	if p != nil {
		p.close()
	}
	return nil
}

// close sends what is left, for a second at most; what is not sent by then is dropped.
func (p *Provider) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	err := p.queue.Shutdown(ctx)
	if left := p.queue.waiting.Load(); err != nil || left > 0 {
		p.exporter.log.Info("the last spans are dropped", "spans", left, "error", err)
	}
	_ = p.exporter.Shutdown(ctx) // ends what is still under way; nobody waits for it
}
