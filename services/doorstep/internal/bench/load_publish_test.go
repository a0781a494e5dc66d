package bench

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

// ingestServer takes events as an ingest does, and refuses what its settings say.
type ingestServer struct {
	pb.UnimplementedIngestServiceServer
	refuse string // events of that type
	cutAt  int64  // the stream ends there; 0: never
	taken  atomic.Int64
	key    atomic.Value
}

func (s *ingestServer) Publish(ctx context.Context, req *pb.PublishRequest) (*pb.PublishResponse, error) {
	if req.GetEvent().GetType() == s.refuse {
		return nil, status.Error(codes.InvalidArgument, "no such type")
	}
	md, _ := metadata.FromIncomingContext(ctx)
	s.key.Store(strings.Join(md.Get("authorization"), ","))
	s.taken.Add(1)
	return &pb.PublishResponse{}, nil
}

func (s *ingestServer) PublishStream(call grpc.BidiStreamingServer[pb.PublishStreamRequest, pb.PublishStreamResponse]) error {
	for {
		req, err := call.Recv()
		if err != nil {
			return nil //nolint:nilerr // the caller has no more
		}
		if s.taken.Add(1) == s.cutAt {
			return status.Error(codes.Unavailable, "going away")
		}
		result := &pb.PublishResult{}
		if req.GetEvent().GetType() == s.refuse {
			result.Error = &pb.PublishError{Code: int32(codes.InvalidArgument), Message: "no such type"}
		}
		if err := call.Send(&pb.PublishStreamResponse{Sequence: req.GetSequence(), Result: result}); err != nil {
			return err
		}
	}
}

// publisherTo is a publisher to a server that lives as long as the test.
func publisherTo(t *testing.T, s *ingestServer) *publisher {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterIngestServiceServer(server, s)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	p, err := newPublisher(l.Addr().String(), "dsk_key")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.close()
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return p
}

// counted is next for n events, the last of them of a type of its own.
func counted(n int64) func(context.Context) (*pb.Event, error) {
	var taken atomic.Int64
	return func(context.Context) (*pb.Event, error) {
		switch i := taken.Add(1); {
		case i > n:
			return nil, errEnough
		case i == n:
			return &pb.Event{Type: "last"}, nil
		default:
			return &pb.Event{Type: "other"}, nil
		}
	}
}

func TestStreamTellsWhatWasNotAcknowledged(t *testing.T) {
	for name, tt := range map[string]struct {
		server *ingestServer
		says   string // empty: all is well
	}{
		"all taken":   {&ingestServer{}, ""},
		"one refused": {&ingestServer{refuse: "last"}, "no such type"},
		"cut off":     {&ingestServer{cutAt: 40}, "going away"},
	} {
		t.Run(name, func(t *testing.T) {
			p := publisherTo(t, tt.server)
			var accepted atomic.Int64
			err := p.stream(t.Context(), 3, &accepted, counted(100))
			switch {
			case tt.says == "" && (err != nil || accepted.Load() != 100 || tt.server.taken.Load() != 100):
				t.Errorf("%v; %d acknowledged, %d taken", err, accepted.Load(), tt.server.taken.Load())
			case tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)):
				t.Errorf("%v; want %q in it", err, tt.says)
			}
		})
	}
}

func TestStreamEndsWithItsSource(t *testing.T) {
	p := publisherTo(t, &ingestServer{})
	broken := errors.New("broken")
	var accepted atomic.Int64
	if err := p.stream(t.Context(), 2, &accepted, func(context.Context) (*pb.Event, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("a source that fails: %v", err)
	}
}

func TestUnaryPublishesThePlan(t *testing.T) {
	server := &ingestServer{refuse: "last"}
	p := publisherTo(t, server)
	plan := arrivals(2000, 50*time.Millisecond)
	began := time.Now()
	err := p.unary(t.Context(), began, plan, func(i int, at time.Time) *pb.Event {
		if at != began.Add(plan[i]) {
			t.Errorf("event %d is due %s, not %s", i, at.Sub(began), plan[i])
		}
		return &pb.Event{Type: "other"}
	})
	if err != nil || server.taken.Load() != int64(len(plan)) || server.key.Load() != "Bearer dsk_key" {
		t.Errorf("%v; %d of %d taken, from %q", err, server.taken.Load(), len(plan), server.key.Load())
	}
	if err := p.unary(t.Context(), time.Now(), plan, func(int, time.Time) *pb.Event { return &pb.Event{Type: "last"} }); err == nil || !strings.Contains(err.Error(), "no such type") {
		t.Errorf("a refusal: %v", err)
	}
}

// A stream of planned events keeps their times, and takes each once.
func TestPlanned(t *testing.T) {
	plan := arrivals(5000, 20*time.Millisecond)
	began := time.Now()
	var seen []int
	next := planned(began, plan, func(i int, at time.Time) *pb.Event {
		if now := time.Now(); now.Before(at) || at != began.Add(plan[i]) {
			t.Errorf("event %d is due %s after the start, at %s", i, plan[i], now.Sub(began))
		}
		seen = append(seen, i)
		return &pb.Event{}
	})
	for {
		_, err := next(t.Context())
		if errors.Is(err, errEnough) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != len(plan) || seen[0] != 0 || seen[len(seen)-1] != len(plan)-1 {
		t.Errorf("%d of %d were taken", len(seen), len(plan))
	}
}
