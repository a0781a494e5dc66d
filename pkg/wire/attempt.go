package wire

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
)

var (
	attemptKinds = newNames(map[delivery.Kind]pb.AttemptKind{
		delivery.KindPost: pb.AttemptKind_ATTEMPT_KIND_POST, delivery.KindDecision: pb.AttemptKind_ATTEMPT_KIND_DECISION,
		delivery.KindCapped:         pb.AttemptKind_ATTEMPT_KIND_CAPPED,
		delivery.KindConditionError: pb.AttemptKind_ATTEMPT_KIND_CONDITION_ERROR,
	})
	statuses = newNames(map[delivery.Status]pb.DeliveryStatus{
		delivery.Pending: pb.DeliveryStatus_DELIVERY_STATUS_PENDING, delivery.Retrying: pb.DeliveryStatus_DELIVERY_STATUS_RETRYING,
		delivery.Delivered: pb.DeliveryStatus_DELIVERY_STATUS_DELIVERED, delivery.Exhausted: pb.DeliveryStatus_DELIVERY_STATUS_EXHAUSTED,
		delivery.Suspended: pb.DeliveryStatus_DELIVERY_STATUS_SUSPENDED, delivery.Cancelled: pb.DeliveryStatus_DELIVERY_STATUS_CANCELLED,
		delivery.Discarded: pb.DeliveryStatus_DELIVERY_STATUS_DISCARDED, delivery.Capped: pb.DeliveryStatus_DELIVERY_STATUS_CAPPED,
	})
)

// Attempt is the record of an attempt.
func Attempt(topic string, a delivery.Attempt) (*kgo.Record, error) {
	e := encoder{b: make([]byte, 0, attemptSize(&a))}
	e.attempt(&a)
	if e.notUTF8 {
		return nil, fmt.Errorf("encode attempt record %q: a text is not UTF-8", a.WebhookID)
	}
	return kindAttempt.recordOf(topic, a.WebhookID, e.b), nil
}

// ReadAttempt decodes a record of `attempts`. It errs if the record must go to quarantine.
func ReadAttempt(r *kgo.Record) (delivery.Attempt, error) {
	var m pb.AttemptRecord
	if err := kindAttempt.read(r, &m); err != nil {
		return delivery.Attempt{}, err
	}
	p := m.GetPhases()
	return delivery.Attempt{
		Kind: attemptKinds.from[m.Kind], DeliveryID: m.DeliveryId, RunID: m.RunId, Cause: causes.from[m.Cause],
		Attempt: int(m.Attempt), Count: int(m.Count), Counter: m.Counter, Condition: m.Condition, Tenant: m.Tenant, WebhookID: m.WebhookId,
		WebhookGeneration: m.WebhookGeneration, EventID: m.EventId, EventType: m.EventType, Lane: m.Lane,
		ReceivedAt: at(m.ReceivedAt), DueAt: at(m.DueAt), StartedAt: at(m.StartedAt), FinishedAt: at(m.FinishedAt),
		Outcome: delivery.Outcome{
			URL: m.Url, RemoteAddress: m.RemoteAddress, StatusCode: int(m.StatusCode), ErrorCode: m.ErrorCode, Error: m.Error,
			RequestHeaders: headersFromProto(m.RequestHeaders), ResponseHeaders: headersFromProto(m.ResponseHeaders),
			ResponseBody: m.ResponseBody,
			Phases: delivery.Phases{
				DNS: time.Duration(p.GetDns()), Connect: time.Duration(p.GetConnect()), TLS: time.Duration(p.GetTls()),
				FirstByte: time.Duration(p.GetFirstByte()), Total: time.Duration(p.GetTotal()), Reused: p.GetReused(),
			},
		},
		Status: statuses.from[m.Status], NextAttemptAt: at(m.NextAttemptAt), Position: positionFromProto(m.Position),
		Instance: m.Instance, TraceContext: m.TraceContext,
	}, nil
}

func headersFromProto(hs []*pb.Header) []delivery.Header {
	if len(hs) == 0 {
		return nil
	}
	out := make([]delivery.Header, len(hs))
	for i, h := range hs {
		out[i] = delivery.Header{Name: h.GetName(), Value: h.GetValue()}
	}
	return out
}
