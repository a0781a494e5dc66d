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

// Process begins the span of an event that a group read from a topic.
func (t *Tracer) Process(parent, topic, group string) Span {
	s := t.message(parent, "process", semconv.MessagingOperationTypeProcess, topic, oteltrace.SpanKindConsumer)
	if s.recording() {
		s.span.SetAttributes(semconv.MessagingConsumerGroupName(group))
	}
	return s
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

// Attempt begins the span of an attempt of a delivery, which began at started and goes to target, the webhook's URL.
func (t *Tracer) Attempt(d *delivery.Delivery, target string, started time.Time) Span {
	if t == nil {
		return Span{parent: d.TraceContext}
	}
	s := t.start(d.TraceContext, "POST", oteltrace.SpanKindClient, oteltrace.WithTimestamp(started))
	if !s.recording() {
		return s
	}
	s.Event(d.Tenant, d.EventID, d.EventType)
	s.span.SetAttributes(
		semconv.HTTPRequestMethodPost, webhookIDKey.String(d.WebhookID), deliveryIDKey.String(d.ID), causeKey.String(string(d.Cause)),
		attemptKey.Int(d.Attempt))
	s.span.SetAttributes(server(target)...)
	if d.Attempt > 1 {
		s.span.SetAttributes(semconv.HTTPRequestResendCount(d.Attempt - 1))
	}
	return s
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

// Returned ends the span of a gRPC call: with its status, e.g. "OK". Which are faults of ours, and not of who calls, is as the
// conventions have it for servers.
func (s Span) Returned(status string) {
	if s.recording() {
		s.span.SetAttributes(semconv.RPCResponseStatusCode(status))
	}
	switch status {
	case "UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS":
		s.End(status)
	default:
		s.End("")
	}
}

// Attempted ends the span of an attempt that was made.
func (s Span) Attempted(a *delivery.Attempt) {
	if !s.recording() {
		s.End("")
		return
	}
	s.span.SetAttributes(statusKey.String(string(a.Status)), laneKey.String(a.Lane))
	if host, _, err := net.SplitHostPort(a.Outcome.RemoteAddress); err == nil {
		s.span.SetAttributes(semconv.NetworkPeerAddress(host))
	}
	fault := a.Outcome.ErrorCode
	if code := a.Outcome.StatusCode; code != 0 {
		s.span.SetAttributes(semconv.HTTPResponseStatusCode(code))
		if code >= http.StatusBadRequest {
			fault = strconv.Itoa(code)
		}
	}
	s.end(fault, oteltrace.WithTimestamp(a.FinishedAt))
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

// End ends the span; fault is a stable name of what went wrong, one of few, empty: nothing did.
func (s Span) End(fault string) { s.end(fault) }

func (s Span) end(fault string, options ...oteltrace.SpanEndOption) {
	if s.span == nil {
		return
	}
	s.Fault(fault)
	s.span.End(options...)
}

// Fault says what went wrong, as End does, and the span goes on.
func (s Span) Fault(fault string) {
	if fault != "" && s.recording() {
		s.span.SetAttributes(semconv.ErrorTypeKey.String(fault))
		s.span.SetStatus(codes.Error, "") // a description is for what the attribute does not say
	}
}
