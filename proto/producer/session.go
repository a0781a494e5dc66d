package producer

import (
	"context"
	"errors"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	doorstepv1 "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

var (
	errStalled = errors.New("no event was acknowledged in time")
	errEnded   = status.Error(codes.Unavailable, "the server has ended the stream")
)

// closeWithin is how long a server may take to end a call that has said all.
const closeWithin = 5 * time.Second

// session is one call.
type session struct {
	call grpc.BidiStreamingClient[doorstepv1.PublishStreamRequest, doorstepv1.PublishStreamResponse]
	most atomic.Int64  // events that the server takes a message; 0: one, in a field of its own
	over chan struct{} // closed when nothing more is received
	err  error         // why; read after over
}

// run holds calls, one after another, until the stream is closed and has nothing left, or ctx ends.
func (s *Stream) run(ctx context.Context) {
	defer close(s.done)
	for fails := 0; s.awaitWork(ctx); fails++ {
		err := s.hold(ctx)
		if err == nil || ctx.Err() != nil {
			break
		}
		s.mu.Lock()
		s.q.restart()
		if s.progressed {
			fails, s.progressed = 0, false
		}
		overdue := s.q.held > 0 && time.Since(s.progress) >= s.client.retryFor
		s.mu.Unlock()
		if overdue || forGood(status.Code(err)) {
			s.giveUp(err)
		}
		if !sleep(ctx, pause(fails)) {
			break
		}
	}
	s.left = s.giveUp(context.Canceled)
}

// awaitWork waits until there is something to send, and reports false if there will be nothing.
func (s *Stream) awaitWork(ctx context.Context) bool {
	for ctx.Err() == nil {
		s.mu.Lock()
		some, closed := s.q.held > 0, s.closed
		s.mu.Unlock()
		if some || closed {
			return some
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
		}
	}
	return false
}

// giveUp ends all that has no outcome, and returns the ids.
func (s *Stream) giveUp(cause error) (ids []string) {
	s.mu.Lock()
	left := s.q.clear()
	s.progress = time.Now()
	s.begun++
	s.announce()
	s.mu.Unlock()
	err, told := unacknowledged(cause), make([]outcome, 0, len(left))
	for _, it := range left {
		ids = append(ids, it.event.GetId())
		told = append(told, outcome{it.done, Result{ID: it.event.GetId(), Err: err}})
	}
	s.tell(told)
	return ids
}

// tell tells outcomes, of a round that has begun under the lock under which they came to be known.
func (s *Stream) tell(told []outcome) {
	for _, t := range told {
		t.done(t.result)
	}
	s.mu.Lock()
	s.ended++
	s.announce()
	s.mu.Unlock()
}

// hold sends over one call until that ends: with nil if there is nothing more to send, ever.
func (s *Stream) hold(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var within sync.WaitGroup
	defer within.Wait()
	defer cancel(nil)
	call, err := s.client.ingest.PublishStream(ctx)
	if err != nil {
		return ended(ctx, err)
	}
	c := &session{call: call, over: make(chan struct{})}
	within.Go(func() { s.watch(ctx, cancel) })
	within.Go(func() {
		defer close(c.over)
		c.err = s.receive(c)
	})
	all := s.send(c)
	if all {
		_ = call.CloseSend() // errs if the call is over
		defer time.AfterFunc(closeWithin, func() { cancel(errEnded) }).Stop()
	}
	<-c.over
	switch {
	case !errors.Is(c.err, io.EOF):
		return ended(ctx, c.err)
	case !all:
		return errEnded
	}
	return nil
}

// watch ends the call when nothing of what it holds is answered: another server may answer, or this one anew.
func (s *Stream) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	limit, began := tryTimeout, time.Now()
	if s.client.retryFor > 0 {
		limit = min(limit, s.client.retryFor)
	}
	for wait := limit; sleep(ctx, wait); {
		s.mu.Lock()
		held, since := s.q.held, time.Since(latest(s.progress, began))
		s.mu.Unlock()
		switch {
		case held == 0:
			wait = limit
		case since >= limit:
			cancel(errStalled)
		default:
			wait = limit - since
		}
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// send sends what is due until the call is over, or all is sent and acknowledged that ever will be (true).
func (s *Stream) send(c *session) (all bool) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		req, wait, all := s.next(int(c.most.Load()))
		if all {
			return true
		}
		if req != nil {
			if c.call.Send(req) != nil {
				return false // receive is told why
			}
			continue
		}
		var late <-chan time.Time
		if wait > 0 {
			timer.Reset(wait)
			late = timer.C
		}
		select {
		case <-s.wake:
		case <-late:
		case <-c.over:
			return false
		}
	}
}

// next is the next message; nil if there is none before wait has passed (0: before it is woken).
func (s *Stream) next(most int) (req *doorstepv1.PublishStreamRequest, wait time.Duration, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	due, wait := s.due(time.Now())
	if !due {
		return nil, wait, s.closed && s.q.held == 0
	}
	sequence, events := s.q.take(max(1, min(most, s.o.MaxEvents)), s.o.MaxBytes)
	if most == 0 {
		return &doorstepv1.PublishStreamRequest{Sequence: sequence, Event: events[0]}, 0, false
	}
	return &doorstepv1.PublishStreamRequest{Sequence: sequence, Events: events}, 0, false
}

// due reports whether what waits is to be sent now, or in how long if nobody wakes it.
func (s *Stream) due(now time.Time) (bool, time.Duration) {
	if s.q.waiting == 0 {
		return false, 0
	}
	if wait := s.pausedTo.Sub(now); wait > 0 {
		return false, wait
	}
	if s.enough() || s.flushing > 0 || s.closed || s.q.waiting == s.q.held {
		return true, 0
	}
	wait := s.o.Linger - now.Sub(s.q.oldest().since)
	return wait <= 0, wait
}

// receive tells of outcomes until the call is over, and returns why that is.
func (s *Stream) receive(c *session) error {
	if header, err := c.call.Header(); err == nil { // a server of an older version sends it with its first answer
		if v := header.Get("doorstep-stream-events"); len(v) == 1 {
			n, _ := strconv.Atoi(v[0])
			c.most.Store(int64(max(0, n)))
		}
	}
	for {
		answer, err := c.call.Recv()
		if err != nil {
			return err
		}
		acks := answer.GetAcknowledgements()
		if len(acks) == 0 {
			acks = []*doorstepv1.Acknowledgement{{Sequence: answer.GetSequence(), Result: answer.GetResult()}}
		}
		s.answered(acks)
	}
}

// outcome is what is to be told.
type outcome struct {
	done   func(Result)
	result Result
}

// answered notes acknowledgements and tells of those that are final.
func (s *Stream) answered(acks []*doorstepv1.Acknowledgement) {
	told := make([]outcome, 0, len(acks))
	now := time.Now()
	s.mu.Lock()
	full := false
	for _, a := range acks {
		it := s.q.find(a.GetSequence())
		if it == nil {
			continue
		}
		refused := refusedIn(it.event.GetId(), a.GetResult().GetError())
		if refused != nil && passing(refused.Code) && now.Sub(it.since) < s.client.retryFor {
			s.q.again(a.GetSequence())
			full = true
			continue
		}
		told = append(told, outcome{it.done, Result{ID: it.event.GetId(), Err: finally(refused)}})
		s.q.settle(it)
	}
	switch {
	case full:
		s.pausedTo = now.Add(pause(s.full))
		s.full++
	case len(told) > 0:
		s.full = 0
	}
	if len(told) > 0 {
		s.progress, s.progressed = now, true
		s.announce()
	}
	s.begun++
	if full || s.q.waiting == s.q.held {
		s.poke()
	}
	s.mu.Unlock()
	s.tell(told)
}

// finally is the error of an event that is not tried again.
func finally(r *Refused) error {
	switch {
	case r == nil:
		return nil
	case maybeTaken(r.Code):
		return unacknowledged(r)
	}
	return r
}
