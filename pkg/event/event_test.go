package event_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// long is a text of n bytes.
func long(n int) string { return strings.Repeat("a", n) }

// attributes are n of them.
func attributes(n int) map[string]string {
	m := map[string]string{}
	for i := range n {
		m[fmt.Sprint("k", i)] = "v"
	}
	return m
}

// sound is an event without a fault.
func sound() event.Event {
	return event.Event{
		ID: "e-1", Tenant: "acme", Type: "card.updated", OccurredAt: now, ExternalReference: "card-7",
		Attributes: map[string]string{"eventUser": "545"}, Data: []byte(`{"a":1}`),
	}
}

func TestCheck(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*event.Event)
		want   string // the one field at fault; none: sound
	}{
		"a whole event":             {func(*event.Event) {}, ""},
		"only a type":               {func(e *event.Event) { *e = event.Event{Type: "ping"} }, ""},
		"id at the limit":           {func(e *event.Event) { e.ID = long(64) }, ""},
		"id above":                  {func(e *event.Event) { e.ID = long(65) }, "id"},
		"id of all that it may":     {func(e *event.Event) { e.ID = "aZ09-_:" }, ""},
		"id with a dot":             {func(e *event.Event) { e.ID = "a.b" }, "id"},
		"id with a line break":      {func(e *event.Event) { e.ID = "a\n" }, "id"},
		"id with a letter of ours":  {func(e *event.Event) { e.ID = "ä" }, "id"},
		"tenant at the limit":       {func(e *event.Event) { e.Tenant = long(64) }, ""},
		"tenant above":              {func(e *event.Event) { e.Tenant = long(65) }, "tenant"},
		"tenant with a capital":     {func(e *event.Event) { e.Tenant = "Acme" }, "tenant"},
		"tenant with a slash":       {func(e *event.Event) { e.Tenant = "a/b" }, "tenant"},
		"tenant begins with a dash": {func(e *event.Event) { e.Tenant = "-a" }, "tenant"},
		"type missing":              {func(e *event.Event) { e.Type = "" }, "type"},
		"type at the limit":         {func(e *event.Event) { e.Type = long(128) }, ""},
		"type above":                {func(e *event.Event) { e.Type = long(129) }, "type"},
		"type of many names":        {func(e *event.Event) { e.Type = "a.b_2.c" }, ""},
		"type with a wildcard":      {func(e *event.Event) { e.Type = "card.*" }, "type"},
		"type with an empty name":   {func(e *event.Event) { e.Type = "card..updated" }, "type"},
		"type ends in a dot":        {func(e *event.Event) { e.Type = "card." }, "type"},
		"type with a capital":       {func(e *event.Event) { e.Type = "Card" }, "type"},
		"no time":                   {func(e *event.Event) { e.OccurredAt = time.Time{} }, ""},
		"long ago":                  {func(e *event.Event) { e.OccurredAt = now.AddDate(-50, 0, 0) }, ""},
		"a day ahead":               {func(e *event.Event) { e.OccurredAt = now.Add(24 * time.Hour) }, ""},
		"more than a day ahead":     {func(e *event.Event) { e.OccurredAt = now.Add(24*time.Hour + 1) }, "occurred_at"},
		"reference at the limit":    {func(e *event.Event) { e.ExternalReference = long(256) }, ""},
		"reference above":           {func(e *event.Event) { e.ExternalReference = long(257) }, "external_reference"},
		"reference above in bytes":  {func(e *event.Event) { e.ExternalReference = strings.Repeat("ä", 129) }, "external_reference"},
		"reference not UTF-8":       {func(e *event.Event) { e.ExternalReference = "\xff" }, "external_reference"},
		"attributes at the limit":   {func(e *event.Event) { e.Attributes = attributes(32) }, ""},
		"attributes above":          {func(e *event.Event) { e.Attributes = attributes(33) }, "attributes"},
		"key empty":                 {func(e *event.Event) { e.Attributes = map[string]string{"": "v"} }, "attributes"},
		"key at the limit":          {func(e *event.Event) { e.Attributes = map[string]string{long(64): "v"} }, ""},
		"key above":                 {func(e *event.Event) { e.Attributes = map[string]string{long(65): "v"} }, "attributes"},
		"key not UTF-8":             {func(e *event.Event) { e.Attributes = map[string]string{"\xff": "v"} }, "attributes"},
		"value empty":               {func(e *event.Event) { e.Attributes = map[string]string{"k": ""} }, ""},
		"value at the limit":        {func(e *event.Event) { e.Attributes = map[string]string{"k": long(256)} }, ""},
		"value above":               {func(e *event.Event) { e.Attributes = map[string]string{"k": long(257)} }, "attributes[k]"},
		"value not UTF-8":           {func(e *event.Event) { e.Attributes = map[string]string{"k": "\xff"} }, "attributes"},
		"data at the limit":         {func(e *event.Event) { e.Data = []byte(`"` + long(256<<10-2) + `"`) }, ""},
		"data above":                {func(e *event.Event) { e.Data = []byte(`"` + long(256<<10-1) + `"`) }, "data"},
		"data not JSON":             {func(e *event.Event) { e.Data = []byte(`{"a":}`) }, "data"},
		"data a bare scalar":        {func(e *event.Event) { e.Data = []byte(`null`) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := sound()
			tt.change(&e)
			for _, prefix := range []string{"", "event."} {
				var want []string
				if tt.want != "" {
					want = []string{prefix + tt.want}
				}
				if diff := cmp.Diff(want, namesOf(e.Check(prefix, now))); diff != "" {
					t.Errorf("fields at fault (-want +got): %s", diff)
				}
			}
		})
	}
}

func TestCheckSaysAllThatIsWrong(t *testing.T) {
	e := event.Event{
		ID: "a.b", Tenant: "A", Type: "A", OccurredAt: now.AddDate(1, 0, 0), ExternalReference: "\xff",
		Attributes: map[string]string{"b": long(257), "a": long(257)}, Data: []byte("{"),
	}
	want := []string{"id", "tenant", "type", "occurred_at", "external_reference", "attributes[a]", "attributes[b]", "data"}
	if diff := cmp.Diff(want, namesOf(e.Check("", now))); diff != "" {
		t.Error(diff)
	}
}

func TestCheckDoesNotRepeatThePayload(t *testing.T) {
	e := event.Event{Type: "a", Attributes: map[string]string{"k": "s3cret" + long(257)}, Data: []byte(`{"s3cret"`)}
	if text := e.Check("", now).Error(); strings.Contains(text, "s3cret") {
		t.Errorf("a fault shows a value: %s", text)
	}
}

// What is JSON is what encoding/json, by which others read it, takes for JSON.
func FuzzDataIsJSON(f *testing.F) {
	for _, s := range []string{
		`{"a":1,"a":2}`, "\"\xff\"", `"\ud800"`, `"\u00zz"`, "\"\x01\"", "\x00", " null\n\t\r", "\ufeff{}", "-0.0e+10", "01", "1.", ".5", "+1", "1e", "NaN",
		"[1,]", `{"a" 1}`, `{a:1}`, "'a'", "[] []", "// a\n1", "tru", "\"\u2028\"", strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000),
		strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001), strings.Repeat(`{"a":`, 10_001) + "1" + strings.Repeat("}", 10_001),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 || len(data) > event.MaxDataBytes {
			return
		}
		if got := len(event.Event{Type: "a", Data: data}.Check("", now)) == 0; got != json.Valid(data) {
			t.Errorf("accepted: %v", got)
		}
	})
}

func namesOf(f invalid.Fields) []string {
	var names []string
	for _, x := range f {
		names = append(names, x.Name)
	}
	return names
}

func TestKey(t *testing.T) {
	for want, e := range map[string]event.Event{
		"acme/card-7": {ID: "e-1", Tenant: "acme", ExternalReference: "card-7"},
		"acme/e-1":    {ID: "e-1", Tenant: "acme"},
	} {
		if got := e.Key(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
