package history

import (
	"cmp"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/failure"
)

// Event is the row of an event. An event that its producer sent twice stands twice in the log, and so here:
// both were received, and the second was matched with nothing.
type Event struct {
	ReceivedAt        time.Time
	ID                string
	Tenant            string
	Type              string
	ExternalReference string
	OccurredAt        time.Time
	APIKeyID          string
	Position          delivery.Position
}

// FromEvent is what a record of `events` says.
func FromEvent(e event.Record, at delivery.Position) Event {
	return Event{
		ReceivedAt: e.ReceivedAt, ID: e.ID, Tenant: e.Tenant, Type: e.Type, ExternalReference: e.ExternalReference,
		OccurredAt: e.OccurredAt, APIKeyID: e.APIKeyID, Position: at,
	}
}

// Activity is when a webhook was last sent to, and when it last accepted. Test events are left out.
type Activity struct {
	WebhookID       string
	Tenant          string
	LastTriggeredAt time.Time // start of the last POST
	LastSuccessAt   time.Time // end of the last POST that was accepted; zero: never
}

// Merge is what both say.
func (a Activity) Merge(other Activity) Activity {
	a.LastTriggeredAt = later(a.LastTriggeredAt, other.LastTriggeredAt)
	a.LastSuccessAt = later(a.LastSuccessAt, other.LastSuccessAt)
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// ConditionErrors is the row of a counter of one webhook's condition that could not be evaluated. Counters only grow; a
// webhook has one for each life of a matcher that met it, and what they count together is all.
type ConditionErrors struct {
	WebhookID string
	Condition string // the key of the condition that failed (webhook.ConditionKey)
	Counter   string
	Tenant    string
	Count     int
	LastError string
	LastAt    time.Time
}

// ConditionErrorsKey tells counters apart.
type ConditionErrorsKey struct{ WebhookID, Condition, Counter string }

// Key is the row's key.
func (c ConditionErrors) Key() ConditionErrorsKey {
	return ConditionErrorsKey{c.WebhookID, c.Condition, c.Counter}
}

// Merge is the row that both rows of one counter make: that which has counted further.
func (c ConditionErrors) Merge(other ConditionErrors) ConditionErrors {
	if cmp.Or(cmp.Compare(other.Count, c.Count), other.LastAt.Compare(c.LastAt), cmp.Compare(other.LastError, c.LastError)) > 0 {
		return other
	}
	return c
}

// Quarantined is the row of a record that could not be read.
type Quarantined struct {
	Position delivery.Position // where it stands
	Reader   string            // who could not read it
	Reason   string
	At       time.Time
}

// QuarantinedKey tells quarantined records apart: each reader has its own say.
type QuarantinedKey struct {
	Position delivery.Position
	Reader   string
}

// Key is the row's key.
func (q Quarantined) Key() QuarantinedKey { return QuarantinedKey{q.Position, q.Reader} }

// Merge is the row that both rows of one record and reader make: what was said first.
func (q Quarantined) Merge(other Quarantined) Quarantined {
	if cmp.Or(other.At.Compare(q.At), cmp.Compare(other.Reason, q.Reason)) < 0 {
		return other
	}
	return q
}

// DeliveryKey tells deliveries apart.
type DeliveryKey struct {
	Tenant     string // two tenants' events may have one id
	ReceivedAt int64  // Unix nanoseconds
	ID         string
}

// Key is the delivery's key.
func (d Delivery) Key() DeliveryKey { return DeliveryKey{d.Tenant, d.ReceivedAt.UnixNano(), d.ID} }

// Batch is what some records say, one row for each thing that they speak of. The zero Batch is empty.
type Batch struct {
	Events      map[delivery.Position]Event
	Deliveries  map[DeliveryKey]Delivery
	Attempts    map[AttemptKey]Attempt
	Activities  map[string]Activity      // by webhook
	States      map[string]failure.State // by webhook; the newest
	Notices     map[string]failure.Notice
	Quarantined map[QuarantinedKey]Quarantined

	ConditionErrors map[ConditionErrorsKey]ConditionErrors
}

// Empty reports whether nothing was added.
func (b *Batch) Empty() bool {
	return len(b.Events)+len(b.Deliveries)+len(b.Attempts)+len(b.Activities)+len(b.States)+len(b.Notices)+len(b.Quarantined)+
		len(b.ConditionErrors) == 0
}

// AddEvent adds a record of `events`.
func (b *Batch) AddEvent(e event.Record, at delivery.Position) {
	put(&b.Events, at, FromEvent(e, at))
}

// AddDelivery adds a record of `deliveries` or `deliveries.suspended`.
func (b *Batch) AddDelivery(d delivery.Delivery, at delivery.Position) {
	b.AddRow(FromDelivery(d, at))
}

// AddAttempt adds a record of `attempts`.
func (b *Batch) AddAttempt(a delivery.Attempt) {
	row, d, changes := FromAttempt(a)
	if was, known := b.Attempts[row.Key()]; known {
		row = row.Merge(was)
	}
	put(&b.Attempts, row.Key(), row)
	if changes {
		b.AddRow(d)
	}
	if a.Kind == delivery.KindConditionError && a.Counter != "" {
		b.addConditionErrors(a)
	}
	if a.Kind != delivery.KindPost || a.Cause == delivery.CauseTest {
		return // what a person tries out is not what the webhook is for
	}
	act := Activity{WebhookID: a.WebhookID, Tenant: a.Tenant, LastTriggeredAt: a.StartedAt}
	if a.Outcome.OK() {
		act.LastSuccessAt = a.FinishedAt
	}
	if was, known := b.Activities[a.WebhookID]; known {
		act = act.Merge(was)
	}
	put(&b.Activities, a.WebhookID, act)
}

func (b *Batch) addConditionErrors(a delivery.Attempt) {
	row := ConditionErrors{
		WebhookID: a.WebhookID, Condition: a.Condition, Counter: a.Counter, Tenant: a.Tenant,
		Count: a.Count, LastError: a.Outcome.Error, LastAt: a.FinishedAt,
	}
	if was, known := b.ConditionErrors[row.Key()]; known {
		row = row.Merge(was)
	}
	put(&b.ConditionErrors, row.Key(), row)
}

// AddRow adds what other records say of a delivery.
func (b *Batch) AddRow(d Delivery) {
	if was, known := b.Deliveries[d.Key()]; known {
		d = d.Merge(was)
	}
	put(&b.Deliveries, d.Key(), d)
}

// AddState adds a record of `states`.
func (b *Batch) AddState(s failure.State) {
	if was, known := b.States[s.WebhookID]; !known || s.Newer(was) {
		put(&b.States, s.WebhookID, s)
	}
}

// AddNotice adds a record of `notices`. One that is raised again, after a crash, was raised first.
func (b *Batch) AddNotice(n failure.Notice) {
	was, known := b.Notices[n.ID]
	if !known || cmp.Or(n.RaisedAt.Compare(was.RaisedAt), n.MailedAt.Compare(was.MailedAt), cmp.Compare(n.FailStreak, was.FailStreak)) < 0 {
		put(&b.Notices, n.ID, n)
	}
}

// AddQuarantined adds a record of `quarantine`.
func (b *Batch) AddQuarantined(q Quarantined) {
	if was, known := b.Quarantined[q.Key()]; known {
		q = q.Merge(was)
	}
	put(&b.Quarantined, q.Key(), q)
}

func put[K comparable, V any](m *map[K]V, k K, v V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[k] = v
}
