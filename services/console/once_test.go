package console_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/services/console"
)

// manyTimes are operations that are not one route of something made: what they do twice is what they do once, or
// has ids that say so; and tries, which change nothing.
var manyTimes = []string{"publish-events", "pause-webhook", "resume-webhook", "apply-profile", "try-webhook", "try-webhook-by-id"}

// onceRoutes are the operations that heed Idempotency-Key, by what the API says of itself.
func (c *running) onceRoutes() (heed []string) {
	c.t.Helper()
	var api struct {
		Paths map[string]map[string]struct {
			OperationID string
			Parameters  []struct{ Name string }
		}
	}
	if err := json.Unmarshal([]byte(c.as("", "GET", "/api/openapi.json", "").text), &api); err != nil {
		c.t.Fatal(err)
	}
	for path, methods := range api.Paths {
		for method, op := range methods {
			heeds := slices.ContainsFunc(op.Parameters, func(p struct{ Name string }) bool { return p.Name == "Idempotency-Key" })
			if heeds {
				heed = append(heed, op.OperationID)
			} else if method == "post" && !slices.Contains(manyTimes, op.OperationID) {
				c.t.Errorf("POST %s (%s) does not heed Idempotency-Key", path, op.OperationID)
			}
		}
	}
	return heed
}

// TestRequestsAreCarriedOutOnce makes every request that heeds Idempotency-Key twice.
func TestRequestsAreCarriedOutOnce(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, db sqldb.Config) {
		t.Parallel()
		w := &world{rig: rigOn(t, db)}
		calls := operations(w.make())
		for _, name := range w.onceRoutes() {
			c, key := calls[name], `"`+uuid.NewString()+`"`
			first := w.do(c.status, c.method, c.path, c.body, "Idempotency-Key", key)
			again := w.do(c.status, c.method, c.path, c.body, "Idempotency-Key", strings.Trim(key, `"`))
			if first.header.Get("Idempotent-Replayed") != "" || again.header.Get("Idempotent-Replayed") != "true" {
				t.Errorf("%s: replayed %q, then %q", name, first.header.Get("Idempotent-Replayed"), again.header.Get("Idempotent-Replayed"))
			}
			for _, h := range []string{"ETag", "Location", "Content-Type"} {
				if first.header.Get(h) != again.header.Get(h) {
					t.Errorf("%s: %s %q, then %q", name, h, first.header.Get(h), again.header.Get(h))
				}
			}
			if name == "create-api-key" {
				if again.Meta.Notice == "" || strings.Contains(again.text, data[console.Key](t, first).Key) || data[console.Key](t, again).ID != data[console.Key](t, first).ID {
					t.Errorf("a key is told again: %s", again.text)
				}
			} else if first.text != again.text {
				t.Errorf("%s answered\n%s\nthen\n%s", name, first.text, again.text)
			}
			if c.body == "" && c.path == calls["resend-delivery"].path {
				continue // there is no body to be another
			}
			other := w.as(bootKey, c.method, c.path, `{"name":"another"}`, "Idempotency-Key", key)
			if other.status != 422 || other.Code != "idempotency_key_reused" {
				t.Errorf("%s with another body: %d %s", name, other.status, other.text)
			}
			if made := len(w.auditLog()[first.header.Get("X-Request-Id")]); made != 1 {
				t.Errorf("%s: %d entries of the first request", name, made)
			}
			if made := len(w.auditLog()[again.header.Get("X-Request-Id")]); made != 0 {
				t.Errorf("%s: %d entries of the second request", name, made)
			}
		}
	})
}

// TestOnceAtOnce: of many at once one is carried out, and nobody is told otherwise.
func TestOnceAtOnce(t *testing.T) {
	t.Parallel()
	c := ready(t)
	var (
		all sync.WaitGroup
		mu  sync.Mutex
		ids = map[string]bool{}
	)
	for range 10 {
		all.Go(func() {
			a := c.as(bootKey, "POST", "/api/v1/webhooks", minimal, "Idempotency-Key", "one")
			mu.Lock()
			defer mu.Unlock()
			switch a.status {
			case 201:
				ids[data[console.Webhook](t, a).ID] = true
			case 409:
				if a.Code != "idempotency_key_in_use" || a.header.Get("Retry-After") == "" {
					t.Errorf("%s", a.text)
				}
			default:
				t.Errorf("%d %s", a.status, a.text)
			}
		})
	}
	all.Wait()
	if listed := data[[]console.Webhook](t, c.do(200, "GET", "/api/v1/webhooks", "")); len(ids) != 1 || len(listed) != 1 {
		t.Errorf("answered %v, there are %d", ids, len(listed))
	}
}

// TestOnceKeeps: what fails is not kept, keys are of one API key and tenant, and what is secret is not stored.
func TestOnceKeeps(t *testing.T) {
	t.Parallel()
	c := ready(t)
	once := []string{"Idempotency-Key", "k-1"}
	broken := c.as(bootKey, "POST", "/api/v1/webhooks", `{"url":"http://127.0.0.1:9999/"}`, once...)
	if broken.status != 422 {
		t.Fatal(broken.text)
	}
	body := `{"url":"http://127.0.0.1:9999/","event_types":["a"],"headers":{"X-Plain":"planted-value"}}`
	first := c.do(201, "POST", "/api/v1/webhooks", body, once...)
	made := data[console.Webhook](t, first)
	if theirs := data[console.Webhook](t, c.do(201, "POST", "/api/v1/webhooks", body, "Idempotency-Key", "k-1", "Doorstep-Tenant", "acme")); theirs.ID == made.ID {
		t.Error("a tenant got another's answer")
	}
	if another := data[console.Webhook](t, c.as(c.key(`{"name":"k","scopes":["webhooks"]}`).Key, "POST", "/api/v1/webhooks", body, once...)); another.ID == made.ID {
		t.Error("a key got another key's answer")
	}
	for _, bad := range []string{"", strings.Repeat("x", 256), "a\tb", "é"} {
		if a := c.as(bootKey, "POST", "/api/v1/webhooks", body, "Idempotency-Key", bad); a.status != 422 || len(a.Errors) != 1 || a.Errors[0].Field != "Idempotency-Key" {
			t.Errorf("%q: %d %s", bad, a.status, a.text)
		}
	}
	key := c.do(201, "POST", "/api/v1/api-keys", `{"name":"k","scopes":["events"]}`, "Idempotency-Key", "k-2")
	var stored []string
	rows, err := openStore(t, c.cfg.SQL).Read.QueryContext(t.Context(), "SELECT answer || ' ' || key FROM idempotency_keys")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		stored = append(stored, text)
	}
	all := strings.Join(stored, "\n")
	if rows.Err() != nil || len(stored) != 4 {
		t.Errorf("%d rows, %v", len(stored), rows.Err())
	}
	for _, secret := range []string{made.Secret, "planted-value", data[console.Key](t, key).Key, "k-1"} {
		if strings.Contains(all, secret) {
			t.Errorf("%s is stored: %s", secret, all)
		}
	}
	// After the webhook has gone, its creation is answered as far as it is known.
	c.do(204, "DELETE", "/api/v1/webhooks/"+made.ID, "")
	if again := c.do(201, "POST", "/api/v1/webhooks", body, once...); data[console.Webhook](t, again).ID != made.ID || again.Meta.Notice == "" || strings.Contains(again.text, made.Secret) {
		t.Errorf("after its end: %s", again.text)
	}
}

// TestAResendIsOneRun: a resend of which it is not known whether it was written is written again as the same run.
func TestAResendIsOneRun(t *testing.T) {
	t.Parallel()
	var full atomic.Bool
	db := sqldbtest.Any(t)
	cfg := config(t, broker(t), db)
	cfg.Room = func() error {
		if full.Load() {
			return errors.New("full")
		}
		return nil
	}
	r := rigOf(t, cfg)
	id := r.create(minimal).ID
	e := r.event(published("e-1", time.Now().UTC().Truncate(time.Microsecond)))
	d := matched(e, id)
	at := r.deliver(r.topics.Deliveries, d)
	r.attempts(post(d, at, time.Now().UTC().Truncate(time.Microsecond), delivery.Outcome{StatusCode: 200}, delivery.Delivered))
	path, once := "/api/v1/deliveries/"+d.ID+"/resend", []string{"Idempotency-Key", "k"}
	full.Store(true)
	failed := r.do(503, "POST", path, "", once...)
	full.Store(false)
	first := r.do(202, "POST", path, "", once...)
	again := r.do(202, "POST", path, "", once...)
	run := data[console.Resent](t, first).RunID
	if again.text != first.text || again.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("%s, then %s", first.text, again.text)
	}
	told := r.auditLog()
	for request, result := range map[string]string{failed.header.Get("X-Request-Id"): "failed", first.header.Get("X-Request-Id"): "done"} {
		if entries := told[request]; len(entries) != 1 || string(entries[0].Result) != result || !strings.Contains(string(entries[0].After), run) {
			t.Errorf("%s: %+v, want the run %s", result, entries, run)
		}
	}
}
