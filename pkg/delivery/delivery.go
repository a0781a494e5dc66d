// Package delivery is the noun delivery: one event for one webhook, the exact bytes to POST, and
// the attempts made of it.
package delivery

import (
	"crypto/sha1" //nolint:gosec // what RFC 9562 says of UUIDv5
	"time"

	"github.com/google/uuid"
)

// Position is where a record stands in the log.
type Position struct {
	Topic     string
	Partition int32
	Offset    int64
}

// Delivery is one event for one webhook. All but its run (RunID, Cause) and the fields that say where it is in it
// (FirstPosition, Attempt, TimesParked, PutOffs, PutOffSince, DueAt and the suspension) stay the same for its life.
type Delivery struct {
	ID                string
	Tenant            string
	EventID           string
	EventType         string
	ExternalReference string
	WebhookID         string
	WebhookPosition   Position // of the webhook record that it was matched with
	EventPosition     Position
	FirstPosition     Position // where the run was first written; zero on that record itself
	RunID             string
	Cause             Cause
	Attempt           int       // the attempt that comes next, from 1
	TimesParked       int       // since the last attempt
	PutOffs           int       // attempts of this run that used up no try (Retry-After)
	PutOffSince       time.Time // zero: its receiver asked for no wait
	DueAt             time.Time // zero: at once
	ReceivedAt        time.Time // of the event
	Body              []byte
	ContentType       string
	TraceContext      string
	SuspendReason     SuspendReason
	SuspendedAt       time.Time

	// Unknown holds fields that a newer version wrote: carried on, never read.
	Unknown []byte
}

// deliverySpace is the UUIDv5 name space of delivery ids; it is frozen.
var deliverySpace = uuid.MustParse("6f1c3f0e-5a76-4c1b-9d53-1c1d5c1b0d11")

// ID is the delivery id of an event for a webhook: the same whenever it is worked out again.
// Event ids are unique in their tenant and webhook ids everywhere, so the pair names one delivery.
func ID(eventID, webhookID string) string {
	return nameID(eventID, webhookID)
}

// nameID is the UUIDv5 of two names in deliverySpace. A delivery has two such ids, so it is uuid.NewSHA1 without
// the garbage.
func nameID(first, second string) string {
	b := make([]byte, 0, 256)
	b = append(append(append(append(b, deliverySpace[:]...), first...), 0), second...)
	hash := sha1.Sum(b) //nolint:gosec // what RFC 9562 says of UUIDv5
	id := uuid.UUID(hash[:16])
	id[6] = id[6]&0x0f | 5<<4
	id[8] = id[8]&0x3f | 0x80 // the variant of RFC 9562
	return id.String()
}

// Cause is why a run was started.
type Cause string

// The causes.
const (
	CauseFirst   Cause = "first"
	CauseResend  Cause = "resend"
	CauseRecover Cause = "recover"
	CauseRelease Cause = "release"
	CauseTest    Cause = "test"
)

// SuspendReason is why a delivery is suspended.
type SuspendReason string

// The reasons.
const (
	SuspendDisabled SuspendReason = "disabled" // fail streak at the limit, or 410
	SuspendInactive SuspendReason = "inactive" // a person set active=false
	SuspendPaused   SuspendReason = "paused"   // a person paused it
)

// Status is what has become of a delivery.
type Status string

// The statuses.
const (
	Pending   Status = "pending"
	Retrying  Status = "retrying"
	Delivered Status = "delivered"
	Exhausted Status = "exhausted"
	Suspended Status = "suspended"
	Cancelled Status = "cancelled"
	Discarded Status = "discarded"
	Capped    Status = "capped"
)

// Statuses are all of them.
func Statuses() []Status {
	return []Status{Pending, Retrying, Delivered, Exhausted, Suspended, Cancelled, Discarded, Capped}
}
