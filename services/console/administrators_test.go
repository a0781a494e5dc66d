package console_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/console"
)

const administrators = "/api/v1/administrators"

func (c *running) administrator(body string, header ...string) console.Administrator {
	c.t.Helper()
	return data[console.Administrator](c.t, c.do(201, "POST", administrators, body, header...))
}

func TestAdministratorLife(t *testing.T) {
	t.Parallel()
	c := ready(t)
	before := time.Now()
	least := c.administrator(`{"email":"ops@example.com"}`)
	want := console.Administrator{
		ID: least.ID, Email: "ops@example.com", Language: "en", Notices: []string{}, CreatedAt: least.CreatedAt, UpdatedAt: least.CreatedAt,
	}
	if d := cmp.Diff(want, least); d != "" || least.CreatedAt.Before(before) {
		t.Errorf("made at %s (-want +got):\n%s", least.CreatedAt, d)
	}
	if id, err := uuid.Parse(least.ID); err != nil || id.Version() != 7 {
		t.Errorf("id %s: %v", least.ID, err)
	}
	all := c.administrator(`{"email":"Admin@Example.com","name":"Admin ✓","language":"pt-BR","notices":["gone","disabled"]}`)
	want = console.Administrator{
		ID: all.ID, Email: "Admin@Example.com", Name: "Admin ✓", Language: "pt-BR", Notices: []string{"gone", "disabled"},
		CreatedAt: all.CreatedAt, UpdatedAt: all.CreatedAt,
	}
	path := administrators + "/" + all.ID
	if d := cmp.Diff(want, data[console.Administrator](t, c.do(200, "GET", path, ""))); d != "" {
		t.Errorf("shown (-want +got):\n%s", d)
	}
	got := data[console.Administrator](t, c.do(200, "PATCH", path, `{"name":null,"language":null,"notices":["warning"]}`))
	want.Name, want.Language, want.Notices, want.UpdatedAt = "", "en", []string{"warning"}, got.UpdatedAt
	if d := cmp.Diff(want, got); d != "" || !got.UpdatedAt.After(got.CreatedAt) {
		t.Errorf("patched at %s (-want +got):\n%s", got.UpdatedAt, d)
	}
	if text := c.do(200, "PATCH", path, `{"notices":null}`).text; !strings.Contains(text, `"notices":[]`) {
		t.Errorf("told of everything: %s", text)
	}
	c.do(204, "DELETE", path, "")
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		c.do(404, method, path, `{"name":"x"}`)
		c.do(404, method, administrators+"/not-an-id", `{"name":"x"}`)
	}
}

func TestAdministratorEmailIsTakenOnce(t *testing.T) {
	t.Parallel()
	c := ready(t)
	c.administrator(`{"email":"admin@example.com"}`)
	other := c.administrator(`{"email":"ops@example.com"}`)
	for name, call := range map[string][3]string{
		"made, in another case": {"POST", administrators, `{"email":"ADMIN@example.com"}`},
		"changed to it":         {"PATCH", administrators + "/" + other.ID, `{"email":"admin@example.com"}`},
	} {
		a := c.do(409, call[0], call[1], call[2])
		if len(a.Errors) != 1 || a.Errors[0].Field != "email" || !strings.Contains(a.Detail, "e-mail address") {
			t.Errorf("%s: %s", name, a.text)
		}
	}
	c.do(200, "PATCH", administrators+"/"+other.ID, `{"email":"OPS@example.com"}`) // its own
	c.administrator(`{"email":"admin@example.com"}`, "Doorstep-Tenant", "acme")
}

func TestAdministratorsAreListedByPages(t *testing.T) {
	t.Parallel()
	c := ready(t)
	var want, got []string
	for i := range 5 {
		want = append(want, c.administrator(fmt.Sprintf(`{"email":"admin%d@example.com"}`, i)).ID)
	}
	c.administrator(`{"email":"admin@example.com"}`, "Doorstep-Tenant", "acme")
	for cursor, pages := "", 1; ; pages++ {
		a := c.do(200, "GET", administrators+"?limit=2&cursor="+url.QueryEscape(cursor), "")
		for _, one := range data[[]console.Administrator](t, a) {
			got = append(got, one.ID)
		}
		if cursor = a.Meta.NextCursor; cursor == "" || pages == 5 {
			break
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	c.do(422, "GET", administrators+"?cursor=nonsense", "")
	c.do(422, "GET", administrators+"?limit=501", "")
}

func TestAdministratorScopes(t *testing.T) {
	t.Parallel()
	c := ready(t)
	acme := []string{"Doorstep-Tenant", "acme"}
	a := c.administrator(`{"email":"admin@example.com"}`, acme...)
	path := administrators + "/" + a.ID
	foreign := c.ownKey("other")
	weak := c.key(`{"name":"weak","scopes":["webhooks","events","deliveries"]}`, acme...).Key
	for name, tt := range map[string]struct {
		key, method, path string
		status            int
	}{
		"another's, read":            {foreign, "GET", path, 404},
		"another's, change":          {foreign, "PATCH", path, 404},
		"another's, delete":          {foreign, "DELETE", path, 404},
		"the platform's, no tenant":  {bootKey, "GET", path, 404},
		"without the scope, list":    {weak, "GET", administrators, 403},
		"without the scope, make":    {weak, "POST", administrators, 403},
		"without the scope, read":    {weak, "GET", path, 403},
		"without the scope, change":  {weak, "PATCH", path, 403},
		"without the scope, delete":  {weak, "DELETE", path, 403},
		"without a key":              {"", "GET", path, 401},
		"its own, though another is": {c.ownKey("acme"), "GET", path, 200},
	} {
		if got := c.as(tt.key, tt.method, tt.path, `{"name":"x","email":"x@example.com"}`); got.status != tt.status {
			t.Errorf("%s: %d, want %d: %s", name, got.status, tt.status, got.text)
		}
	}
	if list := data[[]console.Administrator](t, c.as(foreign, "GET", administrators, "")); len(list) != 0 {
		t.Errorf("another's list: %v", list)
	}
	if got := data[console.Administrator](t, c.do(200, "GET", path, "", acme...)); !cmp.Equal(got, a) {
		t.Errorf("changed: %s", cmp.Diff(a, got))
	}
}

func TestAdministratorFaults(t *testing.T) {
	t.Parallel()
	c := ready(t)
	a := c.administrator(`{"email":"admin@example.com"}`)
	for name, tt := range map[string]struct{ method, body, fields string }{
		"nothing":            {"POST", ``, "body"},
		"null":               {"PATCH", `null`, "body"},
		"no address":         {"POST", `{}`, "email"},
		"the address taken":  {"PATCH", `{"email":null}`, "email"},
		"all of it":          {"POST", `{"email":"a b","name":"x\ny","language":"english","notices":["all"]}`, "email,language,name,notices"},
		"a notice twice":     {"PATCH", `{"notices":["gone","gone"]}`, "notices"},
		"a notice of no one": {"PATCH", `{"notices":["mailed"]}`, "notices"},
		"notices as text":    {"PATCH", `{"notices":"gone"}`, "notices"},
		"a NUL":              {"PATCH", `{"name":"a\u0000b"}`, "body"},
		"unknown":            {"PATCH", `{"mail":"x"}`, "mail"},
		"read-only":          {"PATCH", `{"id":"x","created_at":"2026-01-01T00:00:00Z"}`, "created_at,id"},
	} {
		t.Run(name, func(t *testing.T) {
			path := administrators
			if tt.method == "PATCH" {
				path += "/" + a.ID
			}
			var fields []string
			for _, f := range c.do(422, tt.method, path, tt.body).Errors {
				fields = append(fields, f.Field)
			}
			if sorted(fields) != tt.fields {
				t.Errorf("fields %q, want %q", sorted(fields), tt.fields)
			}
		})
	}
}

// An administrator reaches those who mail through the outbox, also its end.
func TestAdministratorsReachTheLog(t *testing.T) {
	t.Parallel()
	c := readyOn(t, broker(t))
	kept := c.administrator(`{"email":"admin@example.com","notices":["gone"]}`, "Doorstep-Tenant", "acme")
	gone := c.administrator(`{"email":"ops@example.com"}`)
	c.do(200, "PATCH", administrators+"/"+kept.ID, `{"name":"Admin"}`, "Doorstep-Tenant", "acme")
	c.do(204, "DELETE", administrators+"/"+gone.ID, "")
	var last tenant.Administrator
	records(t, c.cfg.Kafka, topics(t, c.cfg.Kafka).Settings, func(rs []*kgo.Record) bool {
		ended := false
		for _, r := range rs {
			v, err := wire.ReadSetting(r)
			if err != nil {
				t.Fatal(err)
			}
			if a, ok := v.(tenant.Administrator); ok && a.ID == kept.ID {
				last = a
			}
			ended = ended || string(r.Key) == wire.AdministratorKey(gone.ID) && r.Value == nil
		}
		return ended && last.Version == 2
	})
	want := tenant.Administrator{
		ID: kept.ID, Tenant: "acme", Email: "admin@example.com", Name: "Admin", Language: "en", Notices: []string{"gone"}, Version: 2,
		CreatedAt: kept.CreatedAt, UpdatedAt: last.UpdatedAt,
	}
	if d := cmp.Diff(want, last); d != "" {
		t.Errorf("on the log (-want +got):\n%s", d)
	}
}

func TestAddressesAreNotLogged(t *testing.T) {
	t.Parallel()
	c := ready(t)
	a := c.administrator(`{"email":"admin@example.com","name":"Admin"}`)
	path := administrators + "/" + a.ID
	c.do(409, "POST", administrators, `{"email":"admin@example.com"}`)
	c.do(422, "PATCH", path, `{"email":"admin@example.com "}`)
	c.do(200, "PATCH", path, `{"email":"ops@example.com"}`)
	c.do(204, "DELETE", path, "")
	if text := c.log.String(); strings.Contains(text, "example.com") || !strings.Contains(text, a.ID) {
		t.Errorf("log: %s", text)
	}
}

// Of three patches, each meets the other two at most, and is tried five times.
func TestAdministratorPatchesAtOnceLoseNothing(t *testing.T) {
	t.Parallel()
	c := ready(t)
	a := c.administrator(`{"email":"admin@example.com"}`)
	path := administrators + "/" + a.ID
	patches := []string{`{"name":"n"}`, `{"language":"fi"}`, `{"notices":["gone"]}`}
	ended := make(chan answer, len(patches))
	for _, patch := range patches {
		go func() { ended <- c.as(bootKey, "PATCH", path, patch) }()
	}
	for range patches {
		if got := <-ended; got.status != 200 {
			t.Errorf("%d: %s", got.status, got.text)
		}
	}
	got := data[console.Administrator](t, c.do(200, "GET", path, ""))
	want := a
	want.Name, want.Language, want.Notices, want.UpdatedAt = "n", "fi", []string{"gone"}, got.UpdatedAt
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// The description names the notices that there are.
func TestNoticesAreDescribed(t *testing.T) {
	t.Parallel()
	c := ready(t)
	var api struct {
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct {
					Items struct{ Enum []failure.NoticeKind }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(c.as("", "GET", "/api/openapi.json", "").text), &api); err != nil {
		t.Fatal(err)
	}
	for _, schema := range []string{"Administrator", "AdministratorInput"} {
		if d := cmp.Diff(failure.NoticeKinds(), api.Components.Schemas[schema].Properties["notices"].Items.Enum); d != "" {
			t.Errorf("%s: %s", schema, d)
		}
	}
}
