package wire

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
)

// Fanout makes the records of the deliveries of one event. What they have in common is encoded once; a record's
// value is that with what is its own behind it, which protobuf reads as one message. It is used by one goroutine.
type Fanout struct {
	common  []byte
	headers []kgo.RecordHeader // of all records; no one changes them
	own     pb.DeliveryRecord  // used again for each
	webhook pb.Position        // used again for each
}

// Own are the fields that a delivery does not have in common with the others of its event.
type Own struct {
	ID              string
	WebhookID       string
	WebhookPosition delivery.Position
	RunID           string
	Body            []byte // copied
	ContentType     string
	SuspendReason   delivery.SuspendReason
	SuspendedAt     time.Time
}

// NewFanout encodes what the deliveries of an event have in common: all that common sets, which must be none of Own.
func NewFanout(common delivery.Delivery) (*Fanout, error) {
	b, err := proto.Marshal(deliveryToProto(&common))
	if err != nil {
		return nil, fmt.Errorf("encode what the deliveries of event %q have in common: %w", common.EventID, err)
	}
	return &Fanout{common: b, headers: kindDelivery.headers}, nil
}

// Delivery is the record of one delivery; ReadDelivery gives its own fields with the common ones.
func (f *Fanout) Delivery(topic string, own Own) (*kgo.Record, error) {
	m := &f.own
	m.Id, m.WebhookId, m.RunId, m.Body, m.ContentType = own.ID, own.WebhookID, own.RunID, own.Body, own.ContentType
	m.SuspendReason, m.SuspendedAt = suspendReasons.to[own.SuspendReason], nanos(own.SuspendedAt)
	f.webhook.Topic, f.webhook.Partition, f.webhook.Offset = own.WebhookPosition.Topic, own.WebhookPosition.Partition, own.WebhookPosition.Offset
	m.WebhookPosition = &f.webhook

	key := len(own.WebhookID)
	// Key and value share their memory: they live and go together.
	b := make([]byte, 0, key+len(f.common)+proto.Size(m))
	b = append(append(b, own.WebhookID...), f.common...)
	b, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, m)
	if err != nil {
		return nil, fmt.Errorf("encode %s record %q: %w", kindDelivery.name, own.WebhookID, err)
	}
	return &kgo.Record{Topic: topic, Key: b[:key:key], Value: b[key:], Headers: f.headers}, nil
}
