package trace

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
)

// Attributes that the conventions do not have.
const (
	tenantKey     = attribute.Key("doorstep.tenant")
	eventIDKey    = attribute.Key("doorstep.event.id")
	eventTypeKey  = attribute.Key("doorstep.event.type")
	deliveriesKey = attribute.Key("doorstep.deliveries")
	duplicateKey  = attribute.Key("doorstep.duplicate")
	webhookIDKey  = attribute.Key("doorstep.webhook.id")
	deliveryIDKey = attribute.Key("doorstep.delivery.id")
	causeKey      = attribute.Key("doorstep.run.cause")
	attemptKey    = attribute.Key("doorstep.attempt")
	statusKey     = attribute.Key("doorstep.status")
	laneKey       = attribute.Key("doorstep.lane")
)

// MaxTracedDeliveries is how many webhooks an event may go to for its attempts to be in its trace. Tempo, for one, takes
// 5 MB of a trace, some 8,000 spans.
const MaxTracedDeliveries = 1000

// Tracer makes the spans of one service. A nil Tracer is off. It is safe for concurrent use.
type Tracer struct{ tracer oteltrace.Tracer }

// Span is one span, or, where tracing is off, what there is in its place: the context that came. It is used by one goroutine.
type Span struct {
	span   oteltrace.Span // nil: off
	parent string
}

// start begins a span under a traceparent; under one that is none it begins a trace.
//
//nolint:spancheck // the caller ends it
func (t *Tracer) start(parent, name string, kind oteltrace.SpanKind, options ...oteltrace.SpanStartOption) Span {
	ctx := context.Background()
	if c, ok := parse(parent); ok {
		ctx = oteltrace.ContextWithRemoteSpanContext(ctx, c)
	}
	_, span := t.tracer.Start(ctx, name, append(options, oteltrace.WithSpanKind(kind))...)
	return Span{span: span, parent: parent}
}

// Call begins the span of a gRPC call, named service/method.
func (t *Tracer) Call(parent, service, method string) Span {
	if t == nil {
		return Span{parent: parent}
	}
	s := t.start(parent, service+"/"+method, oteltrace.SpanKindServer)
	if s.recording() {
		s.span.SetAttributes(semconv.RPCSystemNameGRPC, semconv.RPCMethod(service+"/"+method))
	}
	return s
}

// Request begins the span of an HTTP request that a route answers, e.g. "/api/v1/webhooks/{id}".
func (t *Tracer) Request(parent, method, route string) Span {
	if t == nil {
		return Span{parent: parent}
	}
	s := t.start(parent, method+" "+route, oteltrace.SpanKindServer)
	if s.recording() {
		s.span.SetAttributes(semconv.HTTPRequestMethodKey.String(method), semconv.HTTPRoute(route))
	}
	return s
}

// Send begins the span of an event on its way to a topic.
func (t *Tracer) Send(parent, topic string) Span {
	return t.message(parent, "send", semconv.MessagingOperationTypeSend, topic, oteltrace.SpanKindProducer)
}

// Process begins the span of an event that was read from a topic.
func (t *Tracer) Process(parent, topic string) Span {
	return t.message(parent, "process", semconv.MessagingOperationTypeProcess, topic, oteltrace.SpanKindConsumer)
}

func (t *Tracer) message(parent, operation string, kindOf attribute.KeyValue, topic string, kind oteltrace.SpanKind) Span {
	if t == nil {
		return Span{parent: parent}
	}
	s := t.start(parent, operation+" "+topic, kind)
	if s.recording() {
		s.span.SetAttributes(semconv.MessagingSystemKafka, semconv.MessagingOperationName(operation), kindOf, semconv.MessagingDestinationName(topic))
	}
	return s
}

// Attempt begins the span of an attempt that began at started.
func (t *Tracer) Attempt(parent string, started time.Time) Span {
	if t == nil {
		return Span{parent: parent}
	}
	return t.start(parent, "POST", oteltrace.SpanKindClient, oteltrace.WithTimestamp(started))
}

// Context is the traceparent for what follows from the span; where tracing is off, the one that came, which may be empty.
func (s Span) Context() string {
	if s.span == nil {
		return s.parent
	}
	return format(s.span.SpanContext())
}

// recording reports whether what is said of the span goes anywhere.
func (s Span) recording() bool { return s.span != nil && s.span.IsRecording() }

// Event says which event the span is about.
func (s Span) Event(tenant, id, eventType string) {
	if s.recording() {
		s.span.SetAttributes(tenantKey.String(tenant), eventIDKey.String(id), eventTypeKey.String(eventType))
	}
}

// At says where the event stands in the log.
func (s Span) At(partition int32, offset int64) {
	if s.recording() {
		s.span.SetAttributes(semconv.MessagingDestinationPartitionID(strconv.Itoa(int(partition))), semconv.MessagingKafkaOffset(int(offset)))
	}
}

// Matched says how many deliveries the event became.
func (s Span) Matched(deliveries int) {
	if s.recording() {
		s.span.SetAttributes(deliveriesKey.Int(deliveries))
	}
}

// Duplicate says that the event came before.
func (s Span) Duplicate() {
	if s.recording() {
		s.span.SetAttributes(duplicateKey.Bool(true))
	}
}

// Answered ends the span of a request with the status of its answer; it is a fault of ours from 500 on.
func (s Span) Answered(status int) {
	fault := ""
	if status >= http.StatusInternalServerError {
		fault = strconv.Itoa(status)
	}
	if s.recording() {
		s.span.SetAttributes(semconv.HTTPResponseStatusCode(status))
	}
	s.End(fault)
}

// Returned ends the span of a gRPC call: with its status, e.g. "OK".
func (s Span) Returned(status string) {
	if s.recording() {
		s.span.SetAttributes(semconv.RPCResponseStatusCode(status))
	}
	if status == "OK" {
		status = ""
	}
	s.End(status)
}

// Attempted ends the span of an attempt.
func (s Span) Attempted(a *delivery.Attempt) {
	if !s.recording() {
		return
	}
	s.Event(a.Tenant, a.EventID, a.EventType)
	s.span.SetAttributes(
		semconv.HTTPRequestMethodPost, webhookIDKey.String(a.WebhookID), deliveryIDKey.String(a.DeliveryID), causeKey.String(string(a.Cause)),
		attemptKey.Int(a.Attempt), statusKey.String(string(a.Status)), laneKey.String(a.Lane))
	s.span.SetAttributes(server(a.Outcome.URL)...)
	if a.Attempt > 1 {
		s.span.SetAttributes(semconv.HTTPRequestResendCount(a.Attempt - 1))
	}
	if host, _, err := net.SplitHostPort(a.Outcome.RemoteAddress); err == nil {
		s.span.SetAttributes(semconv.NetworkPeerAddress(host))
	}
	if a.Outcome.StatusCode != 0 {
		s.span.SetAttributes(semconv.HTTPResponseStatusCode(a.Outcome.StatusCode))
	}
	s.end(a.Outcome.ErrorCode, oteltrace.WithTimestamp(a.FinishedAt))
}

// server is what may be told of a URL.
func server(of string) []attribute.KeyValue {
	u, err := url.Parse(of)
	if err != nil || u.Hostname() == "" {
		return nil
	}
	attributes := []attribute.KeyValue{semconv.ServerAddress(u.Hostname())}
	port := u.Port()
	if port == "" && u.Scheme == "https" {
		port = "443"
	}
	if n, err := strconv.Atoi(port); err == nil {
		attributes = append(attributes, semconv.ServerPort(n))
	}
	return attributes
}

// End ends the span; fault is a stable name of what went wrong, empty: nothing did.
func (s Span) End(fault string) { s.end(fault) }

func (s Span) end(fault string, options ...oteltrace.SpanEndOption) {
	if s.span == nil {
		return
	}
	if fault != "" {
		s.span.SetAttributes(semconv.ErrorTypeKey.String(fault))
		s.span.SetStatus(codes.Error, fault)
	}
	s.span.End(options...)
}
