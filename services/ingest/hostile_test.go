package ingest_test

import (
	"strings"
	"testing"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

// What a producer sends as trace context travels in every record that follows from its event, so only what is one does.
func TestTraceContextsThatAreNone(t *testing.T) {
	b := newBroker(t)
	s := runReady(t, b.config())
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	traces := []string{
		"", "x", good + "-x", " " + good, strings.ToUpper(good), "01" + good[2:], good[:len(good)-1], "dsk_secret",
		strings.Repeat("0", 8<<10), "00-" + strings.Repeat("z", 32) + "-b7ad6b7169203331-01",
	}
	for _, trace := range traces {
		if _, err := s.client.Publish(as(t, acmeKey, "traceparent", trace), &pb.PublishRequest{Event: &pb.Event{Type: "a.b"}}); err != nil {
			t.Fatalf("%.60q: %v", trace, err)
		}
	}
	for id, e := range b.events(len(traces)) {
		if e.TraceContext != "" {
			t.Errorf("event %s has the trace context %.60q", id, e.TraceContext)
		}
	}
}
