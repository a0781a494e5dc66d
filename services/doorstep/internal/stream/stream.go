// Package stream publishes a sequence of numbered events over gRPC, by proto/producer, and puts what comes of it in plain words.
package stream

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	doorstepv1 "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
	"github.com/doorstep-dev/doorstep/proto/producer"
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

// ErrUnanswered says that it is not known whether the event was taken: publish it again with the
// same id.
var ErrUnanswered = producer.ErrUnacknowledged

// Publish sends all items and tells the result of each through told, in the order in which they were
// decided. At most inFlight wait for their answer at once. It errs at once if no server can be reached, and later if
// none was for too long or ctx ended; then it has told of every item sent, and of no other.
func Publish(ctx context.Context, client *producer.Client, inFlight int, items iter.Seq[Item], told func(Result)) error {
	if err := client.Ping(ctx); err != nil {
		return Plain(err)
	}
	s, err := client.NewStream(producer.StreamOptions{InFlight: inFlight})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	err = send(ctx, s, items, told, stop)
	if closeErr := s.Close(ctx); err == nil {
		err = closeErr
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause // what follows from it does not matter
	}
	if err != nil {
		return Plain(err)
	}
	return nil
}

// send hands the items over. The first that is not answered stops the rest.
func send(ctx context.Context, s *producer.Stream, items iter.Seq[Item], told func(Result), stop context.CancelCauseFunc) error {
	for item := range items {
		err := s.Send(ctx, item.Event, func(r producer.Result) {
			if errors.Is(r.Err, ErrUnanswered) {
				stop(r.Err)
				r.Err = ErrUnanswered
			}
			told(Result{Number: item.Number, EventID: r.ID, Err: r.Err})
		})
		var refused *producer.Refused
		switch {
		case errors.As(err, &refused):
			told(Result{Number: item.Number, EventID: refused.EventID, Err: err})
		case err != nil:
			return err
		}
	}
	return nil
}

// Plain puts a gRPC error in plain words.
func Plain(err error) error {
	if errors.Is(err, context.Canceled) {
		return context.Canceled
	}
	var said interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &said) {
		return err
	}
	s := said.GRPCStatus()
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
