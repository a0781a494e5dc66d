package sqlhistorytest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
)

// Load is the history of a busy installation: few of its webhooks get most of the events, nine of ten
// deliveries are accepted at once, and the others come to every other end. The same Load makes the same
// records.
type Load struct {
	Start      time.Time
	Days       int
	Deliveries int
	Tenants    int
	Webhooks   int // of all tenants; webhook n belongs to tenant n % Tenants
	Types      int
	Batch      int // deliveries in a batch; 0: 5,000
}

// Tenant is the name of a tenant, of which 0 has most deliveries.
func (l Load) Tenant(n int) string { return fmt.Sprintf("tenant-%d", n%l.Tenants) }

// Webhook is the id of a webhook, of which 0 has most deliveries.
func (l Load) Webhook(n int) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "webhook %d", n)).String()
}

// Type is the name of an event type, of which 0 is the most frequent.
func (l Load) Type(n int) string { return fmt.Sprintf("card.type_%d", n) }

// Reference is an external reference; each has ten events or so.
func (l Load) Reference(n int) string { return fmt.Sprintf("card-%d", n) }

// Record writes the history into a store, in the order of time.
func (l Load) Record(ctx context.Context, s *sqlhistory.Store) error {
	g := newGenerator(l)
	size := l.Batch
	if size == 0 {
		size = 5000
	}
	for made := 0; made < l.Deliveries; {
		var b history.Batch
		upTo := min(made+size, l.Deliveries)
		for made < upTo {
			made += g.event(&b, upTo-made)
		}
		if err := s.Record(ctx, &b); err != nil {
			return fmt.Errorf("record up to delivery %d: %w", made, err)
		}
	}
	return nil
}

// RecordNotices writes notices of the webhooks into a store, in the order of time, of which three of four are what
// came of a mail.
func (l Load) RecordNotices(ctx context.Context, s *sqlhistory.Store, n int) error {
	g := newGenerator(l)
	var b history.Batch
	for i := range n {
		first := int(g.webhooks.Uint64()) //nolint:gosec // below Webhooks
		at := l.Start.Add(time.Duration(i) * time.Duration(l.Days) * 24 * time.Hour / time.Duration(n))
		notice := failure.Notice{
			ID: g.id(), Kind: failure.NoticeMailed, Tenant: l.Tenant(first), WebhookID: l.Webhook(first), RaisedAt: at, MailedAt: at,
			NoticeKind: failure.NoticeWarning, NoticeID: g.id(), MailTo: "admin@example.com", MailResult: failure.MailSent,
			MailSubject: "A webhook fails", MailText: "It answers 503 since noon.",
		}
		if i%4 == 0 {
			notice.Kind, notice.NoticeKind, notice.MailedAt = failure.NoticeWarning, "", time.Time{}
		}
		b.AddNotice(notice)
	}
	if err := s.Record(ctx, &b); err != nil {
		return fmt.Errorf("record %d notices: %w", n, err)
	}
	return nil
}

// fanOut is how many webhooks of its tenant an event goes to, at most.
const fanOut = 3

type generator struct {
	Load
	random   *rand.Rand
	webhooks *rand.Zipf
	types    *rand.Zipf
	step     time.Duration // between requests, of which each has 4/3 events on average
	at       time.Time
	offset   int64
}

func newGenerator(l Load) *generator {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // test data
	return &generator{
		Load: l, random: r, at: l.Start,
		webhooks: rand.NewZipf(r, 1.1, 1, uint64(l.Webhooks-1)), //nolint:gosec // positive
		types:    rand.NewZipf(r, 1.1, 1, uint64(l.Types-1)),    //nolint:gosec // positive
		step:     time.Duration(l.Days) * 24 * time.Hour * (fanOut + 1) / 2 * 4 / 3 / time.Duration(l.Deliveries),
	}
}

// event adds an event with all that came of it, and returns how many deliveries these were.
func (g *generator) event(b *history.Batch, most int) int {
	if g.random.IntN(4) > 0 { // else it came with the one before, in one request
		g.at = g.at.Add(time.Duration(g.random.Int64N(int64(2*g.step))) + 1)
	}
	first := int(g.webhooks.Uint64()) //nolint:gosec // below Webhooks
	tenant := g.Tenant(first)
	e := event.Record{Event: event.Event{ //nolint:gosec // an id, not a key
		ID: g.id(), Tenant: tenant, Type: g.Type(int(g.types.Uint64())), OccurredAt: g.at.Add(-time.Second), //nolint:gosec // below Types
	}, ReceivedAt: g.at, IDAssigned: true, APIKeyID: "8491cf7b-8f5f-564b-ac9e-d233e3cc88d9"}
	if g.random.IntN(3) > 0 {
		e.ExternalReference = g.Reference(g.random.IntN(g.Deliveries/30 + 1))
	}
	b.AddEvent(e, g.position("doorstep.events"))
	n := min(most, 1+g.random.IntN(fanOut), g.Webhooks/g.Tenants)
	for i := range n {
		g.delivery(b, e, g.Webhook((first+i*g.Tenants)%(g.Webhooks/g.Tenants*g.Tenants)))
	}
	return n
}

// id is a UUIDv7 of the time that the generator has come to.
func (g *generator) id() string {
	var r [8]byte
	for i := range r {
		r[i] = byte(g.random.Uint32()) //nolint:gosec // its lowest bits
	}
	return delivery.NewRunID("", g.at, r)
}

func (g *generator) position(topic string) delivery.Position {
	g.offset++
	return delivery.Position{Topic: topic, Partition: int32(g.offset % 12), Offset: g.offset / 12} //nolint:gosec // below 12
}

// delivery adds a delivery and what came of it: 90 of 100 are accepted at once and 6 the second time, 2 are
// exhausted after the fourth, 1 is suspended and 1 pending.
func (g *generator) delivery(b *history.Batch, e event.Record, webhook string) {
	id := delivery.ID(e.ID, webhook)
	d := delivery.Delivery{
		ID: id, Tenant: e.Tenant, EventID: e.ID, EventType: e.Type, ExternalReference: e.ExternalReference, WebhookID: webhook,
		RunID: delivery.FirstRunID(id), Cause: delivery.CauseFirst, Attempt: 1, ReceivedAt: e.ReceivedAt,
	}
	of := g.random.IntN(100)
	if of == 0 {
		d.SuspendReason, d.SuspendedAt = delivery.SuspendDisabled, e.ReceivedAt.Add(time.Millisecond)
		b.AddDelivery(d, g.position("doorstep.deliveries.suspended"))
		return
	}
	at := g.position("doorstep.deliveries")
	b.AddDelivery(d, at)
	switch {
	case of == 1: // pending
	case of <= 3:
		for n, status := range []delivery.Status{delivery.Retrying, delivery.Retrying, delivery.Retrying, delivery.Exhausted} {
			b.AddAttempt(post(d, at, n+1, status))
		}
	case of <= 9:
		b.AddAttempt(post(d, at, 1, delivery.Retrying))
		b.AddAttempt(post(d, at, 2, delivery.Delivered))
	default:
		b.AddAttempt(post(d, at, 1, delivery.Delivered))
	}
}

// post is an attempt, about 1 KiB of details.
func post(d delivery.Delivery, at delivery.Position, n int, status delivery.Status) delivery.Attempt {
	started := d.ReceivedAt.Add(7*time.Millisecond + time.Duration(n-1)*time.Minute)
	a := delivery.Attempt{
		Kind: delivery.KindPost, DeliveryID: d.ID, RunID: d.RunID, Cause: d.Cause, Attempt: n, Tenant: d.Tenant, WebhookID: d.WebhookID,
		WebhookGeneration: 1, EventID: d.EventID, EventType: d.EventType, Lane: at.Topic, ReceivedAt: d.ReceivedAt,
		StartedAt: started, FinishedAt: started.Add(42 * time.Millisecond), Status: status, Position: at, Instance: "sender-0",
		Outcome: delivery.Outcome{
			URL: "https://hooks.example.com/doorstep/card-updates", RemoteAddress: "203.0.113.7:443", StatusCode: 200,
			RequestHeaders: []delivery.Header{
				{Name: "Content-Type", Value: "application/json"}, {Name: "User-Agent", Value: "Doorstep/1.0"},
				{Name: "Webhook-Id", Value: d.ID}, {Name: "Webhook-Timestamp", Value: "1795348800"},
				{Name: "Webhook-Signature", Value: "***"},
			},
			ResponseHeaders: []delivery.Header{
				{Name: "Content-Type", Value: "application/json; charset=utf-8"}, {Name: "Date", Value: "Sun, 22 Nov 2026 12:00:00 GMT"},
				{Name: "Server", Value: "nginx"}, {Name: "Content-Length", Value: "15"},
			},
			ResponseBody: []byte(`{"status":"ok"}`),
			Phases:       delivery.Phases{FirstByte: 41 * time.Millisecond, Total: 42 * time.Millisecond, Reused: true},
		},
	}
	if status != delivery.Delivered {
		a.Outcome.StatusCode, a.Outcome.ErrorCode, a.Outcome.Error = 503, "status", "The receiver answered 503 Service Unavailable."
	}
	if status == delivery.Retrying {
		a.NextAttemptAt = a.FinishedAt.Add(time.Minute)
	}
	return a
}
