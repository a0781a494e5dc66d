package cli_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// call is what the API was asked.
type call struct {
	Line string // method, path and query
	Body string
}

// startAPI answers calls by their method and path, and names itself to the commands of the test.
func startAPI(t *testing.T, answers map[string]string) *[]call {
	t.Helper()
	var calls []call
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		calls = append(calls, call{r.Method + " " + r.URL.String(), string(body)})
		answer, ok := answers[r.Method+" "+r.URL.String()]
		switch {
		case !ok:
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"title":"Not Found","status":404,"detail":"no such webhook","request_id":"req_1"}`)
		case answer == "":
			w.WriteHeader(http.StatusNoContent)
		default:
			_, _ = io.WriteString(w, answer)
		}
	}))
	t.Cleanup(srv.Close)
	t.Setenv("DOORSTEP_URL", srv.URL)
	t.Setenv("DOORSTEP_KEY", "dsk_test")
	return &calls
}

const hook = `{"id":"w%d","name":"orders\u001b[2J","url":"https://example.com/h","active":true,"can_send":%t,"fail_streak":%d,"event_types":["card.*"],"secret":"whsec_x","created_at":"2026-03-02T10:00:00Z"}`

func TestWebhooksList(t *testing.T) {
	startAPI(t, map[string]string{
		"GET /api/v1/webhooks?limit=500":           `{"data":[` + fmt.Sprintf(hook, 1, true, 0) + `],"meta":{"next_cursor":"c2"}}`,
		"GET /api/v1/webhooks?cursor=c2&limit=500": `{"data":[` + strings.Replace(fmt.Sprintf(hook, 2, false, 500), `{`, `{"disabled":true,`, 1) + `],"meta":{}}`,
	})
	code, out, errs := run("", "webhooks", "list")
	if code != 0 || errs != "" {
		t.Fatalf("exit code %d, err %q", code, errs)
	}
	want := [][]string{
		{"ID", "NAME", "STATE", "FAILED", "EVENT", "TYPES", "URL"},
		{"w1", "orders", "[2J", "active", "0", "card.*", "https://example.com/h"},
		{"w2", "orders", "[2J", "disabled", "500", "card.*", "https://example.com/h"},
	}
	var got [][]string
	for line := range strings.Lines(out) {
		got = append(got, strings.Fields(line))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var all []map[string]any
	code, out, _ = run("", "webhooks", "list", "-o", "json")
	if err := json.Unmarshal([]byte(out), &all); code != 0 || err != nil || len(all) != 2 || all[0]["secret"] != "whsec_x" {
		t.Errorf("exit code %d, out %s, %v", code, out, err)
	}
}

func TestWebhookStates(t *testing.T) {
	for fields, want := range map[string][]string{
		`"active":true,"can_send":true`:                                                                {"active", ""},
		`"active":true,"can_send":true,"fail_streak":3`:                                                {"failing", ""},
		`"active":true,"can_send":true,"fail_streak":3,"mailed_warning_at":"2026-03-02T10:00:00Z"`:     {"failing", "warned by mail"},
		`"active":true,"disabled_until":"2026-03-02T10:00:00Z","fail_streak":1`:                        {"waiting", "not before"},
		`"active":true,"paused":true`:                                                                  {"paused", "paused"},
		`"active":true,"disabled":true,"disable_reason":"gone","fail_streak":1`:                        {"disabled", "its receiver answered 410 Gone"},
		`"active":true,"paused":true,"disabled":true,"disable_reason":"fail_streak","fail_streak":500`: {"disabled", "500 failed attempts in a row"},
		`"active":true,"disabled":true,"mailed_disabled_at":"2026-03-02T10:00:00Z"`:                    {"disabled", "told by mail"},
		`"active":false,"disabled":true,"paused":true,"disable_reason":"gone"`:                         {"disabled", "410 Gone"},
	} {
		startAPI(t, map[string]string{"GET /api/v1/webhooks/w1": `{"data":{"id":"w1",` + fields + `}}`})
		_, out, errs := run("", "webhooks", "get", "w1")
		state := ""
		for line := range strings.Lines(out) {
			if words := strings.Fields(line); words[0] == "state" {
				state = words[1]
			}
		}
		if state != want[0] || !strings.Contains(out, want[1]) || errs != "" {
			t.Errorf("%s: want %q\n%s%s", fields, want, out, errs)
		}
	}
}

func TestWebhooksChange(t *testing.T) {
	answer := `{"data":` + fmt.Sprintf(hook, 1, true, 0) + `}`
	calls := startAPI(t, map[string]string{
		"POST /api/v1/webhooks": answer, "PATCH /api/v1/webhooks/w1": answer, "GET /api/v1/webhooks/w1": answer, "DELETE /api/v1/webhooks/w1": "",
	})
	for name, tt := range map[string]struct {
		stdin string
		args  []string
		want  call
		out   string
	}{
		"create": {"", []string{"create", "--to", "https://example.com/h", "--event-type", "card.*", "--event-type", "comment.created",
			"--filter", "board=a;b", "--header", "X-Team=joinery", "--format", "standard", "--retry-count", "0"},
			call{"POST /api/v1/webhooks", `{"event_types":["card.*","comment.created"],"filters":{"board":"a;b"},"headers":{"X-Team":"joinery"},"payload":{"format":"standard"},"retry_count":0,"url":"https://example.com/h"}`}, "whsec_x"},
		"create from stdin, a flag overrides": {`{"url":"https://a.example","event_types":["*"],"name":"a"}`, []string{"create", "-f", "-", "--name", "b"},
			call{"POST /api/v1/webhooks", `{"event_types":["*"],"name":"b","url":"https://a.example"}`}, "w1"},
		"deactivate": {"", []string{"update", "w1", "--no-active"}, call{"PATCH /api/v1/webhooks/w1", `{"active":false}`}, "w1"},
		"create with a key pair": {"", []string{"create", "--to", "https://a.example", "--event-type", "*", "--key-pair"},
			call{"POST /api/v1/webhooks", `{"event_types":["*"],"key_pair":true,"url":"https://a.example"}`}, "w1"},
		"remove the key pair": {"", []string{"update", "w1", "--key-pair=false"}, call{"PATCH /api/v1/webhooks/w1", `{"key_pair":false}`}, "w1"},
		"get":                 {"", []string{"get", "w1"}, call{"GET /api/v1/webhooks/w1", ""}, "card.*"},
		"delete":              {"", []string{"delete", "w1"}, call{"DELETE /api/v1/webhooks/w1", ""}, "deleted w1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			*calls = nil
			code, out, errs := run(tt.stdin, append([]string{"webhooks"}, tt.args...)...)
			if code != 0 || errs != "" || !strings.Contains(out, tt.out) || strings.Contains(out, "\x1b") {
				t.Errorf("exit code %d, out %q, err %q", code, out, errs)
			}
			if diff := cmp.Diff([]call{tt.want}, *calls); diff != "" {
				t.Error(diff)
			}
		})
	}
	code, _, errs := run("", "webhooks", "get", "w2")
	if code != 1 || errs != "doorstep: Not Found (404): no such webhook [request req_1]\n" {
		t.Errorf("exit code %d, err %q", code, errs)
	}
	for _, args := range [][]string{{"create", "--to", "https://a.example"}, {"update", "w1"}} {
		if code, _, _ := run("", append([]string{"webhooks"}, args...)...); code != 2 {
			t.Errorf("%v: exit code %d, want 2", args, code)
		}
	}
}

func TestKeys(t *testing.T) {
	calls := startAPI(t, map[string]string{
		"POST /api/v1/api-keys":          `{"data":{"id":"k1","name":"ci","prefix":"dsk_abcd","scopes":["events"],"key":"dsk_abcdef"}}`,
		"GET /api/v1/api-keys?limit=500": `{"data":[{"id":"k1","name":"ci","prefix":"dsk_abcd","scopes":["events","webhooks:read"]}]}`,
		"DELETE /api/v1/api-keys/k1":     "",
	})
	if code, out, errs := run("", "keys", "create", "--name", "ci", "--scope", "events"); code != 0 || !strings.Contains(out, "dsk_abcdef") {
		t.Errorf("exit code %d, out %q, err %q", code, out, errs)
	}
	if diff := cmp.Diff([]call{{"POST /api/v1/api-keys", `{"name":"ci","scopes":["events"]}`}}, *calls); diff != "" {
		t.Error(diff)
	}
	if code, out, errs := run("", "keys", "list"); code != 0 || !strings.Contains(out, "dsk_abcd...") || !strings.Contains(out, "events,webhooks:read") {
		t.Errorf("exit code %d, out %q, err %q", code, out, errs)
	}
	if code, out, _ := run("", "keys", "delete", "k1", "-o", "json"); code != 0 || !strings.Contains(out, `"deleted": "k1"`) {
		t.Errorf("exit code %d, out %q", code, out)
	}
}
