package ingest

import (
	"errors"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"

	"github.com/doorstep-dev/doorstep/pkg/auth"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/publish"
)

// codeOf is the gRPC code of why a call or an event was refused.
func codeOf(err error) codes.Code {
	var fields invalid.Fields
	switch {
	case errors.As(err, &fields):
		return codes.InvalidArgument
	case errors.Is(err, auth.ErrNoKey), errors.Is(err, auth.ErrWrongKey):
		return codes.Unauthenticated
	case errors.Is(err, auth.ErrOtherTenant), errors.Is(err, errScope):
		return codes.PermissionDenied
	case errors.Is(err, publish.ErrBusy), errors.Is(err, publish.ErrNoRoom):
		return codes.ResourceExhausted
	case errors.Is(err, publish.ErrUnavailable):
		return codes.Unavailable
	}
	return codes.Internal
}

// violations are the fields at fault, their names with the given prefix.
func violations(err error, prefix string) invalid.Fields {
	var fields invalid.Fields
	if !errors.As(err, &fields) {
		return nil
	}
	named := make(invalid.Fields, len(fields))
	for i, f := range fields {
		named[i] = invalid.Field{Name: prefix + f.Name, Message: f.Message}
	}
	return named
}

// statusOf is the answer of a call that was refused, with google.rpc.BadRequest where fields are at
// fault. Field names get the prefix.
func statusOf(err error, prefix string) error {
	fields := violations(err, prefix)
	if fields == nil {
		return status.Error(codeOf(err), err.Error())
	}
	bad := &errdetails.BadRequest{}
	for _, f := range fields {
		bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: f.Name, Description: f.Message})
	}
	st, detailErr := status.New(codes.InvalidArgument, fields.Error()).WithDetails(bad)
	if detailErr != nil {
		return status.Error(codes.InvalidArgument, fields.Error())
	}
	return st.Err()
}

// resultOf is what the API tells of one event of a batch or stream.
func resultOf(r publish.Result, prefix string) *pb.PublishResult {
	if r.Err == nil {
		return &pb.PublishResult{EventId: r.EventID, Warnings: violationsOf(r.Warnings, prefix)}
	}
	e := &pb.PublishError{Code: int32(codeOf(r.Err)), Message: r.Err.Error()} //nolint:gosec // 0 to 16
	e.Violations = violationsOf(violations(r.Err, prefix), "")
	return &pb.PublishResult{EventId: r.EventID, Error: e}
}

// violationsOf are faults as the API tells them, the fields' names with the given prefix.
func violationsOf(fields invalid.Fields, prefix string) (list []*pb.FieldViolation) {
	for _, f := range fields {
		list = append(list, &pb.FieldViolation{Field: prefix + f.Name, Description: f.Message})
	}
	return list
}
