package wire_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// drawEvent draws an event that is mostly sound, with texts of any kind.
func drawEvent(t *rapid.T) event.Event {
	text := rapid.OneOf(rapid.String(), rapid.StringN(0, -1, event.MaxReferenceBytes),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 8), func(b []byte) string { return string(b) }))
	occurred := time.Time{}
	if rapid.Bool().Draw(t, "has a time") {
		occurred = time.Unix(rapid.Int64Range(-1<<35, 1<<31).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanos")).UTC()
	}
	return event.Event{
		ID:                rapid.StringMatching(`([A-Za-z0-9_:-]{1,64})?`).Draw(t, "id"),
		Tenant:            rapid.StringMatching(`([a-z0-9][a-z0-9_-]{0,63})?`).Draw(t, "tenant"),
		Type:              rapid.StringMatching(`[a-z0-9_]{1,20}(\.[a-z0-9_]{1,20}){0,3}`).Draw(t, "type"),
		OccurredAt:        occurred,
		ExternalReference: text.Draw(t, "external reference"),
		Attributes:        rapid.MapOfN(text, text, 0, 5).Draw(t, "attributes"),
		Data:              []byte(rapid.OneOf(rapid.Just(""), rapid.Just(`{"a": 1.0, "a": 1e400}`), rapid.Just("\"\xff\""), rapid.StringMatching(` ?"[a-zäß\\"]{0,20}"`)).Draw(t, "data")),
	}
}

// What is accepted can be kept, and comes back as it was.
func TestAnEventThatPassesCheckSurvives(t *testing.T) {
	passed := 0
	rapid.Check(t, func(t *rapid.T) {
		want := event.Record{Event: drawEvent(t), ReceivedAt: at(1)}
		if want.Check("", time.Unix(1<<32, 0)) != nil {
			return
		}
		passed++
		r, err := wire.Event("events", want)
		if err != nil {
			t.Fatal(err)
		}
		if key := string(r.Key); key != want.Key() || !strings.HasPrefix(key, want.Tenant+"/") {
			t.Fatalf("key %q", key)
		}
		got, err := wire.ReadEvent(r)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
	if passed == 0 {
		t.Error("no event passed")
	}
}
