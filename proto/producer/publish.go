package producer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	doorstepv1 "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

// maxEventBytes is more than any event takes whose fields keep to their limits. Above it the server's answer would
// be about its message, not the event.
const maxEventBytes = 512 << 10

// Waits before something is tried again: they double, and each is cut by up to a half at random.
const (
	firstPause   = 50 * time.Millisecond
	longestPause = 5 * time.Second
)

// Publish publishes one event and returns once Kafka has it. It tries again, under the same id, while the server is away
// (UNAVAILABLE) or has no room (RESOURCE_EXHAUSTED), until ctx ends or Options.RetryFor has passed. The error is a *Refused, or
// ErrUnacknowledged where the event may have been taken: then publish it again with the id that is returned.
func (c *Client) Publish(ctx context.Context, e *Event) (id string, err error) {
	e = identified(e, time.Now())
	if err := tooLarge(e, proto.Size(e)); err != nil {
		return e.GetId(), err
	}
	began, unsure := time.Now(), false
	for try := 0; ; try++ {
		err := c.try(ctx, e)
		if err == nil {
			return e.GetId(), nil
		}
		code := status.Code(err)
		unsure = unsure || maybeTaken(code)
		again := passing(code) || code == codes.DeadlineExceeded
		wait := pause(try)
		if again && ctx.Err() == nil && time.Since(began)+wait < c.retryFor && sleep(ctx, wait) {
			continue
		}
		if unsure {
			return e.GetId(), unacknowledged(ended(ctx, err))
		}
		return e.GetId(), refusedBy(e.GetId(), err)
	}
}

func (c *Client) try(ctx context.Context, e *Event) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	_, err := c.ingest.Publish(ctx, &doorstepv1.PublishRequest{Event: e})
	return err
}

// maybeTaken reports whether an event may be in the log though its call ended so.
func maybeTaken(code codes.Code) bool { return code != codes.ResourceExhausted && !forGood(code) }

// tooLarge is a *Refused for an event of more bytes than any server takes.
func tooLarge(e *Event, size int) error {
	if size <= maxEventBytes {
		return nil
	}
	return &Refused{
		EventID: e.GetId(), Code: codes.InvalidArgument,
		Fields: []Field{{"event", fmt.Sprintf("has %d bytes, the limit is %d", size, maxEventBytes)}},
	}
}

// pause is the wait behind the failed try n, from 0 on.
func pause(n int) time.Duration {
	most := min(firstPause<<min(n, 10), longestPause)
	return most/2 + rand.N(most/2) //nolint:gosec // keeps producers from coming back together
}

// sleep waits, and reports false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
