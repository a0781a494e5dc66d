package history

import (
	"cmp"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
)

// Delivery is the row of a delivery. ReceivedAt and ID are its key: every record of a delivery names both,
// and rows are kept by day.
type Delivery struct {
	ReceivedAt        time.Time // of its event
	ID                string
	Tenant            string
	WebhookID         string // empty for a capped one, which stands for all webhooks that were cut
	EventID           string
	EventType         string
	ExternalReference string // empty until a delivery record has been read: attempts do not name it

	Run           string // orders runs: empty for the first, else RunID
	Step          int64  // orders what becomes of a run
	RunID         string
	Cause         delivery.Cause
	Attempt       int // attempts made in this run
	Status        delivery.Status
	SuspendReason delivery.SuspendReason // of a suspended one
	NextAttemptAt time.Time              // of a retrying one
	UpdatedAt     time.Time              // when it came to this; zero while it is pending for the first time
	Position      delivery.Position      // where its payload stands; zero for a capped one
}

// Steps after a number of attempts; a finished run is beyond all of them.
const (
	stepPending = iota
	stepRetrying
	stepSuspended
	stepReleased
	stepsPerAttempt
)

const finished = 1 << 40

func step(attempts, within int) int64 { return int64(attempts)*stepsPerAttempt + int64(within) }

// ended are the statuses that end a run, lowest first.
func ended(s delivery.Status) (rank int64, is bool) {
	for i, of := range []delivery.Status{delivery.Capped, delivery.Exhausted, delivery.Cancelled, delivery.Discarded, delivery.Delivered} {
		if s == of {
			return finished + int64(i), true
		}
	}
	return 0, false
}

// order is what orders a run id, empty for a delivery's first.
func order(deliveryID, runID string) string {
	if runID == delivery.FirstRunID(deliveryID) {
		return ""
	}
	return runID
}

// Merge is the row that both rows of one delivery make.
func (d Delivery) Merge(other Delivery) Delivery {
	newer, older := d, other
	if other.after(d) {
		newer, older = other, d
	}
	newer.ExternalReference = cmp.Or(newer.ExternalReference, older.ExternalReference)
	return newer
}

// after reports whether d holds over other. Rows of the same step differ only if an attempt was made twice:
// then the later one holds.
func (d Delivery) after(other Delivery) bool {
	return cmp.Or(
		cmp.Compare(d.Run, other.Run), cmp.Compare(d.Step, other.Step), d.UpdatedAt.Compare(other.UpdatedAt),
		cmp.Compare(d.Position.Topic, other.Position.Topic), cmp.Compare(d.Position.Partition, other.Position.Partition),
		cmp.Compare(d.Position.Offset, other.Position.Offset),
	) > 0
}

// Covers reports whether d says all that other says: what Merge makes of both is d.
func (d Delivery) Covers(other Delivery) bool { return d.Merge(other) == d }

// Untried reports whether d says no more than that its delivery was made: what comes next is its first attempt.
func (d Delivery) Untried() bool {
	return d.Run == "" && d.Step == stepPending && d.Status == delivery.Pending
}

// FromDelivery is what a record of `deliveries` (pending) or `deliveries.suspended` at that position says.
func FromDelivery(d delivery.Delivery, at delivery.Position) Delivery {
	made := max(d.Attempt-1, 0)
	row := Delivery{
		ReceivedAt: d.ReceivedAt, ID: d.ID, Tenant: d.Tenant, WebhookID: d.WebhookID, EventID: d.EventID,
		EventType: d.EventType, ExternalReference: d.ExternalReference,
		Run: order(d.ID, d.RunID), Step: step(made, stepPending), RunID: d.RunID, Cause: d.Cause, Attempt: made,
		Status: delivery.Pending, Position: at,
	}
	if d.SuspendReason != "" {
		row.Step, row.Status = step(made, stepSuspended), delivery.Suspended
		row.SuspendReason, row.UpdatedAt = d.SuspendReason, d.SuspendedAt
	}
	return row
}

// Attempt is the row of a POST, or of a decision without one. ReceivedAt, DeliveryID, RunID, Attempt and
// StartedAt are its key.
type Attempt struct{ delivery.Attempt }

// AttemptKey tells attempts apart.
type AttemptKey struct {
	ReceivedAt int64 // of the event, Unix nanoseconds: events of two tenants may have the same id
	DeliveryID string
	RunID      string
	Attempt    int
	Kind       delivery.Kind
	StartedAt  int64 // Unix nanoseconds
}

// Key is the attempt's key.
func (a Attempt) Key() AttemptKey {
	return AttemptKey{a.ReceivedAt.UnixNano(), a.DeliveryID, a.RunID, a.Attempt.Attempt, a.Kind, a.StartedAt.UnixNano()}
}

// Merge is the row that both rows of one attempt make. They differ only if the matcher said the same of an event
// twice, after a crash: then the later one holds.
func (a Attempt) Merge(other Attempt) Attempt {
	if other.FinishedAt.After(a.FinishedAt) {
		return other
	}
	return a
}

// FromAttempt is what a record of `attempts` says: the attempt, and what it makes of its delivery; false
// if it makes nothing of it. What the matcher says of an event (capped, condition_error) gets the delivery
// id that the event would have had for the webhook, or for none.
func FromAttempt(a delivery.Attempt) (Attempt, Delivery, bool) {
	if a.DeliveryID == "" {
		a.DeliveryID = delivery.ID(a.EventID, a.WebhookID)
		a.RunID = delivery.FirstRunID(a.DeliveryID)
		a.Cause = delivery.CauseFirst
	}
	row := Delivery{
		ReceivedAt: a.ReceivedAt, ID: a.DeliveryID, Tenant: a.Tenant, WebhookID: a.WebhookID, EventID: a.EventID,
		EventType: a.EventType,
		Run:       order(a.DeliveryID, a.RunID), RunID: a.RunID, Cause: a.Cause, Attempt: a.Attempt,
		Status: a.Status, NextAttemptAt: a.NextAttemptAt, UpdatedAt: a.FinishedAt, Position: a.Position,
	}
	if a.Kind != delivery.KindPost {
		row.Attempt = max(a.Attempt-1, 0) // a decision names the attempt that would have come next
	}
	rank, is := ended(a.Status)
	switch {
	case a.Kind == delivery.KindConditionError:
		return Attempt{a}, Delivery{}, false
	case is:
		row.Step = rank
	case a.Status == delivery.Retrying:
		row.Step = step(row.Attempt, stepRetrying)
	case a.Status == delivery.Pending: // released: its new run is on its way
		row.Step = step(row.Attempt, stepReleased)
	default:
		return Attempt{a}, Delivery{}, false
	}
	return Attempt{a}, row, true
}
