package producer_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/doorstep-dev/doorstep/proto/producer"

	doorstepv1 "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fault is what befalls an event.
type fault int

const (
	none    fault = iota
	die           // the call ends before the event is taken
	takeDie       // the call ends after it is taken
	full          // refused for want of room
	away          // refused because Kafka is away, though it is taken
	invalid       // refused for what it is
	twice         // acknowledged twice
	hang          // never answered, nor is anything behind it
	faults        // how many there are
)

// server takes events as an ingest does, but for what its test wants to go wrong.
type server struct {
	doorstepv1.UnimplementedIngestServiceServer
	old   bool              // takes one event a message, and says nothing of more
	fault func(n int) fault // of the event that comes as the nth, from 1 on
	deny  codes.Code        // every call ends so

	mu      sync.Mutex
	came    int
	calls   int
	taken   []string // ids, in order, those that came again too
	largest int      // events of a message
	most    int      // bytes of one
	md      metadata.MD
}

func (s *server) take(e *doorstepv1.Event) fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.came++
	f := none
	if s.fault != nil {
		f = s.fault(s.came)
	}
	if f == none || f == takeDie || f == away || f == twice {
		s.taken = append(s.taken, e.GetId())
	}
	return f
}

func (s *server) begin(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	s.md, _ = metadata.FromIncomingContext(ctx)
	if s.deny != codes.OK {
		return status.Error(s.deny, "denied")
	}
	return nil
}

func (f fault) result(id string) *doorstepv1.PublishResult {
	r := &doorstepv1.PublishResult{EventId: id}
	switch f {
	case full:
		r.Error = &doorstepv1.PublishError{Code: int32(codes.ResourceExhausted), Message: "no room"}
	case away:
		r.Error = &doorstepv1.PublishError{Code: int32(codes.Unavailable), Message: "kafka away"}
	case invalid:
		r.Error = &doorstepv1.PublishError{Code: int32(codes.InvalidArgument), Message: "invalid", Violations: []*doorstepv1.FieldViolation{{Field: "event.type", Description: "is required"}}}
	}
	return r
}

func (s *server) Publish(ctx context.Context, req *doorstepv1.PublishRequest) (*doorstepv1.PublishResponse, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	f := s.take(req.GetEvent())
	switch f {
	case die, takeDie:
		return nil, status.Error(codes.Unavailable, "going away")
	case hang:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	r := f.result(req.GetEvent().GetId())
	if r.Error != nil {
		return nil, status.Error(codes.Code(r.Error.Code), r.Error.Message) //nolint:gosec // 0 to 16
	}
	return &doorstepv1.PublishResponse{EventId: r.EventId}, nil
}

func (s *server) PublishStream(call grpc.BidiStreamingServer[doorstepv1.PublishStreamRequest, doorstepv1.PublishStreamResponse]) error {
	if err := s.begin(call.Context()); err != nil {
		return err
	}
	if !s.old {
		if err := call.SendHeader(metadata.Pairs("doorstep-stream-events", "1000")); err != nil {
			return err
		}
	}
	for {
		req, err := call.Recv()
		if err != nil {
			return nil //nolint:nilerr // the producer has no more, or is gone
		}
		events := req.GetEvents()
		if len(events) == 0 || s.old {
			events = []*doorstepv1.Event{req.GetEvent()}
		}
		s.note(events)
		var acks []*doorstepv1.Acknowledgement
		for i, e := range events {
			f := s.take(e)
			switch f {
			case die, takeDie:
				return status.Error(codes.Unavailable, "going away")
			case hang:
				<-call.Context().Done()
				return nil
			}
			ack := &doorstepv1.Acknowledgement{Sequence: req.GetSequence() + uint64(i), Result: f.result(e.GetId())} //nolint:gosec // an index
			acks = append(acks, ack)
			if f == twice {
				acks = append(acks, ack)
			}
		}
		if err := answer(call, req, acks); err != nil {
			return err
		}
	}
}

func (s *server) note(events []*doorstepv1.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	bytes := 0
	for _, e := range events {
		bytes += len(e.GetData())
	}
	s.largest, s.most = max(s.largest, len(events)), max(s.most, bytes)
}

// answer sends acknowledgements, the last first, as their events came.
func answer(call grpc.BidiStreamingServer[doorstepv1.PublishStreamRequest, doorstepv1.PublishStreamResponse], req *doorstepv1.PublishStreamRequest, acks []*doorstepv1.Acknowledgement) error {
	slices.Reverse(acks)
	if len(req.GetEvents()) > 0 {
		return call.Send(&doorstepv1.PublishStreamResponse{Acknowledgements: acks})
	}
	for _, a := range acks {
		if err := call.Send(&doorstepv1.PublishStreamResponse{Sequence: a.GetSequence(), Result: a.GetResult()}); err != nil {
			return err
		}
	}
	return nil
}

// first are the ids that were taken, each where it came first.
func (s *server) first() (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[string]bool{}
	for _, id := range s.taken {
		if !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return ids
}

type fataler interface {
	Helper()
	Fatal(...any)
}

// serve serves s in memory and returns a client of it, and what ends both.
func serve(t fataler, s *server, o producer.Options) (c *producer.Client, end func()) {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	g := grpc.NewServer(grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second})) // as ingest's
	doorstepv1.RegisterIngestServiceServer(g, s)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = g.Serve(l)
	}()
	o.Key, o.Plain = "dsk_secret", true
	o.Dial = append(o.Dial, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	c, err := producer.New("passthrough:///memory", o)
	if err != nil {
		t.Fatal(err)
	}
	return c, func() {
		_ = c.Close()
		g.Stop()
		<-served
	}
}

// told collects outcomes.
type told struct {
	mu   sync.Mutex
	ids  []string
	errs map[string]error
}

func (o *told) done(r producer.Result) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.errs == nil {
		o.errs = map[string]error{}
	}
	o.ids = append(o.ids, r.ID)
	o.errs[r.ID] = r.Err
}

func event(id string) *producer.Event {
	return &producer.Event{Id: id, Type: "card.updated", Data: []byte(`{"a":1}`)}
}

func sized(id string, bytes int) *producer.Event {
	return &producer.Event{Id: id, Type: "a", Data: []byte(`"` + strings.Repeat("x", bytes-2) + `"`)}
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
