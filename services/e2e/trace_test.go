package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"testing"

	"google.golang.org/grpc/metadata"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

// startTraced is start, with a collector that is sent all spans, and with the header traceparent for receivers.
func startTraced(t *testing.T) (*world, *testkit.Collector) {
	t.Helper()
	if os.Getenv("E2E_RUNNER") == "addresses" {
		t.Skip("where spans go is said at the start")
	}
	c := testkit.NewCollector(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
	t.Setenv("DOORSTEP_SENDER_TRACEPARENT", "true")
	return start(t), c
}

// producerSpan is the context of a call, as a producer that has traces of its own sends it.
func producerSpan(flags string) (traceID, spanID, traceparent string) {
	var b [24]byte
	_, _ = rand.Read(b[:]) // never errs
	traceID, spanID = hex.EncodeToString(b[:16]), hex.EncodeToString(b[16:])
	return traceID, spanID, "00-" + traceID + "-" + spanID + "-" + flags
}

// publishWithin publishes an event in a call that has a context.
func (w *world) publishWithin(traceparent string, e *pb.Event) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+apiKey(), "traceparent", traceparent)
	resp, err := pb.NewIngestServiceClient(w.grpc).Publish(ctx, &pb.PublishRequest{Event: e})
	if err != nil {
		w.t.Fatalf("publish: %v", err)
	}
	return resp.GetEventId()
}

// spansOf waits for n spans of a trace.
func spansOf(t *testing.T, c *testkit.Collector, trace string, n int) []testkit.Span {
	t.Helper()
	var got []testkit.Span
	testkit.Eventually(t, patience, func() error {
		if got = c.Spans(trace); len(got) < n {
			return fmt.Errorf("%d spans, want %d:\n%s", len(got), n, testkit.Tree(got))
		}
		return nil
	})
	return got
}

// The one that a producer's call becomes: ingest, log, matcher, two webhooks, one of them with a retry; then a resend of it.
func TestAnEventsTraceFromPublishToPost(t *testing.T) {
	w, c := startTraced(t)
	r := testkit.NewReceiver(t)
	r.Set("/fails-once/hidden-in-path", testkit.Behaviour{FailFirst: 1})
	again := w.register(r.URL+"/fails-once/hidden-in-path?q=hidden-in-query", map[string]any{"headers": map[string]string{"X-Token": "hidden-in-header"}})
	w.register(r.URL+"/works", nil)
	w.inForce()
	trace, caller, parent := producerSpan("01")
	event := w.publishWithin(parent, &pb.Event{
		Type: "card.updated", Data: []byte(`{"a":"hidden-in-data"}`), Attributes: map[string]string{"colour": "hidden-in-attribute"},
	})
	if status := w.rest(http.MethodPost, "deliveries/"+w.recordedFor(event, again, "delivered")+"/resend", nil, nil); status != http.StatusAccepted {
		t.Fatalf("resend: %d", status)
	}
	spans := spansOf(t, c, trace, 7)
	shown := []string{"doorstep.attempt", "doorstep.run.cause", "doorstep.lane", "http.response.status_code", "doorstep.deliveries"}
	t.Logf("trace %s of event %s:\n%s", trace, event, testkit.Tree(spans, shown...))

	by := map[string][]testkit.Span{}
	for _, s := range spans {
		by[s.Name] = append(by[s.Name], s)
	}
	topic := w.kafka.TopicPrefix + "events"
	below := caller
	for _, want := range []struct{ name, service, kind string }{
		{"doorstep.v1.IngestService/Publish", "doorstep-ingest", "SERVER"},
		{"send " + topic, "doorstep-ingest", "PRODUCER"},
		{"process " + topic, "doorstep-matcher", "CONSUMER"},
	} {
		got := by[want.name]
		if len(got) != 1 || got[0].Service != want.service || got[0].Kind != want.kind || got[0].Parent != below || got[0].Fault != "" {
			t.Fatalf("%s: %+v, want one of %s below %s", want.name, got, want.service, below)
		}
		below = got[0].ID
	}
	posts := by["POST"]
	if len(posts) != 4 {
		t.Fatalf("%d POSTs, want 4", len(posts))
	}
	failed := 0
	for _, p := range posts {
		if p.Parent != below || p.Service != "doorstep-sender" || p.Attributes["doorstep.event.id"] != event || p.Attributes["server.address"] != "127.0.0.1" {
			t.Errorf("a POST: %+v", p)
		}
		if p.Fault != "" {
			failed++
		}
	}
	if failed != 1 {
		t.Errorf("%d POSTs failed, want the one that did", failed)
	}
	joined(t, posts, append(to(t, r, "/fails-once/hidden-in-path", 3), to(t, r, "/works", 1)...))
	if hidden := bytes.Index(c.Raw(), []byte("hidden-in")); hidden >= 0 {
		t.Errorf("spans tell %.40q", c.Raw()[hidden:])
	}
}

// joined checks that each request carries the context of the span that made it.
func joined(t *testing.T, posts []testkit.Span, requests []testkit.Received) {
	t.Helper()
	want := map[string]bool{}
	for _, p := range posts {
		want["00-"+p.Trace+"-"+p.ID+"-01"] = true
	}
	for _, r := range requests {
		delete(want, r.Header.Get("traceparent"))
	}
	if len(want) > 0 {
		t.Errorf("no request had %v", want)
	}
}

// What is published over REST, suspended, and released later stays in the trace; what a producer does not sample is not traced.
func TestATraceOutlivesASuspension(t *testing.T) {
	w, c := startTraced(t)
	r := testkit.NewReceiver(t)
	h := w.register(r.URL+"/hook", nil)
	if status := w.rest(http.MethodPost, "webhooks/"+h.ID+"/pause", nil, nil); status >= 300 {
		t.Fatalf("pause: %d", status)
	}
	w.inForce()
	trace, caller, parent := producerSpan("01")
	unsampled, _, quiet := producerSpan("00")
	for _, p := range []string{parent, quiet} {
		if status := w.rest(http.MethodPost, "events", map[string]any{"type": "card.updated"}, nil, "traceparent", p); status != http.StatusAccepted {
			t.Fatalf("publish: %d", status)
		}
	}
	spansOf(t, c, trace, 3)
	testkit.Eventually(t, patience, func() error {
		var shown struct {
			SuspendedCount int `json:"suspended_count"`
		}
		if w.rest(http.MethodGet, "webhooks/"+h.ID, nil, &shown); shown.SuspendedCount != 2 {
			return fmt.Errorf("%d suspended, want 2", shown.SuspendedCount)
		}
		return nil
	})
	if status := w.rest(http.MethodPost, "webhooks/"+h.ID+"/resume", nil, nil); status >= 300 {
		t.Fatalf("resume: %d", status)
	}
	requests := to(t, r, "/hook", 2)
	spans := spansOf(t, c, trace, 4)
	t.Logf("trace %s:\n%s", trace, testkit.Tree(spans, "doorstep.run.cause", "http.response.status_code"))
	if first := spans[0]; first.Name != "POST /api/v1/events" || first.Service != "doorstep-console" || first.Parent != caller {
		t.Errorf("begins with %+v", first)
	}
	if last := spans[3]; last.Name != "POST" || last.Attributes["doorstep.run.cause"] != "release" {
		t.Errorf("ends with %+v", last)
	}
	if got := c.Spans(unsampled); len(got) > 0 {
		t.Errorf("not sampled, and traced: %+v", got)
	}
	seen := map[string]bool{}
	for _, q := range requests {
		seen[q.Header.Get("traceparent")[3:35]] = true
	}
	if !seen[trace] || !seen[unsampled] {
		t.Errorf("requests had the traces %v", seen)
	}
}

// Without a collector a context is carried on as it came, and told to receivers only where that is set.
func TestAContextIsCarriedWithoutACollector(t *testing.T) {
	_, _, parent := producerSpan("01")
	for _, tell := range []string{"true", "false"} {
		t.Run(tell, func(t *testing.T) {
			t.Setenv("DOORSTEP_SENDER_TRACEPARENT", tell)
			w := start(t)
			r := testkit.NewReceiver(t)
			w.register(r.URL+"/hook", nil)
			w.inForce()
			w.publishWithin(parent, &pb.Event{Type: "card.updated"})
			got, want := to(t, r, "/hook", 1)[0].Header.Values("traceparent"), map[string]int{"true": 1, "false": 0}[tell]
			if len(got) != want || want == 1 && got[0] != parent {
				t.Errorf("traceparent %v", got)
			}
		})
	}
}
