package match_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
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
		`event.attributes.?colour.orValue("red") == "red"`:      "yes",
		`data.?project.?name.orValue("none") == "none"`:         "yes",
		`data.tags[0].upperAscii().trim() == "A"`:               "yes",
		`data.tags == ["a","b"] && data.project != data.tags`:   "yes",
		`data.project in [{"id":66}] && !("c" in data.tags)`:    "yes",
		`event.occurred_at.getHours("Europe/Berlin") == 13`:     "yes",
		`event == event && [event][0].id == "e1"`:               "yes",
		`data.tags`:                 "error", // nor this
		`data.amount.matches("1")`:  "error",
		`doorstep.Event{} == event`: "error",
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
		`event.`:           "line 1, column 7: ",
		`data.a ==`:        "line 1, column 10: mismatched input the end",
		`(data.a == 1`:     "line 1, column 13: missing ')' at the end",
		`colour == "red"`:  "line 1, column 1: undeclared reference to 'colour'",
		`"text"`:           "line 1, column 1: gives string, must give true or false",
		`1 + 2`:            "gives int, must give true or false",
		`event`:            "gives event, must",
		`event.id.shout()`: "line 1, column 15: undeclared reference to 'shout'",

		`event.typ == "x"`:                     "line 1, column 6: undefined field 'typ', at `.typ == \"x\"`",
		"data.a == 1 &&\n  event.typ == \"x\"": "line 2, column 8: undefined field 'typ'",
		`event.attributes == 3`:                "line 1, column 18: found no matching overload for '==' applied to '(map(string, string), int)'",
		`event.id > 5`:                         "no matching overload for '>' applied to '(string, int)'",
		`5 in event.attributes`:                "no matching overload for 'in'",
		`event["type"] == "x"`:                 "line 1, column 6: ",
		`data.a.matches("(")`:                  "line 1, column 16: the pattern is no RE2 regular expression",
		`data.a.matches(data.b)`:               "column 20: the pattern of matches must be a string that is written out",
		`matches(data.a, "x" + "y")`:           "must be a string that is written out",
		`data.a.matches("(a{30}){30}")`:        "instructions, the limit is 500",
		`data.at > timestamp("tomorrow")`:      "column 21: invalid timestamp",
		strings.Repeat("(", 600) + `data.a`:    "recursion limit",
		strings.Repeat("[", 1500):              "recursion limit",
		strings.Repeat("data.a == 1 && ", 100): "mismatched input the end",

		// Loops within loops: of 30 entries each, three of them cost too much, and the innermost is at fault.
		`data.a.all(a, data.b.all(b, data.c.all(c, a + b + c >= 0)))`:                 "line 1, column 39: costs up to ",
		`data.a.all(a, a.all(b, b.all(c, c.all(d, d > 0))))`:                          "line 1, column 38: costs up to ",
		`data` + strings.Repeat(".map(a, [a, a])", 17) + " == data":                   "has 17 loops (all, exists, filter, map), the limit is 16",
		`[1,2,3,4,5,6,7,8].all(a, data.a.map(b, data.b.map(c, c + a)).size() > 1000)`: "costs up to",
	} {
		f := match.CheckCondition(text)
		if len(f) < 1 || len(f) > 3 || f[0].Name != "condition" || !strings.Contains(f[0].Message, want) || strings.Contains(f[0].Message, "\n") {
			t.Errorf("%.80s: %v, want %q", text, f, want)
		}
	}
	if f := match.CheckCondition(""); f != nil {
		t.Errorf("an empty condition: %v", f)
	}
}

// Loops over what a webhook may well look through are allowed.
func TestCompileAllows(t *testing.T) {
	for _, text := range []string{
		`data.items.exists(i, i.price > 5)`,
		`data.items.exists(i, i.sku in ["a", "b"]) && event.attributes.colour == "red"`,
		`data.orders.exists(o, o.lines.exists(l, l.sku == data.sku && l.count > 3))`,
		`data.items.filter(i, i.price > 5).size() > 2`,
		`data.current.status != data.previous.status && data.name.matches("^[a-z]{1,64}@example[.]com$")`,
	} {
		if f := match.CheckCondition(text); f != nil {
			t.Errorf("%s: %v", text, f)
		}
	}
}

// ones is data: a list of n numbers.
func ones(n int) []byte { return []byte("[" + strings.Repeat("1,", n-1) + "1]") }

// nested is data: n lists, one within another.
func nested(n int) []byte { return []byte(strings.Repeat("[", n) + strings.Repeat("]", n)) }

func TestHoldsIsBounded(t *testing.T) {
	// Each loop of a chain doubles what there is.
	chain := func(start, each string) string { return start + strings.Repeat(".map(a, "+each+")", 14) }
	for text, tt := range map[string]struct {
		data []byte
		want string
	}{
		`data.all(a, data.all(b, a + b >= 0))`:                          {ones(5000), "costs more than 100000"},
		`data.all(a, data == data)`:                                     {ones(100_000), "costs more than 100000"},
		`data.all(a, a in data)`:                                        {ones(100_000), "costs more than 100000"},
		`data.map(a, data) == data.map(b, data)`:                        {ones(1500), "costs more than 100000"},
		`data in data.map(a, data)`:                                     {ones(1500), "costs more than 100000"},
		chain(`[data]`, `[a, a]`) + ` == data`:                          {ones(3), "costs more than 100000"},
		`data in ` + chain(`[data]`, `[a, a]`):                          {ones(3), "costs more than 100000"},
		`1 in ` + chain(`[data]`, `a + a`) + `[0]`:                      {ones(3), "costs up to"},
		chain(`[data]`, `a + a`) + `[0].all(x, x > 0)`:                  {ones(3), "costs up to"},
		chain(`[data]`, `a + a`) + ` == [""]`:                           {[]byte(`"` + strings.Repeat("a", 1000) + `"`), "costs "},
		chain(`[data]`, `a + a`):                                        {ones(3), "must give true or false"},
		`data.exists(a, a.matches("^(a?){100}$"))`:                      {[]byte(`["` + strings.Repeat("a", 200_000) + `"]`), "costs more than 100000"},
		`data.all(a, event.occurred_at.getHours("Europe/Berlin") < 24)`: {ones(1000), "costs more than 100000"},
		`data == [[[1]]]`:                                               {nested(9000), ""},
	} {
		p, err := match.Compile(text)
		if err == nil {
			began := time.Now()
			_, err = p.Holds(event.Event{Data: tt.data})
			t.Logf("%.60s after %s", text, time.Since(began))
		}
		if err == nil && tt.want != "" || err != nil && (tt.want == "" || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%.60s: got %v, want %q", text, err, tt.want)
		}
	}
}

// An error is kept and shown where the data of events is not.
func TestErrorsTellNoData(t *testing.T) {
	data := []byte(`{"number":"planted","planted":{"a":1},"list":["planted"]}`)
	for text, want := range map[string]string{
		`data.amount > 1`:                              "condition: no such key: amount",
		`data[data.number].b == 1`:                     "condition: no such key: b",
		`data.list[7] == 1`:                            "condition: index out of bounds: 7",
		`data[data.list[0]][data.number]`:              "condition: no such key",
		`int(data.number) > 0`:                         "condition: type conversion error from 'string' to 'int'",
		`timestamp(data.number) == null`:               "condition: a value of the event is not what the condition takes it for",
		`duration(data.number) == null`:                "condition: type conversion error",
		`data.number + 1 == 2`:                         "condition: no such overload",
		`data.list[data.number] == 1`:                  "condition: unsupported index type 'string' in list",
		`event.attributes[data.number] == "1"`:         "condition: no such key",
		`event.occurred_at.getHours(data.number) == 1`: "condition: a value of the event is not what the condition takes it for",
		`data.number`:                                  "condition: gives string, must give true or false",
		`{data.number: 1}[data.list] == 1`:             "condition: ",
	} {
		p, err := match.Compile(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		_, err = p.Holds(event.Event{Data: data})
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "planted") {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

// All webhooks of an event together are bounded too, and those with the same condition cost it once.
func TestConditionsOfAnEventAreBounded(t *testing.T) {
	x := match.NewIndex()
	for i := range 60 {
		dear := condition(fmt.Sprintf(`data.all(a, data.all(b, b < %d))`, i+5))
		if i >= 40 {
			dear = condition(`data.size() == 300`)
		}
		x.Put(hook(fmt.Sprintf("w%02d", i), dear), delivery.Position{})
	}
	var r match.Result
	x.Match(event.Event{Tenant: "acme", Type: "card.updated", Data: ones(1000)}, 100, &r)
	limited, skipped := 0, 0
	for _, f := range r.Failed {
		if strings.Contains(f.Err.Error(), "costs more than 100000") {
			limited++
		}
		if strings.Contains(f.Err.Error(), "together") {
			skipped++
		}
	}
	if limited < 15 || limited > 25 || limited+skipped != 60 {
		t.Errorf("%d were evaluated to their limit, %d not at all, of 60", limited, skipped)
	}
}

// FuzzCondition looks for conditions over which the library stumbles, or that run on: neither a webhook nor an event may
// stop a matcher.
func FuzzCondition(f *testing.F) {
	for _, condition := range []string{
		`data.amount > 12 && event.type.startsWith("a")`, `data.all(a, data.exists(b, a == b))`, `data.?a.?b.orValue(1) == 1`,
		`[[data, data]].all(a, [[a, a]].all(b, b == b))`, `data.name.matches("^(a?){90}$")`, `data.map(x, data) == data.map(y, [y])`,
		`event.occurred_at.getHours("Europe/Berlin") > 8`, `data in [data, {"a": data}]`, `has(data.a) ? data.a : event.id == "x"`,
		`timestamp("2026-01-01T00:00:00Z") + duration("1h") > event.occurred_at`, `type(data) == map`, `b"x" + bytes(event.id) == b"y"`,
		`data.a.optMap(x, x + 1).hasValue()`, `data.a + data.a + data.a == "aaa"`, `event.`, `((((`, "\x00", `data[9223372036854775807] / 0 == 1u`,
	} {
		for _, data := range []string{`{"a":1,"amount":13,"name":"aaaa"}`, `[1,[2,[3]],{"a":null}]`, `"text"`, `{`, ``, `1e999`} {
			f.Add(condition, []byte(data))
		}
	}
	f.Fuzz(func(t *testing.T, condition string, data []byte) {
		if len(condition) > 2048 || len(data) > 256<<10 {
			return // refused before
		}
		began := time.Now()
		p, err := match.Compile(condition)
		if err == nil {
			_, err = p.Holds(event.Event{ID: "e", Tenant: "acme", Type: "a.b", OccurredAt: epoch, Attributes: map[string]string{"a": "1"}, Data: data})
		}
		if err != nil && (strings.Contains(err.Error(), "internal error") || strings.Contains(err.Error(), "cannot be compiled")) {
			t.Errorf("%q over %.200q: %v", condition, data, err)
		}
		if took := time.Since(began); took > 5*time.Second { // a hundred times what the limits are meant to allow
			t.Errorf("%q over %.200q took %s", condition, data, took)
		}
	})
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
