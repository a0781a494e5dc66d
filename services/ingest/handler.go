package ingest

import (
	"context"
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/publish"
	"github.com/doorstep-dev/doorstep/pkg/trace"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// eventField is what the names of an event's fields begin with.
const eventField = "event."

// Publish takes one event.
func (s *Service) Publish(ctx context.Context, req *pb.PublishRequest) (*pb.PublishResponse, error) {
	caller, span := s.begin(ctx, "Publish")
	r := s.publisher.Publish(ctx, caller, wire.EventFromProto(req.GetEvent()))[0]
	if r.Err != nil {
		span.Returned(codeName(codeOf(r.Err)))
		return nil, statusOf(r.Err, eventField)
	}
	span.Returned(codeName(codes.OK))
	return &pb.PublishResponse{EventId: r.EventID, Warnings: violationsOf(r.Warnings, eventField)}, nil
}

// PublishBatch takes several events; each has a result of its own.
func (s *Service) PublishBatch(ctx context.Context, req *pb.PublishBatchRequest) (*pb.PublishBatchResponse, error) {
	caller, span := s.begin(ctx, "PublishBatch")
	if err := checkBatch(req); err != nil {
		span.Returned(codeName(codeOf(err)))
		return nil, statusOf(err, "")
	}
	events := make([]event.Event, len(req.GetEvents()))
	for i, e := range req.GetEvents() {
		events[i] = wire.EventFromProto(e)
	}
	resp := &pb.PublishBatchResponse{}
	for i, r := range s.publisher.Publish(ctx, caller, events...) {
		resp.Results = append(resp.Results, resultOf(r, fmt.Sprintf("events[%d].", i)))
	}
	span.Returned(codeName(codes.OK))
	return resp, nil
}

// begin begins the span of a unary call, in which its events' are.
func (s *Service) begin(ctx context.Context, method string) (publish.Caller, trace.Span) {
	c := callerOf(ctx)
	span := s.cfg.Publish.Trace.Call(c.TraceContext, pb.IngestService_ServiceDesc.ServiceName, method)
	c.TraceContext = span.Context()
	return c, span
}

// codeName is a status as gRPC's specification writes it, e.g. INVALID_ARGUMENT.
func codeName(c codes.Code) string { return code.Code(c).String() } //nolint:gosec // 0 to 16

// checkBatch says whether a batch is within its limits.
func checkBatch(req *pb.PublishBatchRequest) error {
	var f invalid.Fields
	if n := len(req.GetEvents()); n > MaxBatchEvents {
		f.Add("events", "has %d entries, the limit is %d", n, MaxBatchEvents)
	}
	if n := proto.Size(req); n > MaxBatchBytes {
		f.Add("events", "has %d bytes, the limit is %d", n, MaxBatchBytes)
	}
	return f.Err()
}
