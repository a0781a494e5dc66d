package console_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/doorstep-dev/doorstep/services/console"
)

// TestIfMatch: a change on what somebody else has changed meanwhile is refused, whatever changes it.
func TestIfMatch(t *testing.T) {
	t.Parallel()
	w := &world{rig: newRig(t)}
	x := w.make()
	keep := map[string]string{ // by operation: the one thing that it is about
		"patch-webhook": "webhooks/" + x.patch, "delete-webhook": "webhooks/" + x.remove, "rotate-webhook-secret": "webhooks/" + x.rotate,
		"pause-webhook": "webhooks/" + x.pause, "resume-webhook": "webhooks/" + x.resume,
		"release-deliveries": "webhooks/" + x.release, "recover-deliveries": "webhooks/" + x.recover, "discard-deliveries": "webhooks/" + x.discard,
		"patch-administrator": "administrators/" + x.administrator, "delete-administrator": "administrators/" + x.leaving,
		"patch-api-key": "api-keys/" + x.key, "delete-api-key": "api-keys/" + x.leavingKey,
		"patch-tenant": "tenants/" + x.tenant, "delete-tenant": "tenants/" + x.ending,
		"delete-event-type": "event-types/" + x.eventTypeGoing,
	}
	for name, path := range keep {
		c, path := operations(x)[name], "/api/v1/"+path
		tag := w.do(200, "GET", path, "").header.Get("ETag")
		version, digest, _ := strings.Cut(strings.Trim(tag, `"`), ".")
		if version == "" || len(digest) != 16 {
			t.Errorf("%s has the tag %s", path, tag)
		}
		for demand, want := range map[string]int{
			`"99.` + digest + `"`: 412, `W/` + tag: 412, `"98.x", "99.y"`: 412, `nonsense`: 422,
		} {
			if a := w.as(bootKey, c.method, c.path, c.body, "If-Match", demand); a.status != want || want == 412 && !strings.Contains(a.Detail, "GET it again") {
				t.Errorf("%s with If-Match %s: %d %s", name, demand, a.status, a.text)
			}
		}
		if again := w.do(200, "GET", path, "").header.Get("ETag"); again != tag {
			t.Errorf("%s: what was refused was done: %s became %s", name, tag, again)
		}
		a := w.as(bootKey, c.method, c.path, c.body, "If-Match", `"77.x", "`+version+`.another-state"`)
		if a.status != c.status {
			t.Errorf("%s at its version: %d %s", name, a.status, a.text)
		}
		if told := a.header.Get("ETag"); c.status == 200 {
			if now := w.do(200, "GET", path, "").header.Get("ETag"); told != now || told == tag {
				t.Errorf("%s answered the tag %s, GET %s, before %s", name, told, now, tag)
			}
		}
	}
	if a := w.as(bootKey, "PATCH", "/api/v1/webhooks/"+x.read, `{"name":"any"}`, "If-Match", "*"); a.status != 200 {
		t.Errorf("any: %d %s", a.status, a.text)
	}
	if a := w.as(bootKey, "DELETE", "/api/v1/webhooks/"+x.remove, "", "If-Match", "*"); a.status != 404 {
		t.Errorf("any, of what is gone: %d %s", a.status, a.text)
	}
}

// TestIfMatchLetsOneThrough: of changes at once on one version, one is made.
func TestIfMatchLetsOneThrough(t *testing.T) {
	t.Parallel()
	c := ready(t)
	path := "/api/v1/webhooks/" + c.create(minimal).ID
	tag := c.do(200, "GET", path, "").header.Get("ETag")
	var (
		all      sync.WaitGroup
		mu       sync.Mutex
		statuses = map[int]int{}
	)
	for i := range 8 {
		all.Go(func() {
			a := c.as(bootKey, "PATCH", path, fmt.Sprintf(`{"name":"n%d"}`, i), "If-Match", tag)
			mu.Lock()
			defer mu.Unlock()
			statuses[a.status]++
		})
	}
	all.Wait()
	if statuses[200] != 1 || statuses[412] != 7 {
		t.Errorf("eight changes of one version: %v", statuses)
	}
}

// TestNotModified: 304 says that nothing that the caller sees has changed, and is not said otherwise.
func TestNotModified(t *testing.T) {
	t.Parallel()
	c := ready(t)
	path := "/api/v1/webhooks/" + c.create(`{"url":"http://127.0.0.1:9999/","event_types":["a"],"headers":{"Authorization":"planted-value"}}`).ID
	tag := c.do(200, "GET", path, "").header.Get("ETag")
	for _, none := range []string{tag, "W/" + tag, `"other", ` + tag, "*"} {
		if a := c.as(bootKey, "GET", path, "", "If-None-Match", none); a.status != 304 || a.text != "" || a.header.Get("ETag") != tag {
			t.Errorf("If-None-Match %s: %d %s %q", none, a.status, a.header.Get("ETag"), a.text)
		}
	}
	reader := c.key(`{"name":"r","scopes":["webhooks:read"]}`).Key
	if a := c.as(reader, "GET", path, "", "If-None-Match", tag); a.status != 200 || strings.Contains(a.text, "planted-value") {
		t.Errorf("who sees less has the tag of who sees more: %d %s", a.status, a.text)
	}
	c.do(200, "PATCH", "/api/v1/tenants/default", `{"policy":{"retry_count":7}}`)
	a := c.do(200, "GET", path, "", "If-None-Match", tag)
	if data[console.Webhook](t, a).RetryCount != 7 {
		t.Errorf("the tenant's default is not shown: %s", a.text)
	}
	// The registration is what it was, so its change goes through.
	c.do(200, "PATCH", path, `{"name":"new"}`, "If-Match", tag)
	if a := c.as(bootKey, "GET", path, "", "If-Match", tag); a.status != 412 {
		t.Errorf("GET of a version that is gone: %d", a.status)
	}
}
