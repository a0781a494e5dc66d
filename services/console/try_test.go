package console_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/console"
)

// tried are the results of a try, each as id and reason.
func tried(t console.Trial) (all []string) {
	for _, r := range t.Results {
		word := r.Reason
		if r.Matches {
			word = strings.TrimSuffix("matches "+r.Reason, " ")
		}
		if len(r.Filters) > 0 {
			word += " " + strings.Join(r.Filters, ",")
		}
		all = append(all, r.ID+" "+word)
	}
	return all
}

func TestTryTellsWhatWouldBeSent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	gone := r.event(published("gone", t0))
	r.expire(r.topics.Events)
	say := func(id, kind, data string, n int, attributes map[string]string) {
		e := published(id, t0.Add(time.Duration(n)*time.Second))
		e.Type, e.Data, e.Attributes = kind, []byte(data), attributes
		r.event(e)
	}
	user := map[string]string{"user": "1", "project": "66"}
	say("small", "card.updated", `{"amount":3}`, 1, user)
	say("none", "card.updated", `{}`, 2, user)
	say("other", "board.updated", `{"amount":30}`, 3, user)
	say("theirs", "card.updated", `{"amount":30}`, 4, map[string]string{"project": "66"})
	say("wanted", "card.updated", `{ "amount": 30 }`, 5, user)
	other := published("of-another", t0)
	other.Tenant = "globex"
	r.event(other)

	body := `{"event_types":["card.*"],"filters":{"user":"1"},"condition":"data.amount > 5","headers":{"X-Plain":"yes","Authorization":"Bearer abc"}}`
	got := data[console.Trial](t, r.do(200, "POST", "/api/v1/webhooks/try", body))
	want := []string{"wanted matches", "theirs filter user", "other type", "none condition_error", "small condition", gone.ID + " expired"}
	if diff := cmp.Diff(want, tried(got)); diff != "" || got.Events != 6 || got.Matched != 1 || got.Expired != 1 {
		t.Errorf("%+v (-want +got):\n%s", got, diff)
	}
	if m := got.Results[3].Message; m != "condition: no such key: amount" {
		t.Errorf("the condition's error: %q", m)
	}
	request := got.Results[0].Request
	if request == nil || request.Body != `{ "amount": 30 }` || request.BodyBytes != 16 || request.BodyTruncated {
		t.Errorf("would be sent: %+v", request)
	}
	headers := fmt.Sprint(request.Headers)
	for _, want := range []string{"{X-Plain yes}", "{Authorization ***}", "{Doorstep-Event-Type card.updated}", "{Doorstep-Event-Id wanted}", "{Content-Type application/json}"} {
		if !strings.Contains(headers, want) {
			t.Errorf("headers %s lack %s", headers, want)
		}
	}
	if n := len(data[[]console.Webhook](t, r.do(200, "GET", "/api/v1/webhooks", ""))); n != 0 {
		t.Errorf("a try made %d webhooks", n)
	}

	// One that is there, as it is and as it would be with a change.
	w := r.create(`{"url":"http://127.0.0.1:9999/h","active":false,` + body[1:])
	path := "/api/v1/webhooks/" + w.ID + "/try"
	got = data[console.Trial](t, r.do(200, "POST", path+"?limit=2", ""))
	if diff := cmp.Diff([]string{"wanted matches", "theirs filter user"}, tried(got)); diff != "" {
		t.Error(diff)
	}
	if headers := fmt.Sprint(got.Results[0].Request.Headers); !strings.Contains(headers, "{Webhook-Id "+delivery.ID("wanted", w.ID)+"}") ||
		strings.Contains(headers, "Signature") || strings.Contains(headers, "abc") {
		t.Errorf("headers: %s", headers)
	}
	got = data[console.Trial](t, r.do(200, "POST", path+"?limit=2", `{"filters":null,"payload":{"format":"thin"}}`))
	if got.Matched != 2 || !strings.Contains(got.Results[1].Request.Body, `"theirs"`) {
		t.Errorf("with a change: %+v", got)
	}
	if now := data[console.Webhook](t, r.do(200, "GET", "/api/v1/webhooks/"+w.ID, "")); now.Filters["user"] != "1" || now.Payload.Format != "raw" {
		t.Errorf("the try changed it: %+v", now)
	}

	// Events of the caller's own.
	got = data[console.Trial](t, r.do(200, "POST", path, `{"sample_events":[{"type":"card.moved","attributes":{"user":"1"},"data":{"amount":6}},{"id":"mine","type":"x.y"}]}`))
	if diff := cmp.Diff([]string{"sample-1 matches", "mine type"}, tried(got)); diff != "" || got.Results[0].ReceivedAt != nil {
		t.Errorf("%+v %s", got, diff)
	}
}

func TestTryIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.record(func(b *history.Batch) {
		for i := range 60 {
			e := published(fmt.Sprintf("e%02d", i), t0.Add(time.Duration(i)*time.Second))
			e.Data = []byte(`{"text":"` + strings.Repeat("x", 20<<10) + `"}`)
			b.AddEvent(e, r.write(wire.Event(r.topics.Events, e)))
		}
	})
	got := data[console.Trial](t, r.do(200, "POST", "/api/v1/webhooks/try?limit=60", `{"event_types":["*"]}`))
	bodies := 0
	for _, e := range got.Results {
		if e.Request != nil {
			bodies++
			if len(e.Request.Body) != 16<<10 || !e.Request.BodyTruncated || e.Request.BodyBytes != 20<<10+11 {
				t.Fatalf("%d of %d bytes of a body", len(e.Request.Body), e.Request.BodyBytes)
			}
		}
	}
	if got.Matched != 60 || bodies != 20 {
		t.Errorf("%d matched, %d bodies", got.Matched, bodies)
	}
	if n := len(data[console.Trial](t, r.do(200, "POST", "/api/v1/webhooks/try", `{"event_types":["*"]}`)).Results); n != 50 {
		t.Errorf("%d results, want the default of 50", n)
	}
}

func TestTriesThatAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for body, want := range map[string]string{
		`{}`: "event_types: ",
		``:   "body: ",
		`[]`: "body: must be an object",
		`{"event_types":["a"],"condition":"event.typ == 1"}`:                                     "condition: line 1, column 6: undefined field 'typ'",
		`{"event_types":["a"],"colour":1}`:                                                       "colour: is not a field of this",
		`{"event_types":["a"],"sample_events":[]}`:                                               "sample_events: has 0 events",
		`{"event_types":["a"],"sample_events":7}`:                                                "sample_events: must be an array",
		`{"event_types":["a"],"sample_events":[{"type":"a","colour":1}]}`:                        "sample_events[0].colour: is not a field of this",
		`{"event_types":["a"],"sample_events":[{"type":"a"},{}]}`:                                "sample_events[1].type: ",
		`{"event_types":["a"],"sample_events":[` + strings.Repeat(`{"type":"a"},`, 100) + `{}]}`: "sample_events: has 101 events",
	} {
		if a := r.do(422, "POST", "/api/v1/webhooks/try", body); !strings.Contains(faultsIn(t, a), want) {
			t.Errorf("%.80s: %s, want %s", body, faultsIn(t, a), want)
		}
	}
	for _, limit := range []string{"0", "501", "x"} {
		r.do(422, "POST", "/api/v1/webhooks/try?limit="+limit, `{"event_types":["a"]}`)
	}
	for scopes, want := range map[string]int{`"webhooks:read"`: 403, `"deliveries:read"`: 403, `"webhooks:read","deliveries:read"`: 200, `"webhooks","deliveries"`: 200} {
		key := r.key(`{"name":"k","scopes":[` + scopes + `]}`)
		if a := r.as(key.Key, "POST", "/api/v1/webhooks/try", `{"event_types":["a"]}`); a.status != want {
			t.Errorf("with the scopes %s: %d, want %d", scopes, a.status, want)
		}
	}
}
