package observe

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/services/doorstep/app"
)

// ask makes a REST call for a tenant and decodes the answer's data into out, if given.
func ask(t *testing.T, a *app.App, tenant, method, path string, in, out any) int {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, a.URL()+"/api/v1/"+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+platformKey)
	req.Header.Set("Doorstep-Tenant", tenant)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if out != nil && resp.StatusCode < 300 {
		if err := json.NewDecoder(resp.Body).Decode(&struct{ Data any }{out}); err != nil {
			t.Fatal(err)
		}
	}
	return resp.StatusCode
}

// use has a Doorstep do all kinds of things: webhooks that work, fail and are paused, events good and bad, of many types. It returns
// what customers and receivers wrote, which must not be in metrics.
func use(t *testing.T, a *app.App) map[string]string {
	t.Helper()
	r := testkit.NewReceiver(t)
	r.Set("/hidden-path/fails", testkit.Behaviour{Status: 500})
	r.Set("/hidden-path/again", testkit.Behaviour{FailFirst: 1})
	ids := map[string]string{"tenant": "tenant-of-ours", "path": "hidden-path", "event": "event-of-ours", "receiver": strings.TrimPrefix(r.URL, "http://")}
	var hooks []string
	for _, path := range []string{"works", "fails", "again", "paused"} {
		var made struct{ ID string }
		if status := ask(t, a, ids["tenant"], http.MethodPost, "webhooks", map[string]any{"url": r.URL + "/hidden-path/" + path, "event_types": []string{"*"}}, &made); status != http.StatusCreated {
			t.Fatalf("webhook not made: %d", status)
		}
		ids["webhook "+path], hooks = made.ID, append(hooks, made.ID)
	}
	if status := ask(t, a, ids["tenant"], http.MethodPost, "webhooks/"+hooks[3]+"/pause", nil, nil); status >= 300 {
		t.Fatalf("not paused: %d", status)
	}
	const events = 30
	for i := range events {
		event := map[string]any{"id": fmt.Sprintf("%s-%d-%d", ids["event"], time.Now().UnixNano(), i), "type": fmt.Sprintf("of.kind_%d", i)}
		if status := ask(t, a, ids["tenant"], http.MethodPost, "events", event, nil); status != http.StatusAccepted {
			t.Fatalf("event not taken: %d", status)
		}
	}
	ask(t, a, ids["tenant"], http.MethodPost, "events", map[string]any{"type": "No Type"}, nil)
	ask(t, a, ids["tenant"], http.MethodGet, "nothing/there", nil, nil)
	ask(t, a, ids["tenant"], http.MethodGet, "webhooks/"+hooks[0], nil, nil)
	testkit.Eventually(t, patience, func() error {
		if n := len(r.RequestsTo("/hidden-path/works")); n < events/2 { // webhooks are in force within a second
			return fmt.Errorf("%d of %d delivered", n, events)
		}
		seen := map[string]bool{}
		for _, q := range r.RequestsTo("/hidden-path/again") {
			id := q.Header.Get("Webhook-Id")
			if seen[id] {
				return nil
			}
			seen[id] = true
		}
		return fmt.Errorf("no retry among %d", len(seen))
	})
	return ids
}
