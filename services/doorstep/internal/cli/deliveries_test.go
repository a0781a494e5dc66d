package cli_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const failedAttempt = `{"run_id":"r1","cause":"first","attempt":1,"kind":"post","status":"retrying","started_at":"2026-03-04T10:00:02.5Z","due_at":"2026-03-04T10:00:00Z","finished_at":"2026-03-04T10:00:02.531Z","lane":"immediate",` +
	`"url":"https://example.com/h","remote_address":"192.0.2.1:443","status_code":500,"error_code":"status","error":"The receiver answered 500.","request_headers":[{"name":"webhook-id","value":"d1"}],` +
	`"response_headers":[{"name":"Server","value":"x"}],"response_body":"oh\u001b[2J no","phases":{"dns_ms":1.25,"connect_ms":3,"tls_ms":8.5,"first_byte_ms":17.9,"total_ms":31.2,"reused":false},"next_attempt_at":"2026-03-04T10:01:02Z"}`

const failedDelivery = `{"id":"d1","webhook_id":"w1","event_id":"e1","event_type":"card.updated","external_reference":"card-7","status":"retrying","cause":"first","run_id":"r1","attempt_count":1,` +
	`"next_attempt_at":"2026-03-04T10:01:02Z","created_at":"2026-03-04T10:00:00Z","updated_at":"2026-03-04T10:00:02Z","last_attempt":{"status_code":500,"error_code":"status","error":"The receiver answered 500."}`

func TestDeliveriesList(t *testing.T) {
	t.Setenv("TZ", "UTC")
	calls := startAPI(t, map[string]string{
		"GET /api/v1/deliveries?limit=1": `{"data":[` + failedDelivery + `}],"meta":{"next_cursor":"c2"}}`,
		"GET /api/v1/deliveries?filter%5Bstatus%5D=retrying%2Cexhausted&filter%5Bwebhook_id%5D=w1&limit=500":                               `{"data":[` + failedDelivery + `}],"meta":{"next_cursor":"c2"}}`,
		"GET /api/v1/deliveries?cursor=c2&filter%5Bstatus%5D=retrying%2Cexhausted&filter%5Bwebhook_id%5D=w1&limit=500":                     `{"data":[{"id":"d2","status":"exhausted","last_attempt":{"error_code":"connect_timeout"}}],"meta":{}}`,
		"GET /api/v1/deliveries?filter%5Bevent_id%5D=e1&filter%5Bevent_type%5D=card.updated&filter%5Bexternal_reference%5D=card-7&limit=2": `{"data":[{"id":"d1"},{"id":"d2"}],"meta":{"next_cursor":"c"}}`,
	})
	code, out, errs := run("", "deliveries", "list", "--limit", "1")
	if code != 0 || errs != "the first 1 of the list; there are more: --limit or --all shows them\n" {
		t.Fatalf("exit code %d, err %q", code, errs)
	}
	if first, _, _ := strings.Cut(out, "\n"); cmp.Diff(strings.Fields(first), []string{"ID", "STATUS", "ATTEMPTS", "ANSWER", "EVENT", "TYPE", "CREATED", "NEXT", "WEBHOOK"}) != "" {
		t.Error(first)
	}
	if !strings.Contains(out, "d1  retrying  1         500     card.updated") {
		t.Error(out)
	}
	code, out, errs = run("", "deliveries", "list", "--webhook", "w1", "--status", "retrying", "--status", "exhausted", "--all")
	if code != 0 || errs != "" || !strings.Contains(out, "d2  exhausted  0         connect_timeout") {
		t.Errorf("exit code %d, out %s, err %q", code, out, errs)
	}
	var all []map[string]any
	code, out, _ = run("", "deliveries", "list", "--event", "e1", "--type", "card.updated", "--reference", "card-7", "--limit", "2", "-o", "json")
	if err := json.Unmarshal([]byte(out), &all); code != 0 || err != nil || len(all) != 2 {
		t.Errorf("exit code %d, out %s, %v", code, out, err)
	}
	*calls = nil
	if code, _, _ := run("", "deliveries", "list", "--since", "2h", "--until", "2026-03-04T10:00:00+02:00"); code != 1 {
		t.Errorf("of what the API does not know: exit code %d", code)
	}
	asked := (*calls)[0].Line
	since := time.Now().Add(-2 * time.Hour).UTC().Format("2006-01-02T15")
	if !strings.Contains(asked, "gte%5D="+since) || !strings.Contains(asked, "lt%5D=2026-03-04T10%3A00%3A00%2B02%3A00") {
		t.Error(asked)
	}
	for _, args := range [][]string{{"--since", "yesterday"}, {"--until", "-2h"}, {"--since", "xd"}, {"--limit", "0"}} {
		if code, _, errs := run("", append([]string{"deliveries", "list"}, args...)...); code != 2 || !strings.Contains(errs, args[0]) {
			t.Errorf("%v: exit code %d, %s", args, code, errs)
		}
	}
}

func TestDeliveriesGet(t *testing.T) {
	payload := "{ \"a\" : 1.0 }\x00\xff"
	startAPI(t, map[string]string{
		"GET /api/v1/deliveries/d1":         `{"data":` + failedDelivery + `,"attempts":[` + failedAttempt + `,{"kind":"decision","cause":"first","attempt":2,"status":"discarded","started_at":"2026-03-04T11:00:00Z"}]}}`,
		"GET /api/v1/deliveries/d1/payload": payload,
	})
	code, out, errs := run("", "deliveries", "get", "d1", "--headers")
	if code != 0 || errs != "" {
		t.Fatalf("exit code %d, err %q", code, errs)
	}
	for _, want := range []string{
		"status              retrying", "external reference  card-7", "attempt 1: 500 in 31 ms, again at ", "POST https://example.com/h  192.0.2.1:443",
		"lane immediate, 3s late, DNS 1.25 ms, connect 3.00 ms, TLS 8.50 ms, first byte 18 ms", "    The receiver answered 500.",
		"> webhook-id: d1", "< Server: x", "| oh [2J no", "decision: discarded",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Error("an answer moves the cursor")
	}
	if _, out, _ := run("", "deliveries", "get", "d1"); strings.Contains(out, "webhook-id") {
		t.Error("headers were not asked for")
	}
	if code, out, _ := run("", "deliveries", "get", "d1", "--payload"); code != 0 || out != payload {
		t.Errorf("exit code %d, payload %q", code, out)
	}
	var d map[string]any
	if code, out, _ := run("", "deliveries", "get", "d1", "-o", "json"); code != 0 || json.Unmarshal([]byte(out), &d) != nil || d["id"] != "d1" {
		t.Errorf("exit code %d, out %s", code, out)
	}
	for _, args := range [][]string{{"d2"}, {"d2", "--payload"}} {
		code, _, errs := run("", append([]string{"deliveries", "get"}, args...)...)
		if code != 1 || !strings.HasPrefix(errs, "doorstep: Not Found (404)") {
			t.Errorf("%v: exit code %d, err %q", args, code, errs)
		}
	}
}

func TestDeliveriesResend(t *testing.T) {
	calls := startAPI(t, map[string]string{
		"POST /api/v1/deliveries/d1/resend": `{"data":{"id":"d1","run_id":"r7"}}`,
		"POST /api/v1/deliveries/d2/resend": `{"data":{"id":"d2","run_id":"r8"}}`,
	})
	code, out, errs := run("", "deliveries", "resend", "d1", "d2")
	if code != 0 || errs != "" || out != "sent again d1, run r7\nsent again d2, run r8\n" || len(*calls) != 2 {
		t.Errorf("exit code %d, out %q, err %q", code, out, errs)
	}
	code, out, errs = run("", "deliveries", "resend", "d1", "d3", "d2", "-o", "json")
	var done []map[string]string
	if err := json.Unmarshal([]byte(out), &done); code != 1 || err != nil || len(done) != 1 || !strings.HasPrefix(errs, "doorstep: d3: Not Found") || len(*calls) != 4 {
		t.Errorf("exit code %d, out %q, err %q", code, out, errs)
	}
}
