package console_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/services/console"
)

// TestAKeyIsChanged: what can be changed is, what cannot is refused by name, and it holds at once.
func TestAKeyIsChanged(t *testing.T) {
	t.Parallel()
	c := ready(t)
	k := c.key(`{"name":"k","scopes":["webhooks:read"]}`)
	path := "/api/v1/api-keys/" + k.ID
	if a := c.as(k.Key, "POST", "/api/v1/webhooks", minimal); a.status != 403 {
		t.Errorf("before: %d", a.status)
	}
	soon := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	a := c.do(200, "PATCH", path, `{"name":"new","scopes":["webhooks"],"expires_at":"`+soon+`"}`)
	if got := data[console.Key](t, a); got.Name != "new" || len(got.Scopes) != 1 || got.ExpiresAt == nil || got.UpdatedAt == nil || got.Key != "" || got.Prefix != k.Prefix {
		t.Errorf("changed to %s", a.text)
	}
	if a := c.as(k.Key, "POST", "/api/v1/webhooks", minimal); a.status != 201 {
		t.Errorf("with the new scope: %d", a.status)
	}
	if got := data[console.Key](t, c.do(200, "PATCH", path, `{"expires_at":null}`)); got.ExpiresAt != nil || got.Name != "new" {
		t.Errorf("without an end: %+v", got)
	}
	for body, field := range map[string]string{
		`{"name":""}`: "name", `{"name":"` + strings.Repeat("x", 151) + `"}`: "name", `{"scopes":[]}`: "scopes", `{"scopes":["everything"]}`: "scopes",
		`{"expires_at":"2020-01-01T00:00:00Z"}`: "expires_at", `{"expires_at":"soon"}`: "expires_at", `{"prefix":"x"}`: "prefix", `{"key":"x"}`: "key",
		`{"last_used_at":null}`: "last_used_at", `{"colour":"red"}`: "colour",
	} {
		if a := c.as(bootKey, "PATCH", path, body); a.status != 422 || len(a.Errors) != 1 || a.Errors[0].Field != field {
			t.Errorf("%s: %d %s", body, a.status, a.text)
		}
	}
	for _, call := range [][2]string{{"GET", ""}, {"PATCH", `{"name":"x"}`}, {"DELETE", ""}} {
		for _, id := range []string{"0198c9e0-0000-7000-8000-000000000000", "x"} {
			if a := c.as(bootKey, call[0], "/api/v1/api-keys/"+id, call[1]); a.status != 404 {
				t.Errorf("%s of no key: %d", call[0], a.status)
			}
		}
	}
	c.do(204, "DELETE", path, "")
	if a := c.as(k.Key, "GET", "/api/v1/webhooks", ""); a.status != 401 {
		t.Errorf("after its end: %d", a.status)
	}
}

// TestKeysGiveWhatTheyHave: no key makes one that may do more than itself.
func TestKeysGiveWhatTheyHave(t *testing.T) {
	t.Parallel()
	c := ready(t)
	acme := []string{"Doorstep-Tenant", "acme"}
	admin := c.key(`{"name":"a","scopes":["admin","webhooks"]}`, acme...)
	strong := c.key(`{"name":"s","scopes":["deliveries","events"]}`, acme...)
	boot := data[[]console.Key](t, c.do(200, "GET", "/api/v1/api-keys?platform=true", ""))[0]
	for _, tt := range []struct {
		name, method, path, body string
		want                     int
	}{
		{"what it has", "POST", "", `{"name":"k","scopes":["webhooks","admin"]}`, 201},
		{"less than it has", "POST", "", `{"name":"k","scopes":["webhooks:read"]}`, 201},
		{"more than it has", "POST", "", `{"name":"k","scopes":["webhooks","events"]}`, 403},
		{"more for itself", "PATCH", "/" + admin.ID, `{"scopes":["admin","webhooks","deliveries:read"]}`, 403},
		{"less for itself", "PATCH", "/" + admin.ID, `{"scopes":["webhooks","admin"]}`, 200},
		{"a name for what has more", "PATCH", "/" + strong.ID, `{"name":"other"}`, 200},
		{"less for what has more", "PATCH", "/" + strong.ID, `{"scopes":["deliveries:read"]}`, 200},
		{"what that had before", "PATCH", "/" + strong.ID, `{"scopes":["deliveries"]}`, 403},
		{"a platform key", "POST", "", `{"name":"k","scopes":["webhooks"],"platform":true}`, 403},
		{"the platform's key", "GET", "/" + boot.ID, "", 404},
		{"a name for the platform's key", "PATCH", "/" + boot.ID, `{"name":"mine"}`, 404},
		{"an end of the platform's key", "DELETE", "/" + boot.ID, "", 404},
		{"a key that becomes a platform's", "PATCH", "/" + admin.ID, `{"platform":true}`, 422},
	} {
		a := c.as(admin.Key, tt.method, "/api/v1/api-keys"+tt.path, tt.body)
		if a.status != tt.want {
			t.Errorf("%s: %d, want %d: %s", tt.name, a.status, tt.want, a.text)
		}
	}
	if got := data[console.Key](t, c.do(200, "GET", "/api/v1/api-keys/"+boot.ID, "")); !slices.Equal(got.Scopes, tenant.Scopes()) {
		t.Errorf("the platform's key to itself: %+v", got)
	}
}

// TestLastUse is noted for every key, at most once a minute, and by its sign-ins too.
func TestLastUse(t *testing.T) {
	t.Parallel()
	c := ready(t)
	k := c.key(`{"name":"k","scopes":["webhooks:read"]}`)
	used := func() *time.Time {
		return data[console.Key](t, c.do(200, "GET", "/api/v1/api-keys/"+k.ID, "")).LastUsedAt
	}
	if at := used(); at != nil {
		t.Errorf("before its use: %s", at)
	}
	before := time.Now()
	c.as(k.Key, "GET", "/api/v1/webhooks", "")
	var first time.Time
	eventually(t, func() error {
		at := used()
		if at == nil {
			return fmt.Errorf("not noted")
		}
		first = *at
		return nil
	})
	if first.Before(before.Add(-time.Second)) || first.After(time.Now().Add(time.Second)) {
		t.Errorf("noted %s", first)
	}
	for range 20 {
		c.as(k.Key, "GET", "/api/v1/webhooks", "")
	}
	other := start(t, c.cfg)
	other.awaitReady()
	other.as(k.Key, "GET", "/api/v1/webhooks", "")
	if at := used(); !at.Equal(first) {
		t.Errorf("within a minute it was noted again: %s, then %s", first, at)
	}
	// A use is no change: nobody else need hear of it.
	if told := data[[]console.AuditEntry](t, c.do(200, "GET", "/api/v1/audit-log?filter[subject_id]="+k.ID, "")); len(told) != 1 {
		t.Errorf("the audit log has %+v", told)
	}
}
