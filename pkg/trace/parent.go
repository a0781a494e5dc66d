package trace

import (
	"encoding/hex"
	"strings"

	oteltrace "go.opentelemetry.io/otel/trace"
)

// Header is the name of the header and of the gRPC metadata that carry a traceparent.
const Header = "traceparent"

// A traceparent of version 00: "00-", trace id (32 digits), "-", span id (16), "-", flags (2).
const (
	parentLength = 55
	parentPrefix = "00-"
	traceIDFrom  = 3
	spanIDFrom   = 36
	flagsFrom    = 53
)

// Parent returns a header traceparent that can be carried on (version 00 of the W3C Trace Context), or nothing.
func Parent(header string) string {
	if _, ok := parse(header); !ok {
		return ""
	}
	return header
}

// ID is the trace id of a traceparent, 32 hex digits; empty: it has none. It is for log lines.
func ID(traceparent string) string {
	if len(traceparent) != parentLength {
		return ""
	}
	return traceparent[traceIDFrom : spanIDFrom-1]
}

// Unsampled is a traceparent with nothing of what follows sampled. What else its flags say holds on. What is none stays as it is.
func Unsampled(traceparent string) string {
	c, ok := parse(traceparent)
	if !ok || !c.IsSampled() {
		return traceparent
	}
	return format(c.WithTraceFlags(c.TraceFlags().WithSampled(false)))
}

func parse(s string) (oteltrace.SpanContext, bool) {
	if len(s) != parentLength || !strings.HasPrefix(s, parentPrefix) || s[spanIDFrom-1] != '-' || s[flagsFrom-1] != '-' {
		return oteltrace.SpanContext{}, false
	}
	traceID, err := oteltrace.TraceIDFromHex(s[traceIDFrom : spanIDFrom-1])
	if err != nil {
		return oteltrace.SpanContext{}, false
	}
	spanID, err := oteltrace.SpanIDFromHex(s[spanIDFrom : flagsFrom-1])
	if err != nil {
		return oteltrace.SpanContext{}, false
	}
	flags := s[flagsFrom:]
	bits, err := hex.DecodeString(flags)
	if err != nil || flags != strings.ToLower(flags) {
		return oteltrace.SpanContext{}, false
	}
	return oteltrace.NewSpanContext(oteltrace.SpanContextConfig{
		TraceID: traceID, SpanID: spanID, TraceFlags: oteltrace.TraceFlags(bits[0]), Remote: true,
	}), true
}

func format(c oteltrace.SpanContext) string {
	b := make([]byte, 0, parentLength)
	traceID, spanID := c.TraceID(), c.SpanID()
	b = append(hex.AppendEncode(append(b, parentPrefix...), traceID[:]), '-')
	b = append(hex.AppendEncode(b, spanID[:]), '-')
	return string(hex.AppendEncode(b, []byte{byte(c.TraceFlags())}))
}
