package wire_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// A record made with others of its event says what it would say alone.
func TestFanoutSaysWhatDeliverySays(t *testing.T) {
	text := rapid.StringN(0, 20, -1)
	position := rapid.Custom(func(t *rapid.T) delivery.Position {
		return delivery.Position{Topic: text.Draw(t, "topic"), Partition: rapid.Int32Min(0).Draw(t, "partition"), Offset: rapid.Int64Min(0).Draw(t, "offset")}
	})
	rapid.Check(t, func(t *rapid.T) {
		d := delivery.Delivery{
			Tenant: text.Draw(t, "tenant"), EventID: text.Draw(t, "event"), EventType: text.Draw(t, "type"),
			ExternalReference: text.Draw(t, "reference"), EventPosition: position.Draw(t, "event position"),
			Cause: delivery.CauseFirst, Attempt: 1, ReceivedAt: at(rapid.IntRange(0, 1<<20).Draw(t, "received")), TraceContext: text.Draw(t, "trace"),
		}
		f, err := wire.NewFanout(d)
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 4).Draw(t, "webhooks") {
			own := wire.Own{
				ID: text.Draw(t, "id"), WebhookID: text.Draw(t, "webhook"), WebhookPosition: position.Draw(t, "webhook position"), RunID: text.Draw(t, "run"),
				Body: rapid.SliceOfN(rapid.Byte(), 1, 50).Draw(t, "body"), ContentType: text.Draw(t, "content type"),
				SuspendReason: rapid.SampledFrom([]delivery.SuspendReason{"", delivery.SuspendPaused, delivery.SuspendDisabled}).Draw(t, "reason"),
				SuspendedAt:   at(rapid.IntRange(0, 1<<20).Draw(t, "suspended")),
			}
			one := d
			one.ID, one.WebhookID, one.WebhookPosition, one.RunID = own.ID, own.WebhookID, own.WebhookPosition, own.RunID
			one.Body, one.ContentType, one.SuspendReason, one.SuspendedAt = own.Body, own.ContentType, own.SuspendReason, own.SuspendedAt
			alone, err := wire.Delivery("lane", one)
			if err != nil {
				t.Fatal(err)
			}
			got, err := f.Delivery("lane", own)
			if err != nil {
				t.Fatal(err)
			}
			if got.Topic != alone.Topic || !bytes.Equal(got.Key, alone.Key) || !cmp.Equal(got.Headers, alone.Headers) {
				t.Fatalf("%s %s %v, want %s %s %v", got.Topic, got.Key, got.Headers, alone.Topic, alone.Key, alone.Headers)
			}
			want, err := wire.ReadDelivery(alone)
			if err != nil {
				t.Fatal(err)
			}
			read, err := wire.ReadDelivery(got)
			if diff := cmp.Diff(want, read); err != nil || diff != "" {
				t.Fatalf("%v; delivery (-alone +fanned out):\n%s", err, diff)
			}
		}
	})
}

func TestFanoutRefusesTextThatIsNotUTF8(t *testing.T) {
	if _, err := wire.NewFanout(delivery.Delivery{EventID: "e", EventType: "\xff"}); err == nil {
		t.Error("a common text that is not UTF-8 is encoded")
	}
	f, err := wire.NewFanout(delivery.Delivery{EventID: "e"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Delivery("lane", wire.Own{WebhookID: "\xff"}); err == nil {
		t.Error("a text of its own that is not UTF-8 is encoded")
	}
	if r, err := f.Delivery("lane", wire.Own{WebhookID: "h"}); err != nil || string(r.Key) != "h" {
		t.Errorf("the next one: %v", err)
	}
}
