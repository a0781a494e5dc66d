package wire

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"

	"github.com/doorstep-dev/doorstep/pkg/event"
)

// Event is the record of an event.
func Event(topic string, e event.Record) (*kgo.Record, error) {
	return kindEvent.record(topic, e.Key(), &pb.EventRecord{
		Event: eventToProto(e.Event), ReceivedAt: nanos(e.ReceivedAt), IdAssigned: e.IDAssigned,
		ApiKeyId: e.APIKeyID, TraceContext: e.TraceContext,
	})
}

// ReadEvent decodes a record of `events`. It errs if the record must go to quarantine.
func ReadEvent(r *kgo.Record) (event.Record, error) {
	var m pb.EventRecord
	if err := kindEvent.read(r, &m); err != nil {
		return event.Record{}, err
	}
	return event.Record{
		Event: EventFromProto(m.Event), ReceivedAt: at(m.ReceivedAt), IDAssigned: m.IdAssigned,
		APIKeyID: m.ApiKeyId, TraceContext: m.TraceContext,
	}, nil
}

func eventToProto(e event.Event) *pb.Event {
	m := &pb.Event{
		Id: e.ID, Tenant: e.Tenant, Type: e.Type, ExternalReference: e.ExternalReference,
		Attributes: e.Attributes, Data: e.Data,
	}
	if !e.OccurredAt.IsZero() {
		m.OccurredAt = timestamppb.New(e.OccurredAt)
	}
	return m
}

// EventFromProto is the event of the gRPC contract; nil gives the empty event.
func EventFromProto(m *pb.Event) event.Event {
	e := event.Event{
		ID: m.GetId(), Tenant: m.GetTenant(), Type: m.GetType(), ExternalReference: m.GetExternalReference(),
		Attributes: m.GetAttributes(), Data: m.GetData(),
	}
	if ts := m.GetOccurredAt(); ts != nil {
		e.OccurredAt = time.Unix(ts.GetSeconds(), int64(ts.GetNanos())).UTC()
	}
	return e
}
