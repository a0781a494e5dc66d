package stream_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	doorstepv1 "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
	"github.com/doorstep-dev/doorstep/services/doorstep/internal/stream"
)

// server is an ingest that answers as a test wants.
type server struct {
	doorstepv1.UnimplementedIngestServiceServer
	answer   func(n int, e *doorstepv1.Event) (*doorstepv1.PublishResult, error)
	most     atomic.Int64 // events without an answer, at most
	window   int          // answers are held back until so many wait
	metadata metadata.MD
}

func (s *server) PublishStream(call grpc.BidiStreamingServer[doorstepv1.PublishStreamRequest, doorstepv1.PublishStreamResponse]) error {
	s.metadata, _ = metadata.FromIncomingContext(call.Context())
	var held []*doorstepv1.PublishStreamResponse
	for n := 1; ; n++ {
		req, err := call.Recv()
		if err != nil {
			return nil
		}
		result, err := s.answer(n, req.GetEvent())
		if err != nil {
			return err
		}
		held = append(held, &doorstepv1.PublishStreamResponse{Sequence: req.GetSequence(), Result: result})
		s.most.Store(max(s.most.Load(), int64(len(held))))
		if len(held) < s.window {
			continue
		}
		for _, a := range slices.Backward(held) {
			if err := call.Send(a); err != nil {
				return err
			}
		}
		held = nil
	}
}

func taken(_ int, e *doorstepv1.Event) (*doorstepv1.PublishResult, error) {
	return &doorstepv1.PublishResult{EventId: e.GetId()}, nil
}

func refused(code codes.Code, message string, v ...*doorstepv1.FieldViolation) *doorstepv1.PublishResult {
	return &doorstepv1.PublishResult{Error: &doorstepv1.PublishError{Code: int32(code), Message: message, Violations: v}}
}

// publishTo sends n events to s and returns what was told of each, by number.
func publishTo(t *testing.T, s *server, n, inFlight int) (map[int]stream.Result, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	doorstepv1.RegisterIngestServiceServer(g, s)
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	client, err := stream.Dial(stream.Config{Address: l.Addr().String()}, nil, "dsk_secret", "acme")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	results := map[int]stream.Result{}
	err = stream.Publish(t.Context(), client, inFlight, func(yield func(stream.Item) bool) {
		for i := 1; i <= n && yield(stream.Item{Number: i, Event: &doorstepv1.Event{Id: string(rune('a' + i%26))}}); i++ {
		}
	}, func(r stream.Result) {
		if _, twice := results[r.Number]; twice {
			t.Errorf("told twice of %d", r.Number)
		}
		results[r.Number] = r
	})
	return results, err
}

func TestAllAreToldOnceAndBounded(t *testing.T) {
	s := &server{answer: taken, window: 8}
	results, err := publishTo(t, s, 1000, 8)
	if err != nil || len(results) != 1000 {
		t.Fatalf("%d results, error %v", len(results), err)
	}
	if s.most.Load() != 8 {
		t.Errorf("%d in flight, want 8", s.most.Load())
	}
	if got := s.metadata.Get("authorization"); !slices.Equal(got, []string{"Bearer dsk_secret"}) {
		t.Errorf("authorization %q", got)
	}
	if got := s.metadata.Get("doorstep-tenant"); !slices.Equal(got, []string{"acme"}) {
		t.Errorf("tenant %q", got)
	}
}

func TestRefusalsAreNamed(t *testing.T) {
	s := &server{window: 1, answer: func(n int, e *doorstepv1.Event) (*doorstepv1.PublishResult, error) {
		if n == 2 {
			return refused(codes.InvalidArgument, "invalid", &doorstepv1.FieldViolation{Field: "event.type", Description: "is required"}), nil
		}
		return taken(n, e)
	}}
	results, err := publishTo(t, s, 3, 4)
	if err != nil || results[2].Err == nil || results[2].Err.Error() != "event.type: is required" || results[1].Err != nil || results[3].Err != nil {
		t.Errorf("results %v, error %v", results, err)
	}
}

// An event that finds no room is sent again until there is some, and told of once.
func TestNoRoomIsTriedAgain(t *testing.T) {
	s := &server{window: 1, answer: func(n int, e *doorstepv1.Event) (*doorstepv1.PublishResult, error) {
		if n <= 3 {
			return refused(codes.ResourceExhausted, "too much in flight"), nil
		}
		return taken(n, e)
	}}
	results, err := publishTo(t, s, 2, 1)
	if err != nil || len(results) != 2 || results[1].Err != nil || results[2].Err != nil {
		t.Errorf("results %v, error %v", results, err)
	}
}

func TestBrokenStreamIsTakenUpAgain(t *testing.T) {
	s := &server{window: 1, answer: func(n int, e *doorstepv1.Event) (*doorstepv1.PublishResult, error) {
		if n == 3 {
			return nil, status.Error(codes.Unavailable, "kafka away")
		}
		return taken(n, e)
	}}
	results, err := publishTo(t, s, 100, 4)
	if err != nil || len(results) != 100 || results[3].Err != nil {
		t.Errorf("%d results, of the third %v; error %v", len(results), results[3].Err, err)
	}
}

func TestEndedStreamNamesWhatIsUnknown(t *testing.T) {
	s := &server{window: 1, answer: func(n int, e *doorstepv1.Event) (*doorstepv1.PublishResult, error) {
		if n == 3 {
			return nil, status.Error(codes.PermissionDenied, "the key has lost its scope")
		}
		return taken(n, e)
	}}
	results, err := publishTo(t, s, 100, 4)
	if err == nil || !strings.Contains(err.Error(), "the key has lost its scope") {
		t.Errorf("error %v", err)
	}
	if results[1].Err != nil || !errors.Is(results[3].Err, stream.ErrUnanswered) || len(results) > 90 {
		t.Errorf("%d results: %v", len(results), results)
	}
}

func TestStopsWithItsContext(t *testing.T) {
	client, err := stream.Dial(stream.Config{Address: "127.0.0.1:1"}, nil, "dsk_secret", "")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	none := func(stream.Result) {}
	if err := stream.Publish(t.Context(), client, 1, slices.Values([]stream.Item{{Number: 1}}), none); err == nil || !strings.Contains(err.Error(), "gRPC is not available") {
		t.Errorf("nobody there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = stream.Publish(ctx, client, 1, slices.Values([]stream.Item{{Number: 1}}), none)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
