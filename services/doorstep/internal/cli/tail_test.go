package cli_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// startStream answers the n-th request, from 0, with what it writes, and names itself to the commands of the test.
func startStream(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *atomic.Int32 {
	t.Helper()
	var calls atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(int(calls.Add(1))-1, w, r)
	}))
	t.Cleanup(srv.Close)
	t.Setenv("DOORSTEP_URL", srv.URL)
	t.Setenv("DOORSTEP_KEY", "dsk_test")
	return &calls
}

const tailedLine = `{"delivery_id":"d1","webhook_id":"w1","event_type":"card.updated","kind":"%s","attempt":2,"status":"%s","started_at":"2026-03-04T10:00:02.5Z","status_code":%d,"error_code":"%s","error":"%s","phases":{"total_ms":31.2},"next_attempt_at":"2026-03-04T10:05:02Z"}` + "\n"

func TestTail(t *testing.T) {
	t.Setenv("TZ", "UTC")
	stream := "\n" + fmt.Sprintf(tailedLine, "post", "delivered", 204, "", "") + "\n" +
		fmt.Sprintf(tailedLine, "post", "retrying", 500, "status", "The receiver answered 500.") +
		fmt.Sprintf(tailedLine, "post", "exhausted", 0, "connect_timeout", "No connection within 5 s.\\u001b[2J") +
		fmt.Sprintf(tailedLine, "decision", "cancelled", 0, "", "")
	var asked string
	startStream(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		asked = r.URL.String()
		_, _ = io.WriteString(w, stream)
	})
	code, out, errs := run("", "tail", "--count", "4")
	if code != 0 || errs != "" || asked != "/api/v1/attempts/tail" {
		t.Fatalf("exit code %d, err %q, asked %s", code, errs, asked)
	}
	lines := strings.Split(out, "\n")
	for i, want := range []string{
		"204 in 31 ms        attempt 2  delivered",
		"500 in 31 ms        attempt 2  again at ",
		"connect_timeout in 31 ms  attempt 2  exhausted, not tried again: No connection within 5 s. [2J",
		"decision            cancelled",
	} {
		if !strings.Contains(lines[i], want) || !strings.Contains(lines[i], "w1  ") || !strings.Contains(lines[i], "card.updated") {
			t.Errorf("line %d: %q, want %q", i, lines[i], want)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Error("colours, or worse, where there is no terminal")
	}
	_, out, _ = run("", "tail", "--count", "2", "-o", "json", "--webhook", "w1", "--type", "card.updated", "--status", "delivered,retrying", "--failed")
	if n := strings.Count(out, "\n"); n != 2 || !json.Valid([]byte(strings.Split(out, "\n")[1])) {
		t.Errorf("%d lines: %s", n, out)
	}
	if want := "/api/v1/attempts/tail?filter%5Bevent_type%5D=card.updated&filter%5Bfailed%5D=true&filter%5Bstatus%5D=delivered%2Cretrying&filter%5Bwebhook_id%5D=w1"; asked != want {
		t.Errorf("asked %s, want %s", asked, want)
	}
}

// TestTailComesBack: what breaks off is asked for again, in words, until it is refused.
func TestTailComesBack(t *testing.T) {
	line := fmt.Sprintf(tailedLine, "post", "delivered", 204, "", "")
	calls := startStream(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		switch n {
		case 0, 3:
			_, _ = io.WriteString(w, "\n"+line)
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			w.WriteHeader(http.StatusTooManyRequests)
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	code, out, errs := run("", "tail")
	if code != 1 || strings.Count(out, "\n") != 2 || calls.Load() != 5 {
		t.Errorf("exit code %d after %d calls, out %s", code, calls.Load(), out)
	}
	want := "the connection broke off: it was ended, as when Doorstep restarts; trying again\n" +
		"connected again; attempts made meanwhile are in `doorstep deliveries list`\n" +
		"the connection broke off: it was ended, as when Doorstep restarts; trying again\n" +
		"doorstep: Unauthorized (401)\n"
	if errs != want {
		t.Errorf("err %s, want %s", errs, want)
	}
}

// TestTailDoesNotWaitForWhatNeverWas: the first connection must come about.
func TestTailDoesNotWaitForWhatNeverWas(t *testing.T) {
	calls := startStream(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	if code, _, errs := run("", "tail"); code != 1 || calls.Load() != 1 || errs != "doorstep: Service Unavailable (503)\n" {
		t.Errorf("exit code %d after %d calls, err %q", code, calls.Load(), errs)
	}
}

func TestAudit(t *testing.T) {
	const (
		progress = `{"progress":{"records":5,"of":10,"rows":0}}` + "\n"
		agreed   = `{"summary":{"events":4,"deliveries":6,"attempts":5,"rows":6,"not_recorded_yet":2,"differences":0}}` + "\n"
		three    = `{"kind":"missing","of":"event","topic":"doorstep.events","partition":1,"offset":7,"id":"e1","log":"received 2026-03-04T10:00:00Z","history":"no row"}` + "\n" +
			`{"kind":"behind","of":"delivery","topic":"doorstep.attempts","partition":2,"offset":8,"id":"d1","log":"delivered after 2 attempts","history":"pending after 0 attempts"}` + "\n" +
			`{"kind":"stranger","of":"delivery","topic":"doorstep.deliveries","partition":3,"offset":9,"id":"d2","log":"delivery d3","history":"delivered after 1 attempts"}` + "\n" +
			`{"summary":{"events":4,"deliveries":6,"attempts":5,"rows":6,"not_recorded_yet":0,"differences":3}}` + "\n"
	)
	for name, tt := range map[string]struct {
		stream string
		args   []string
		code   int
		out    []string
		errs   string
	}{
		"agreed": {progress + agreed, nil, 0, []string{"events compared            4", "not recorded yet           2", "differences                0"}, ""},
		"differences": {three, nil, 1, []string{
			"missing: event e1 is in the log (doorstep.events, partition 1, offset 7: received 2026-03-04T10:00:00Z), and the history has no row of it\n",
			"behind: the history says of delivery d1: pending after 0 attempts; the log (doorstep.attempts, partition 2, offset 8): delivered after 2 attempts\n",
			"stranger: the history says that delivery d2 (delivered after 1 attempts) stands in the log at doorstep.deliveries, partition 3, offset 9; there stands delivery d3\n",
			"differences                3",
		}, "doorstep: log and history differ in 3 things\n"},
		"as JSON":      {progress + three, []string{"-o", "json"}, 1, []string{progress + three}, "doorstep: log and history differ in 3 things\n"},
		"broken off":   {progress, nil, 1, nil, "doorstep: the audit broke off before its end; begin it again\n"},
		"a problem":    {progress + `{"problem":{"title":"Service Unavailable","status":503,"detail":"the console stops"}}`, nil, 1, nil, "doorstep: Service Unavailable (503): the console stops\n"},
		"a wrong time": {"", []string{"--since", "ever"}, 2, nil, "doorstep: --since \"ever\": want an RFC 3339 time, or how long ago, e.g. 90m, 2h or 3d\n"},
	} {
		t.Run(name, func(t *testing.T) {
			startStream(t, func(_ int, w http.ResponseWriter, r *http.Request) {
				if r.URL.String() != "/api/v1/audit" {
					t.Error(r.URL)
				}
				_, _ = io.WriteString(w, tt.stream)
			})
			code, out, errs := run("", append([]string{"audit"}, tt.args...)...)
			if code != tt.code || errs != tt.errs {
				t.Errorf("exit code %d, err %q", code, errs)
			}
			for _, want := range tt.out {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
		})
	}
}
