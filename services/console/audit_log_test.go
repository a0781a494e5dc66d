package console_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/services/console"
)

// unaudited are operations and pages that change nothing that anybody registered, and why.
var unaudited = map[string]string{
	"publish-events":         "what is published is in the log itself",
	"try-webhook":            "it changes nothing",
	"try-webhook-by-id":      "it changes nothing",
	"POST /console/sign-in":  "a session is not what is registered; the log says who signed in",
	"POST /console/sign-out": "as above",
	"POST /console/webhooks/{id}/activate": "in the table it meets a webhook that is active, and changes nothing; " +
		"TestAuditOfActivation has it",
}

// auditLog are the newest entries of the default tenant's audit log, the platform's and other tenants', by request.
func (c *running) auditLog(tenants ...string) map[string][]console.AuditEntry {
	c.t.Helper()
	by := map[string][]console.AuditEntry{}
	add := func(a answer) {
		for _, e := range data[[]console.AuditEntry](c.t, a) {
			by[e.RequestID] = append(by[e.RequestID], e)
		}
	}
	add(c.do(200, "GET", "/api/v1/audit-log?limit=500&platform=true", ""))
	for _, of := range append(tenants, "default") {
		add(c.do(200, "GET", "/api/v1/audit-log?limit=500", "", "Doorstep-Tenant", of))
	}
	return by
}

// TestEveryChangeIsInTheAuditLog makes every request that the API and the pages have which is not a GET.
func TestEveryChangeIsInTheAuditLog(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, db sqldb.Config) {
		t.Parallel()
		w := &world{rig: rigOn(t, db)}
		x := w.make()
		calls := operations(x)
		maps.Copy(calls, pages(w, x))
		maps.DeleteFunc(calls, func(_ string, c call) bool { return c.method == "GET" || c.goesOn })
		requests := map[string]string{} // by name
		for name, c := range calls {
			r := w.ask(c)
			if r.err != nil || r.status != c.status {
				t.Errorf("%s: %d, %v: %s", name, r.status, r.err, r.text)
			}
			requests[name] = r.header.Get("X-Request-Id")
		}
		told := w.auditLog(x.tenant, x.patching, x.returning)
		for name := range calls {
			entries := told[requests[name]]
			if why, none := unaudited[name]; none != (len(entries) == 0) {
				t.Errorf("%s has %d entries in the audit log (why none: %q)", name, len(entries), why)
			}
			for _, e := range entries {
				operation := e.Action
				if strings.HasPrefix(name, "POST /console/") {
					operation = name
				}
				if operation != name || e.KeyID == "" || e.KeyName != "first key" || e.Result != "done" || string(e.Before)+string(e.After) == "nullnull" {
					t.Errorf("%s: %+v %s %s", name, e, e.Before, e.After)
				}
			}
		}
		if boot := told[""]; len(boot) == 0 || boot[0].Author != "system" || boot[0].Action != "bootstrap" {
			t.Errorf("the first start: %+v", boot)
		}
	})
}

// TestAuditOfActivation: a person's doing is told as the person's.
func TestAuditOfActivation(t *testing.T) {
	t.Parallel()
	w := &world{rig: newRig(t)}
	id, someone := w.create(minimal).ID, w.visitor()
	for _, action := range []string{"deactivate", "activate"} {
		c := pages(w, noThings())["POST /console/webhooks/{id}/deactivate"]
		c.path, c.who, c.body = "/console/webhooks/"+id+"/"+action, someone, "token="+someone.token
		r := w.ask(c)
		entries := w.auditLog()[r.header.Get("X-Request-Id")]
		if len(entries) != 1 || entries[0].Author != "session" || entries[0].Action != action+"-webhook" || entries[0].SubjectID != id {
			t.Errorf("%s (%d): %+v", action, r.status, entries)
		}
	}
}

// TestAuditLogIsTheTenantsOwn: a tenant sees its own, and of the platform that it was the platform.
func TestAuditLogIsTheTenantsOwn(t *testing.T) {
	t.Parallel()
	c := ready(t)
	acme := []string{"Doorstep-Tenant", "acme"}
	admin := c.key(`{"name":"theirs","scopes":["admin","webhooks"]}`, acme...)
	hook := c.create(minimal, acme...)
	c.create(minimal)
	a := c.as(admin.Key, "PATCH", "/api/v1/webhooks/"+hook.ID, `{"headers":{"X-Token":"planted-value"},"name":"n"}`)
	if a.status != 200 {
		t.Fatal(a.text)
	}
	list := func(key, query string) []console.AuditEntry {
		t.Helper()
		return data[[]console.AuditEntry](t, c.as(key, "GET", "/api/v1/audit-log"+query, ""))
	}
	theirs := list(admin.Key, "")
	if len(theirs) != 3 || theirs[0].KeyName != "theirs" || theirs[0].Platform ||
		theirs[1].Action != "create-webhook" || !theirs[1].Platform || theirs[1].KeyID != "" || theirs[2].Action != "create-api-key" {
		t.Errorf("a tenant sees %+v", theirs)
	}
	if string(theirs[0].Before) != `{"headers":{},"name":""}` || string(theirs[0].After) != `{"headers":{"X-Token":"***"},"name":"n"}` {
		t.Errorf("the change: %s -> %s", theirs[0].Before, theirs[0].After)
	}
	if got := list(admin.Key, "?filter[subject_id]="+hook.ID); len(got) != 2 {
		t.Errorf("of one webhook: %+v", got)
	}
	if a := c.as(admin.Key, "GET", "/api/v1/audit-log?platform=true", ""); a.status != 403 {
		t.Errorf("the platform's to a tenant: %d", a.status)
	}
	if a := c.as(c.key(`{"name":"k","scopes":["webhooks"]}`).Key, "GET", "/api/v1/audit-log", ""); a.status != 403 {
		t.Errorf("without the scope: %d", a.status)
	}
	if all := c.do(200, "GET", "/api/v1/audit-log", "", acme...).text + c.do(200, "GET", "/api/v1/audit-log?platform=true", "").text; strings.Contains(all, "planted-value") ||
		strings.Contains(all, admin.Key) || strings.Contains(all, "whsec_") || strings.Contains(all, bootKey) {
		t.Errorf("a secret is told: %s", all)
	}
	page := c.as(admin.Key, "GET", "/api/v1/audit-log?limit=2", "")
	if rest := list(admin.Key, "?limit=2&cursor="+page.Meta.NextCursor); len(rest) != 1 || rest[0].ID != theirs[2].ID {
		t.Errorf("the second page: %+v", rest)
	}
}
