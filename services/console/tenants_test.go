package console_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/console"
)

const tenants = "/api/v1/tenants"

// ownKey is a key of a tenant with the scope admin.
func (c *running) ownKey(of string) string {
	c.t.Helper()
	return c.key(`{"name":"own","scopes":["admin","webhooks"]}`, "Doorstep-Tenant", of).Key
}

func TestTenantLife(t *testing.T) {
	t.Parallel()
	c := ready(t)
	made := data[console.Tenant](t, c.do(201, "POST", tenants, `{"id":"acme","name":"Acme ✓","open":false,
		"policy":{"warn_after":5,"disable_after":10,"max_webhooks_per_event":3,"retry_count":0,"timeout_seconds":7,"reactivation":"any","keep_answers":false,"validate":"warn"},
		"payload":{"format":"thin","exclude":["a.b"],"stringify":true}}`))
	want := console.Tenant{
		ID: "acme", Name: "Acme ✓",
		Policy: console.Policy{
			WarnAfter: new(5), DisableAfter: new(10), MaxWebhooksPerEvent: new(3), RetryCount: new(0), TimeoutSeconds: new(7),
			Reactivation: new("any"), KeepAnswers: new(false), Validate: new("warn"),
		},
		Payload:   console.Payload{Format: webhook.FormatThin, Exclude: []string{"a.b"}, Stringify: true},
		Features:  console.Features{Webhooks: true},
		CreatedAt: made.CreatedAt, UpdatedAt: made.CreatedAt,
	}
	if d := cmp.Diff(want, made); d != "" || time.Since(made.CreatedAt) > time.Minute {
		t.Errorf("made at %s (-want +got):\n%s", made.CreatedAt, d)
	}
	c.do(409, "POST", tenants, `{"id":"acme"}`)
	path := tenants + "/acme"
	if got := data[console.Tenant](t, c.do(200, "GET", path, "")); !cmp.Equal(want, got) {
		t.Errorf("shown (-want +got):\n%s", cmp.Diff(want, got))
	}
	// A webhook that says nothing else is treated so. Its type must be in the catalogue, which is closed.
	c.do(422, "POST", "/api/v1/webhooks", minimal, "Doorstep-Tenant", "acme")
	c.do(201, "PUT", eventTypes+"/card.updated", "{}", "Doorstep-Tenant", "acme")
	if w := c.create(minimal, "Doorstep-Tenant", "acme"); w.RetryCount != 0 || w.TimeoutSeconds != 7 || w.Payload.Format != webhook.FormatThin {
		t.Errorf("its webhook: %+v", w)
	}
	got := data[console.Tenant](t, c.do(200, "PATCH", path,
		`{"name":null,"open":null,"policy":{"warn_after":null,"disable_after":4,"timeout_seconds":null,"reactivation":null,"keep_answers":null,"validate":null},"payload":{"exclude":null}}`))
	want.Name, want.Open, want.Payload.Exclude, want.UpdatedAt = "acme", true, []string{}, got.UpdatedAt
	want.Policy = console.Policy{DisableAfter: new(4), MaxWebhooksPerEvent: new(3), RetryCount: new(0)}
	if d := cmp.Diff(want, got); d != "" || !got.UpdatedAt.After(got.CreatedAt) {
		t.Errorf("patched at %s (-want +got):\n%s", got.UpdatedAt, d)
	}
	text := c.do(200, "PATCH", path, `{"policy":null,"payload":null}`).text
	for _, null := range []string{"warn_after", "disable_after", "max_webhooks_per_event", "retry_count", "timeout_seconds", "reactivation", "keep_answers"} {
		if !strings.Contains(text, `"`+null+`":null`) {
			t.Errorf("%s is not null in %s", null, text)
		}
	}
	c.do(200, "PATCH", path, `{}`)
	c.do(404, "GET", tenants+"/nobody", "")
	c.do(404, "GET", tenants+"/a%00b", "")
	c.do(404, "PATCH", tenants+"/nobody", `{"name":"n"}`)
}

func TestTenantIsDeletedOnceItOwnsNothing(t *testing.T) {
	t.Parallel()
	c := ready(t)
	acme := []string{"Doorstep-Tenant", "acme"}
	c.do(201, "POST", tenants, `{"id":"acme"}`)
	w := c.create(minimal, acme...)
	k := c.key(`{"name":"k","scopes":["admin"]}`, acme...)
	if a := c.do(409, "DELETE", tenants+"/acme", ""); !strings.Contains(a.Detail, "webhooks (1) and API keys (1)") {
		t.Errorf("refused with %q", a.Detail)
	}
	c.do(204, "DELETE", "/api/v1/webhooks/"+w.ID, "", acme...)
	if a := c.do(409, "DELETE", tenants+"/acme", ""); !strings.Contains(a.Detail, "webhooks (0) and API keys (1)") {
		t.Errorf("refused with %q", a.Detail)
	}
	c.do(204, "DELETE", "/api/v1/api-keys/"+k.ID, "", acme...)
	c.do(204, "DELETE", tenants+"/acme", "")
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		c.do(404, method, tenants+"/acme", "{}")
	}
	// An event that names it makes it again, as any tenant that is new.
	c.do(202, "POST", "/api/v1/events", `{"type":"a.b","tenant":"acme"}`)
	c.do(200, "GET", tenants+"/acme", "")
	c.do(204, "DELETE", tenants+"/acme", "")
	c.do(202, "POST", "/api/v1/events", `{"type":"a.b","tenant":"acme"}`)
	c.do(200, "GET", tenants+"/acme", "")
	c.do(409, "DELETE", tenants+"/default", "")
}

func TestTenantScopes(t *testing.T) {
	t.Parallel()
	c := ready(t)
	c.do(201, "POST", tenants, `{"id":"acme","policy":{"retry_count":2}}`)
	c.do(201, "POST", tenants, `{"id":"other"}`)
	own, foreign := c.ownKey("acme"), c.ownKey("other")
	weak := c.key(`{"name":"weak","scopes":["webhooks","events","deliveries"]}`, "Doorstep-Tenant", "acme").Key
	for name, tt := range map[string]struct {
		key, method, path, body string
		status                  int
		says                    string
	}{
		"its own, read":              {own, "GET", "/acme", "", 200, `"retry_count":2`},
		"its own, name":              {own, "PATCH", "/acme", `{"name":"Acme"}`, 200, `"Acme"`},
		"its own, payload":           {own, "PATCH", "/acme", `{"payload":{"format":"standard"}}`, 200, `"standard"`},
		"its own, nothing":           {own, "PATCH", "/acme", `{}`, 200, ""},
		"its own, policy":            {own, "PATCH", "/acme", `{"name":"x","policy":{"retry_count":9}}`, 403, "may change policy;"},
		"its own, policy to null":    {own, "PATCH", "/acme", `{"policy":null}`, 403, "may change policy;"},
		"its own, open and policy":   {own, "PATCH", "/acme", `{"policy":{},"open":true}`, 403, "may change open and policy;"},
		"its own, unknown":           {own, "PATCH", "/acme", `{"colour":1}`, 422, "colour"},
		"its own, delete":            {own, "DELETE", "/acme", "", 403, "platform key"},
		"its own, make":              {own, "POST", "", `{"id":"acme"}`, 403, "platform key"},
		"another's, read":            {foreign, "GET", "/acme", "", 404, ""},
		"another's, change":          {foreign, "PATCH", "/acme", `{"name":"x"}`, 404, ""},
		"another's, change policy":   {foreign, "PATCH", "/acme", `{"policy":{}}`, 404, ""},
		"another's, delete":          {foreign, "DELETE", "/acme", "", 403, ""},
		"what is not there, read":    {foreign, "GET", "/nobody", "", 404, ""},
		"without the scope, read":    {weak, "GET", "/acme", "", 403, "scope admin"},
		"without the scope, change":  {weak, "PATCH", "/acme", `{"name":"x"}`, 403, "scope admin"},
		"without the scope, delete":  {weak, "DELETE", "/acme", "", 403, "scope admin"},
		"without a key":              {"", "GET", "/acme", "", 401, ""},
		"the platform, named other":  {bootKey, "GET", "/acme", "", 200, ""},
		"the platform, its own name": {bootKey, "PATCH", "/default", `{"policy":{"retry_count":1}}`, 200, `"retry_count":1`},
	} {
		t.Run(name, func(t *testing.T) {
			a := c.as(tt.key, tt.method, tenants+tt.path, tt.body)
			if a.status != tt.status || !strings.Contains(a.text, tt.says) {
				t.Errorf("%d, want %d and %q in it: %s", a.status, tt.status, tt.says, a.text)
			}
		})
	}
	got := data[console.Tenant](t, c.do(200, "GET", tenants+"/acme", ""))
	if got.Name != "Acme" || got.Payload.Format != webhook.FormatStandard || *got.Policy.RetryCount != 2 || !got.Open {
		t.Errorf("after all of that: %+v", got)
	}
}

func TestTenantFaults(t *testing.T) {
	t.Parallel()
	c := ready(t)
	c.do(201, "POST", tenants, `{"id":"acme","policy":{"warn_after":5}}`)
	for name, tt := range map[string]struct{ method, body, fields string }{
		"nothing":                 {"POST", ``, "body"},
		"no object":               {"POST", `[]`, "body"},
		"null":                    {"PATCH", `null`, "body"},
		"not JSON":                {"PATCH", `{"name":`, "body"},
		"no id":                   {"POST", `{}`, "id"},
		"an id that is none":      {"POST", `{"id":"No/Id"}`, "id"},
		"another id":              {"PATCH", `{"id":"other"}`, "id"},
		"unknown":                 {"PATCH", `{"colour":1,"policy":{"speed":2},"payload":{"shape":3}}`, "colour,payload.shape,policy.speed"},
		"read-only":               {"PATCH", `{"created_at":"2026-01-01T00:00:00Z"}`, "created_at"},
		"a name too long":         {"PATCH", `{"name":"` + strings.Repeat("x", 151) + `"}`, "name"},
		"a NUL":                   {"PATCH", `{"name":"a\u0000b"}`, "body"},
		"open as text":            {"PATCH", `{"open":"yes"}`, "open"},
		"a half try":              {"PATCH", `{"policy":{"retry_count":1.5}}`, "policy.retry_count"},
		"policy of another kind":  {"PATCH", `{"policy":5}`, "policy"},
		"all limits, below":       {"PATCH", `{"policy":{"warn_after":0,"disable_after":0,"max_webhooks_per_event":0,"retry_count":-1,"timeout_seconds":0}}`, "policy.disable_after,policy.max_webhooks_per_event,policy.retry_count,policy.timeout_seconds,policy.warn_after"},
		"all limits, above":       {"PATCH", `{"policy":{"warn_after":1000001,"disable_after":1000001,"max_webhooks_per_event":10001,"retry_count":13,"timeout_seconds":31}}`, "policy.disable_after,policy.max_webhooks_per_event,policy.retry_count,policy.timeout_seconds,policy.warn_after"},
		"a timeout beyond all":    {"PATCH", `{"policy":{"timeout_seconds":9223372036854775807}}`, "policy.timeout_seconds"},
		"a warning too late":      {"PATCH", `{"policy":{"disable_after":5}}`, "policy.warn_after"},
		"reactivation by whom":    {"PATCH", `{"policy":{"reactivation":"me"}}`, "policy.reactivation"},
		"reactivation by nobody":  {"PATCH", `{"policy":{"reactivation":""}}`, "policy.reactivation"},
		"validated how":           {"PATCH", `{"policy":{"validate":"strict"}}`, "policy.validate"},
		"validated by nothing":    {"PATCH", `{"policy":{"validate":""}}`, "policy.validate"},
		"answers kept how":        {"PATCH", `{"policy":{"keep_answers":"all"}}`, "policy.keep_answers"},
		"a payload that is none":  {"PATCH", `{"payload":{"format":"xml","exclude":[""]}}`, "payload.exclude,payload.format"},
		"several at once":         {"POST", `{"id":"b","name":"` + strings.Repeat("x", 151) + `","policy":{"retry_count":99}}`, "name,policy.retry_count"},
		"the whole body too long": {"POST", `{"id":"b","name":"` + strings.Repeat("x", 300<<10) + `"}`, "413"},
	} {
		t.Run(name, func(t *testing.T) {
			path, status := tenants, 422
			if tt.method == "PATCH" {
				path += "/acme"
			}
			if tt.fields == "413" {
				tt.fields, status = "", 413
			}
			a := c.do(status, tt.method, path, tt.body)
			var fields []string
			for _, f := range a.Errors {
				fields = append(fields, f.Field)
				if f.Message == "" {
					t.Errorf("%s: no words", f.Field)
				}
			}
			if sorted(fields) != tt.fields {
				t.Errorf("fields %q, want %q: %s", sorted(fields), tt.fields, a.text)
			}
		})
	}
	if got := data[console.Tenant](t, c.do(200, "GET", tenants+"/acme", "")); *got.Policy.WarnAfter != 5 || got.UpdatedAt != got.CreatedAt {
		t.Errorf("a fault changed %+v", got)
	}
}

// What is said of a tenant reaches those who act by it, through the outbox: its record, and its end.
func TestTenantsReachTheLog(t *testing.T) {
	t.Parallel()
	c := readyOn(t, broker(t))
	c.do(201, "POST", tenants, `{"id":"acme","policy":{"keep_answers":false,"disable_after":7}}`)
	c.do(200, "PATCH", tenants+"/acme", `{"policy":{"disable_after":null,"timeout_seconds":3}}`)
	c.do(201, "POST", tenants, `{"id":"gone"}`)
	c.do(204, "DELETE", tenants+"/gone", "")
	var last tenant.Tenant
	records(t, c.cfg.Kafka, topics(t, c.cfg.Kafka).Settings, func(rs []*kgo.Record) bool {
		gone := false
		for _, r := range rs {
			v, err := wire.ReadSetting(r)
			if err != nil {
				t.Fatal(err)
			}
			if of, ok := v.(tenant.Tenant); ok && of.ID == "acme" {
				last = of
			}
			gone = gone || string(r.Key) == wire.TenantKey("gone") && r.Value == nil
		}
		return gone && last.Version == 2
	})
	want := tenant.Policy{KeepAnswers: new(false), Timeout: new(3 * time.Second)}
	if d := cmp.Diff(want, last.Policy); d != "" || !last.Open || last.Name != "acme" {
		t.Errorf("on the log: %+v (-want +got):\n%s", last, d)
	}
}

func TestTenantPatchesAtOnceLoseNothing(t *testing.T) {
	t.Parallel()
	c := ready(t)
	c.do(201, "POST", tenants, `{"id":"acme"}`)
	fields := []string{`"name":"n"`, `"open":false`, `"policy":{"retry_count":1}`, `"policy":{"timeout_seconds":2}`, `"payload":{"format":"thin"}`}
	ended := make(chan error, len(fields))
	for _, field := range fields {
		go func() {
			for {
				a := c.as(bootKey, "PATCH", tenants+"/acme", "{"+field+"}")
				if a.status == 200 {
					ended <- nil
					return
				}
				if a.status != 409 {
					ended <- fmt.Errorf("%d: %s", a.status, a.text)
					return
				}
			}
		}()
	}
	var errs []error
	for range fields {
		errs = append(errs, <-ended)
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	got := data[console.Tenant](t, c.do(200, "GET", tenants+"/acme", ""))
	if got.Name != "n" || got.Open || *got.Policy.RetryCount != 1 || *got.Policy.TimeoutSeconds != 2 || got.Payload.Format != webhook.FormatThin {
		t.Errorf("after all patches: %+v", got)
	}
}

func TestTenantsAreDescribed(t *testing.T) {
	t.Parallel()
	c := ready(t)
	var api struct {
		Paths map[string]map[string]struct {
			RequestBody struct{ Content map[string]any }
			Responses   map[string]any
		}
		Components struct {
			Schemas map[string]struct {
				Properties map[string]map[string]any
				Required   []string
			}
		}
	}
	if err := json.Unmarshal([]byte(c.as("", "GET", "/api/openapi.json", "").text), &api); err != nil {
		t.Fatal(err)
	}
	for route, want := range map[string]string{
		"get " + tenants: "200", "post " + tenants: "201,409,413", "get " + tenants + "/{id}": "200,404",
		"patch " + tenants + "/{id}": "200,404,409,413", "delete " + tenants + "/{id}": "204,404,409",
	} {
		method, path, _ := strings.Cut(route, " ")
		responses := api.Paths[path][method].Responses
		for _, status := range append(strings.Split(want, ","), "401", "403", "422", "503") {
			if responses[status] == nil {
				t.Errorf("%s: no answer %s is described", route, status)
			}
		}
	}
	if api.Paths[tenants+"/{id}"]["patch"].RequestBody.Content["application/merge-patch+json"] == nil {
		t.Error("the patch's body is not described")
	}
	policy := api.Components.Schemas["Policy"]
	var names []string
	for name, p := range policy.Properties {
		names = append(names, name)
		if p["description"] == nil {
			t.Errorf("policy.%s is not described", name)
		}
	}
	if want := "disable_after,keep_answers,max_webhooks_per_event,reactivation,retry_count,timeout_seconds,validate,warn_after"; sorted(names) != want || len(policy.Required) != 0 {
		t.Errorf("policy: %s, required %v", sorted(names), policy.Required)
	}
	if most := policy.Properties["retry_count"]["maximum"]; most != 12.0 {
		t.Errorf("retry_count up to %v", most)
	}
	if input := api.Components.Schemas["TenantInput"]; !slices.Equal(input.Required, nil) || input.Properties["payload"] == nil {
		t.Errorf("TenantInput: %+v", input)
	}
}
