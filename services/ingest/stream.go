package ingest

import (
	"context"
	"errors"
	"io"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"

	"github.com/doorstep-dev/doorstep/pkg/publish"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// renewEvery is how often the key of a stream is looked up again: a key that was deleted or has
// expired ends the stream this much later.
const renewEvery = time.Second

var errStopping = status.Error(codes.Unavailable, "the server is stopping; send what is not acknowledged to another")

// PublishStream takes events and acknowledges each by its sequence.
func (s *Service) PublishStream(call grpc.BidiStreamingServer[pb.PublishStreamRequest, pb.PublishStreamResponse]) error {
	if err := call.SendHeader(metadata.Pairs(streamEventsHeader, strconv.Itoa(MaxBatchEvents))); err != nil {
		return err
	}
	st := &stream{
		call: call, publisher: s.publisher, find: s.settings.Key, caller: callerOf(call.Context()), renewed: time.Now(),
		slots: semaphore.NewWeighted(int64(s.cfg.StreamInFlight)), more: make(chan struct{}, 1),
	}
	// The reader ends when the stream does, which is after this method: Run waits for it.
	s.readers.Go(func() { st.finish(st.read(call.Context())) })
	return st.write(call.Context(), s.stopping)
}

// streamEventsHeader says how many events a message of a stream may carry.
const streamEventsHeader = "doorstep-stream-events"

// stream is one PublishStream call. One goroutine reads events and hands them to the publisher; the
// call's own writes the acknowledgements. An event holds a slot from before it is handed over (the first of a message from
// before that is read) until its acknowledgement is sent, so a producer that does not read them is not read from either. At
// most one message waits beside.
type stream struct {
	call      grpc.BidiStreamingServer[pb.PublishStreamRequest, pb.PublishStreamResponse]
	publisher *publish.Publisher
	find      func([32]byte) (tenant.APIKey, bool)
	caller    publish.Caller // only the reader's
	renewed   time.Time      // only the reader's
	slots     *semaphore.Weighted
	more      chan struct{} // wakes the writer; holds one

	mu      sync.Mutex
	acks    []ack // to be sent
	pending int   // events that have no acknowledgement yet
	ended   bool  // no more events are taken
	result  error // what the call ends with
}

// errEnough says that no more events are taken; finish has been told why.
var errEnough = errors.New("no more events are taken")

// read takes events until the producer has no more (nil), or the stream ends or must end.
func (s *stream) read(ctx context.Context) error {
	for {
		if err := s.slots.Acquire(ctx, 1); err != nil {
			return err
		}
		req, err := s.call.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.renew(time.Now()); err != nil {
			return err
		}
		if err := s.submit(ctx, req); err != nil {
			return err
		}
	}
}

// submit hands the events of a message over; the slot of the first is taken.
func (s *stream) submit(ctx context.Context, req *pb.PublishStreamRequest) error {
	events := req.GetEvents()
	if len(events) == 0 {
		return s.submitOne(ctx, req.GetSequence(), req.GetEvent(), true)
	}
	if err := checkMessage(req); err != nil {
		return statusOf(err, "")
	}
	for i, e := range events {
		if i > 0 {
			if err := s.slots.Acquire(ctx, 1); err != nil {
				return err
			}
		}
		if err := s.submitOne(ctx, req.GetSequence()+uint64(i), e, false); err != nil { //nolint:gosec // counts up
			return err
		}
	}
	return nil
}

func (s *stream) submitOne(ctx context.Context, sequence uint64, e *pb.Event, alone bool) error {
	if !s.begin() {
		return errEnough
	}
	s.publisher.SubmitWait(ctx, s.caller, wire.EventFromProto(e), func(r publish.Result) {
		s.acknowledge(ack{sequence, resultOf(r, eventField), alone})
	})
	return nil
}

// renew errs if the caller's key holds no more.
func (s *stream) renew(now time.Time) error {
	if now.Sub(s.renewed) < renewEvery {
		return nil
	}
	p, err := s.caller.Principal.Renew(s.find, now)
	if err != nil {
		return statusOf(err, "")
	}
	if !p.Allows(tenant.ScopeEvents) {
		return statusOf(errScope, "")
	}
	s.caller.Principal, s.renewed = p, now
	return nil
}

// begin counts an event that was read, and reports false if no more are taken.
func (s *stream) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.pending++
	return true
}

// acknowledge hands an acknowledgement to the writer.
func (s *stream) acknowledge(a ack) {
	s.mu.Lock()
	s.acks = append(s.acks, a)
	s.pending--
	s.mu.Unlock()
	s.wake()
}

// finish says that no more events are taken, and what the call ends with once all are acknowledged.
// The first word counts.
func (s *stream) finish(result error) {
	s.mu.Lock()
	if !s.ended {
		s.ended, s.result = true, result
	}
	s.mu.Unlock()
	s.wake()
}

func (s *stream) wake() {
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// take returns the acknowledgements to send, and whether none can follow. It keeps room for more, which it is given back.
func (s *stream) take(room []ack) (acks []ack, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	acks, s.acks = s.acks, room
	return acks, s.ended && s.pending == 0
}

// write sends acknowledgements until the last, or until the stream ends. Once the service stops it
// ends the call behind the events that were read.
func (s *stream) write(ctx context.Context, stopping <-chan struct{}) error {
	var room []ack
	for {
		acks, last := s.take(room)
		if err := s.send(acks); err != nil {
			return err
		}
		if last {
			return s.result
		}
		clear(acks)
		room = acks[:0]
		select {
		case <-s.more:
		case <-stopping:
			stopping = nil
			s.finish(errStopping)
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
}

func (s *stream) send(acks []ack) error {
	for len(acks) > 0 {
		answer, n := answerOf(acks)
		if err := s.call.Send(answer); err != nil {
			return err
		}
		s.slots.Release(int64(n))
		acks = acks[n:]
	}
	return nil
}
