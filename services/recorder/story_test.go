package recorder

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/retry"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

var epoch = time.Date(2026, 11, 22, 23, 59, 0, 0, time.UTC) // a minute before the next day

const partitions = 3

// story is a log: what the services write of some events, with what a crash makes them write again.
type story struct {
	t       testing.TB
	topics  wire.Topics
	chance  *rand.Rand
	now     time.Time
	records []*kgo.Record
	ends    map[place]int64
}

// newStory tells of that many events.
func newStory(t testing.TB, topics wire.Topics, chance *rand.Rand, events int) *story {
	t.Helper()
	s := &story{t: t, topics: topics, chance: chance, now: epoch, ends: map[place]int64{}}
	for n := range events {
		s.event(n)
	}
	s.states()
	s.notices()
	s.quarantine()
	return s
}

// tick is a later time.
func (s *story) tick() time.Time {
	s.now = s.now.Add(time.Duration(1+s.chance.IntN(5000)) * time.Millisecond)
	return s.now
}

// put writes a record, as the log does: by its key.
func (s *story) put(r *kgo.Record, err error) delivery.Position {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	h := fnv.New32a()
	_, _ = h.Write(r.Key)
	at := place{r.Topic, int32(h.Sum32() % partitions)}
	r.Partition, r.Offset, r.Timestamp = at.partition, s.ends[at], s.now
	s.ends[at]++
	s.records = append(s.records, r)
	return wire.PositionOf(r)
}

func (s *story) event(n int) {
	tenants := []string{"acme", "globex"}
	e := event.Record{
		Event: event.Event{
			ID: fmt.Sprintf("e-%d", n), Tenant: tenants[n%2], Type: "card.updated", Data: []byte(`{}`),
			ExternalReference: fmt.Sprintf("card-%d", n%7), OccurredAt: s.now,
		},
		ReceivedAt: s.tick(), APIKeyID: "key-1",
	}
	if n%5 == 0 {
		e.ID = "same-in-both" // ids are a tenant's own, and producers try again
	}
	at := s.put(wire.Event(s.topics.Events, e))
	if n%6 == 0 {
		s.undelivered(e, at)
	}
	if n%5 == 0 && n > 1 {
		return // the matcher has seen it
	}
	lives := s.lives()
	for w := range 1 + s.chance.IntN(4) {
		hook := fmt.Sprintf("hook-%s-%d", e.Tenant, w)
		id := delivery.ID(e.ID, hook)
		lives[s.chance.IntN(len(lives))](delivery.Delivery{
			ID: id, Tenant: e.Tenant, EventID: e.ID, EventType: e.Type, ExternalReference: e.ExternalReference, WebhookID: hook,
			EventPosition: at, RunID: delivery.FirstRunID(id), Cause: delivery.CauseFirst, Attempt: 1, ReceivedAt: e.ReceivedAt,
			Body: []byte(`{}`), ContentType: "application/json",
		})
	}
}

// undelivered is what the matcher says beside deliveries, and says again, at another time, after a crash of the
// embedded log.
func (s *story) undelivered(e event.Record, at delivery.Position) {
	for range 1 + s.chance.IntN(2) {
		a := delivery.Attempt{
			Kind: delivery.KindCapped, Cause: delivery.CauseFirst, Tenant: e.Tenant, EventID: e.ID, EventType: e.Type,
			ReceivedAt: e.ReceivedAt, FinishedAt: s.tick(), Status: delivery.Capped, Position: at, Count: 3,
		}
		s.put(wire.Attempt(s.topics.Attempts, a))
		a.Kind, a.Status, a.Count, a.Counter, a.WebhookID = delivery.KindConditionError, "", 3, "matcher-0.1", "hook-"+e.Tenant+"-9"
		a.Outcome = delivery.Outcome{ErrorCode: "condition_error", Error: "no such key: \x00 amount"}
		s.put(wire.Attempt(s.topics.Attempts, a))
	}
}

// lives are what can become of a delivery.
func (s *story) lives() []func(delivery.Delivery) {
	return []func(delivery.Delivery){
		func(d delivery.Delivery) { s.run(d, 1, delivery.Delivered) },
		func(d delivery.Delivery) { s.run(d, 3, delivery.Delivered) },
		func(d delivery.Delivery) { s.run(d, 4, delivery.Exhausted) },
		func(d delivery.Delivery) { s.run(d, 2, delivery.Retrying) },
		func(d delivery.Delivery) { s.run(d, 0, delivery.Pending) },
		func(d delivery.Delivery) { // matched twice, which a crash of the embedded log may do
			s.put(wire.Delivery(s.topics.Deliveries, d))
			s.run(d, 2, delivery.Delivered)
		},
		func(d delivery.Delivery) { // resent twice
			s.run(d, 4, delivery.Exhausted)
			s.run(s.again(d, delivery.CauseResend), 4, delivery.Exhausted)
			s.run(s.again(d, delivery.CauseRecover), 2, delivery.Delivered)
		},
		func(d delivery.Delivery) { // suspended when matched, and released
			s.suspend(d, 1)
			s.decide(d, 1, delivery.Pending)
			s.run(s.again(d, delivery.CauseRelease), 1, delivery.Delivered)
		},
		func(d delivery.Delivery) { // suspended in a tier, and a copy went on
			s.run(d, 2, delivery.Retrying)
			s.suspend(d, 3)
			if s.chance.IntN(2) == 0 {
				s.post(d, s.at(d), 3, delivery.Retrying)
			}
		},
		func(d delivery.Delivery) {
			s.run(d, 1, delivery.Retrying)
			s.suspend(d, 2)
			s.decide(d, 2, delivery.Discarded)
		},
		func(d delivery.Delivery) { // its webhook is gone, found twice
			s.put(wire.Delivery(s.topics.Deliveries, d))
			s.decide(d, 1, delivery.Cancelled)
			s.decide(d, 1, delivery.Cancelled)
		},
	}
}

// run is a run with that many attempts, of which the last has that status.
func (s *story) run(d delivery.Delivery, attempts int, last delivery.Status) {
	at := s.put(wire.Delivery(s.topics.Deliveries, d))
	for n := 1; n <= attempts; n++ {
		status := delivery.Retrying
		if n == attempts {
			status = last
		}
		s.post(d, at, n, status)
		if s.chance.IntN(4) == 0 { // killed before the commit: once more, and it need not end the same
			if n == attempts && s.chance.IntN(2) == 0 {
				status = delivery.Delivered
			}
			s.post(d, at, n, status)
		}
	}
}

func (s *story) again(d delivery.Delivery, cause delivery.Cause) delivery.Delivery {
	var random [8]byte
	return d.Again(delivery.NewRunID("", s.tick(), random), cause)
}

// at is some place on the lane.
func (s *story) at(d delivery.Delivery) delivery.Position {
	return delivery.Position{Topic: s.topics.Deliveries, Partition: int32(len(d.ID) % partitions), Offset: s.chance.Int64N(100)}
}

func (s *story) post(d delivery.Delivery, at delivery.Position, n int, status delivery.Status) {
	a := delivery.Attempt{
		Kind: delivery.KindPost, DeliveryID: d.ID, RunID: d.RunID, Cause: d.Cause, Attempt: n, Tenant: d.Tenant, WebhookID: d.WebhookID,
		EventID: d.EventID, EventType: d.EventType, Lane: s.topics.Deliveries, ReceivedAt: d.ReceivedAt, StartedAt: s.tick(),
		FinishedAt: s.tick(), Status: status, Position: at, Instance: "sender-1",
		Outcome: delivery.Outcome{
			URL: "https://example.com/hook", StatusCode: 204, RequestHeaders: []delivery.Header{{Name: "A", Value: "b"}},
			ResponseBody: []byte{0xff, 0}, Phases: delivery.Phases{Total: time.Second},
		},
	}
	if status != delivery.Delivered {
		a.Outcome.StatusCode, a.Outcome.ErrorCode, a.Outcome.Error = 500, "status", "the receiver answered 500"
	}
	if status == delivery.Retrying {
		a.NextAttemptAt = a.FinishedAt.Add(time.Minute)
	}
	s.put(wire.Attempt(s.topics.Attempts, a))
}

func (s *story) suspend(d delivery.Delivery, next int) {
	d.Attempt, d.SuspendReason, d.SuspendedAt = next, delivery.SuspendDisabled, s.tick()
	s.put(wire.Delivery(s.topics.Suspended, d))
}

func (s *story) decide(d delivery.Delivery, next int, status delivery.Status) {
	now := s.tick()
	s.put(wire.Attempt(s.topics.Attempts, delivery.Attempt{
		Kind: delivery.KindDecision, DeliveryID: d.ID, RunID: d.RunID, Cause: d.Cause, Attempt: next, Tenant: d.Tenant, WebhookID: d.WebhookID,
		EventID: d.EventID, EventType: d.EventType, ReceivedAt: d.ReceivedAt, StartedAt: now, FinishedAt: now, Status: status, Position: s.at(d),
	}))
}

func (s *story) states() {
	for version := range uint64(6) {
		for _, hook := range []string{"hook-acme-0", "hook-globex-1"} {
			s.put(wire.State(s.topics.States, failure.State{
				WebhookID: hook, Tenant: "acme", Generation: 1 + version/4, Version: version, FailStreak: int(version), FailStreakStartedAt: epoch,
				LastFailureAt: s.tick(), FailureCount: version, Disabled: version == 3, LastStatusCode: 500, LastError: "no\x00 route",
			}))
		}
	}
	s.put(wire.Gone(s.topics.States, "hook-globex-1"), nil)
}

func (s *story) notices() {
	for n := range 4 {
		notice := failure.Notice{
			ID: uuid.NewSHA1(uuid.Nil, []byte{byte(n)}).String(), Kind: failure.NoticeWarning, Tenant: "acme", WebhookID: "hook-acme-0",
			Generation: 1, FailStreak: 250, FailStreakStartedAt: epoch, RaisedAt: s.tick(), LastStatusCode: 500, LastError: "no route",
		}
		s.put(wire.Notice(s.topics.Notices, notice))
		notice.FailStreak, notice.RaisedAt = 251, s.tick() // raised again by who takes over
		s.put(wire.Notice(s.topics.Notices, notice))
		s.put(wire.Notice(s.topics.Notices, failure.Notice{
			ID: notice.ID + "/mailed", Kind: failure.NoticeMailed, NoticeID: notice.ID, MailTo: "admin@example.com", MailedAt: s.tick(),
		}))
	}
}

// quarantine tells of records that several readers could not read, and one of them twice.
func (s *story) quarantine() {
	for n := range 4 {
		bad := &kgo.Record{Topic: s.topics.Deliveries, Partition: 1, Offset: int64(1000 + n), Key: []byte("k"), Value: []byte{0xff}}
		for _, reader := range []string{"sender", "recorder", "recorder"} {
			reason := errors.New(strings.Repeat("it does not decode ", 1+s.chance.IntN(3)))
			s.put(wire.Quarantine(s.topics.Quarantine, reader, bad, reason, s.tick()))
		}
	}
}

// testTopics are names for a story that is in no log.
func testTopics(t testing.TB) wire.Topics {
	t.Helper()
	topics, err := wire.NewTopics("t.", retry.Schedule{time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return topics
}
