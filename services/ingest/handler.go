package ingest

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// eventField is what the names of an event's fields begin with.
const eventField = "event."

// Publish takes one event.
func (s *Service) Publish(ctx context.Context, req *pb.PublishRequest) (*pb.PublishResponse, error) {
	r := s.publisher.Publish(ctx, callerOf(ctx), wire.EventFromProto(req.GetEvent()))[0]
	if r.Err != nil {
		return nil, statusOf(r.Err, eventField)
	}
	return &pb.PublishResponse{EventId: r.EventID}, nil
}

// PublishBatch takes several events; each has a result of its own.
func (s *Service) PublishBatch(ctx context.Context, req *pb.PublishBatchRequest) (*pb.PublishBatchResponse, error) {
	if err := checkBatch(req); err != nil {
		return nil, statusOf(err, "")
	}
	events := make([]event.Event, len(req.GetEvents()))
	for i, e := range req.GetEvents() {
		events[i] = wire.EventFromProto(e)
	}
	resp := &pb.PublishBatchResponse{}
	for i, r := range s.publisher.Publish(ctx, callerOf(ctx), events...) {
		resp.Results = append(resp.Results, resultOf(r, fmt.Sprintf("events[%d].", i)))
	}
	return resp, nil
}

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
