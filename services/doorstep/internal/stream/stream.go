// Package stream publishes events over gRPC: any number of them, a bounded number in flight, the
// fate of each told once.
//
// An event that the server has no room for at the moment (RESOURCE_EXHAUSTED) was not taken, so it
// is sent again for a while. Nothing else is sent twice: the caller decides.
package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	doorstepv1 "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

// How an event that found no room is sent again.
const (
	roomPause    = 100 * time.Millisecond // before it is sent again
	roomPatience = 30 * time.Second       // after which it counts as refused
)

// Item is one event to publish with the caller's number for it, such as its line in a file.
type Item struct {
	Number int
	Event  *doorstepv1.Event
}

// Result is what became of an item: its id, or why it was not taken.
type Result struct {
	Number  int
	EventID string
	Err     error
}

// Publish sends all items and tells the result of each through told, one at a time, in the order
// in which they were decided. At most inFlight wait for their answer at once. It errs if the
// stream ended early; then it has told of every item sent, and of no other.
func Publish(ctx context.Context, conn grpc.ClientConnInterface, inFlight int, items iter.Seq[Item], told func(Result)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	call, err := doorstepv1.NewIngestServiceClient(conn).PublishStream(ctx)
	if err != nil {
		return Plain(err)
	}
	p := &publisher{
		call: call, told: told, pending: map[uint64]*waiting{},
		slots: make(chan struct{}, inFlight), again: make(chan uint64, inFlight), ended: make(chan struct{}),
	}
	go p.receive()
	sendErr := p.send(ctx, items)
	if sendErr == nil {
		sendErr = call.CloseSend()
	} else if ctx.Err() != nil {
		cancel() // the caller stopped: the stream ends now, what waits is told as unanswered
	}
	<-p.ended
	p.tellUnanswered()
	if p.err != nil {
		return Plain(p.err)
	}
	return sendErr
}

// waiting is an item without an answer yet.
type waiting struct {
	Item
	first time.Time // when it was first sent
}

type publisher struct {
	call  grpc.BidiStreamingClient[doorstepv1.PublishStreamRequest, doorstepv1.PublishStreamResponse]
	told  func(Result)
	slots chan struct{} // one element for each item without an answer
	again chan uint64   // sequences that found no room

	mu      sync.Mutex
	pending map[uint64]*waiting

	ended chan struct{} // closed when nothing more is received
	err   error         // why; read after ended
}

// errEnded says that the stream is over; the receiving side knows why.
var errEnded = errors.New("stream ended")

// send sends the items, those that found no room again, and returns when all are answered.
func (p *publisher) send(ctx context.Context, items iter.Seq[Item]) error {
	var sequence uint64
	for item := range items {
		if err := p.until(ctx, p.slots); err != nil {
			return err
		}
		sequence++
		p.mu.Lock()
		p.pending[sequence] = &waiting{item, time.Now()}
		p.mu.Unlock()
		if err := p.sendOne(sequence, item.Event); err != nil {
			return err
		}
	}
	// Every slot taken means that no item is left without an answer.
	for range cap(p.slots) {
		if err := p.until(ctx, p.slots); err != nil {
			return err
		}
	}
	return nil
}

// until takes a slot, sending again what found no room meanwhile.
func (p *publisher) until(ctx context.Context, slots chan<- struct{}) error {
	for {
		select {
		case slots <- struct{}{}:
			return nil
		case sequence := <-p.again:
			select {
			case <-time.After(roomPause):
			case <-p.ended:
				return errEnded
			case <-ctx.Done():
				return ctx.Err()
			}
			p.mu.Lock()
			w := p.pending[sequence]
			p.mu.Unlock()
			if err := p.sendOne(sequence, w.Event); err != nil {
				return err
			}
		case <-p.ended:
			return errEnded
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *publisher) sendOne(sequence uint64, e *doorstepv1.Event) error {
	err := p.call.Send(&doorstepv1.PublishStreamRequest{Sequence: sequence, Event: e})
	if err != nil {
		return errEnded // io.EOF: Recv has the reason
	}
	return nil
}

// receive tells of each answer until the stream ends.
func (p *publisher) receive() {
	defer close(p.ended)
	for {
		answer, err := p.call.Recv()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			p.err = err
			return
		}
		p.answered(answer.GetSequence(), answer.GetResult())
	}
}

func (p *publisher) answered(sequence uint64, r *doorstepv1.PublishResult) {
	p.mu.Lock()
	w, ok := p.pending[sequence]
	full := ok && codes.Code(r.GetError().GetCode()) == codes.ResourceExhausted && time.Since(w.first) < roomPatience //nolint:gosec // codes are 0 to 16
	if ok && !full {
		delete(p.pending, sequence)
	}
	p.mu.Unlock()
	switch {
	case !ok:
	case full:
		p.again <- sequence
	default:
		p.told(Result{Number: w.Number, EventID: r.GetEventId(), Err: refusal(r.GetError())})
		<-p.slots
	}
}

// tellUnanswered tells of what was sent on a stream that ended before its answer came. Such an
// event may have been taken.
func (p *publisher) tellUnanswered() {
	for _, sequence := range slices.Sorted(maps.Keys(p.pending)) {
		p.told(Result{Number: p.pending[sequence].Number, Err: ErrUnanswered})
	}
}

// ErrUnanswered says that it is not known whether the event was taken: publish it again with the
// same id.
var ErrUnanswered = errors.New("not acknowledged")

// refusal is the server's reason not to take an event, nil if it took it.
func refusal(e *doorstepv1.PublishError) error {
	if e == nil {
		return nil
	}
	violations := e.GetViolations()
	if len(violations) == 0 {
		return errors.New(e.GetMessage())
	}
	texts := make([]string, len(violations))
	for i, v := range violations {
		texts[i] = v.GetField() + ": " + v.GetDescription()
	}
	return errors.New(strings.Join(texts, "; "))
}

// Plain puts a gRPC error in plain words.
func Plain(err error) error {
	s := status.Convert(err)
	switch s.Code() {
	case codes.Canceled:
		return context.Canceled
	case codes.Unauthenticated:
		return fmt.Errorf("the API key is not accepted: %s", s.Message())
	case codes.PermissionDenied:
		return fmt.Errorf("the API key may not do this: %s", s.Message())
	case codes.Unavailable:
		return fmt.Errorf("gRPC is not available: %s (is `doorstep up` running? DOORSTEP_GRPC says where)", s.Message())
	default:
		return fmt.Errorf("%s: %s", s.Code(), s.Message())
	}
}
