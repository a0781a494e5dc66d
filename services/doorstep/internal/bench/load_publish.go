package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
	"github.com/doorstep-dev/doorstep/proto/producer"
	"golang.org/x/sync/errgroup"
)

// errEnough ends a load: there is nothing more to publish.
var errEnough = errors.New("enough")

// stream publishes over as many streams until next says errEnough, and returns once every event is acknowledged, which
// accepted counts. next is called by all streams at once; it may wait.
func (p *publisher) stream(ctx context.Context, streams int, accepted *atomic.Int64, next func(context.Context) (*pb.Event, error)) error {
	all, ctx := errgroup.WithContext(ctx)
	for range streams {
		all.Go(func() error { return p.streamOne(ctx, accepted, next) })
	}
	if err := all.Wait(); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

func (p *publisher) streamOne(ctx context.Context, accepted *atomic.Int64, next func(context.Context) (*pb.Event, error)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream, err := p.producer.NewStream(producer.StreamOptions{})
	if err != nil {
		return err
	}
	done := func(r producer.Result) {
		if r.Err != nil {
			cancel(fmt.Errorf("event %s: %w", r.ID, r.Err))
			return
		}
		accepted.Add(1)
	}
	for err == nil && ctx.Err() == nil {
		var event *pb.Event
		if event, err = next(ctx); err == nil {
			err = stream.Send(ctx, event, done)
		}
	}
	if errors.Is(err, errEnough) {
		err = nil
	}
	err = errors.Join(err, stream.Close(ctx))
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// gate keeps what is under way within a bound: a closed loop.
type gate struct {
	bound int64
	in    atomic.Int64 // let in
	out   atomic.Int64 // come out at the other end
}

// enter lets n in once there is room, or says why not: errEnough from until on.
func (g *gate) enter(ctx context.Context, n int64, until time.Time) error {
	for {
		if !time.Now().Before(until) {
			return errEnough
		}
		in := g.in.Load()
		if in+n-g.out.Load() > g.bound {
			if err := pause(ctx, time.Millisecond); err != nil {
				return err
			}
			continue
		}
		if g.in.CompareAndSwap(in, in+n) {
			return nil
		}
	}
}

// follow notes what has come out, until ctx ends.
func (g *gate) follow(ctx context.Context, count func(context.Context) (int64, error)) error {
	for ctx.Err() == nil {
		switch n, err := count(ctx); {
		case err == nil:
			g.out.Store(n)
		case ctx.Err() == nil:
			return err
		}
		_ = pause(ctx, metricsEvery) // the loop sees that ctx has ended
	}
	return nil
}

// arrivals are when events come in an open loop, from its start on: rate a second for a time, each at a random moment of its own
// slot, so that they keep step with nothing that is done at intervals.
func arrivals(rate float64, d time.Duration) []time.Duration {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same load in every run
	slot := float64(time.Second) / rate
	at := make([]time.Duration, int(rate*d.Seconds()))
	for i := range at {
		at[i] = time.Duration((float64(i) + random.Float64()) * slot)
	}
	return at
}

// openLoop calls send at each moment of a plan, whatever became of those before; at is when it was due.
func openLoop(ctx context.Context, began time.Time, plan []time.Duration, send func(i int, at time.Time) error) error {
	for i, offset := range plan {
		at := began.Add(offset)
		if err := pause(ctx, time.Until(at)); err != nil {
			return err
		}
		if err := send(i, at); err != nil {
			return err
		}
	}
	return nil
}

// unary publishes each event of a plan by a call of its own, and returns once all are acknowledged. Calls wait for nothing but
// their time.
func (p *publisher) unary(ctx context.Context, began time.Time, plan []time.Duration, event func(i int, at time.Time) *pb.Event) error {
	calls, ctx := errgroup.WithContext(p.with(ctx))
	err := openLoop(ctx, began, plan, func(i int, at time.Time) error {
		calls.Go(func() error {
			_, err := p.client.Publish(ctx, &pb.PublishRequest{Event: event(i, at)})
			return err
		})
		return nil
	})
	if failed := calls.Wait(); failed != nil {
		err = failed // which ended the loop
	}
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// benchEvent is an event of bodyBytes of data as producers publish it.
func benchEvent(bodyBytes int) *pb.Event {
	return &pb.Event{
		Type: "bench.event", ExternalReference: "card-" + strconv.Itoa(rand.IntN(1000)), //nolint:gosec // any will do
		Attributes: map[string]string{"eventUser": "545"}, Data: body(time.Now(), bodyBytes),
	}
}

// planned is next for a stream that publishes the events of a plan at their time.
func planned(began time.Time, plan []time.Duration, event func(i int, at time.Time) *pb.Event) func(context.Context) (*pb.Event, error) {
	var taken atomic.Int64
	return func(ctx context.Context) (*pb.Event, error) {
		i := int(taken.Add(1)) - 1
		if i >= len(plan) {
			return nil, errEnough
		}
		at := began.Add(plan[i])
		if err := pause(ctx, time.Until(at)); err != nil {
			return nil, err
		}
		return event(i, at), nil
	}
}
