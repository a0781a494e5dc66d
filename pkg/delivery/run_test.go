package delivery_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
)

// Whatever the clock says, a run sorts behind the one that it was started after, and is a UUIDv7 of its time.
func TestRunsSortByTheirStart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		after := delivery.FirstRunID("a delivery")
		var greatest time.Time
		for i := range 20 {
			now := time.Unix(0, rapid.Int64Range(1, 1<<62).Draw(t, "now"))
			if i > 0 && rapid.Bool().Draw(t, "the same moment") {
				now = greatest
			}
			var random [8]byte
			binary.BigEndian.PutUint64(random[:], rapid.Uint64().Draw(t, "random"))
			run := delivery.NewRunID(after, now, random)
			id, err := uuid.Parse(run)
			if err != nil || id.Version() != 7 || id.Variant() != uuid.RFC4122 || id.String() != run {
				t.Fatalf("%s is no UUIDv7: %v", run, err)
			}
			if i > 0 && run <= after {
				t.Fatalf("%s was started after %s and sorts before it", run, after)
			}
			started, ok := delivery.RunStartedAt(run)
			if greatest.Before(now) {
				greatest = now
			}
			if d := started.Sub(greatest); !ok || d < -time.Microsecond || d > time.Millisecond {
				t.Fatalf("started %s from the latest clock", d)
			}
			after = run
		}
	})
}

func TestRunStartedAtKnowsNoFirstRun(t *testing.T) {
	for _, id := range []string{"", "x", delivery.FirstRunID("a delivery")} {
		if at, ok := delivery.RunStartedAt(id); ok {
			t.Errorf("%q started at %s", id, at)
		}
	}
	// Made by another implementation: 2022-02-22T19:22:22Z, the example of RFC 9562.
	at, ok := delivery.RunStartedAt("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")
	if want := time.Date(2022, 2, 22, 19, 22, 22, 0, time.UTC); !ok || at.Truncate(time.Millisecond) != want {
		t.Errorf("%s, %t, want %s", at, ok, want)
	}
}

// Every field that is not named here stays: a field that is added is looked at here first.
func TestAgain(t *testing.T) {
	at := time.Unix(7, 0).UTC()
	p := delivery.Position{Topic: "t", Partition: 1, Offset: 2}
	d := delivery.Delivery{
		ID: "id", Tenant: "tenant", EventID: "event", EventType: "type", ExternalReference: "reference", WebhookID: "webhook",
		WebhookPosition: p, EventPosition: p, ReceivedAt: at, Body: []byte("body"), ContentType: "content", TraceContext: "trace",
		Unknown: []byte{1},
	}
	was := d
	was.FirstPosition, was.RunID, was.Cause, was.Attempt, was.TimesParked, was.PutOffs = p, "first", delivery.CauseFirst, 4, 5, 6
	was.PutOffSince, was.DueAt, was.SuspendReason, was.SuspendedAt = at, at, delivery.SuspendPaused, at
	want := d
	want.RunID, want.Cause, want.Attempt = "next", delivery.CauseResend, 1
	if diff := cmp.Diff(want, was.Again("next", delivery.CauseResend)); diff != "" {
		t.Error(diff)
	}
}
