package cli_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTestAndTry(t *testing.T) {
	const (
		accepted = `{"data":{"delivery_id":"d1","event_type":"card.moved","attempt":{"status":"delivered","status_code":204,"phases":{"total_ms":12.3}}}}`
		refused  = `{"data":{"delivery_id":"d1","event_type":"card.moved","attempt":{"status":"exhausted","status_code":500,"error_code":"status","error":"the receiver answered 500"}}}`
		silent   = `{"data":{"delivery_id":"d1","event_type":"card.moved"}}`
		trial    = `{"data":{"events":3,"matched":1,"results":[{"id":"e1","type":"card.moved","matches":true,"request":{"headers":[{"name":"X-A","value":"b"}],"body":"{}"}},` +
			`{"id":"e2","type":"card.moved","reason":"filter","filters":["user","project"]},{"id":"e3","type":"card.moved","reason":"condition_error","message":"no such key: a"}]}}`
	)
	samples := filepath.Join(t.TempDir(), "samples.json")
	if err := os.WriteFile(samples, []byte(`[{"type":"a"}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		args   []string
		answer string
		code   int
		asked  string
		out    []string
		errs   string
	}{
		"a test":                   {[]string{"test", "w1"}, accepted, 0, "POST /api/v1/webhooks/w1/test {}", []string{"delivered", "204 No Content", "12ms"}, ""},
		"a test of a type":         {[]string{"test", "w1", "--type", "card.moved"}, accepted, 0, `POST /api/v1/webhooks/w1/test {"event_type":"card.moved"}`, []string{"card.moved"}, ""},
		"a test with data":         {[]string{"test", "w1", "--data", samples}, accepted, 0, `POST /api/v1/webhooks/w1/test {"data":[{"type":"a"}]}`, nil, ""},
		"a test that is refused":   {[]string{"test", "w1"}, refused, 1, "POST /api/v1/webhooks/w1/test {}", []string{"500"}, "the test was not accepted: the receiver answered 500"},
		"a test without an answer": {[]string{"test", "w1"}, silent, 1, "POST /api/v1/webhooks/w1/test {}", []string{"d1"}, "doorstep deliveries d1"},
		"a test as JSON":           {[]string{"test", "w1", "-o", "json"}, refused, 0, "POST /api/v1/webhooks/w1/test {}", []string{`"error_code": "status"`}, ""},
		"a try": {[]string{"try", "w1"}, trial, 0, "POST /api/v1/webhooks/w1/try?limit=50 {}",
			[]string{"matches", "filter user,project", "no such key: a", "1 of 3 events match"}, ""},
		"a try of a new one": {[]string{"try", "--event-type", "card.*", "--condition", "data.a == 1", "--limit", "7", "--samples", samples, "--bodies"}, trial, 0,
			`POST /api/v1/webhooks/try?limit=7 {"condition":"data.a == 1","event_types":["card.*"],"sample_events":[{"type":"a"}]}`, []string{"X-A: b", "{}"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			asked := ""
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				asked = r.Method + " " + r.URL.String() + " " + string(body)
				_, _ = io.WriteString(w, tt.answer)
			}))
			defer srv.Close()
			t.Setenv("DOORSTEP_URL", srv.URL)
			t.Setenv("DOORSTEP_KEY", "dsk_test")
			code, out, errs := run("", append([]string{"webhooks"}, tt.args...)...)
			if code != tt.code || asked != tt.asked || !strings.Contains(errs, tt.errs) || tt.errs == "" && errs != "" {
				t.Errorf("code %d, asked %s, errors %s; want %d, %s, %s", code, asked, errs, tt.code, tt.asked, tt.errs)
			}
			for _, want := range tt.out {
				if !strings.Contains(out, want) {
					t.Errorf("printed %s, want %s in it", out, want)
				}
			}
		})
	}
}
