package wire_test

import (
	"bytes"
	"maps"
	"slices"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

// What is encoded by hand is, byte for byte, what the generated message would be, and reads as what was written.
func TestAttemptIsEncodedAsItsMessage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := attempts().Draw(t, "attempt")
		r, err := wire.Attempt("attempts", a)
		if err != nil {
			t.Fatal(err)
		}
		got, err := wire.ReadAttempt(r)
		if diff := cmp.Diff(a, got); err != nil || diff != "" {
			t.Fatalf("%v; read is not what was written: %s", err, diff)
		}
		var m pb.AttemptRecord
		if err := proto.Unmarshal(r.Value, &m); err != nil || len(m.ProtoReflect().GetUnknown()) > 0 {
			t.Fatalf("%v; unknown: %x", err, m.ProtoReflect().GetUnknown())
		}
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(&m)
		if err != nil || !bytes.Equal(r.Value, want) {
			t.Fatalf("%v; encoded\n%x\nwant\n%x", err, r.Value, want)
		}
	})
}

// An event is encoded as its message too, but that the attributes come in any order, and entries without a key or value are shorter.
func TestEventIsEncodedAsItsMessage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := event.Record{
			Event: drawEvent(t), ReceivedAt: time.Unix(0, rapid.Int64Range(1, 1<<62).Draw(t, "received")).UTC(),
			IDAssigned: rapid.Bool().Draw(t, "assigned"), APIKeyID: rapid.String().Draw(t, "key"), TraceContext: rapid.String().Draw(t, "trace"),
		}
		r, err := wire.Event("events", e)
		if valid := eventIsUTF8(e.Event); valid != (err == nil) {
			t.Fatalf("all text is UTF-8: %v, but %v", valid, err)
		}
		if err != nil {
			return
		}
		var m pb.EventRecord
		if err := proto.Unmarshal(r.Value, &m); err != nil || len(m.ProtoReflect().GetUnknown()) > 0 || len(m.Event.ProtoReflect().GetUnknown()) > 0 {
			t.Fatalf("%v; unknown: %x", err, m.ProtoReflect().GetUnknown())
		}
		got, err := wire.ReadEvent(r)
		if diff := cmp.Diff(e, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Fatalf("%v; read is not what was written: %s", err, diff)
		}
		if _, empty := e.Attributes[""]; empty || len(e.Attributes) > 1 || slices.Contains(slices.Collect(maps.Values(e.Attributes)), "") {
			return
		}
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(&m)
		if err != nil || !bytes.Equal(r.Value, want) {
			t.Fatalf("%v; encoded\n%x\nwant\n%x", err, r.Value, want)
		}
	})
}

func eventIsUTF8(e event.Event) bool {
	for k, v := range e.Attributes {
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return false
		}
	}
	return utf8.ValidString(e.ExternalReference)
}

func TestEventIsEncodedWhole(t *testing.T) {
	r, err := wire.Event("events", sampleEvent)
	if err != nil {
		t.Fatal(err)
	}
	var m pb.EventRecord
	if err := proto.Unmarshal(r.Value, &m); err != nil {
		t.Fatal(err)
	}
	whole(t, m.ProtoReflect())
	whole(t, m.Event.ProtoReflect())
}

// A field that is added to the message must be encoded too.
func TestAttemptIsEncodedWhole(t *testing.T) {
	a := sampleAttempt
	a.Counter, a.Condition = sampleAttemptOfLater.Counter, sampleAttemptOfLater.Condition
	r, err := wire.Attempt("attempts", a)
	if err != nil {
		t.Fatal(err)
	}
	var m pb.AttemptRecord
	if err := proto.Unmarshal(r.Value, &m); err != nil {
		t.Fatal(err)
	}
	whole(t, m.ProtoReflect())
	if m.Phases == nil || m.Position == nil {
		t.Fatal("no phases or position")
	}
	whole(t, m.Phases.ProtoReflect())
	whole(t, m.Position.ProtoReflect())
}

func whole(t *testing.T, m protoreflect.Message) {
	t.Helper()
	for fields, i := m.Descriptor().Fields(), 0; i < fields.Len(); i++ {
		if !m.Has(fields.Get(i)) {
			t.Errorf("%s is not encoded", fields.Get(i).FullName())
		}
	}
}

func TestAttemptOfTextThatIsNotUTF8(t *testing.T) {
	a := sampleAttempt
	a.EventType = "card.\xff"
	if r, err := wire.Attempt("attempts", a); err == nil {
		t.Errorf("encoded as %x, want an error", r.Value)
	}
	a = sampleAttempt
	a.Outcome.Error, a.Outcome.ResponseHeaders = "it says \xff", []delivery.Header{{Name: "X", Value: "\xff"}}
	r, err := wire.Attempt("attempts", a)
	if err != nil {
		t.Fatal(err)
	}
	got, err := wire.ReadAttempt(r)
	if err != nil || got.Outcome.Error != "it says ?" || got.Outcome.ResponseHeaders[0].Value != "?" {
		t.Errorf("%v, %+v", err, got.Outcome)
	}
}

// A delivery that waits must not hold what was fetched with it.
func TestReadDeliveryHoldsNothingOfTheRecord(t *testing.T) {
	r, err := wire.Delivery("deliveries", sampleDelivery)
	if err != nil {
		t.Fatal(err)
	}
	r.Value = append(r.Value, protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 7)...) // of a newer version
	got, err := wire.ReadDelivery(r)
	if err != nil {
		t.Fatal(err)
	}
	clear(r.Value)
	clear(r.Key)
	want := sampleDelivery
	want.Unknown = []byte{0x98, 0x06, 7}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("it has changed with the record: %s", diff)
	}
}

func attempts() *rapid.Generator[delivery.Attempt] {
	text := rapid.OneOf(rapid.Just(""), rapid.String(), rapid.StringN(120, 140, -1))
	times := rapid.Custom(func(t *rapid.T) time.Time {
		if n := rapid.Int64Range(-1<<40, 1<<62).Draw(t, "nanos"); n != 0 {
			return time.Unix(0, n).UTC()
		}
		return time.Time{}
	})
	phase := rapid.Custom(func(t *rapid.T) time.Duration { return time.Duration(rapid.Int64().Draw(t, "phase")) })
	headers := rapid.Custom(func(t *rapid.T) []delivery.Header {
		var out []delivery.Header
		for range rapid.IntRange(0, 3).Draw(t, "headers") {
			out = append(out, delivery.Header{Name: text.Draw(t, "name"), Value: text.Draw(t, "value")})
		}
		return out
	})
	return rapid.Custom(func(t *rapid.T) delivery.Attempt {
		a := delivery.Attempt{
			Kind:       rapid.SampledFrom([]delivery.Kind{delivery.KindPost, delivery.KindDecision, delivery.KindCapped}).Draw(t, "kind"),
			DeliveryID: text.Draw(t, "id"), RunID: text.Draw(t, "run"), Attempt: rapid.IntRange(0, 1<<20).Draw(t, "attempt"),
			Cause:  rapid.SampledFrom([]delivery.Cause{delivery.CauseFirst, delivery.CauseTest}).Draw(t, "cause"),
			Tenant: text.Draw(t, "tenant"), WebhookID: text.Draw(t, "webhook"), EventID: text.Draw(t, "event"),
			EventType: text.Draw(t, "type"), Lane: text.Draw(t, "lane"), DueAt: times.Draw(t, "due"), StartedAt: times.Draw(t, "started"),
			FinishedAt: times.Draw(t, "finished"), ReceivedAt: times.Draw(t, "received"), NextAttemptAt: times.Draw(t, "next"),
			Status:            rapid.SampledFrom([]delivery.Status{delivery.Delivered, delivery.Exhausted}).Draw(t, "status"),
			WebhookGeneration: rapid.Uint64().Draw(t, "generation"), Instance: text.Draw(t, "instance"),
			Count: rapid.IntRange(0, 1000).Draw(t, "count"), Counter: text.Draw(t, "counter"), Condition: text.Draw(t, "condition"), TraceContext: text.Draw(t, "trace"),
			Outcome: delivery.Outcome{
				StatusCode: rapid.IntRange(0, 999).Draw(t, "status code"), ErrorCode: text.Draw(t, "code"), Error: text.Draw(t, "error"),
				URL: text.Draw(t, "url"), RemoteAddress: text.Draw(t, "remote"), RequestHeaders: headers.Draw(t, "request"),
				ResponseHeaders: headers.Draw(t, "response"),
				Phases: delivery.Phases{
					DNS: phase.Draw(t, "dns"), Connect: phase.Draw(t, "connect"), TLS: phase.Draw(t, "tls"),
					FirstByte: phase.Draw(t, "first byte"), Total: phase.Draw(t, "total"), Reused: rapid.Bool().Draw(t, "reused"),
				},
			},
		}
		if b := rapid.SliceOfN(rapid.Byte(), 0, 20_000).Draw(t, "body"); len(b) > 0 {
			a.Outcome.ResponseBody = b
		}
		if rapid.Bool().Draw(t, "placed") {
			a.Position = delivery.Position{
				Topic: text.Draw(t, "topic"), Partition: rapid.Int32Range(0, 1000).Draw(t, "partition"), Offset: rapid.Int64Range(0, 1<<60).Draw(t, "offset"),
			}
		}
		return a
	})
}

func BenchmarkAttempt(b *testing.B) {
	a := sampleAttempt
	for range 7 {
		a.Outcome.RequestHeaders = append(a.Outcome.RequestHeaders, delivery.Header{Name: "Webhook-Signature", Value: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="})
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := wire.Attempt("attempts", a); err != nil {
			b.Fatal(err)
		}
	}
}
