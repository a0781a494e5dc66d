package producer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/proto/producer"
)

// Whatever befalls events and calls: each has one outcome; what was acknowledged was taken; what is not refused for what it is, is taken in
// the end, and in the order in which it was sent unless single events were refused for the moment.
func TestNothingIsLostOrReordered(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := plan{
			events: rapid.IntRange(1, 60).Draw(rt, "events"), old: rapid.Bool().Draw(rt, "old"),
			bad: rapid.MapOfN(rapid.IntRange(1, 80), rapid.SampledFrom([]fault{die, takeDie, full, away, invalid, twice, hang}), 0, 8).Draw(rt, "faults"),
			o: producer.StreamOptions{
				MaxEvents: rapid.IntRange(1, 20).Draw(rt, "a message"), MaxBytes: rapid.IntRange(1, 500).Draw(rt, "bytes"),
				InFlight: rapid.IntRange(1, 40).Draw(rt, "in flight"), InFlightBytes: rapid.IntRange(1, 4000).Draw(rt, "bytes in flight"),
			},
			pause: rapid.IntRange(1, 60).Draw(rt, "pause every"),
		}
		var err error
		synctest.Test(t, func(t *testing.T) { err = p.run(t) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

// plan is one run against a server.
type plan struct {
	events int
	old    bool
	bad    map[int]fault
	o      producer.StreamOptions
	pause  int // events between pauses
}

func (p plan) run(t *testing.T) error {
	s := &server{old: p.old, fault: func(n int) fault { return p.bad[n] }}
	c, end := serve(t, s, producer.Options{RetryFor: time.Hour})
	defer end()
	stream, err := c.NewStream(p.o)
	if err != nil {
		return err
	}
	var out told
	var ids []string
	for i := range p.events {
		ids = append(ids, fmt.Sprint("e", i))
		if err := stream.Send(t.Context(), event(ids[i]), out.done); err != nil {
			return err
		}
		if i%p.pause == 0 {
			time.Sleep(5 * time.Millisecond)
		}
	}
	if err := stream.Close(t.Context()); err != nil {
		return err
	}
	return p.check(s, &out, ids)
}

func (p plan) check(s *server, out *told, ids []string) error {
	if len(out.ids) != len(ids) || len(out.errs) != len(ids) {
		return fmt.Errorf("%d events, %d outcomes of %d", len(ids), len(out.ids), len(out.errs))
	}
	first, ordered := s.first(), true
	for _, f := range p.bad {
		ordered = ordered && f != full && f != invalid
	}
	for _, id := range ids {
		var refused *producer.Refused
		switch err := out.errs[id]; {
		case err == nil && !slices.Contains(first, id):
			return fmt.Errorf("%s was acknowledged and never taken", id)
		case err != nil && (!errors.As(err, &refused) || refused.Code != codes.InvalidArgument || refused.Fields[0].Name != "event.type" || refused.EventID != id):
			return fmt.Errorf("%s: %w", id, err)
		}
	}
	if ordered && !slices.Equal(first, ids) {
		return fmt.Errorf("taken in the order %v", first)
	}
	return nil
}

func TestStreamGathersEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		c, end := serve(t, s, producer.Options{Tenant: "acme"})
		defer end()
		stream, err := c.NewStream(producer.StreamOptions{MaxEvents: 10, MaxBytes: 5000, Linger: 10 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		var out told
		began := time.Now()
		for i := range 200 {
			if err := stream.Send(t.Context(), sized(fmt.Sprint("e", i), 1000), out.done); err != nil {
				t.Fatal(err)
			}
		}
		if err := stream.Flush(t.Context()); err != nil || len(out.ids) != 200 {
			t.Fatalf("%v, %d outcomes", err, len(out.ids))
		}
		if s.largest != 4 || s.most > 5000 || s.calls != 1 {
			t.Errorf("messages of %d events, %d bytes, on %d calls", s.largest, s.most, s.calls)
		}
		if d := time.Since(began); d > 0 {
			t.Errorf("it took %s: nothing had to wait", d)
		}
		if md := s.md; !slices.Equal(md.Get("authorization"), []string{"Bearer dsk_secret"}) || !slices.Equal(md.Get("doorstep-tenant"), []string{"acme"}) {
			t.Errorf("metadata %v", md)
		}
		if err := stream.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := stream.Send(t.Context(), event("late"), out.done); !errors.Is(err, producer.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// An event that is alone is sent at once; others linger while it is under way, and no longer than that.
func TestLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{fault: func(n int) fault { // the first is never answered
			if n == 1 {
				return hang
			}
			return none
		}}
		c, end := serve(t, s, producer.Options{RetryFor: time.Second})
		defer end()
		stream, err := c.NewStream(producer.StreamOptions{Linger: 100 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		var out told
		for i := range 3 {
			if err := stream.Send(t.Context(), event(fmt.Sprint("e", i)), out.done); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if s.came != 1 {
			t.Errorf("%d came, want the one that was alone", s.came)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		err = stream.Flush(ctx)
		var left *producer.Unacknowledged
		if !errors.As(err, &left) || !slices.Equal(left.IDs, []string{"e0", "e1", "e2"}) || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, producer.ErrUnacknowledged) {
			t.Errorf("Flush: %v", err)
		}
		time.Sleep(time.Second) // RetryFor passes: the call that hangs is given up
		synctest.Wait()
		if len(out.ids) != 3 || !errors.Is(out.errs["e1"], producer.ErrUnacknowledged) {
			t.Errorf("outcomes %v", out.errs)
		}
		if err := stream.Send(t.Context(), event("e3"), out.done); err != nil {
			t.Fatal(err)
		}
		if err := stream.Close(t.Context()); err != nil || out.errs["e3"] != nil || len(out.ids) != 4 {
			t.Errorf("the stream goes on: %v, %v", err, out.errs)
		}
	})
}

func TestSendWaitsForRoom(t *testing.T) {
	for name, o := range map[string]producer.StreamOptions{"events": {InFlight: 3}, "bytes": {InFlightBytes: 3500}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{fault: func(int) fault { return hang }}
				c, end := serve(t, s, producer.Options{})
				defer end()
				stream, err := c.NewStream(o)
				if err != nil {
					t.Fatal(err)
				}
				var out told
				for i := range 3 {
					if err := stream.Send(t.Context(), sized(fmt.Sprint("e", i), 1000), out.done); err != nil {
						t.Fatal(err)
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := stream.Send(ctx, sized("e3", 1000), out.done); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("one too many: %v", err)
				}
				err = stream.Close(ctx)
				var left *producer.Unacknowledged
				if !errors.As(err, &left) || !slices.Equal(left.IDs, []string{"e0", "e1", "e2"}) || !slices.Equal(out.ids, left.IDs) {
					t.Errorf("Close: %v, told of %v", err, out.ids)
				}
			})
		})
	}
}

// A key that is not accepted ends what is sent with it, and does not wear out the server.
func TestLastingRefusalOfTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{deny: codes.Unauthenticated}
		c, end := serve(t, s, producer.Options{})
		defer end()
		stream, err := c.NewStream(producer.StreamOptions{InFlight: 1})
		if err != nil {
			t.Fatal(err)
		}
		var out told
		began := time.Now()
		for i := range 50 {
			if err := stream.Send(t.Context(), event(fmt.Sprint("e", i)), out.done); err != nil {
				t.Fatal(err)
			}
		}
		if err := stream.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		for id, err := range out.errs {
			if status.Code(err) != codes.Unauthenticated || !errors.Is(err, producer.ErrUnacknowledged) {
				t.Errorf("%s: %v", id, err)
			}
		}
		if took := time.Since(began); s.calls > 50 || took < 30*time.Second {
			t.Errorf("%d calls in %s", s.calls, took)
		}
	})
}

func TestStreamOptions(t *testing.T) {
	c, end := serve(t, &server{}, producer.Options{})
	defer end()
	for name, o := range map[string]producer.StreamOptions{
		"events above a message's": {MaxEvents: 1001}, "events below": {MaxEvents: -1}, "bytes above": {MaxBytes: 8<<20 + 1}, "bytes below": {MaxBytes: -1},
		"nothing in flight": {InFlight: -1}, "no bytes in flight": {InFlightBytes: -1},
	} {
		if _, err := c.NewStream(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	stream, err := c.NewStream(producer.StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var refused *producer.Refused
	if err := stream.Send(t.Context(), sized("e1", 600<<10), nil); !errors.As(err, &refused) || refused.Fields[0].Name != "event" {
		t.Errorf("an event that no server takes: %v", err)
	}
	if err := stream.Close(soon(t)); err != nil {
		t.Error(err)
	}
}
