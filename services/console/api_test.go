package console_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/console"
)

func sorted(names []string) string {
	slices.Sort(names)
	return strings.Join(names, ",")
}

func TestTenantsAreApart(t *testing.T) {
	t.Parallel()
	c := ready(t)
	acme, other := []string{"Doorstep-Tenant", "acme"}, []string{"Doorstep-Tenant", "other"}
	w := c.create(minimal, acme...)
	path := "/api/v1/webhooks/" + w.ID
	key := c.key(`{"name":"acme's","scopes":["webhooks","admin"]}`, acme...)
	foreign := c.key(`{"name":"other's","scopes":["webhooks","admin"]}`, other...)
	for name, tt := range map[string]struct {
		key, method, path string
		status            int
		header            []string
	}{
		"its own key":                 {key.Key, "GET", path, 200, nil},
		"its own key, naming it":      {key.Key, "GET", path, 200, acme},
		"its own key, naming another": {key.Key, "GET", path, 403, other},
		"another's key, read":         {foreign.Key, "GET", path, 404, nil},
		"another's key, change":       {foreign.Key, "PATCH", path, 404, nil},
		"another's key, delete":       {foreign.Key, "DELETE", path, 404, nil},
		"another's key, its API key":  {foreign.Key, "DELETE", "/api/v1/api-keys/" + key.ID, 404, nil},
		"platform, default tenant":    {bootKey, "GET", path, 404, nil},
		"platform, naming it":         {bootKey, "GET", path, 200, acme},
		"platform, no tenant's name":  {bootKey, "GET", path, 422, []string{"Doorstep-Tenant", "Not A Name"}},
	} {
		if a := c.as(tt.key, tt.method, tt.path, "{}", tt.header...); a.status != tt.status {
			t.Errorf("%s: %d, want %d: %s", name, a.status, tt.status, a.text)
		}
	}
	if list := data[[]console.Webhook](t, c.as(foreign.Key, "GET", "/api/v1/webhooks", "")); len(list) != 0 {
		t.Errorf("another's list: %v", list)
	}
	var ids []string
	for _, of := range data[[]console.Tenant](t, c.do(200, "GET", "/api/v1/tenants", "")) {
		ids = append(ids, of.ID)
	}
	if d := cmp.Diff([]string{"default", "acme", "other"}, ids); d != "" {
		t.Errorf("tenants (-want +got):\n%s", d)
	}
	if own := data[[]console.Tenant](t, c.as(key.Key, "GET", "/api/v1/tenants", "")); len(own) != 1 || own[0].ID != "acme" {
		t.Errorf("a tenant's key sees %v", own)
	}
}

func TestKeysAndScopes(t *testing.T) {
	t.Parallel()
	c := ready(t)
	w := c.create(minimal)
	path := "/api/v1/webhooks/" + w.ID
	reader := c.key(`{"name":"reader","scopes":["webhooks:read"]}`)
	writer := c.key(`{"name":"writer","scopes":["webhooks"],"developer_client_id":"app"}`)
	for name, tt := range map[string]struct {
		key, method, path string
		status            int
	}{
		"no key":                  {"", "GET", path, 401},
		"a wrong key":             {"dsk_wrong", "GET", path, 401},
		"reader reads":            {reader.Key, "GET", path, 200},
		"reader changes":          {reader.Key, "PATCH", path, 403},
		"reader deletes":          {reader.Key, "DELETE", path, 403},
		"reader publishes":        {reader.Key, "POST", "/api/v1/events", 403},
		"reader looks at keys":    {reader.Key, "GET", "/api/v1/api-keys", 403},
		"reader asks who it is":   {reader.Key, "GET", "/api/v1/me", 200},
		"writer reads":            {writer.Key, "GET", path, 200},
		"writer changes":          {writer.Key, "PATCH", path, 200},
		"writer lists tenants":    {writer.Key, "GET", "/api/v1/tenants", 403},
		"no such path":            {writer.Key, "GET", "/api/v1/nothing", 404},
		"no such method":          {writer.Key, "PUT", path, 405},
		"an unknown parameter":    {writer.Key, "GET", "/api/v1/webhooks?colour=1", 422},
		"a limit out of range":    {writer.Key, "GET", "/api/v1/webhooks?limit=501", 422},
		"a cursor of nothing":     {writer.Key, "GET", "/api/v1/webhooks?cursor=xyz", 422},
		"an id that is no id":     {writer.Key, "GET", "/api/v1/webhooks/a%00b", 404},
		"an id that nothing has":  {writer.Key, "GET", "/api/v1/webhooks/0198c9e0-0000-7000-8000-000000000000", 404},
		"platform keys, as other": {c.key(`{"name":"a","scopes":["admin"]}`).Key, "GET", "/api/v1/api-keys?platform=true", 403},
	} {
		if a := c.as(tt.key, tt.method, tt.path, "{}"); a.status != tt.status || tt.status == 401 && a.header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s: %d, want %d: %s", name, a.status, tt.status, a.text)
		}
	}
	if got := data[console.Webhook](t, c.as(reader.Key, "GET", path, "")); got.Secret != "" {
		t.Error("a key that may only read is told the secret")
	}
	if got := data[console.Webhook](t, c.as(writer.Key, "POST", "/api/v1/webhooks", minimal)); !got.ThirdParty || *got.DeveloperClientID != "app" || *got.APIKeyID != writer.ID {
		t.Errorf("made by an application's key: %+v", got)
	}
	me := data[console.Me](t, c.as(writer.Key, "GET", "/api/v1/me", ""))
	if me.Tenant != "default" || me.Key.ID != writer.ID || me.Key.Prefix != writer.Key[:8] || me.Key.Key != "" {
		t.Errorf("me: %+v", me)
	}
	list := c.do(200, "GET", "/api/v1/api-keys", "")
	if strings.Contains(list.text, writer.Key) || strings.Contains(list.text, `"key"`) || !strings.Contains(list.text, writer.ID) {
		t.Errorf("the list of keys: %s", list.text)
	}
	c.do(204, "DELETE", "/api/v1/api-keys/"+writer.ID, "")
	if a := c.as(writer.Key, "GET", path, ""); a.status != 401 {
		t.Errorf("a revoked key: %d", a.status)
	}
}

func TestKeyFaults(t *testing.T) {
	t.Parallel()
	c := ready(t)
	tenants := c.key(`{"name":"a","scopes":["admin"]}`)
	if k := c.key(`{"name":"p","scopes":["events"],"platform":true,"expires_at":"2200-01-01T00:00:00Z"}`); k.Tenant != nil || k.ExpiresAt == nil {
		t.Errorf("a platform key: %+v", k)
	}
	for body, want := range map[string]string{
		`{}`:                            "name,scopes",
		`{"name":"n","scopes":["all"]}`: "scopes",
		`{"name":"n","scopes":["events"],"expires_at":"2020-01-01T00:00:00Z"}`:      "expires_at",
		`{"name":"n","scopes":["events"],"expires_at":"tomorrow"}`:                  "expires_at",
		`{"name":"n","scopes":["events"],"key":"mine"}`:                             "key",
		`{"name":"n","scopes":"events"}`:                                            "scopes",
		`{"name":"` + strings.Repeat("x", 151) + `","scopes":["webhooks","admin"]}`: "name",
	} {
		a := c.do(422, "POST", "/api/v1/api-keys", body)
		var fields []string
		for _, f := range a.Errors {
			fields = append(fields, f.Field)
		}
		if sorted(fields) != want {
			t.Errorf("%s: %s, want %s", body, a.text, want)
		}
	}
	if a := c.as(tenants.Key, "POST", "/api/v1/api-keys", `{"name":"n","scopes":["events"],"platform":true}`); a.status != 403 {
		t.Errorf("a tenant's key makes a platform key: %d", a.status)
	}
}

func TestFirstKey(t *testing.T) {
	t.Parallel()
	var first []string
	cfg := config(t, ownLog(t), sqldbtest.Any(t))
	cfg.BootstrapKey, cfg.FirstKey = "", func(key string) { first = append(first, key) }
	for range 2 {
		c := start(t, cfg)
		c.awaitReady()
		if a := c.as(first[0], "GET", "/api/v1/api-keys?platform=true", ""); a.status != 200 || strings.Contains(a.text, first[0]) {
			t.Errorf("with the first key: %d %s", a.status, a.text)
		}
		if c.stop(); strings.Contains(c.log.String(), first[0]) {
			t.Error("the log holds the first key")
		}
	}
	if len(first) != 1 {
		t.Errorf("told %d times", len(first))
	}
}

func TestPublish(t *testing.T) {
	t.Parallel()
	c := readyOn(t, broker(t))
	odd := `{ "a" : 1.50,"é":"\u00e9" , "n": [ ] }`
	one := c.do(202, "POST", "/api/v1/events",
		`{"id":"e-1","type":"card.updated","occurred_at":"2026-01-02T03:04:05.6+01:00","external_reference":"r","attributes":{"p":"66"},"data":`+odd+`}`)
	if got := data[console.EventAccepted](t, one); got.ID != "e-1" {
		t.Errorf("accepted: %s", one.text)
	}
	many := data[[]console.EventAccepted](t, c.do(202, "POST", "/api/v1/events",
		` [{"type":"a.b","data":null},{"type":"a.b","tenant":"acme","id":"e-3"}]`))
	if len(many) != 2 || len(many[0].ID) != 36 || many[1].ID != "e-3" {
		t.Errorf("accepted: %+v", many)
	}
	got := map[string]event.Record{}
	records(t, c.cfg.Kafka, topics(t, c.cfg.Kafka).Events, func(rs []*kgo.Record) bool {
		for _, r := range rs {
			e, err := wire.ReadEvent(r)
			if err != nil {
				t.Fatal(err)
			}
			got[e.ID] = e
		}
		return len(got) == 3
	})
	e := got["e-1"]
	want := event.Event{
		ID: "e-1", Tenant: "default", Type: "card.updated", OccurredAt: time.Date(2026, 1, 2, 2, 4, 5, 6e8, time.UTC),
		ExternalReference: "r", Attributes: map[string]string{"p": "66"}, Data: []byte(odd),
	}
	if d := cmp.Diff(want, e.Event); d != "" || e.IDAssigned || e.APIKeyID == "" || !bytes.Equal(e.Data, []byte(odd)) {
		t.Errorf("record (-want +got):\n%s", d)
	}
	if a := got[many[0].ID]; !a.IDAssigned || string(a.Data) != "null" {
		t.Errorf("an event without id: %+v", a)
	}
	if got["e-3"].Tenant != "acme" {
		t.Errorf("an event of another tenant: %+v", got["e-3"])
	}
	if a := c.do(200, "GET", "/api/v1/tenants", ""); !strings.Contains(a.text, `"acme"`) {
		t.Errorf("the tenant was not made: %s", a.text)
	}
}

// The policy of a tenant says what becomes of data that does not fit its type's schema.
func TestPublishIsValidated(t *testing.T) {
	t.Parallel()
	c := readyOn(t, broker(t))
	r, err := wire.EventType(topics(t, c.cfg.Kafka).Settings, tenant.EventType{
		Tenant: "default", Type: "card.updated", Schema: []byte(`{"properties":{"current":{"properties":{"id":{"type":"string","maxLength":5}}}}}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	client, err := c.cfg.Kafka.NewClient("test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
		t.Fatal(err)
	}
	const events, misfit = "/api/v1/events", `{"type":"card.updated","data":{"current":{"id":"s3cret"}}}`
	policy := func(validate string) {
		c.do(200, "PATCH", "/api/v1/tenants/default", `{"policy":{"validate":`+validate+`}}`)
	}
	answers := func(status int, body string) (a answer) {
		t.Helper()
		eventually(t, func() error { // the policy takes effect within a second
			if a = c.as(bootKey, "POST", events, body); a.status != status {
				return errors.New(a.text)
			}
			return nil
		})
		return a
	}
	policy(`"reject"`)
	if a := answers(422, misfit); len(a.Errors) != 1 || a.Errors[0].Field != "data.current.id" || !strings.Contains(a.Errors[0].Message, "5") || strings.Contains(a.text, "s3cret") {
		t.Errorf("refused: %s", a.text)
	}
	if a := answers(422, `[{"type":"card.updated"},`+misfit+`]`); len(a.Errors) != 1 || a.Errors[0].Field != "[1].data.current.id" || !a.Results[0].Accepted {
		t.Errorf("an array, refused in part: %s", a.text)
	}
	policy(`"warn"`)
	if got := data[console.EventAccepted](t, answers(202, misfit)); len(got.Warnings) != 1 || got.Warnings[0].Field != "data.current.id" {
		t.Errorf("taken with a warning: %+v", got)
	}
	policy(`null`)
	eventually(t, func() error {
		if a := c.do(202, "POST", events, misfit); strings.Contains(a.text, "warnings") {
			return errors.New(a.text)
		}
		return nil
	})
}

func TestPublishFaults(t *testing.T) {
	t.Parallel()
	c := ready(t)
	own := c.key(`{"name":"k","scopes":["events"]}`, "Doorstep-Tenant", "acme")
	for name, tt := range map[string]struct {
		key, body string
		status    int
		fields    string
	}{
		"nothing":                 {bootKey, `{}`, 422, "type"},
		"an empty array":          {bootKey, `[]`, 422, "body"},
		"a number":                {bootKey, `7`, 422, "body"},
		"cut off":                 {bootKey, `[{"type":"a"`, 422, "body"},
		"unknown field":           {bootKey, `{"type":"a","payload":{}}`, 422, "payload"},
		"faults of several":       {bootKey, `[{"type":"a"},{"type":"A","id":"a b"},{"type":3},5]`, 422, "[1].id,[1].type,[2].type,[3]"},
		"a time that is none":     {bootKey, `{"type":"a","occurred_at":"now"}`, 422, "occurred_at"},
		"too much data":           {bootKey, `{"type":"a","data":"` + strings.Repeat("x", 256<<10) + `"}`, 422, "data"},
		"too large":               {bootKey, `{"type":"a","data":"` + strings.Repeat("x", 9<<20) + `"}`, 413, ""},
		"too many":                {bootKey, `[` + strings.Repeat(`{"type":"a"},`, 1000) + `{"type":"a"}]`, 422, "body"},
		"another tenant, one":     {own.Key, `{"type":"a","tenant":"other"}`, 403, ""},
		"another tenant, of some": {own.Key, `[{"type":"a"},{"type":"a","tenant":"other"}]`, 403, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := c.as(tt.key, "POST", "/api/v1/events", tt.body)
			var fields []string
			for _, f := range a.Errors {
				fields = append(fields, f.Field)
			}
			if a.status != tt.status || sorted(fields) != tt.fields {
				t.Errorf("%d, fields %q, want %d and %q: %.500s", a.status, sorted(fields), tt.status, tt.fields, a.text)
			}
			if name == "another tenant, of some" && (len(a.Results) != 2 || !a.Results[0].Accepted || a.Results[1].Accepted) {
				t.Errorf("results: %+v", a.Results)
			}
		})
	}
}

func TestWithoutTheLog(t *testing.T) {
	t.Parallel()
	log := broker(t)
	log.Brokers = []string{"127.0.0.1:1"}
	cfg := config(t, log, sqldbtest.Any(t))
	cfg.Publish.Timeout = time.Second
	c := start(t, cfg)
	eventually(t, func() error {
		if a := c.as(bootKey, "GET", "/api/v1/me", ""); a.status != 200 {
			return fmt.Errorf("%d %s", a.status, a.text)
		}
		return nil
	})
	if c.svc.Ready() == nil {
		t.Error("ready without the log")
	}
	if a := c.as(bootKey, "POST", "/api/v1/events", `{"type":"a"}`); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("publish: %d %s", a.status, a.text)
	}
	w := c.create(minimal)
	c.do(503, "PATCH", "/api/v1/webhooks/"+w.ID, `{"active":true}`) // is it disabled? nobody knows
	c.do(200, "PATCH", "/api/v1/webhooks/"+w.ID, `{"active":false}`)
	c.stop()
	// The log is there: what was registered follows.
	again := start(t, config(t, broker(t), c.cfg.SQL))
	records(t, again.cfg.Kafka, topics(t, again.cfg.Kafka).Webhooks, func(rs []*kgo.Record) bool { return len(rs) > 0 })
}

func TestTheRestOfTheAddress(t *testing.T) {
	t.Parallel()
	cfg := config(t, ownLog(t), sqldbtest.Any(t))
	cfg.Mount = func(mux *http.ServeMux) {
		mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })
	}
	c := start(t, cfg)
	for path, want := range map[string]string{"/": "/api/openapi.json", "/healthz": "ok"} {
		if a := c.as("", "GET", path, ""); a.status != 200 || !strings.Contains(a.text, want) {
			t.Errorf("%s: %d %s", path, a.status, a.text)
		}
	}
	a := c.as("", "GET", "/api/openapi.json", "")
	var api struct {
		OpenAPI    string
		Paths      map[string]map[string]struct{ RequestBody any }
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal([]byte(a.text), &api); err != nil || api.OpenAPI != "3.1.0" {
		t.Fatalf("openapi.json: %v, %q", err, api.OpenAPI)
	}
	var routes, schemas []string
	for path, methods := range api.Paths {
		for method := range methods {
			routes = append(routes, method+" "+path)
		}
	}
	for name := range api.Components.Schemas {
		schemas = append(schemas, name)
	}
	if d := cmp.Diff(apiRoutes(), byPath(routes)); d != "" {
		t.Errorf("routes (-want +got):\n%s", d)
	}
	if !slices.Contains(schemas, "Problem") || slices.Contains(schemas, "ErrorModel") || !slices.Contains(schemas, "WebhookBody") {
		t.Errorf("schemas: %s", sorted(schemas))
	}
}

// apiRoutes are the paths of the API with their methods, a line for each.
func apiRoutes() []string {
	lines := strings.Split(strings.TrimSpace(`
		/api/v1/administrators get post
		/api/v1/administrators/{id} delete get patch
		/api/v1/api-keys get post
		/api/v1/api-keys/{id} delete get patch
		/api/v1/attempts/tail get
		/api/v1/audit get
		/api/v1/audit-log get
		/api/v1/deliveries get
		/api/v1/deliveries/{id} get
		/api/v1/deliveries/{id}/payload get
		/api/v1/deliveries/{id}/resend post
		/api/v1/event-types get post put
		/api/v1/event-types/{type} delete get put
		/api/v1/event-types/{type}/schema get
		/api/v1/events get post
		/api/v1/events/{id} get
		/api/v1/explain get
		/api/v1/jobs get
		/api/v1/jobs/{id} delete get patch
		/api/v1/mails get
		/api/v1/mails/{id} get
		/api/v1/me get
		/api/v1/profiles get post
		/api/v1/profiles/{id} delete get patch
		/api/v1/tenants get post
		/api/v1/tenants/{id} delete get patch
		/api/v1/webhooks get post
		/api/v1/webhooks/events get
		/api/v1/webhooks/try post
		/api/v1/webhooks/{id} delete get patch
		/api/v1/webhooks/{id}/discard post
		/api/v1/webhooks/{id}/pause post
		/api/v1/webhooks/{id}/recover post
		/api/v1/webhooks/{id}/release post
		/api/v1/webhooks/{id}/resume post
		/api/v1/webhooks/{id}/rotate-secret post
		/api/v1/webhooks/{id}/test post
		/api/v1/webhooks/{id}/try post`), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return lines
}

// byPath are routes, each a method and a path, as apiRoutes has them.
func byPath(routes []string) []string {
	methods := map[string][]string{}
	for _, r := range routes {
		method, path, _ := strings.Cut(r, " ")
		methods[path] = append(methods[path], method)
	}
	var lines []string
	for _, path := range slices.Sorted(maps.Keys(methods)) {
		lines = append(lines, path+" "+strings.Join(slices.Sorted(slices.Values(methods[path])), " "))
	}
	return lines
}
