package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/testing/protocmp"

	doorstepv1 "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
	"github.com/doorstep-dev/doorstep/services/doorstep/internal/cli"
)

// ingest takes all events but those of the type "bad.type".
type ingest struct {
	doorstepv1.UnimplementedIngestServiceServer
	mu  sync.Mutex
	got []*doorstepv1.Event
}

func (s *ingest) take(e *doorstepv1.Event) *doorstepv1.PublishResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.GetType() == "bad.type" {
		return &doorstepv1.PublishResult{Error: &doorstepv1.PublishError{Code: 3, Message: "invalid",
			Violations: []*doorstepv1.FieldViolation{{Field: "event.type", Description: "is not in the catalogue"}}}}
	}
	s.got = append(s.got, e)
	return &doorstepv1.PublishResult{EventId: e.GetId()}
}

func (s *ingest) Publish(_ context.Context, r *doorstepv1.PublishRequest) (*doorstepv1.PublishResponse, error) {
	return &doorstepv1.PublishResponse{EventId: s.take(r.GetEvent()).GetEventId()}, nil
}

func (s *ingest) PublishStream(call grpc.BidiStreamingServer[doorstepv1.PublishStreamRequest, doorstepv1.PublishStreamResponse]) error {
	for {
		r, err := call.Recv()
		if err != nil {
			return nil //nolint:nilerr // the caller has no more
		}
		if err := call.Send(&doorstepv1.PublishStreamResponse{Sequence: r.GetSequence(), Result: s.take(r.GetEvent())}); err != nil {
			return err
		}
	}
}

// startIngest serves an ingest and names it to the commands of the test.
func startIngest(t *testing.T) *ingest {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, g := &ingest{}, grpc.NewServer()
	doorstepv1.RegisterIngestServiceServer(g, s)
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	t.Setenv("DOORSTEP_GRPC", l.Addr().String())
	t.Setenv("DOORSTEP_KEY", "dsk_test")
	return s
}

// run runs a command line.
func run(stdin string, args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = cli.Main(args, cli.IO{In: strings.NewReader(stdin), Out: &o, Err: &e})
	return code, o.String(), e.String()
}

func TestPublishOne(t *testing.T) {
	s := startIngest(t)
	code, out, errs := run("", "publish", "--type", "card.updated", "--tenant", "acme", "--id", "e1", "--ref", "card-1",
		"--attr", "board=a;b", "--attr", "eventUser=545", "--occurred-at", "2026-03-02T10:00:00Z", "--data", `{"a": 1.0 }`)
	if code != 0 || out != "published e1\n" || errs != "" {
		t.Fatalf("exit code %d, out %q, err %q", code, out, errs)
	}
	want := &doorstepv1.Event{Id: "e1", Tenant: "acme", Type: "card.updated", ExternalReference: "card-1",
		Attributes: map[string]string{"board": "a;b", "eventUser": "545"}, Data: []byte(`{"a": 1.0 }`)}
	got := s.got[0]
	if at := got.GetOccurredAt().AsTime().Format("15:04"); at != "10:00" {
		t.Errorf("occurred at %s", at)
	}
	got.OccurredAt = nil
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}

	file := filepath.Join(t.TempDir(), "data.json")
	if err := os.WriteFile(file, []byte("{ \"b\":2 }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, _ = run("", "publish", "--type", "card.updated", "--data", "@"+file, "-o", "json")
	if code != 0 || s.got[1].GetId() == "" || !strings.Contains(out, `"event_id": "`+s.got[1].GetId()+`"`) || string(s.got[1].GetData()) != `{ "b":2 }` {
		t.Errorf("exit code %d, out %q, data %q", code, out, s.got[1].GetData())
	}
}

// Each line is an event; the data keeps its bytes; the lines that are refused are named.
func TestPublishLines(t *testing.T) {
	s := startIngest(t)
	data := `{"price": 1.50, "big":12345678901234567890,  "text":"\u00e9<"}`
	lines := []string{
		`{"type":"card.updated","id":"e1","external_reference":"r","attributes":{"k":"v"},"occurred_at":"2026-03-02T10:00:00Z","data":` + data + `}`,
		``,
		`{"type":"card.updated","dta":{}}`,
		`{"type":"bad.type"}`,
		`not json`,
		`{"type":"card.updated"} {"type":"card.updated"}`,
		`{"type":"` + strings.Repeat("x", 1<<20) + `"}`,
		`{"type":"card.created"}`,
	}
	code, out, errs := run(strings.Join(lines, "\n"), "publish", "--file", "-", "-o", "json")
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
	var sums map[string]float64
	if err := json.Unmarshal([]byte(out), &sums); err != nil || sums["published"] != 2 || sums["refused"] != 5 || sums["not_acknowledged"] != 0 {
		t.Errorf("out %s, %v", out, err)
	}
	for _, want := range []string{
		`line 3: not an event: unknown field "dta"`, "line 4: event.type: is not in the catalogue", "line 5: not an event:",
		"line 6: not an event: more than one", "line 7: longer than 1048576 bytes", "doorstep: 5 lines were refused",
	} {
		if !strings.Contains(errs, want) {
			t.Errorf("no %q in %q", want, errs)
		}
	}
	if len(s.got) != 2 || string(s.got[0].GetData()) != data || s.got[1].GetType() != "card.created" {
		t.Errorf("got %v", s.got)
	}
}

func TestPublishFile(t *testing.T) {
	s := startIngest(t)
	file := filepath.Join(t.TempDir(), "events.jsonl")
	if err := os.WriteFile(file, []byte(strings.Repeat(`{"type":"card.updated","data":1}`+"\n", 3000)), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := run("", "publish", "--file", file)
	if code != 0 || !strings.HasPrefix(out, "published 3000 events in ") || errs != "" || len(s.got) != 3000 {
		t.Errorf("exit code %d, out %q, err %q, %d events", code, out, errs, len(s.got))
	}
	if code, _, errs := run("", "publish", "--file", file+".missing"); code != 1 || !strings.Contains(errs, "no such file") {
		t.Errorf("exit code %d, err %q", code, errs)
	}
}
