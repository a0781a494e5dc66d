package testkit

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// Collector is an OpenTelemetry collector (OTLP over gRPC) that keeps all that it is sent.
type Collector struct {
	collector.UnimplementedTraceServiceServer

	// URL is what OTEL_EXPORTER_OTLP_ENDPOINT is to be set to.
	URL string

	mu    sync.Mutex
	spans []Span
	raw   []byte
	hang  chan struct{} // closed: it answers
}

// Span is one that a Collector has.
type Span struct {
	Service    string // e.g. "doorstep-sender"
	Name, Kind string // e.g. "POST", "CLIENT"
	Trace      string // its id
	ID, Parent string // Parent is empty for the first of a trace
	Start, End time.Time
	Fault      string            // error.type, if its status is an error
	Attributes map[string]string // as text
}

// NewCollector serves one until the test ends.
func NewCollector(t testing.TB) *Collector {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &Collector{URL: "http://" + l.Addr().String(), hang: make(chan struct{})}
	close(c.hang)
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, c)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return c
}

// Hang makes it answer no more until the returned function is called.
func (c *Collector) Hang() (answer func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	hang := make(chan struct{})
	c.hang = hang
	return sync.OnceFunc(func() { close(hang) })
}

// Export takes spans.
func (c *Collector) Export(ctx context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	hang := c.hang
	c.mu.Unlock()
	select {
	case <-hang:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	raw, err := proto.Marshal(req)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw = append(c.raw, raw...)
	for _, of := range req.GetResourceSpans() {
		resource := texts(of.GetResource().GetAttributes())
		for _, scope := range of.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.spans = append(c.spans, spanOf(s, resource["service.name"]))
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func spanOf(s *tracepb.Span, service string) Span {
	out := Span{
		Service: service, Name: s.GetName(), Kind: strings.TrimPrefix(s.GetKind().String(), "SPAN_KIND_"),
		Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
		Start: time.Unix(0, int64(s.GetStartTimeUnixNano())), End: time.Unix(0, int64(s.GetEndTimeUnixNano())), //nolint:gosec // of our time
		Attributes: texts(s.GetAttributes()),
	}
	if s.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR {
		out.Fault = cmp.Or(out.Attributes["error.type"], s.GetStatus().GetMessage(), "unnamed")
	}
	return out
}

func texts(attributes []*commonpb.KeyValue) map[string]string {
	out := map[string]string{}
	for _, a := range attributes {
		switch v := a.GetValue().GetValue().(type) {
		case *commonpb.AnyValue_StringValue:
			out[a.GetKey()] = v.StringValue
		case *commonpb.AnyValue_IntValue:
			out[a.GetKey()] = fmt.Sprint(v.IntValue)
		case *commonpb.AnyValue_BoolValue:
			out[a.GetKey()] = fmt.Sprint(v.BoolValue)
		default:
			out[a.GetKey()] = a.GetValue().String()
		}
	}
	return out
}

// Spans are those of a trace that came so far, by their start; of all traces if id is empty.
func (c *Collector) Spans(id string) []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Span
	for _, s := range c.spans {
		if id == "" || s.Trace == id {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b Span) int { return a.Start.Compare(b.Start) })
	return out
}

// Raw is all that came, as it came.
func (c *Collector) Raw() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.raw)
}

// Tree shows spans of one trace, each below its parent, with when it began after the first and how long it took.
func Tree(spans []Span, attributes ...string) string {
	var b strings.Builder
	known := map[string]bool{}
	for _, s := range spans {
		known[s.ID] = true
	}
	var show func(parent, indent string)
	show = func(parent, indent string) {
		for _, s := range spans {
			if s.Parent != parent && (parent != "" || known[s.Parent]) {
				continue
			}
			fmt.Fprintf(&b, "%-58s %-18s %-8s +%-9s %-9s", indent+s.Name, s.Service, s.Kind,
				s.Start.Sub(spans[0].Start).Round(100*time.Microsecond), s.End.Sub(s.Start).Round(10*time.Microsecond))
			for _, name := range attributes {
				if v, ok := s.Attributes[name]; ok {
					fmt.Fprintf(&b, " %s=%s", name, v)
				}
			}
			if s.Fault != "" {
				b.WriteString(" fault=" + s.Fault)
			}
			b.WriteString("\n")
			show(s.ID, indent+"  ")
		}
	}
	show("", "")
	return b.String()
}
