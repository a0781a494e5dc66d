package delivery_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
)

// The ids are frozen: receivers know deliveries by them, and an event matched again by a later
// version must give the same ones.
func TestIDsAreFrozen(t *testing.T) {
	for name, tt := range map[string]struct{ event, webhook, id, run string }{
		"assigned by ingest": {
			"01970000-0000-7000-8000-000000000001", "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
			"55d89a0e-d206-5179-bcfa-e857b9f3e625", "8491cf7b-8f5f-564b-ac9e-d233e3cc88d9",
		},
		"given by the producer": {
			"card-7:updated", "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
			"b25af0cc-328e-55cc-b396-c179e45ba1aa", "b2c5e17c-31ec-5cc7-b71b-c4ba7f62140c",
		},
	} {
		id := delivery.ID(tt.event, tt.webhook)
		if id != tt.id {
			t.Errorf("%s: delivery id %s, want %s", name, id, tt.id)
		}
		if run := delivery.FirstRunID(id); run != tt.run {
			t.Errorf("%s: first run's id %s, want %s", name, run, tt.run)
		}
	}
}

func TestIDsTellPairsApart(t *testing.T) {
	if delivery.ID("ab", "c") == delivery.ID("a", "bc") {
		t.Error("the border between event and webhook does not count")
	}
	if id := delivery.ID("a", "b"); id == delivery.ID("b", "a") || id == delivery.FirstRunID(id) {
		t.Error("different things have one id")
	}
}

func TestOutcomeOK(t *testing.T) {
	for name, tt := range map[string]struct {
		outcome delivery.Outcome
		want    bool
	}{
		"no answer":                   {delivery.Outcome{ErrorCode: "connect_timeout"}, false},
		"nothing at all":              {delivery.Outcome{}, false},
		"199":                         {delivery.Outcome{StatusCode: 199}, false},
		"200":                         {delivery.Outcome{StatusCode: 200}, true},
		"204":                         {delivery.Outcome{StatusCode: 204}, true},
		"299":                         {delivery.Outcome{StatusCode: 299}, true},
		"300":                         {delivery.Outcome{StatusCode: 300}, false},
		"302, without an error code":  {delivery.Outcome{StatusCode: 302}, false},
		"410":                         {delivery.Outcome{StatusCode: 410, ErrorCode: "status"}, false},
		"503":                         {delivery.Outcome{StatusCode: 503, ErrorCode: "status"}, false},
		"200, and the answer was cut": {delivery.Outcome{StatusCode: 200, ErrorCode: "timeout"}, false},
	} {
		if got := tt.outcome.OK(); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// Ids are made without uuid.NewSHA1 and are the same, however long the names.
func TestIDsAreUUIDv5(t *testing.T) {
	space := uuid.MustParse("6f1c3f0e-5a76-4c1b-9d53-1c1d5c1b0d11")
	for _, n := range []int{0, 1, 36, 64, 300} {
		event, webhook := strings.Repeat("e", n), strings.Repeat("w", n)
		if got, want := delivery.ID(event, webhook), uuid.NewSHA1(space, []byte(event+"\x00"+webhook)).String(); got != want {
			t.Errorf("%d characters: %s, want %s", n, got, want)
		}
	}
}
