package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

// tested is what the API answers to a test.
type tested struct {
	DeliveryID string `json:"delivery_id"`
	EventID    string `json:"event_id"`
	EventType  string `json:"event_type"`
	Attempt    *struct {
		Cause        string
		Status       string
		StatusCode   int    `json:"status_code"`
		ErrorCode    string `json:"error_code"`
		ResponseBody string `json:"response_body"`
	}
}

// A webhook is tested as soon as it is there, while it fails and while it is paused; the answer says what its receiver
// said, and nothing counts.
func TestATestIsSentAtOnceAndCountsForNothing(t *testing.T) {
	t.Parallel()
	w := start(t)
	r := testkit.NewReceiver(t)
	r.Set("/h", testkit.Behaviour{Status: http.StatusInternalServerError, Body: []byte("out of order")})
	h := w.register(r.URL+"/h", map[string]any{"event_types": []string{"card.*"}})
	test := func(status int, body map[string]any) (got tested) {
		t.Helper()
		if body == nil {
			body = map[string]any{}
		}
		testkit.Eventually(t, patience, func() error { // a webhook is tested once a second at most
			s := w.rest(http.MethodPost, "webhooks/"+h.ID+"/test", body, &got)
			if s != status && s != http.StatusTooManyRequests {
				t.Fatalf("test: %d, want %d", s, status)
			}
			if s != status {
				return fmt.Errorf("%d", s)
			}
			return nil
		})
		return got
	}
	got := test(http.StatusOK, nil) // at once: senders may not know the webhook yet
	if got.EventType != "card.test" || got.Attempt == nil || got.Attempt.StatusCode != 500 || got.Attempt.ResponseBody != "out of order" || got.Attempt.Status != "exhausted" {
		t.Errorf("a receiver that is out of order: %+v, %+v", got, got.Attempt)
	}
	if status := w.rest(http.MethodPost, "webhooks/"+h.ID+"/pause", nil, nil); status != http.StatusOK {
		t.Fatalf("pause: %d", status)
	}
	r.Set("/h", testkit.Behaviour{})
	got = test(http.StatusOK, map[string]any{"event_type": "card.moved", "data": map[string]any{"id": 7}})
	if got.Attempt == nil || got.Attempt.StatusCode != 204 || got.Attempt.Cause != "test" || got.Attempt.Status != "delivered" {
		t.Errorf("a receiver that is mended, of a webhook that is paused: %+v, %+v", got, got.Attempt)
	}
	posts := to(t, r, "/h", 2)
	last := posts[len(posts)-1]
	if last.Header.Get("Doorstep-Test") != "true" || last.Header.Get("Webhook-Id") != got.DeliveryID || last.Header.Get("Doorstep-Event-Id") != got.EventID ||
		last.Header.Get("Webhook-Signature") == "" || string(last.Body) != `{"id":7}` {
		t.Errorf("the receiver got %v %s", last.Header, last.Body)
	}
	test(http.StatusAccepted, map[string]any{"wait_seconds": 0})
	to(t, r, "/h", 3)
	var d struct {
		Status   string
		Cause    string
		Attempts []struct{ Cause string }
	}
	testkit.Eventually(t, patience, func() error {
		if s := w.rest(http.MethodGet, "deliveries/"+got.DeliveryID, nil, &d); s != http.StatusOK || d.Status != "delivered" || d.Cause != "test" || len(d.Attempts) != 1 {
			return fmt.Errorf("%d: %+v", s, d)
		}
		return nil
	})
	if p := w.policy(h); p.FailStreak != 0 || p.FailureCount != 0 || p.Suspended != 0 {
		t.Errorf("tests counted: %+v", p)
	}
}

// A try says of real events what a webhook would get; what it does get, once it is there, is the same. A condition that cannot
// be evaluated shows on the webhook.
func TestATrySaysWhatIsSent(t *testing.T) {
	t.Parallel()
	w := start(t)
	r := testkit.NewReceiver(t)
	type result struct {
		ID      string
		Matches bool
		Reason  string
		Message string
		Request *struct{ Body string }
	}
	var trial struct {
		Events, Matched int
		Results         []result
	}
	data := map[string]string{}
	var last string
	say := func(kind, text string) string {
		last = w.mustPublish(&pb.Event{Type: kind, Data: []byte(text)})
		data[last] = text
		return last
	}
	// Types of this test alone: others publish to the same tenant.
	kind := "try" + fmt.Sprint(time.Now().UnixNano())
	want := map[string]string{
		say(kind+".a", `{ "amount": 30.0 }`): "", say(kind+".a", `{"amount":3}`): "condition",
		say(kind+".b", `{"amount":30}`): "type", say(kind+".a", `{}`): "condition_error",
	}
	in := map[string]any{"event_types": []string{kind + ".a"}, "condition": "data.amount > 5.0", "url": r.URL + "/t"}
	found := map[string]result{}
	testkit.Eventually(t, 2*patience, func() error { // the history is a moment behind
		if status := w.rest(http.MethodPost, "webhooks/try?limit=500", in, &trial); status != http.StatusOK {
			t.Fatalf("try: %d", status)
		}
		for _, x := range trial.Results {
			if _, ours := want[x.ID]; ours {
				found[x.ID] = x
			}
		}
		if len(found) != len(want) {
			return fmt.Errorf("%d of %d events tried", len(found), len(want))
		}
		return nil
	})
	for id, reason := range want {
		x := found[id]
		if x.Reason != reason || x.Matches != (reason == "") || x.Matches && (x.Request == nil || x.Request.Body != data[id]) || reason == "condition_error" && x.Message == "" {
			t.Errorf("%s: %+v, want %q", data[id], x, reason)
		}
	}
	h := w.register(r.URL+"/t", in)
	w.inForce()
	const failing = 50
	for range failing {
		say(kind+".a", `{}`)
	}
	matching := say(kind+".a", `{ "amount": 31.0 }`)
	if posts := to(t, r, "/t", 1); string(posts[0].Body) != data[matching] {
		t.Errorf("sent %s", posts[0].Body)
	}
	var shown struct {
		Errors *struct {
			Count     int
			LastError string     `json:"last_error"`
			LastAt    *time.Time `json:"last_at"`
		} `json:"condition_errors"`
	}
	testkit.Eventually(t, 2*patience, func() error {
		if status := w.rest(http.MethodGet, "webhooks/"+h.ID, nil, &shown); status != http.StatusOK {
			t.Fatalf("webhook: %d", status)
		}
		if e := shown.Errors; e == nil || e.Count != failing || e.LastAt == nil || e.LastError != "condition: no such key: amount" {
			return fmt.Errorf("condition errors: %+v", shown.Errors)
		}
		return nil
	})
}
