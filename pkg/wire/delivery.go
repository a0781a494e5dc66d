package wire

import (
	"github.com/twmb/franz-go/pkg/kgo"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
)

var (
	causes = newNames(map[delivery.Cause]pb.RunCause{
		delivery.CauseFirst: pb.RunCause_RUN_CAUSE_FIRST, delivery.CauseResend: pb.RunCause_RUN_CAUSE_RESEND,
		delivery.CauseRecover: pb.RunCause_RUN_CAUSE_RECOVER, delivery.CauseRelease: pb.RunCause_RUN_CAUSE_RELEASE,
		delivery.CauseTest: pb.RunCause_RUN_CAUSE_TEST,
	})
	suspendReasons = newNames(map[delivery.SuspendReason]pb.SuspendReason{
		delivery.SuspendDisabled: pb.SuspendReason_SUSPEND_REASON_DISABLED,
		delivery.SuspendInactive: pb.SuspendReason_SUSPEND_REASON_INACTIVE,
		delivery.SuspendPaused:   pb.SuspendReason_SUSPEND_REASON_PAUSED,
	})
)

// Delivery is the record of a delivery on a lane or on `deliveries.suspended`.
func Delivery(topic string, d delivery.Delivery) (*kgo.Record, error) {
	return kindDelivery.record(topic, d.WebhookID, deliveryToProto(&d))
}

func deliveryToProto(d *delivery.Delivery) *pb.DeliveryRecord {
	m := &pb.DeliveryRecord{
		Id: d.ID, Tenant: d.Tenant, EventId: d.EventID, EventType: d.EventType, WebhookId: d.WebhookID,
		ExternalReference: d.ExternalReference,
		WebhookPosition:   positionToProto(d.WebhookPosition), EventPosition: positionToProto(d.EventPosition),
		FirstPosition: positionToProto(d.FirstPosition),
		RunId:         d.RunID, Cause: causes.to[d.Cause],
		Attempt: uint32(d.Attempt), TimesParked: uint32(d.TimesParked), //nolint:gosec // both are small and positive
		PutOffs:     uint32(d.PutOffs), //nolint:gosec // small and positive
		PutOffSince: nanos(d.PutOffSince), DueAt: nanos(d.DueAt), ReceivedAt: nanos(d.ReceivedAt),
		Body: d.Body, ContentType: d.ContentType, TraceContext: d.TraceContext,
		SuspendReason: suspendReasons.to[d.SuspendReason], SuspendedAt: nanos(d.SuspendedAt),
	}
	if len(d.Unknown) > 0 {
		m.ProtoReflect().SetUnknown(d.Unknown)
	}
	return m
}

// ReadDelivery decodes a record of a lane or of `deliveries.suspended`; it holds nothing of the record's
// memory, which is that of all records that were fetched with it. It errs if the record must go to quarantine.
func ReadDelivery(r *kgo.Record) (delivery.Delivery, error) {
	var m pb.DeliveryRecord
	if err := kindDelivery.read(r, &m); err != nil {
		return delivery.Delivery{}, err
	}
	return delivery.Delivery{
		ID: m.Id, Tenant: m.Tenant, EventID: m.EventId, EventType: m.EventType, WebhookID: m.WebhookId,
		ExternalReference: m.ExternalReference,
		WebhookPosition:   positionFromProto(m.WebhookPosition), EventPosition: positionFromProto(m.EventPosition),
		FirstPosition: positionFromProto(m.FirstPosition),
		RunID:         m.RunId, Cause: causes.from[m.Cause], Attempt: int(m.Attempt), TimesParked: int(m.TimesParked),
		PutOffs: int(m.PutOffs), PutOffSince: at(m.PutOffSince), DueAt: at(m.DueAt), ReceivedAt: at(m.ReceivedAt),
		Body: m.Body, ContentType: m.ContentType, TraceContext: m.TraceContext,
		SuspendReason: suspendReasons.from[m.SuspendReason], SuspendedAt: at(m.SuspendedAt),
		Unknown: m.ProtoReflect().GetUnknown(),
	}, nil
}
