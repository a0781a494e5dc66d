package cli_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// startJobs answers as the API does to the commands about suspension: a job ends when it is looked at for the second time.
func startJobs(t *testing.T, end string) *[]call {
	t.Helper()
	var calls []call
	looks := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		calls = append(calls, call{r.Method + " " + r.URL.Path, string(body)})
		answer := `{"data":{"id":"j1","kind":"release","webhook_id":"w1","status":"waiting","selection":{"event_types":["card.*"],"reason":"paused"}}}`
		switch r.URL.Path {
		case "/api/v1/jobs/j1":
			if looks++; looks == 2 {
				answer = end
			}
		case "/api/v1/jobs":
			answer = `{"data":[` + strings.TrimSuffix(strings.TrimPrefix(end, `{"data":`), "}") + `],"meta":{}}`
		case "/api/v1/webhooks/w1/resume":
			w.Header().Set("Location", "/api/v1/jobs/j1")
			answer = `{"data":{"id":"w1","active":true,"can_send":true}}`
		case "/api/v1/webhooks/w2/resume":
			answer = `{"data":{"id":"w2"},"meta":{"notice":"what was suspended stays: activate it"}}`
		case "/api/v1/webhooks/w1/pause":
			answer = `{"data":{"id":"w1","active":true,"paused":true}}`
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(srv.Close)
	t.Setenv("DOORSTEP_URL", srv.URL)
	t.Setenv("DOORSTEP_KEY", "dsk_test")
	return &calls
}

const (
	jobDone   = `{"data":{"id":"j1","kind":"release","webhook_id":"w1","status":"done","changed":12,"skipped":1,"created_at":"2026-03-02T10:00:00Z","finished_at":"2026-03-02T10:00:01Z"}}`
	jobFailed = `{"data":{"id":"j1","kind":"release","webhook_id":"w1","status":"failed","changed":2,"error":"the webhook is paused","finished_at":"2026-03-02T10:00:01Z"}}`
)

func TestSuspension(t *testing.T) {
	look := call{"GET /api/v1/jobs/j1", ""}
	for name, tt := range map[string]struct {
		args      []string
		end       string
		code      int
		calls     []call
		out, errs string
	}{
		"pause":  {[]string{"pause", "w1"}, "", 0, []call{{"POST /api/v1/webhooks/w1/pause", ""}}, "paused", ""},
		"resume": {[]string{"resume", "w1"}, "", 0, []call{{"POST /api/v1/webhooks/w1/resume", ""}}, "active", "doorstep jobs show j1"},
		"resume, and nothing is released": {[]string{"resume", "w2"}, "", 0, []call{{"POST /api/v1/webhooks/w2/resume", ""}},
			"w2", "activate it"},
		"resume and wait": {[]string{"resume", "w1", "--wait"}, jobDone, 0, []call{{"POST /api/v1/webhooks/w1/resume", ""}, look, look},
			"w1", "done: 12 deliveries released, 1 left as they are"},
		"release": {[]string{"release", "w1"}, "", 0, []call{{"POST /api/v1/webhooks/w1/release", "{}"}}, "waiting", ""},
		"discard some": {[]string{"discard", "w1", "--event-types", "card.*,board.created", "--reason", "paused", "--delivery", "d1", "--delivery", "d2",
			"--from", "2026-03-02T10:00:00Z", "--to", "2026-03-03T10:00:00Z"}, "", 0,
			[]call{{"POST /api/v1/webhooks/w1/discard", `{"delivery_ids":["d1","d2"],"event_types":["card.*","board.created"],"reason":"paused","suspended_at":{"gte":"2026-03-02T10:00:00Z","lt":"2026-03-03T10:00:00Z"}}`}},
			"of types card.*; paused", ""},
		"release and wait": {[]string{"release", "w1", "--wait"}, jobDone, 0, []call{{"POST /api/v1/webhooks/w1/release", "{}"}, look, look}, "12", ""},
		"release that fails": {[]string{"release", "w1", "--wait"}, jobFailed, 1, []call{{"POST /api/v1/webhooks/w1/release", "{}"}, look, look},
			"failed", "job j1: the webhook is paused"},
		"a reason that is none": {[]string{"release", "w1", "--reason", "old"}, "", 2, nil, "", "--reason"},
		"a time that is none":   {[]string{"release", "w1", "--from", "old"}, "", 2, nil, "", "--from"},
	} {
		t.Run(name, func(t *testing.T) {
			calls := startJobs(t, tt.end)
			code, out, errs := run("", append([]string{"webhooks"}, tt.args...)...)
			if code != tt.code || !strings.Contains(out, tt.out) || !strings.Contains(errs, tt.errs) || tt.errs == "" && errs != "" {
				t.Errorf("exit code %d, out %q, err %q", code, out, errs)
			}
			if diff := cmp.Diff(tt.calls, *calls); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRecoverAndJobs(t *testing.T) {
	for name, tt := range map[string]struct {
		args      []string
		code      int
		calls     []call
		out, errs string
	}{
		"recover": {[]string{"recover", "w1", "--since", "2026-03-02T10:00:00Z"}, 0,
			[]call{{"POST /api/v1/webhooks/w1/recover", `{"since":"2026-03-02T10:00:00Z","statuses":["exhausted"]}`}}, "waiting", ""},
		"recover some": {[]string{"recover", "w1", "--since", "2026-03-02T10:00:00Z", "--until", "2026-03-02T11:00:00Z", "--status", "cancelled,discarded", "--event-types", "card.*"}, 0,
			[]call{{"POST /api/v1/webhooks/w1/recover", `{"event_types":["card.*"],"since":"2026-03-02T10:00:00Z","statuses":["cancelled","discarded"],"until":"2026-03-02T11:00:00Z"}`}}, "waiting", ""},
		"without a time":   {[]string{"recover", "w1"}, 2, nil, "", "--since"},
		"of the future":    {[]string{"recover", "w1", "--since", "soon"}, 2, nil, "", "--since"},
		"of what was sent": {[]string{"recover", "w1", "--since", "2h", "--status", "delivered"}, 2, nil, "", "--status"},
		"pause":            {[]string{"jobs", "pause", "j1"}, 0, []call{{"PATCH /api/v1/jobs/j1", `{"status":"paused"}`}}, "j1", ""},
		"resume":           {[]string{"jobs", "resume", "j1"}, 0, []call{{"PATCH /api/v1/jobs/j1", `{"status":"running"}`}}, "j1", ""},
		"cancel":           {[]string{"jobs", "cancel", "j1"}, 0, []call{{"DELETE /api/v1/jobs/j1", ""}, {"GET /api/v1/jobs/j1", ""}}, "j1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			calls := startJobs(t, jobDone)
			code, out, errs := run("", tt.args...)
			if code != tt.code || !strings.Contains(out, tt.out) || !strings.Contains(errs, tt.errs) {
				t.Errorf("exit code %d, out %q, err %q", code, out, errs)
			}
			if diff := cmp.Diff(tt.calls, *calls); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestJobs(t *testing.T) {
	startJobs(t, jobDone)
	if code, out, errs := run("", "jobs"); code != 0 || !strings.Contains(out, "CHANGED") || !strings.Contains(out, "12") {
		t.Errorf("exit code %d, out %q, err %q", code, out, errs)
	}
	if code, out, errs := run("", "jobs", "show", "j1"); code != 0 || !strings.Contains(out, "waiting") || !strings.Contains(out, "of types card.*; paused") {
		t.Errorf("exit code %d, out %q, err %q", code, out, errs)
	}
	var one map[string]any
	if code, out, _ := run("", "jobs", "show", "j1", "-o", "json"); code != 0 || json.Unmarshal([]byte(out), &one) != nil || one["changed"] != float64(12) {
		t.Errorf("exit code %d, out %q", code, out)
	}
}
