package console_test

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/console"
)

// conduct is how a route treats a tenant's key.
type conduct int

const (
	naming   conduct = iota // it names something: 404 for another tenant's, as for what there is not
	listing                 // it shows what the caller's tenant owns
	making                  // it makes something, for the caller's tenant
	platform                // it is for platform keys: 403, whatever is named
)

// conducts says of every route which scope it needs ("" is none) and how it treats a tenant's key. A new route needs a
// line here, beside that of operations.
func conducts() map[string]struct {
	scope   tenant.Scope
	conduct conduct
} {
	return map[string]struct {
		scope   tenant.Scope
		conduct conduct
	}{
		"list-webhooks":         {"webhooks:read", listing},
		"create-webhook":        {"webhooks", making},
		"get-webhook":           {"webhooks:read", naming},
		"patch-webhook":         {"webhooks", naming},
		"delete-webhook":        {"webhooks", naming},
		"rotate-webhook-secret": {"webhooks", naming},
		"pause-webhook":         {"webhooks", naming},
		"resume-webhook":        {"webhooks", naming},
		"release-deliveries":    {"deliveries", naming},
		"discard-deliveries":    {"deliveries", naming},
		"recover-deliveries":    {"deliveries", naming},
		"test-webhook":          {"webhooks", naming},
		"try-webhook":           {"webhooks:read", listing},
		"try-webhook-by-id":     {"webhooks:read", naming},
		"list-jobs":             {"deliveries:read", listing},
		"get-job":               {"deliveries:read", naming},
		"patch-job":             {"deliveries", naming},
		"cancel-job":            {"deliveries", naming},
		"explain":               {"deliveries:read", naming},
		"list-event-types":      {"webhooks:read", listing},
		"list-webhook-events":   {"webhooks:read", listing},
		"create-event-type":     {"admin", making},
		"import-event-types":    {"admin", making},
		"get-event-type":        {"webhooks:read", naming},
		"put-event-type":        {"admin", making},
		"delete-event-type":     {"admin", naming},
		"get-event-type-schema": {"webhooks:read", naming},
		"list-profiles":         {"webhooks:read", listing},
		"get-profile":           {"webhooks:read", listing},
		"apply-profile":         {"admin", platform},
		"patch-profile":         {"admin", platform},
		"delete-profile":        {"admin", platform},
		"publish-events":        {"events", making},
		"list-events":           {"deliveries:read", listing},
		"get-event":             {"deliveries:read", naming},
		"list-deliveries":       {"deliveries:read", listing},
		"get-delivery":          {"deliveries:read", naming},
		"get-delivery-payload":  {"deliveries:read", naming},
		"resend-delivery":       {"deliveries", naming},
		"tail-attempts":         {"deliveries:read", listing},
		"audit":                 {"admin", platform},
		"list-mails":            {"admin", listing},
		"get-mail":              {"admin", naming},
		"me":                    {"", listing},
		"list-api-keys":         {"admin", listing},
		"create-api-key":        {"admin", making},
		"get-api-key":           {"admin", naming},
		"patch-api-key":         {"admin", naming},
		"delete-api-key":        {"admin", naming},
		"list-audit-log":        {"admin", listing},
		"list-administrators":   {"admin", listing},
		"create-administrator":  {"admin", making},
		"get-administrator":     {"admin", naming},
		"patch-administrator":   {"admin", naming},
		"delete-administrator":  {"admin", naming},
		"list-tenants":          {"admin", listing},
		"create-tenant":         {"admin", platform},
		"get-tenant":            {"admin", naming},
		"patch-tenant":          {"admin", naming},
		"delete-tenant":         {"admin", platform},
	}
}

// described are the operations of the API's own description: the id, and the scope that it says.
func described(t *testing.T, c *running) map[string]tenant.Scope {
	t.Helper()
	var api struct {
		Paths map[string]map[string]struct {
			OperationID string
			Security    []struct{ Key []tenant.Scope }
		}
	}
	if err := json.Unmarshal([]byte(c.as("", "GET", "/api/openapi.json", "").text), &api); err != nil {
		t.Fatal(err)
	}
	all := map[string]tenant.Scope{}
	for path, methods := range api.Paths {
		for method, op := range methods {
			if len(op.Security) != 1 || len(op.Security[0].Key) > 1 {
				t.Errorf("%s %s: security %v", method, path, op.Security)
				continue
			}
			all[op.OperationID] = append(op.Security[0].Key, "")[0]
		}
	}
	return all
}

// everyRoute are the calls of operations with those things, of every route that the API describes.
func everyRoute(t *testing.T, c *running, x things) map[string]call {
	t.Helper()
	calls, known := operations(x), conducts()
	for id, scope := range described(t, c) {
		if _, ok := calls[id]; !ok {
			t.Errorf("%s has no call in operations (away_table_test.go)", id)
		}
		if k, ok := known[id]; !ok {
			t.Errorf("%s has no line in conducts: say which scope it needs and how it keeps tenants apart", id)
		} else if k.scope != scope {
			t.Errorf("%s is described with the scope %q, want %q", id, scope, k.scope)
		}
	}
	for id := range known {
		if _, ok := calls[id]; !ok {
			t.Errorf("%s is no route", id)
		}
	}
	return calls
}

// mark is in every text of the tenant that others must not learn of.
const mark = "roof_north_7f3a"

// owner is a tenant with one thing of each kind.
func (r *rig) owner(of string) things {
	r.t.Helper()
	header := []string{"Doorstep-Tenant", of}
	r.do(201, "POST", tenants, `{"id":"`+of+`","name":"`+mark+`"}`)
	x := noThings()
	hook := r.create(`{"name":"`+mark+`","url":"http://127.0.0.1:9999/`+mark+`","event_types":["a.b"],"headers":{"X-Mark":"`+mark+`"},"external_reference":"`+mark+`"}`, header...).ID
	for _, id := range []*string{&x.read, &x.patch, &x.remove, &x.rotate, &x.pause, &x.resume, &x.release, &x.discard, &x.recover, &x.test} {
		*id = hook
	}
	x.key = r.running.key(`{"name":"`+mark+`","scopes":["admin"]}`, header...).ID
	x.administrator = data[console.Administrator](r.t, r.do(201, "POST", "/api/v1/administrators", `{"email":"`+mark+`@example.com"}`, header...)).ID
	x.leaving, x.tenant, x.ending = x.administrator, of, of
	r.do(201, "POST", "/api/v1/event-types", `{"type":"`+x.eventType+`","description":"`+mark+`","schema":{}}`, header...)
	x.eventTypeGoing = x.eventType
	x.job = data[console.Job](r.t, r.do(202, "POST", "/api/v1/webhooks/"+hook+"/release", `{"event_types":["`+mark+`"]}`, header...)).ID
	x.resting, x.cancelled = x.job, x.job
	r.do(200, "PATCH", "/api/v1/jobs/"+x.job, `{"status":"paused"}`, header...) // so that nothing changes it but a call
	e := published("e-"+mark, time.Now().UTC().Truncate(time.Microsecond))
	e.Tenant, e.ExternalReference, e.Data = of, mark, []byte(`{"text":"`+mark+`"}`)
	e = r.event(e)
	d := matched(e, hook)
	at := r.deliver(r.topics.Deliveries, d)
	r.attempts(post(d, at, time.Now().UTC(), delivery.Outcome{StatusCode: 200, ResponseBody: []byte(mark)}, delivery.Delivered))
	x.event, x.delivery = e.ID, d.ID
	r.record(func(b *history.Batch) {
		b.AddNotice(failure.Notice{
			ID: x.mail, Kind: failure.NoticeMailed, NoticeID: uuid.NewString(), NoticeKind: failure.NoticeWarning, Tenant: of, WebhookID: hook,
			RaisedAt: time.Now().UTC(), MailTo: mark + "@example.com", MailSubject: mark, MailText: mark, MailedAt: time.Now().UTC(), MailResult: failure.MailSent,
		})
	})
	return x
}

// volatile is what differs between two equal answers.
var volatile = regexp.MustCompile(`"(request_id|last_used_at)":("[^"]*"|null)`)

// call makes a call with a key and reads its answer, of one that goes on no further than its head.
func (r *rig) call(key string, c call, header ...string) answer {
	r.t.Helper()
	if !c.goesOn {
		return r.as(key, c.method, c.path, c.body, header...)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, c.method, "http://"+r.svc.Addr()+c.path, strings.NewReader(c.body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := r.running.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	if a.status >= 300 {
		b, err := io.ReadAll(resp.Body)
		if err != nil || json.Unmarshal(b, &a) != nil {
			r.t.Fatalf("%s %s: %v in %s", c.method, c.path, err, b)
		}
		a.text = string(b)
	}
	return a
}

// all is everything that a tenant owns, as the platform sees it.
func (r *rig) all(of string, x things) map[string]string {
	r.t.Helper()
	seen := map[string]string{}
	for id, c := range operations(x) {
		if c.method == "GET" && !c.goesOn && id != "me" && id != "list-tenants" {
			seen[id] = volatile.ReplaceAllString(r.do(200, c.method, c.path, "", "Doorstep-Tenant", of).text, "")
		}
	}
	return seen
}

// A tenant's key finds nothing of another tenant's, on any route, and is answered as if there were nothing; and nothing
// of the other tenant's changes.
func TestTenantsAreApartOnEveryRoute(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	x := r.owner("acme")
	stranger := r.key(`{"name":"stranger","scopes":["events","webhooks","deliveries","admin"]}`, "Doorstep-Tenant", "other").Key
	before := r.all("acme", x)
	tail := r.tail(stranger, "")

	theirs, nothing, known := everyRoute(t, r.running, x), operations(noThings()), conducts()
	for _, id := range slices.Sorted(maps.Keys(theirs)) {
		got := r.call(stranger, theirs[id])
		if r.tells(got, x) {
			t.Errorf("%s tells of another tenant: %s", id, got.text)
		}
		switch known[id].conduct {
		case naming:
			if missing := r.call(stranger, nothing[id]); got.status != 404 || same(got) != same(missing) {
				t.Errorf("%s: %d %s\nfor what there is not: %d %s", id, got.status, got.text, missing.status, missing.text)
			}
		case platform:
			if missing := r.call(stranger, nothing[id]); got.status != 403 || same(got) != same(missing) {
				t.Errorf("%s: %d %s\nfor what there is not: %d %s", id, got.status, got.text, missing.status, missing.text)
			}
		case listing, making:
			if got.status != theirs[id].status {
				t.Errorf("%s: %d %s", id, got.status, got.text)
			}
		}
		// Nor does a key act for another tenant by naming it, and it does not learn whether there is one.
		c := theirs[id]
		named, none := r.call(stranger, c, "Doorstep-Tenant", "acme"), r.call(stranger, c, "Doorstep-Tenant", "nobody")
		if named.status != 403 || same(named) != strings.ReplaceAll(same(none), "nobody", "acme") {
			t.Errorf("%s, in another's name: %d %s\nin nobody's: %d %s", id, named.status, named.text, none.status, none.text)
		}
	}
	for _, c := range asides(x) {
		if got := r.call(stranger, c); got.status != c.status || r.tells(got, x) {
			t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, got.status, got.text)
		}
	}
	if d := cmp.Diff(before, r.all("acme", x)); d != "" {
		t.Errorf("what acme owns has changed (-before +after):\n%s", d)
	}

	for _, of := range []string{"acme", "other"} {
		e := published("e-"+of, t0)
		e.Tenant = of
		r.write(wire.Attempt(r.topics.Attempts, post(matched(e, x.read), delivery.Position{Topic: r.topics.Deliveries}, t0, delivery.Outcome{StatusCode: 200}, delivery.Delivered)))
	}
	if a := tail.next(); a.EventID != "e-other" {
		t.Errorf("the tail tells of %q first", a.EventID)
	}
}

// asides are calls that name another tenant's things elsewhere than in their path.
func asides(x things) []call {
	get := func(path string) call { return call{method: "GET", path: "/api/v1/" + path, status: 200} }
	return []call{
		get("deliveries?filter[webhook_id]=" + x.read), get("deliveries?filter[event_id]=" + x.event), get("deliveries?filter[external_reference]=" + mark),
		get("events?filter[external_reference]=" + mark), get("mails?filter[webhook_id]=" + x.read),
		{method: "GET", path: "/api/v1/api-keys?platform=true", status: 403},
		{method: "POST", path: "/api/v1/events", body: `{"type":"a.b","tenant":"acme"}`, status: 403},
		{method: "POST", path: "/api/v1/events", body: `[{"type":"a.b","tenant":"acme"}]`, status: 403},
		{method: "POST", path: "/api/v1/api-keys", body: `{"name":"k","scopes":["admin"],"platform":true}`, status: 403},
	}
}

// same is an answer without what differs between equal ones.
func same(a answer) string { return volatile.ReplaceAllString(a.text, "") }

// tells reports whether an answer holds anything of those things, but for what was asked.
func (r *rig) tells(a answer, x things) bool {
	for _, id := range []string{mark, x.read, x.eventType, x.key, x.administrator, x.job, x.event, x.delivery, x.mail} {
		if strings.Contains(a.text, id) {
			return true
		}
	}
	return false
}

// Each scope alone opens the routes that it is said to, and no others.
func TestScopesAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	calls, known := everyRoute(t, r.running, noThings()), conducts()
	for _, scope := range tenant.Scopes() {
		key := r.key(`{"name":"k","scopes":["`+string(scope)+`"]}`, "Doorstep-Tenant", "acme").Key
		for id, c := range calls {
			needs := known[id].scope
			may := needs == "" || needs == scope || needs == scope+":read"
			got := r.call(key, c)
			refused := got.status == 403 && got.Detail == "the API key does not have the scope "+string(needs)
			if refused == may {
				t.Errorf("%s with %s alone: %d %s", id, scope, got.status, got.text)
			}
		}
	}
	for id, c := range calls {
		for name, key := range map[string]string{"no key": "", "a wrong key": "dsk_wrong"} {
			if got := r.call(key, c); got.status != 401 || got.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s with %s: %d %s", id, name, got.status, got.text)
			}
		}
	}
}
