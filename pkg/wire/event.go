package wire

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"

	"github.com/doorstep-dev/doorstep/pkg/event"
)

// Event is the record of an event. It errs if a text is not UTF-8.
func Event(topic string, e event.Record) (*kgo.Record, error) {
	enc := encoder{b: make([]byte, 0, eventSize(&e))}
	enc.eventRecord(&e)
	if enc.notUTF8 {
		return nil, fmt.Errorf("encode event record %q: a text is not UTF-8", e.Key())
	}
	return kindEvent.recordOf(topic, e.Key(), enc.b), nil
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
