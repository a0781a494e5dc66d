package console_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/console"
)

// sender answers tests as a sender does of a receiver that says o.
func (r *rig) sender(o delivery.Outcome) {
	client := newClient(r.t, r.cfg.Kafka, kgo.ConsumeTopics(r.topics.Deliveries))
	go func() {
		for r.t.Context().Err() == nil {
			for _, record := range client.PollFetches(r.t.Context()).Records() {
				d, err := wire.ReadDelivery(record)
				if err != nil {
					continue
				}
				status := delivery.Exhausted
				if o.OK() {
					status = delivery.Delivered
				}
				a, _ := wire.Attempt(r.topics.Attempts, post(d, wire.PositionOf(record), time.Now(), o, status))
				r.client.Produce(r.t.Context(), a, nil)
			}
		}
	}()
}

func TestATestTellsWhatTheReceiverSaid(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write(wire.EventType(r.topics.Settings, tenant.EventType{Tenant: "default", Type: "board.updated", Example: []byte(`{"id": 7}`)}))
	eventually(t, func() error { // until the console has read it, a test has no example
		w := r.create(`{"url":"http://127.0.0.1:9999/h","event_types":["board.updated"]}`)
		if got := data[console.Test](t, r.do(202, "POST", "/api/v1/webhooks/"+w.ID+"/test", `{"wait_seconds":0}`)); got.EventType != "board.updated" {
			return fmt.Errorf("%+v", got)
		}
		return r.lastBody(`{"id": 7}`)
	})
	w := r.create(`{"url":"http://127.0.0.1:9999/h","event_types":["card.*","board.updated"],"active":false,"payload":{"format":"standard"}}`)
	r.sender(delivery.Outcome{StatusCode: 503, ErrorCode: "status", Error: "the receiver answered 503", ResponseBody: []byte("busy")})
	path := "/api/v1/webhooks/" + w.ID + "/test"
	got := data[console.Test](t, r.do(200, "POST", path, ""))
	if got.EventType != "board.updated" || got.Attempt == nil || got.Attempt.StatusCode != 503 || got.Attempt.ResponseBody != "busy" ||
		got.Attempt.Cause != delivery.CauseTest || got.Attempt.Status != delivery.Exhausted {
		t.Errorf("answered %+v, %+v", got, got.Attempt)
	}
	d := r.lastDelivery()
	if d.ID != got.DeliveryID || d.EventID != got.EventID || d.Cause != delivery.CauseTest || d.WebhookID != w.ID || d.Attempt != 1 ||
		d.WebhookPosition.Topic != r.topics.Webhooks || !strings.Contains(string(d.Body), `"data":{"id": 7}`) {
		t.Errorf("written as %+v: %s", d, d.Body)
	}
	// Once a second: of two at once, one is refused, with when to come again.
	eventually(t, func() error {
		var (
			both sync.WaitGroup
			said [2]answer
		)
		for i := range said {
			both.Go(func() { said[i] = r.as(bootKey, "POST", path, `{"wait_seconds":0}`) })
		}
		both.Wait()
		for _, a := range said {
			if a.status == 429 && a.header.Get("Retry-After") != "" {
				return nil
			}
		}
		return fmt.Errorf("%d %v, %d %v", said[0].status, said[0].header, said[1].status, said[1].header)
	})
}

// lastDelivery is the last record of `deliveries`.
func (r *rig) lastDelivery() (last delivery.Delivery) {
	r.t.Helper()
	for _, record := range r.committed(r.topics.Deliveries) {
		d, err := wire.ReadDelivery(record)
		if err != nil {
			r.t.Fatal(err)
		}
		if d.ReceivedAt.After(last.ReceivedAt) {
			last = d
		}
	}
	return last
}

func (r *rig) lastBody(want string) error {
	if got := string(r.lastDelivery().Body); got != want {
		return fmt.Errorf("the last body is %s", got)
	}
	return nil
}

func TestTestsThatAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.create(`{"url":"http://127.0.0.1:9999/h","event_types":["card.*"],"payload":{"format":"standard"}}`)
	path := "/api/v1/webhooks/" + w.ID + "/test"
	for body, want := range map[string]string{
		`{"event_type":"board.updated"}`:                        "event_type: must be one that the webhook asks for: card.*",
		`{"event_type":"card.*"}`:                               "event_type: ",
		`{"event_type":"card. "}`:                               "event_type: ",
		`{"event_type":7}`:                                      "event_type: must be a string",
		`{"wait_seconds":16}`:                                   "wait_seconds: must be 0 to 15",
		`{"wait_seconds":-1}`:                                   "wait_seconds: must be 0 to 15",
		`{"wait_seconds":1.5}`:                                  "wait_seconds: must be a whole number",
		`{"colour":"red"}`:                                      "colour: is not a field of this",
		`{"data":{"a":"` + strings.Repeat("x", 256<<10) + `"}}`: "data: has 262152 bytes, the limit is 262144",
		`{`:  "body: is not valid JSON",
		`[]`: "body: must be an object",
		`{"event_type":"` + strings.Repeat("card.", 30) + `"}`:                   "event_type: ",
		`{"event_type":"board.updated","wait_seconds":99,"data":"` + `\\u0000"}`: "event_type: ",
	} {
		a := r.do(422, "POST", path, body)
		if !strings.Contains(faultsIn(t, a), want) {
			t.Errorf("%.80s: %s, want %s", body, faultsIn(t, a), want)
		}
	}
	r.do(404, "POST", "/api/v1/webhooks/"+uuid.NewString()+"/test", "")
	r.do(413, "POST", path, strings.Repeat(" ", 600<<10))
	reader := r.key(`{"name":"r","scopes":["webhooks:read","deliveries"]}`)
	if a := r.as(reader.Key, "POST", path, ""); a.status != 403 {
		t.Errorf("with a key that may only read: %d", a.status)
	}
	theirs := r.key(`{"name":"o","scopes":["webhooks","deliveries"]}`, "Doorstep-Tenant", "globex")
	for _, do := range []string{"test", "try"} {
		if a := r.as(theirs.Key, "POST", "/api/v1/webhooks/"+w.ID+"/"+do, ""); a.status != 404 {
			t.Errorf("%s with another tenant's key: %d", do, a.status)
		}
	}
	// What was refused was not sent, and did not use up the second.
	got := data[console.Test](t, r.do(202, "POST", path, `{"wait_seconds":0,"data":null,"event_type":"card.moved"}`))
	if d := r.lastDelivery(); d.ID != got.DeliveryID || got.EventType != "card.moved" || !strings.Contains(string(d.Body), `"data":null`) || got.Attempt != nil {
		t.Errorf("sent %+v, told %+v", d, got)
	}
}

// faultsIn are the fields at fault, each with its message.
func faultsIn(t *testing.T, a answer) string {
	t.Helper()
	var p console.Problem
	if err := json.Unmarshal([]byte(a.text), &p); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range p.Errors {
		all = append(all, f.Field+": "+f.Message)
	}
	return strings.Join(all, "; ")
}

// A test stays one when it is sent again, and is nothing to a webhook's activity.
func TestATestStaysOne(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.create(minimal)
	d := matched(published("of-a-test", t0), w.ID)
	d.Cause = delivery.CauseTest
	at := r.deliver(r.topics.Deliveries, d)
	r.attempts(post(d, at, t0.Add(time.Second), ok(), delivery.Delivered))
	r.do(202, "POST", "/api/v1/deliveries/"+d.ID+"/resend", "")
	eventually(t, func() error {
		for _, record := range records(t, r.cfg.Kafka, r.topics.Deliveries, func(all []*kgo.Record) bool { return len(all) > 1 }) {
			if again, err := wire.ReadDelivery(record); err != nil || again.Cause != delivery.CauseTest {
				t.Fatalf("%+v, %v", again, err)
			}
		}
		return nil
	})
	if got := data[console.Webhook](t, r.do(200, "GET", "/api/v1/webhooks/"+w.ID, "")); got.LastTriggeredAt != nil || got.LastSuccessAt != nil {
		t.Errorf("triggered at %v, success at %v", got.LastTriggeredAt, got.LastSuccessAt)
	}
}

func TestConditionErrorsAreShown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.create(`{"url":"http://127.0.0.1:9999/h","event_types":["card.*"],"condition":"data.amount > 5"}`)
	show := func() *console.ConditionErrors {
		return data[console.Webhook](t, r.do(200, "GET", "/api/v1/webhooks/"+w.ID, "")).ConditionErrors
	}
	if diff := cmp.Diff(&console.ConditionErrors{}, show()); diff != "" {
		t.Error(diff)
	}
	failed := func(counter string, count int, condition string, at time.Time) {
		r.record(func(b *history.Batch) {
			b.AddAttempt(delivery.Attempt{
				Kind: delivery.KindConditionError, Tenant: "default", WebhookID: w.ID, EventID: "e", EventType: "card.updated", ReceivedAt: t0, FinishedAt: at,
				Counter: counter, Count: count, Condition: webhook.ConditionKey(condition), Outcome: delivery.Outcome{ErrorCode: "condition_error", Error: "in " + counter},
			})
		})
	}
	failed("one", 7, "data.amount > 5", t0.Add(time.Minute))
	failed("two", 2, "data.amount > 5", t0)
	failed("one", 6, "data.amount > 5", t0) // late
	failed("one", 100, "data.amount > 4", t0.Add(time.Hour))
	if diff := cmp.Diff(&console.ConditionErrors{Count: 9, LastError: "in one", LastAt: new(t0.Add(time.Minute))}, show()); diff != "" {
		t.Error(diff)
	}
	if page := r.person().signIn(bootKey, "").get("/console/webhooks/" + w.ID); !strings.Contains(page.text, "9 times") || !strings.Contains(page.text, "in one") {
		t.Errorf("the page does not say so: %s", page.text)
	}
	// A condition that is mended begins anew.
	r.do(200, "PATCH", "/api/v1/webhooks/"+w.ID, `{"condition":"data.?amount.orValue(0) > 5"}`)
	if diff := cmp.Diff(&console.ConditionErrors{}, show()); diff != "" {
		t.Error(diff)
	}
	if a := r.do(422, "PATCH", "/api/v1/webhooks/"+w.ID, `{"condition":"event.typ == 'x' &&\n data.a =="}`); !strings.Contains(faultsIn(t, a), "condition: line 2, column 11: ") {
		t.Error(faultsIn(t, a))
	}
	if a := r.do(422, "PATCH", "/api/v1/webhooks/"+w.ID, `{"condition_errors":{}}`); !strings.Contains(faultsIn(t, a), "condition_errors: is read-only") {
		t.Error(faultsIn(t, a))
	}
}

func TestTheTestOnThePage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.create(`{"url":"http://127.0.0.1:9999/h","event_types":["card.*"]}`)
	r.sender(delivery.Outcome{StatusCode: 500, ErrorCode: "status", Error: "the receiver answered 500", ResponseBody: []byte("<script>alert(1)</script>")})
	someone := r.person().signIn(bootKey, "")
	press := func(eventType string) shown {
		return someone.do("POST", "/console/webhooks/"+w.ID+"/test", url.Values{"token": {someone.token}, "event_type": {eventType}})
	}
	a := press("card.moved")
	for _, want := range []string{"The test was not accepted: <bdi>the receiver answered 500", "&lt;script&gt;alert(1)", `value="card.moved"`, "Send a test"} {
		if !strings.Contains(a.html, want) {
			t.Errorf("%d: the page lacks %s", a.status, want)
		}
	}
	if a.status != http.StatusOK || strings.Contains(a.html, "<script>") {
		t.Errorf("%d, with a script: %s", a.status, a.html)
	}
	if a := press("board.moved"); a.status != 422 || !strings.Contains(a.text, "must be one that the webhook asks for") {
		t.Errorf("of another type: %d %s", a.status, a.text)
	}
}
