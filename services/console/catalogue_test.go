package console_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/catalogue"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/console"
)

const (
	eventTypes = "/api/v1/event-types"
	profiles   = "/api/v1/profiles"
	webhooks   = "/api/v1/webhooks"
	yamlMedia  = "application/yaml"
)

func acting(of string) []string { return []string{"Doorstep-Tenant", of} }

// typed are the names of event types in an answer.
func typed(t *testing.T, a answer) []string {
	t.Helper()
	var names []string
	for _, e := range data[[]console.EventType](t, a) {
		names = append(names, e.Type)
	}
	return names
}

// refusal is what an answer says of the fields at fault.
func refusal(a answer) string {
	var out []string
	for _, e := range a.Errors {
		out = append(out, e.Field+": "+e.Message)
	}
	return strings.Join(out, "; ")
}

func TestEventTypes(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, db sqldb.Config) {
		c := start(t, config(t, logBeside(t, db), db))
		c.awaitReady()
		const body = `{"type":"card.updated","group":"Card","kind":"nested","description":"d","deprecated":true,"attributes":["board"],
			"schema": {"type": "object", "required": ["id"]}, "example": {"id": 1.50}}`
		want := console.EventType{Entry: catalogue.Entry{
			Type: "card.updated", Group: "Card", Kind: "nested", Description: "d", Deprecated: true, Attributes: []string{"board"},
			Schema: json.RawMessage(`{"type":"object","required":["id"]}`), Example: json.RawMessage(`{"id":1.50}`),
		}}
		check := func(got console.EventType) {
			t.Helper()
			if got.CreatedAt.IsZero() || got.UpdatedAt.Before(got.CreatedAt) {
				t.Errorf("times %s, %s", got.CreatedAt, got.UpdatedAt)
			}
			got.CreatedAt, got.UpdatedAt = want.CreatedAt, want.UpdatedAt
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		}
		check(data[console.EventType](t, c.do(201, "POST", eventTypes, body)))
		check(data[console.EventType](t, c.do(200, "GET", eventTypes+"/card.updated", "")))
		if got := c.do(409, "POST", eventTypes, body).text; !strings.Contains(got, "PUT /api/v1/event-types/card.updated replaces it") {
			t.Error(got)
		}
		light := want
		want.Schema, want.Example = nil, nil
		check(data[[]console.EventType](t, c.do(200, "GET", "/api/v1/webhooks/events", ""))[0])
		want = light

		// A replacement is whole: what it does not say is gone.
		want = console.EventType{Entry: catalogue.Entry{Type: "card.updated", Kind: "normal"}}
		check(data[console.EventType](t, c.do(200, "PUT", eventTypes+"/card.updated", `{"schema":null}`)))
		want.Type = "card.a"
		check(data[console.EventType](t, c.do(201, "PUT", eventTypes+"/card.a", `{"type":"card.a"}`)))
		c.do(201, "PUT", eventTypes+"/card.b", `{}`)

		first := c.do(200, "GET", eventTypes+"?limit=2", "")
		if d := cmp.Diff([]string{"card.a", "card.b"}, typed(t, first)); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]string{"card.updated"}, typed(t, c.do(200, "GET", eventTypes+"?limit=2&cursor="+first.Meta.NextCursor, ""))); d != "" {
			t.Error(d)
		}
		c.do(422, "GET", eventTypes+"?cursor=x", "")
		if got := typed(t, c.do(200, "GET", eventTypes+"?sort=-type&filter[type][contains]=card.&hide=group", "")); !slices.Equal(got, []string{"card.updated", "card.b", "card.a"}) {
			t.Errorf("sorted: %v", got)
		}
		c.do(201, "PUT", eventTypes+"/card.b", `{"example":7}`, acting("third")...)
		if got := c.do(200, "GET", eventTypes+"?show=example", "", acting("third")...); !strings.Contains(got.text, `"data":[{"type":"card.b","example":7}]`) {
			t.Errorf("shown: %s", got.text)
		}
		if d := cmp.Diff([]string(nil), typed(t, c.do(200, "GET", eventTypes, "", acting("other")...))); d != "" {
			t.Errorf("another tenant's: %s", d)
		}
		c.do(404, "GET", eventTypes+"/card.a", "", acting("other")...)
		c.do(404, "DELETE", eventTypes+"/card.a", "", acting("other")...)
		c.do(204, "DELETE", eventTypes+"/card.a", "")
		c.do(404, "DELETE", eventTypes+"/card.a", "")
		c.do(404, "GET", eventTypes+"/card.a", "")
		c.do(404, "GET", eventTypes+"/Card%20A", "")
	})
}

func TestEventTypesAreRefused(t *testing.T) {
	t.Parallel()
	c := ready(t)
	for _, tt := range []struct{ method, path, body, want string }{
		{"POST", "", `{`, "body: is not valid JSON: it ends too early"},
		{"POST", "", `[]`, "body: must be an object, not array"},
		{"POST", "", `null`, "body: must be an object"},
		{"POST", "", `{}`, "type: is required, e.g. card.updated"},
		{"POST", "", `{"type":"a.b","profile":"vplan"}`, "profile: is not a field of this"},
		{"POST", "", `{"type":"a.b","kind":"odd"}`, "kind: must be normal, nested, nested_pivot"},
		{"POST", "", `{"type":"a.b","schema":{"$ref":"https://example.com"}}`, `schema: the reference "https://example.com" is outside of the schema, and nothing is loaded`},
		{"POST", "", `{"type":"a.b","schema":{"required":["id"]},"example":{}}`, "example.id: is required"},
		{"PUT", "/a.b", `{"type":"a.c"}`, "type: must be that of the path, or be left out"},
		{"PUT", "/A", `{}`, "type: must be dotted names of a-z, 0-9 and '_', at most 128 characters, e.g. card.updated"},
		{"PUT", "", `{}`, "event_types: is required"},
		{"PUT", "", `{"event_types":[{"type":"a"},{"type":"a","typ":1}]}`, "event_types[1].typ: is not a field of this"},
		{"PUT", "", `{"event_types":[{"type":"a"},{"type":"a"}]}`, "event_types[1].type: a stands twice"},
	} {
		if got := refusal(c.do(422, tt.method, eventTypes+tt.path, tt.body)); got != tt.want {
			t.Errorf("%s %s %s: %s, want %s", tt.method, tt.path, tt.body, got, tt.want)
		}
	}
	if got := refusal(c.do(422, "PUT", eventTypes, "event_types:\n- type: a\n  type: b", "Content-Type", yamlMedia)); got != `body: line 3: the key "type" stands twice` {
		t.Error(got)
	}
	many := make([]string, catalogue.MaxTypes)
	for i := range many {
		many[i] = fmt.Sprintf(`{"type":"t%d"}`, i)
	}
	c.do(200, "PUT", eventTypes, `{"event_types":[`+strings.Join(many, ",")+`]}`)
	if got := refusal(c.do(422, "PUT", eventTypes+"/one.more", `{}`)); got != "event_types: the catalogue would have 1001, the limit is 1000" {
		t.Error(got)
	}
	reader := c.key(`{"name":"r","scopes":["webhooks:read"]}`)
	for _, r := range [][2]string{{"POST", eventTypes}, {"PUT", eventTypes}, {"PUT", eventTypes + "/a"}, {"DELETE", eventTypes + "/a"}, {"POST", profiles}} {
		if a := c.as(reader.Key, r[0], r[1], `{}`); a.status != 403 {
			t.Errorf("%v with webhooks:read: %d", r, a.status)
		}
	}
	if a := c.as(reader.Key, "GET", eventTypes, ""); a.status != 200 {
		t.Errorf("reading: %d", a.status)
	}
}

// What is exported can be imported: into the same tenant it changes nothing, into another it is the same.
func TestCataloguesAsYAML(t *testing.T) {
	t.Parallel()
	c := ready(t)
	c.do(200, "POST", profiles, `{"profile":"vplan"}`)
	c.do(201, "PUT", eventTypes+"/mine.made", `{"description":"ours: # no comment"}`)
	for _, how := range [][]string{{"?format=yaml"}, {"", "Accept", yamlMedia}} {
		exported := c.do(200, "GET", eventTypes+how[0], "", how[1:]...)
		if got := exported.header.Get("Content-Type"); got != yamlMedia || !strings.HasPrefix(exported.text, "event_types:\n") {
			t.Fatalf("%s: %.100s", got, exported.text)
		}
		again := data[console.Imported](t, c.do(200, "PUT", eventTypes, exported.text, "Content-Type", yamlMedia))
		if len(again.Added)+len(again.Changed) != 0 || len(again.Unchanged) != 37 {
			t.Errorf("imported again: %+v", again)
		}
		c.do(200, "PUT", eventTypes, exported.text, append(acting("other"), "Content-Type", yamlMedia)...)
		if got := c.do(200, "GET", eventTypes+"?format=yaml", "", acting("other")...); got.text != exported.text {
			t.Errorf("the other tenant's: %s", cmp.Diff(exported.text, got.text))
		}
	}
	// As a profile, with the policy.
	profile := c.do(200, "GET", eventTypes+"?format=yaml&profile=ours", "").text
	c.do(200, "POST", profiles, profile, append(acting("third"), "Content-Type", yamlMedia)...)
	third := data[console.Tenant](t, c.do(200, "GET", tenants+"/third", ""))
	if third.Profile != "ours" || third.Open || *third.Policy.WarnAfter != 250 {
		t.Errorf("%+v", third)
	}
	c.do(422, "GET", eventTypes+"?format=yaml&profile=vplan", "")
	c.do(422, "GET", eventTypes+"?profile=ours", "")
	if a := c.do(200, "GET", profiles+"/vplan?format=yaml", ""); !strings.HasPrefix(a.text, "# vPlan's webhooks") {
		t.Errorf("%.100s", a.text)
	}
}

func TestProfiles(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, db sqldb.Config) {
		log := logBeside(t, db)
		c := start(t, config(t, log, db))
		c.awaitReady()
		c.do(201, "PUT", eventTypes+"/card.updated", `{"description":"ours"}`)
		hook := c.create(`{"name":"old","url":"http://127.0.0.1:9999/","event_types":["card.moved","card.created","board.*"]}`)

		got := data[console.AppliedProfile](t, c.do(200, "POST", profiles, `{"profile":"vplan"}`))
		if len(got.Added) != 35 || len(got.Changed)+len(got.Removed) != 0 || !slices.Equal(got.Kept, []string{"card.updated"}) {
			t.Errorf("applied: %+v", got)
		}
		if d := cmp.Diff([]console.WebhookOfNoType{{ID: hook.ID, Name: "old", EventTypes: []string{"card.moved", "board.*"}}}, got.Webhooks); d != "" {
			t.Errorf("webhooks (-want +got):\n%s", d)
		}
		of := data[console.Tenant](t, c.do(200, "GET", tenants+"/default", ""))
		if of.Open || of.Profile != "vplan" || *of.Policy.DisableAfter != 500 || of.Payload.Format != "raw" {
			t.Errorf("tenant: %+v", of)
		}
		// In the log, for all services.
		records(t, log, topics(t, log).Settings, func(rs []*kgo.Record) bool {
			n := 0
			for _, r := range rs {
				if v, err := wire.ReadSetting(r); err == nil {
					if e, ok := v.(tenant.EventType); ok && e.Profile == "vplan" && len(e.Example) > 0 {
						n++
					}
				}
			}
			return n == 35
		})

		again := data[console.AppliedProfile](t, c.do(200, "POST", profiles, `{"profile":"vplan"}`))
		if len(again.Added)+len(again.Changed)+len(again.Removed) != 0 {
			t.Errorf("applied again: %+v", again)
		}
		if now := data[console.Tenant](t, c.do(200, "GET", tenants+"/default", "")); !now.UpdatedAt.Equal(of.UpdatedAt) {
			t.Error("applied again, it changed the tenant")
		}

		got = data[console.AppliedProfile](t, c.do(200, "POST", profiles, `{"profile":"planmill"}`))
		if len(got.Added) != 29 || len(got.Removed) != 35 || len(got.Kept) != 0 {
			t.Errorf("another: %+v", got)
		}
		if names := typed(t, c.do(200, "GET", eventTypes+"?limit=500", "")); len(names) != 30 || !slices.Contains(names, "card.updated") {
			t.Errorf("types: %v", names)
		}
		// The webhook is not broken: what it had may stay, what is new must be in the catalogue.
		c.do(200, "PATCH", webhooks+"/"+hook.ID, `{"name":"new"}`)
		c.do(422, "PATCH", webhooks+"/"+hook.ID, `{"event_types":["card.moved","card.created","board.*","card.deleted"]}`)

		own := data[console.AppliedProfile](t, c.do(200, "POST", profiles, `{"profile":"ours","event_types":[{"type":"a.b"}],"policy":{"retry_count":0}}`))
		if !slices.Equal(own.Added, []string{"a.b"}) || len(own.Removed) != 29 {
			t.Errorf("one of ours: %+v", own)
		}
	})
}

// What a profile says for a tenant is changed by a patch, shown, and taken back.
func TestProfileOfATenant(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, db sqldb.Config) {
		c := start(t, config(t, logBeside(t, db), db))
		c.awaitReady()
		c.do(201, "PUT", eventTypes+"/card.made", `{"description":"ours"}`)
		c.do(200, "POST", profiles, `{"profile":"planmill"}`)
		got := data[console.AppliedProfile](t, c.do(200, "PATCH", profiles+"/planmill", `{"policy":{"max_webhooks_per_event":20}}`))
		if got.Profile != "planmill" || len(got.Added)+len(got.Changed)+len(got.Removed)+len(got.Kept) != 0 {
			t.Errorf("%+v", got)
		}
		of := data[console.Tenant](t, c.do(200, "GET", tenants+"/default", ""))
		if of.Profile != "planmill" || of.Open || *of.Policy.MaxWebhooksPerEvent != 20 || of.Payload.Format != "hook" || !of.Payload.Stringify {
			t.Errorf("the rest does not stay: %+v", of)
		}
		if p := data[catalogue.Profile](t, c.do(200, "GET", profiles+"/planmill", "")); *p.Policy.MaxWebhooksPerEvent != 10 {
			t.Error("what comes with Doorstep was changed")
		}
		for body, want := range map[string]string{
			`{"profile":"ours"}`:               "profile: is read-only",
			`{"names":{"hook":"name"}}`:        "names: is read-only",
			`{"policy":{"timeout_seconds":0}}`: "policy.timeout_seconds: must be 1 to 30",
			`{"policies":{}}`:                  "policies: is not a field of this",
			`{"event_types":[{"type":"A"}]}`:   "event_types[0].type: must be dotted names of a-z, 0-9 and '_', at most 128 characters, e.g. card.updated",
			`[]`:                               "body: must be an object, not array",
		} {
			if got := refusal(c.do(422, "PATCH", profiles+"/planmill", body)); got != want {
				t.Errorf("%s: %s, want %s", body, got, want)
			}
		}

		c.do(200, "POST", profiles, `{"profile":"ours","event_types":[{"type":"a.b"},{"type":"a.c"}],"policy":{"retry_count":0},"features":{"webhooks":true}}`)
		got = data[console.AppliedProfile](t, c.do(200, "PATCH", profiles+"/ours", `{"event_types":[{"type":"a.b"},{"type":"a.d"}],"policy":{"retry_count":null,"warn_after":7}}`))
		if !slices.Equal(got.Added, []string{"a.d"}) || !slices.Equal(got.Removed, []string{"a.c"}) || len(got.Changed) != 0 {
			t.Errorf("%+v", got)
		}
		p := data[catalogue.Profile](t, c.do(200, "GET", profiles+"/ours", ""))
		if len(p.EventTypes) != 2 || p.Policy.RetryCount != nil || *p.Policy.WarnAfter != 7 || !p.Features["webhooks"] {
			t.Errorf("%+v", p)
		}
		if a := c.do(200, "GET", profiles+"/ours?format=yaml", ""); !strings.Contains(a.text, "profile: ours") || strings.Contains(a.text, "card.made") {
			t.Error(a.text)
		}
		if l := data[[]console.ListedProfile](t, c.do(200, "GET", profiles, "")); len(l) != 4 || l[3].Profile != "ours" || l[3].EventTypes != 2 || !l[3].Applied {
			t.Errorf("%+v", l)
		}
		c.do(409, "DELETE", profiles+"/planmill", "")

		c.do(204, "DELETE", profiles+"/ours", "")
		c.do(404, "DELETE", profiles+"/ours", "")
		c.do(404, "GET", profiles+"/ours", "")
		of = data[console.Tenant](t, c.do(200, "GET", tenants+"/default", ""))
		if of.Profile != "" || !of.Open || of.Policy.WarnAfter != nil || of.Payload.Format != "raw" {
			t.Errorf("taken back: %+v", of)
		}
		if names := typed(t, c.do(200, "GET", eventTypes, "")); !slices.Equal(names, []string{"card.made"}) {
			t.Errorf("types: %v", names)
		}
	})
}

func TestProfilesAreRefused(t *testing.T) {
	t.Parallel()
	c := ready(t)
	for body, want := range map[string]string{
		`{}`:                                   "profile: must begin with a-z or 0-9 and hold a-z, 0-9, '-' and '_' only, at most 64 characters",
		`{"profile":"vplam"}`:                  `profile: there is no profile "vplam"; there are vplan, plandocket, planmill; or give a whole profile, with event_types`,
		`{"profile":"vplan","event_types":[]}`: "profile: vplan comes with Doorstep; apply it by its name alone, or give yours another",
		`{"profile":"a","event_types":[],"policy":{"timeout_seconds":31}}`: "policy.timeout_seconds: must be 1 to 30",
		`{"profile":"a","event_types":[],"payload":{"format":"x"}}`:        "payload.format: must be raw, standard, cloudevents, thin or hook",
		`{"profile":"a","event_types":[],"policy":{"warn":1}}`:             "policy.warn: is not a field of this",
		`{"profile":"a","event_types":{}}`:                                 "event_types: must be an array, not object",
	} {
		if got := refusal(c.do(422, "POST", profiles, body)); got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
	if names := typed(t, c.do(200, "GET", eventTypes, "")); len(names) != 0 {
		t.Errorf("refused, and yet there are %v", names)
	}
	own := c.key(`{"name":"own","scopes":["admin"]}`)
	if a := c.as(own.Key, "POST", profiles, `{"profile":"vplan"}`); a.status != 403 {
		t.Errorf("with a tenant's own key: %d", a.status)
	}
	c.do(404, "GET", profiles+"/ours", "")
	for _, method := range []string{"PATCH", "DELETE"} { // what comes with the program, but is not applied, and what is not there
		if a := c.do(409, method, profiles+"/vplan", "{}"); a.Code != "not_applied" {
			t.Errorf("%s: %s", method, a.text)
		}
		c.do(404, method, profiles+"/ours", "{}")
	}
	list := data[[]console.ListedProfile](t, c.do(200, "GET", profiles, ""))
	var got []string
	for _, p := range list {
		got = append(got, fmt.Sprintf("%s %d", p.Profile, p.EventTypes))
	}
	if d := cmp.Diff([]string{"vplan 36", "plandocket 0", "planmill 29"}, got); d != "" {
		t.Error(d)
	}
	if p := data[catalogue.Profile](t, c.do(200, "GET", profiles+"/planmill", "")); len(p.EventTypes) != 29 || p.Names["hook"] != "event_types" {
		t.Errorf("%+v", p)
	}
}

func TestWebhooksOfAClosedCatalogue(t *testing.T) {
	t.Parallel()
	c := ready(t)
	const at = `"url":"http://127.0.0.1:9999/"`
	c.do(200, "POST", profiles, `{"profile":"planmill"}`)
	c.do(200, "PUT", eventTypes, `{"event_types":[{"type":"old.one","deprecated":true}]}`)
	for body, want := range map[string]string{
		`"event_types":["card.updated"]`:                            "event_types: card.updated is not in the catalogue, which takes no others; GET /api/v1/event-types lists them",
		`"event_types":["card.*"]`:                                  "event_types: card.* stands for no type of the catalogue, which takes no others; GET /api/v1/event-types lists them",
		`"event_types":["project.add"],"filters":{"eventUser":"1"}`: "filters[eventUser]: is an attribute of none of the webhook's event types; these have it: request.update, timereport.update",
		// The product's own names are told as they were said.
		`"hook":"project.add","eventUser":545`: "eventUser: is an attribute of none of the webhook's event types; these have it: request.update, timereport.update",
	} {
		if got := refusal(c.do(422, "POST", webhooks, `{`+at+`,`+body+`}`)); got != want {
			t.Errorf("%s: %s", body, got)
		}
	}
	for body, want := range map[string]string{
		`"event_types":["request.update"],"filters":{"eventUser":"1"}`:            "",
		`"event_types":["request.*","*"]`:                                         "",
		`"event_types":["old.one"]`:                                               "old.one is deprecated.",
		`"event_types":["team.add","request.update"],"filters":{"eventUser":"1"}`: "Events of team.add have no attribute eventUser, so the filter lets none of them through.",
	} {
		if got := c.do(201, "POST", webhooks, `{`+at+`,`+body+`}`).Meta.Notice; got != want {
			t.Errorf("%s: %q", body, got)
		}
	}
	// At publish the settings of the log decide, which follow, each by itself.
	publish := func(name string, status int, text string) {
		t.Helper()
		eventually(t, func() error {
			a := c.as(bootKey, "POST", "/api/v1/events", `{"type":"`+name+`"}`)
			if a.status != status || !strings.Contains(a.text, text) {
				return fmt.Errorf("%d: %s", a.status, a.text)
			}
			return nil
		})
	}
	publish("card.updated", 422, "card.updated is not in the catalogue")
	publish("old.one", 202, "")
	c.do(204, "DELETE", eventTypes+"/old.one", "")
	publish("old.one", 422, "old.one is not in the catalogue")
}

func TestSchemasAreServed(t *testing.T) {
	t.Parallel()
	c := ready(t)
	c.do(200, "POST", profiles, `{"profile":"planmill"}`)
	c.do(201, "PUT", eventTypes+"/bare", `{}`)
	a := c.do(200, "GET", eventTypes+"/account.update/schema", "")
	if got := a.header.Get("Content-Type"); got != "application/schema+json" {
		t.Error(got)
	}
	payload, err := catalogue.Compile([]byte(a.text))
	if err != nil {
		t.Fatal(err)
	}
	whole, err := catalogue.Compile([]byte(c.do(200, "GET", eventTypes+"/account.update/schema?of=body", "").text))
	if err != nil {
		t.Fatal(err)
	}
	for hook, fits := range map[string]bool{
		`{"hook":"account.update","eventUser":50,"Id":1104}`:                              true, // PlanMill's own sample
		`{"hook":"account.update","Id":1104,"payload":{"id":"1104","name":"Example Oy"}}`: true,
		`{"hook":"account.update","Id":1104,"payload":{"id":1104}}`:                       false,
		`{"hook":"account.add","Id":1104}`:                                                false,
	} {
		if f := whole.Check("hook", []byte(hook)); len(f) == 0 != fits {
			t.Errorf("%s: %v", hook, f)
		}
	}
	if f := payload.Check("data", []byte(`{"id":"1104"}`)); len(f) > 0 {
		t.Error(f)
	}
	c.do(404, "GET", eventTypes+"/bare/schema", "")
	c.do(200, "GET", eventTypes+"/bare/schema?of=body", "")
	c.do(404, "GET", eventTypes+"/no.such/schema", "")
	c.do(422, "GET", eventTypes+"/bare/schema?of=head", "")
}
