package producer

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	doorstepv1 "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

var (
	// ErrUnacknowledged is in the error of an event of which it is not known whether it was taken: publish it again with the
	// same id, and it is delivered once.
	ErrUnacknowledged = errors.New("not acknowledged")
	// ErrClosed is what Send says after Close.
	ErrClosed = errors.New("the stream is closed")
)

// Refused says why an event was not taken. It never will be as it is, unless Code says that the server could not take it at the
// moment (ResourceExhausted, Unavailable).
type Refused struct {
	EventID string
	Code    codes.Code
	Message string
	Fields  []Field // at fault, with InvalidArgument
}

// Field is a field at fault and what is wrong with it, with the limit.
type Field struct {
	Name, Description string // e.g. "event.attributes[colour]"
}

func (r *Refused) Error() string {
	if len(r.Fields) == 0 {
		return r.Message
	}
	texts := make([]string, len(r.Fields))
	for i, f := range r.Fields {
		texts[i] = f.Name + ": " + f.Description
	}
	return strings.Join(texts, "; ")
}

// GRPCStatus makes status.Code know the code.
func (r *Refused) GRPCStatus() *status.Status { return status.New(r.Code, r.Error()) }

// Unacknowledged is what Flush and Close leave: the ids of the events whose outcome is not known, in the order in which they were sent.
type Unacknowledged struct {
	IDs   []string
	Cause error // of the context's end
}

func (u *Unacknowledged) Error() string {
	return fmt.Sprintf("%d events are not acknowledged, the first is %s: %v", len(u.IDs), u.IDs[0], u.Cause)
}

// Is makes it an ErrUnacknowledged.
func (u *Unacknowledged) Is(target error) bool { return target == ErrUnacknowledged }
func (u *Unacknowledged) Unwrap() error        { return u.Cause }

// unacknowledged is ErrUnacknowledged with what happened last.
func unacknowledged(cause error) error { return fmt.Errorf("%w: %w", ErrUnacknowledged, cause) }

// refusedBy is what a call's error says of its event.
func refusedBy(id string, err error) *Refused {
	s := status.Convert(err)
	r := &Refused{EventID: id, Code: s.Code(), Message: s.Message()}
	for _, d := range s.Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			for _, v := range bad.GetFieldViolations() {
				r.Fields = append(r.Fields, Field{v.GetField(), v.GetDescription()})
			}
		}
	}
	return r
}

// refusedIn is what a stream's answer says of an event; nil if it was taken.
func refusedIn(id string, e *doorstepv1.PublishError) *Refused {
	if e == nil {
		return nil
	}
	r := &Refused{EventID: id, Code: codes.Code(e.GetCode()), Message: e.GetMessage()} //nolint:gosec // 0 to 16
	for _, v := range e.GetViolations() {
		r.Fields = append(r.Fields, Field{v.GetField(), v.GetDescription()})
	}
	return r
}

// passing reports whether what was refused may be taken later.
func passing(code codes.Code) bool {
	return code == codes.Unavailable || code == codes.ResourceExhausted
}

// forGood reports whether what was refused so is refused again, and was not taken.
func forGood(code codes.Code) bool {
	return code == codes.InvalidArgument || code == codes.Unauthenticated || code == codes.PermissionDenied || code == codes.Unimplemented
}

// ended is why a context ended, or what came instead.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
