package wire

import (
	"strings"
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
	o := a.Outcome
	return kindAttempt.record(topic, a.WebhookID, &pb.AttemptRecord{
		Kind: attemptKinds.to[a.Kind], DeliveryId: a.DeliveryID, RunId: a.RunID, Cause: causes.to[a.Cause],
		Attempt: uint32(a.Attempt), Count: uint32(a.Count), //nolint:gosec // both are small and positive
		Tenant: a.Tenant, WebhookId: a.WebhookID, WebhookGeneration: a.WebhookGeneration,
		EventId: a.EventID, EventType: a.EventType, Lane: a.Lane,
		ReceivedAt: nanos(a.ReceivedAt), DueAt: nanos(a.DueAt), StartedAt: nanos(a.StartedAt), FinishedAt: nanos(a.FinishedAt),
		StatusCode: uint32(o.StatusCode), //nolint:gosec // 0 to 999
		ErrorCode:  o.ErrorCode, Error: strings.ToValidUTF8(o.Error, "?"), Url: o.URL, RemoteAddress: o.RemoteAddress,
		RequestHeaders: headersToProto(o.RequestHeaders), ResponseHeaders: headersToProto(o.ResponseHeaders),
		ResponseBody: o.ResponseBody,
		Phases: &pb.Phases{
			Dns: int64(o.Phases.DNS), Connect: int64(o.Phases.Connect), Tls: int64(o.Phases.TLS),
			FirstByte: int64(o.Phases.FirstByte), Total: int64(o.Phases.Total), Reused: o.Phases.Reused,
		},
		Status: statuses.to[a.Status], NextAttemptAt: nanos(a.NextAttemptAt),
		Position: positionToProto(a.Position), Instance: a.Instance, TraceContext: a.TraceContext,
	})
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
		Attempt: int(m.Attempt), Count: int(m.Count), Tenant: m.Tenant, WebhookID: m.WebhookId,
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

func headersToProto(hs []delivery.Header) []*pb.Header {
	if len(hs) == 0 {
		return nil
	}
	out := make([]*pb.Header, len(hs))
	for i, h := range hs {
		out[i] = &pb.Header{Name: strings.ToValidUTF8(h.Name, "?"), Value: strings.ToValidUTF8(h.Value, "?")}
	}
	return out
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
