package producer

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
)

// StreamOptions are what a Stream can be told. What is 0 has its default.
type StreamOptions struct {
	// MaxEvents is how many events a message carries at most: 1 to 1,000, default 256. A server of an older version gets one.
	MaxEvents int
	// MaxBytes is how many bytes of events a message carries at most, unless it is one alone: up to 8 MiB, default 32,000. That is two
	// frames of HTTP/2 and fits the buffers that gRPC reuses; larger messages cost more for each event, not less.
	MaxBytes int
	// Linger is how long an event waits for company while others are under way; default 1 ms, negative: not at all. Where none are it
	// is sent at once, so nobody waits at a low rate.
	Linger time.Duration
	// InFlight is how many events may be without an outcome at once; then Send waits. Default 1,024.
	InFlight int
	// InFlightBytes bounds their bytes; default 16 MiB.
	InFlightBytes int
}

const (
	maxMessageEvents = 1000
	maxMessageBytes  = 8 << 20
)

func (o StreamOptions) withDefaults() (StreamOptions, error) {
	set := func(n *int, standard int) {
		if *n == 0 {
			*n = standard
		}
	}
	set(&o.MaxEvents, 256)
	set(&o.MaxBytes, 32_000)
	set(&o.InFlight, 1024)
	set(&o.InFlightBytes, 16<<20)
	if o.Linger == 0 {
		o.Linger = time.Millisecond
	}
	o.Linger = max(o.Linger, 0)
	switch {
	case o.MaxEvents < 1 || o.MaxEvents > maxMessageEvents:
		return o, fmt.Errorf("producer: MaxEvents is %d, must be 1 to %d", o.MaxEvents, maxMessageEvents)
	case o.MaxBytes < 1 || o.MaxBytes > maxMessageBytes:
		return o, fmt.Errorf("producer: MaxBytes is %d, must be 1 to %d", o.MaxBytes, maxMessageBytes)
	case o.InFlight < 1:
		return o, fmt.Errorf("producer: InFlight is %d, must be 1 or more", o.InFlight)
	case o.InFlightBytes < 1:
		return o, fmt.Errorf("producer: InFlightBytes is %d, must be 1 or more", o.InFlightBytes)
	}
	return o, nil
}

// Result is what became of an event.
type Result struct {
	ID  string // its own, or the one that was assigned
	Err error  // nil: Kafka has it. Else a *Refused, or ErrUnacknowledged is in it
}

// Stream publishes many events: it gathers them to messages, and sends what was not acknowledged again when a connection ends. It is safe for
// concurrent use; the order of the events is that of the calls of Send.
type Stream struct {
	client *Client
	o      StreamOptions
	stop   context.CancelFunc // ends everything at once
	done   chan struct{}      // closed once nothing of it runs any more
	wake   chan struct{}      // tells run to look again; holds one

	mu         sync.Mutex
	q          queue
	settled    chan struct{} // closed, and made anew, when outcomes are known that somebody waits for
	waiters    int
	flushing   int // calls of Flush: nothing lingers
	closed     bool
	pausedTo   time.Time // nothing is sent before: the server had no room
	full       int       // times in a row that it had none
	progress   time.Time // the last outcome, or when an empty queue got its first event
	progressed bool      // an outcome came on the call

	// Outcomes are told in rounds, one after another: by receive, or by run once that has ended.
	begun, ended int

	left []string // ids that had no outcome in the end; read after done
}

// NewStream makes a stream. Nothing is connected before the first event. Close ends it.
func (c *Client) NewStream(o StreamOptions) (*Stream, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Stream{client: c, o: o, stop: stop, done: make(chan struct{}), wake: make(chan struct{}, 1), settled: make(chan struct{})}
	go s.run(ctx)
	return s, nil
}

// Send hands an event over; it waits while too much is in flight. Its outcome is told once, by done, which must not block, nor call Send. It
// errs, and done is never called, if ctx ends before there is room, if the stream is closed, or if the event is too large (*Refused).
func (s *Stream) Send(ctx context.Context, e *Event, done func(Result)) error {
	now := time.Now()
	e = identified(e, now)
	size := proto.Size(e)
	if err := tooLarge(e, size); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.closed && !s.fits(size) {
		if err := s.await(ctx); err != nil {
			return err
		}
	}
	if s.closed {
		return ErrClosed
	}
	if s.q.held == 0 {
		s.progress = now
	}
	s.q.add(item{event: e, size: size, done: done, since: now})
	if s.q.waiting == 1 || s.enough() {
		s.poke()
	}
	return nil
}

// fits reports whether an event has room in flight.
func (s *Stream) fits(size int) bool {
	return s.q.held < s.o.InFlight && (s.q.held == 0 || s.q.heldBytes+size <= s.o.InFlightBytes)
}

// enough reports whether what waits need not wait for more: it fills a message, or no more can come.
func (s *Stream) enough() bool {
	return s.q.waiting >= s.o.MaxEvents || s.q.waitingBytes >= s.o.MaxBytes || s.q.held >= s.o.InFlight
}

// await lets go of the lock until outcomes are known or ctx ends.
func (s *Stream) await(ctx context.Context) error {
	settled := s.settled
	s.waiters++
	s.mu.Unlock()
	defer func() { s.mu.Lock(); s.waiters-- }()
	select {
	case <-settled:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// announce wakes those that wait for outcomes. The lock is held.
func (s *Stream) announce() {
	if s.waiters > 0 {
		close(s.settled)
		s.settled = make(chan struct{})
	}
}

func (s *Stream) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Flush waits until the outcome of everything that was handed over before is known and told. When ctx ends first it errs with an
// *Unacknowledged of what is left, which is still tried for.
func (s *Stream) Flush(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flushing++
	defer func() { s.flushing-- }()
	s.poke()
	for last := s.q.next(); s.q.first < last && s.q.held > 0; {
		if err := s.await(ctx); err != nil {
			return &Unacknowledged{IDs: s.ids(last), Cause: err}
		}
	}
	for round := s.begun; s.ended < round; { // known, and told
		if err := s.await(ctx); err != nil {
			return err
		}
	}
	return nil
}

// ids are those of the events before a sequence that have no outcome.
func (s *Stream) ids(before uint64) (ids []string) {
	for i, it := range s.q.items {
		if it.state != settled && s.q.first+uint64(i) < before { //nolint:gosec // an index
			ids = append(ids, it.event.GetId())
		}
	}
	return ids
}

// Close takes no more events, waits for the outcomes of what was handed over, and ends the stream. When ctx ends first it errs with an
// *Unacknowledged of what is left, of which done has been told too. Nothing of the stream runs once it returns.
func (s *Stream) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.announce() // to those that wait for room
	s.mu.Unlock()
	err := s.Flush(ctx)
	if err == nil {
		s.poke()
		select {
		case <-s.done: // the server has ended the call
		case <-ctx.Done():
		}
	}
	s.stop()
	<-s.done
	if len(s.left) == 0 {
		return nil
	}
	return &Unacknowledged{IDs: s.left, Cause: context.Cause(ctx)}
}
