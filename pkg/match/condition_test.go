package match_test

import (
	"strings"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/match"
)

func TestHolds(t *testing.T) {
	e := event.Event{
		ID: "e1", Tenant: "acme", Type: "timereport.update", OccurredAt: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		ExternalReference: "1104", Attributes: map[string]string{"eventUser": "545"},
		Data: []byte(`{"amount":12.5,"id":9007199254740993,"big":1e400,"tags":["a","b"],"none":null,"project":{"id":66}}`),
	}
	for text, want := range map[string]string{
		`data.amount > 12`:                                      "yes",
		`data.id == 9007199254740993`:                           "yes", // beyond a double's precision
		`data.id == 9007199254740992`:                           "no",
		`data.big > 1.0e300`:                                    "yes",
		`data.project.id == 66 && "b" in data.tags`:             "yes",
		`data.tags.exists(t, t.startsWith("z"))`:                "no",
		`data.none == null`:                                     "yes",
		`has(data.missing)`:                                     "no",
		`data.missing == 1`:                                     "error",
		`data.amount + "x" == ""`:                               "error",
		`data.amount`:                                           "error", // not true or false
		`event.id == "e1" && event.tenant == "acme"`:            "yes",
		`event.type.startsWith("timereport.")`:                  "yes",
		`event.occurred_at > timestamp("2026-01-01T00:00:00Z")`: "yes",
		`event.attributes["eventUser"] == "545"`:                "yes",
		`event.external_reference.matches("^[0-9]+$")`:          "yes",
		`event.colour == "red"`:                                 "error",
	} {
		t.Run(text, func(t *testing.T) {
			p, err := match.Compile(text)
			if err != nil {
				t.Fatal(err)
			}
			holds, err := p.Holds(e)
			got := map[bool]string{true: "yes", false: "no"}[holds]
			if err != nil {
				got = "error"
			}
			if got != want {
				t.Errorf("got %s (%v), want %s", got, err, want)
			}
		})
	}
}

func TestCompileRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`event.`:           "line 1",
		`data.a == `:       "line 1",
		`colour == "red"`:  "undeclared reference",
		`"text"`:           "must give true or false",
		`1 + 2`:            "must give true or false",
		`event.id.shout()`: "undeclared reference",
	} {
		f := match.CheckCondition(text)
		if len(f) != 1 || f[0].Name != "condition" || !strings.Contains(f[0].Message, want) {
			t.Errorf("%s: %v, want %q", text, f, want)
		}
	}
	if f := match.CheckCondition(""); f != nil {
		t.Errorf("an empty condition: %v", f)
	}
}

func TestHoldsIsBounded(t *testing.T) {
	p, err := match.Compile(`data.all(a, data.all(b, data.all(c, a + b + c >= 0)))`)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Holds(event.Event{Data: []byte("[" + strings.Repeat("1,", 5000) + "1]")})
	if err == nil || !strings.Contains(err.Error(), "cost limit") {
		t.Errorf("got %v, want the cost limit to stop it", err)
	}
}

func TestHoldsWithoutData(t *testing.T) {
	p, err := match.Compile(`data == null`)
	if err != nil {
		t.Fatal(err)
	}
	if holds, err := p.Holds(event.Event{}); !holds || err != nil {
		t.Errorf("an event without data: %v, %v", holds, err)
	}
	if _, err := p.Holds(event.Event{Data: []byte("{")}); err == nil {
		t.Error("data that is not JSON gave no error")
	}
}
