package matcher

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/match"
	"github.com/doorstep-dev/doorstep/pkg/payload"
	"github.com/doorstep-dev/doorstep/pkg/redisstate"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/trace"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// handler turns the events of one transaction into records. It is used by one goroutine.
type handler struct {
	topics      wire.Topics
	topicID     [16]byte // of `events`: its positions name nothing once it is made anew
	maxWebhooks int
	log         *slog.Logger
	now         func() time.Time
	trace       *trace.Tracer
	group       string // of the matchers

	index  *index
	tenant func(id string) tenant.Tenant
	state  func(webhookID string, generation uint64) failure.State
	seen   func(context.Context, []redisstate.Item) ([]bool, error)
	keep   func(*kgo.Record, error) (*kgo.Record, error) // makes the record that quarantines one

	away    bool         // Redis, when last asked
	done    tally        // of the open transaction
	matched match.Result // used again for each event
	spans   []trace.Span // of the open transaction, which ends them
}

// found is an event and the record that holds it.
type found struct {
	event.Record
	record *kgo.Record
}

// handle is a kafka.HandleFunc. It never errs: what cannot be matched is quarantined.
func (h *handler) handle(ctx context.Context, records []*kgo.Record, produce func(*kgo.Record)) error {
	h.done, h.spans = tally{}, h.spans[:0]
	events := make([]found, 0, len(records))
	for _, r := range records {
		e, err := wire.ReadEvent(r)
		if err != nil {
			h.quarantine(r, err, produce)
			continue
		}
		events = append(events, found{e, r})
	}
	duplicate := h.duplicates(ctx, events)
	for i, e := range events {
		span := h.begin(&e)
		if duplicate[i] {
			h.done.duplicates++
			span.Duplicate()
			h.log.Debug("event came before", "tenant", e.Tenant, "event", e.ID, "topic", e.record.Topic,
				"partition", e.record.Partition, "offset", e.record.Offset, "trace_id", trace.ID(e.TraceContext))
			continue
		}
		h.done.events++
		h.match(e, span, produce)
	}
	return nil
}

// begin begins the span of an event, in whose context all that follows from it is.
func (h *handler) begin(e *found) trace.Span {
	span := h.trace.Process(e.TraceContext, e.record.Topic, h.group)
	if h.trace == nil {
		return span
	}
	span.Event(e.Tenant, e.ID, e.Type)
	span.At(e.record.Partition, e.record.Offset)
	e.TraceContext = span.Context()
	h.spans = append(h.spans, span)
	return span
}

// duplicates says of each event whether one of the same id stands elsewhere in the log. Ids that
// ingest assigned cannot come twice.
func (h *handler) duplicates(ctx context.Context, events []found) []bool {
	duplicate := make([]bool, len(events))
	items, of := make([]redisstate.Item, 0, len(events)), make([]int, 0, len(events))
	for i, e := range events {
		if !e.IDAssigned {
			items, of = append(items, item(h.topicID, e)), append(of, i)
		}
	}
	if len(items) == 0 {
		return duplicate
	}
	seen, err := h.seen(ctx, items)
	if err != nil {
		h.done.unlooked = len(items)
	}
	if away := err != nil; away != h.away {
		h.away = away
		if away {
			h.log.Warn("going on without a look for duplicates", "error", err)
		} else {
			h.log.Info("duplicates are looked for again")
		}
	}
	for i, is := range seen {
		duplicate[of[i]] = is
	}
	return duplicate
}

func item(topicID [16]byte, e found) redisstate.Item {
	position := make([]byte, 0, 64)
	position = append(hex.AppendEncode(position, topicID[:]), ':')
	position = append(strconv.AppendInt(position, int64(e.record.Partition), 10), ':')
	position = strconv.AppendInt(position, e.record.Offset, 10)
	return redisstate.Item{Tenant: e.Tenant, EventID: e.ID, Position: string(position)}
}

// match writes what follows from one event.
func (h *handler) match(e found, span trace.Span, produce func(*kgo.Record)) {
	owner := h.tenant(e.Tenant)
	if !owner.Has(tenant.FeatureWebhooks) {
		return
	}
	limit := h.maxWebhooks
	if n := owner.Policy.MaxWebhooksPerEvent; n != nil {
		limit = *n
	}
	h.index.match(e.Event, limit, &h.matched)
	span.Matched(len(h.matched.Hits))
	if len(h.matched.Hits) > trace.MaxTracedDeliveries {
		e.TraceContext = trace.Unsampled(e.TraceContext)
	}
	if err := h.fanOut(e, owner.Payload, produce); err != nil {
		span.Fault("quarantined")
		h.quarantine(e.record, err, produce)
	}
	if n := h.matched.Cut; n > 0 {
		h.done.cut += n
		a := h.decision(e, delivery.KindCapped, delivery.Capped)
		a.Count = n
		h.attempt(a, produce)
	}
	for _, f := range h.matched.Failed {
		h.done.conditions++
		a := h.decision(e, delivery.KindConditionError, "")
		a.WebhookID, a.WebhookGeneration = f.Target.ID, f.Target.Generation
		a.Condition = webhook.ConditionKey(f.Target.Condition())
		a.Outcome = delivery.Outcome{ErrorCode: "condition_error", Error: f.Err.Error()}
		h.done.fail(a)
	}
}

// fanOut writes the deliveries of an event. It errs with the first that cannot be written; the others are.
func (h *handler) fanOut(e found, defaults webhook.Payload, produce func(*kgo.Record)) error {
	if len(h.matched.Hits) == 0 {
		return nil
	}
	records, err := wire.NewFanout(delivery.Delivery{
		Tenant: e.Tenant, EventID: e.ID, EventType: e.Type, ExternalReference: e.ExternalReference,
		EventPosition: wire.PositionOf(e.record), Cause: delivery.CauseFirst, Attempt: 1,
		ReceivedAt: e.ReceivedAt, TraceContext: e.TraceContext,
	})
	if err != nil {
		return err
	}
	bodies := payload.NewBuilder(e.Record)
	var fault error
	for _, target := range h.matched.Hits {
		body, err := bodies.Build(target.Payload.Over(defaults))
		if err == nil {
			err = h.deliver(records, e.ID, target, body, produce)
		}
		if err != nil && fault == nil {
			fault = fmt.Errorf("webhook %s: %w", target.ID, err)
		}
	}
	return fault
}

// deliver writes the delivery of an event to a webhook: to its lane, or, while the webhook is
// disabled or paused, where it is kept.
func (h *handler) deliver(records *wire.Fanout, eventID string, target *match.Target, body payload.Body, produce func(*kgo.Record)) error {
	state := h.state(target.ID, target.Generation)
	if target.Held && !state.Disabled {
		return nil // it is merely inactive
	}
	id := delivery.ID(eventID, target.ID)
	own := wire.Own{
		ID: id, WebhookID: target.ID, WebhookPosition: target.Position, RunID: delivery.FirstRunID(id),
		Body: body.Bytes, ContentType: body.ContentType,
	}
	topic := h.topics.Deliveries
	if reason := suspension(target, state); reason != "" {
		topic, own.SuspendReason, own.SuspendedAt = h.topics.Suspended, reason, h.now()
		h.done.suspended++
	}
	r, err := records.Delivery(topic, own)
	if err != nil {
		return err
	}
	if n := len(r.Value); n > kafka.MaxRecordBytes {
		return fmt.Errorf("a delivery of %d bytes, the limit is %d", n, kafka.MaxRecordBytes)
	}
	h.done.deliveries++
	produce(r)
	return nil
}

// suspension says why a webhook is not to be sent to until a person decides otherwise. A receiver
// that asked for a wait is no reason: its deliveries wait in the lanes.
func suspension(t *match.Target, s failure.State) delivery.SuspendReason {
	switch {
	case s.Disabled:
		return delivery.SuspendDisabled
	case t.Paused:
		return delivery.SuspendPaused
	}
	return ""
}

// decision is a record of what was not matched. Its position is the event's.
func (h *handler) decision(e found, kind delivery.Kind, status delivery.Status) delivery.Attempt {
	return delivery.Attempt{
		Kind: kind, Cause: delivery.CauseFirst, Tenant: e.Tenant, EventID: e.ID, EventType: e.Type, ReceivedAt: e.ReceivedAt,
		FinishedAt: h.now(), Status: status, Position: wire.PositionOf(e.record), TraceContext: e.TraceContext,
	}
}

func (h *handler) attempt(a delivery.Attempt, produce func(*kgo.Record)) {
	r, err := wire.Attempt(h.topics.Attempts, a)
	if err != nil {
		h.log.Error("decision not written", "kind", a.Kind, "event", a.EventID, "webhook", a.WebhookID, "error", err)
		return
	}
	produce(r)
}

func (h *handler) quarantine(r *kgo.Record, reason error, produce func(*kgo.Record)) {
	kept, err := h.keep(r, reason)
	if err != nil {
		return
	}
	h.done.quarantined++
	produce(kept)
}
