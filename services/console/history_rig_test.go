package console_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/console"
)

// t0 is when the first event of a test is received.
var t0 = time.Date(2026, 3, 4, 5, 6, 7, 123456789, time.UTC)

// rig is a console with a history, and what writes both log and history as matcher, sender and recorder do.
type rig struct {
	*running
	store  *sqlhistory.Store
	client *kgo.Client
	topics wire.Topics
}

func newRig(t *testing.T) *rig {
	t.Helper()
	return rigOn(t, sqldbtest.Any(t))
}

func rigOn(t *testing.T, db sqldb.Config) *rig {
	t.Helper()
	return rigOf(t, config(t, logBeside(t, db), db))
}

func rigOf(t *testing.T, cfg console.Config) *rig {
	t.Helper()
	c := start(t, cfg)
	c.awaitReady()
	return &rig{running: c, store: openHistory(t, c.cfg.History), client: newClient(t, c.cfg.Kafka), topics: topics(t, c.cfg.Kafka)}
}

func openHistory(t *testing.T, cfg sqldb.Config) *sqlhistory.Store {
	t.Helper()
	store, err := sqlhistory.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// write writes a record to the log and says where it stands.
func (r *rig) write(record *kgo.Record, err error) delivery.Position {
	r.t.Helper()
	if err == nil {
		err = r.client.ProduceSync(r.t.Context(), record).FirstErr()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return wire.PositionOf(record)
}

// record writes what some records say to the history.
func (r *rig) record(add func(*history.Batch)) {
	r.t.Helper()
	var b history.Batch
	add(&b)
	if err := r.store.Record(r.t.Context(), &b); err != nil {
		r.t.Fatal(err)
	}
}

// event is published: it stands in the log and the history.
func (r *rig) event(e event.Record) event.Record {
	r.t.Helper()
	at := r.write(wire.Event(r.topics.Events, e))
	r.record(func(b *history.Batch) { b.AddEvent(e, at) })
	return e
}

// matched is the first record of a delivery of an event to a webhook.
func matched(e event.Record, webhookID string) delivery.Delivery {
	id := delivery.ID(e.ID, webhookID)
	return delivery.Delivery{
		ID: id, Tenant: e.Tenant, EventID: e.ID, EventType: e.Type, ExternalReference: e.ExternalReference, WebhookID: webhookID,
		RunID: delivery.FirstRunID(id), Cause: delivery.CauseFirst, Attempt: 1, ReceivedAt: e.ReceivedAt,
		Body: []byte(`{ "a" : 1.0 }`), ContentType: "application/json", TraceContext: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
}

// deliver writes a delivery's record to a topic and the history.
func (r *rig) deliver(topic string, d delivery.Delivery) delivery.Position {
	r.t.Helper()
	at := r.write(wire.Delivery(topic, d))
	r.record(func(b *history.Batch) { b.AddDelivery(d, at) })
	return at
}

// post is an attempt of a delivery which began at start.
func post(d delivery.Delivery, at delivery.Position, start time.Time, o delivery.Outcome, status delivery.Status) delivery.Attempt {
	return delivery.Attempt{
		Kind: delivery.KindPost, DeliveryID: d.ID, RunID: d.RunID, Cause: d.Cause, Attempt: d.Attempt, Tenant: d.Tenant,
		WebhookID: d.WebhookID, EventID: d.EventID, EventType: d.EventType, Lane: at.Topic, ReceivedAt: d.ReceivedAt,
		StartedAt: start, FinishedAt: start.Add(30 * time.Millisecond), Outcome: o, Status: status, Position: at, Instance: "sender-0",
	}
}

func (r *rig) attempts(all ...delivery.Attempt) {
	r.t.Helper()
	r.record(func(b *history.Batch) {
		for _, a := range all {
			b.AddAttempt(a)
		}
	})
}

// expire drops everything of a topic that was written so far, as retention does.
func (r *rig) expire(topic string) {
	r.t.Helper()
	adm := kadm.NewClient(r.client)
	ends, err := adm.ListEndOffsets(r.t.Context(), topic)
	if err == nil {
		_, err = adm.DeleteRecords(r.t.Context(), ends.Offsets())
	}
	if err != nil {
		r.t.Fatal(err)
	}
	eventually(r.t, func() error {
		starts, err := adm.ListStartOffsets(r.t.Context(), topic)
		if err != nil {
			return err
		}
		for _, p := range starts[topic] {
			if end, _ := ends.Lookup(topic, p.Partition); p.Offset != end.Offset {
				return fmt.Errorf("%s/%d starts at %d, not %d", topic, p.Partition, p.Offset, end.Offset)
			}
		}
		return nil
	})
}

// published is an event of the default tenant.
func published(id string, at time.Time) event.Record {
	return event.Record{
		Event: event.Event{
			ID: id, Tenant: "default", Type: "card.updated", OccurredAt: at.Add(-time.Second), ExternalReference: "card-7",
			Attributes: map[string]string{"project": "66"}, Data: []byte(`{}`),
		},
		ReceivedAt: at, APIKeyID: "0198c9e0-0000-7000-8000-000000000001",
	}
}
