package console_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/services/console"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	hook := func(fields string) string {
		return r.create(`{"name":"n","url":"http://127.0.0.1:9999/",` + fields + `}`).ID
	}
	plain := hook(`"event_types":["card.*"]`)
	sleeping := hook(`"event_types":["card.*"],"active":false`)
	otherType := hook(`"event_types":["board.created"]`)
	filtered := hook(`"event_types":["*"],"filters":{"project":"67","user":"5"}`)
	conditional := hook(`"event_types":["*"],"condition":"data.price > 10"`)
	broken := hook(`"event_types":["*"],"condition":"data.none == 1"`)
	sent := r.create(minimal).ID
	now := time.Now().UTC()
	e := published("e1", now.Add(time.Second)) // behind all that was registered
	e.Data = []byte(`{"price": 3}`)
	r.event(e)
	again := e
	again.ReceivedAt = e.ReceivedAt.Add(time.Minute)
	r.event(again)
	old := published("old", now.Add(-time.Hour))
	r.event(old)
	d := matched(e, sent)
	at := r.deliver(r.topics.Deliveries, d)
	r.attempts(post(d, at, now, delivery.Outcome{StatusCode: 500, ErrorCode: "status", Error: "it answered 500"}, delivery.Exhausted))
	r.record(func(b *history.Batch) {
		b.AddAttempt(delivery.Attempt{
			Kind: delivery.KindConditionError, Tenant: "default", WebhookID: broken, EventID: "e1", ReceivedAt: e.ReceivedAt, FinishedAt: now,
			Outcome: delivery.Outcome{Error: "no such key: none"},
		})
	})
	for name, tt := range map[string]struct{ event, webhook, verdict, words, fails string }{
		"under way":           {"e1", plain, "not_made", "under way", ""},
		"not active":          {"e1", sleeping, "no_match", "not active", "active"},
		"another type":        {"e1", otherType, "no_match", "do not name card.updated", "type"},
		"filters":             {"e1", filtered, "no_match", "filters: project, user", "filters"},
		"a condition":         {"e1", conditional, "no_match", "does not hold", "condition"},
		"a condition's fault": {"e1", broken, "condition_error", "no such key", "condition"},
		"sent":                {"e1", sent, "exhausted", "it answered 500", ""},
		"before it was made":  {"old", plain, "no_match", "made at", "created"},
	} {
		x := data[console.Explanation](t, r.do(200, "GET", "/api/v1/explain?event="+tt.event+"&webhook="+strings.ToUpper(tt.webhook), ""))
		if x.Verdict != tt.verdict || !strings.Contains(x.Reason, tt.words) || (x.Delivery != nil) != (tt.webhook == sent) {
			t.Errorf("%s: %s: %s, %+v", name, x.Verdict, x.Reason, x.Delivery)
		}
		for _, c := range x.Checks {
			if c.Passes == nil || *c.Passes == (c.Name == tt.fails) && (c.Name != "sendable" || tt.webhook != sleeping) {
				t.Errorf("%s: check %+v", name, c)
			}
		}
		if n := len(x.Event.Receptions); tt.event == "e1" && (n != 2 || x.Event.Receptions[0].Duplicate || !x.Event.Receptions[1].Duplicate) {
			t.Errorf("%s: received %+v", name, x.Event.Receptions)
		}
	}
	r.explainsToWhomItMay(filtered)
	r.explainsWhatIsGone(plain, filtered, sent)
}

// explainsToWhomItMay tells what a webhook asks for only to who may read webhooks.
func (r *rig) explainsToWhomItMay(filtered string) {
	r.t.Helper()
	path := "/api/v1/explain?event=e1&webhook=" + filtered
	for scope, wanted := range map[string]string{`"deliveries:read","webhooks:read"`: "67", `"deliveries:read"`: ""} {
		a := r.as(r.key(`{"name":"k","scopes":[`+scope+`]}`).Key, "GET", path, "")
		x := data[console.Explanation](r.t, a)
		for _, c := range x.Checks {
			if c.Name == "filters" && (len(c.Differs) != 2 || c.Differs[0].Wanted != wanted || *c.Differs[0].Given != "66" || c.Differs[1].Given != nil) {
				r.t.Errorf("%s: %+v", scope, c.Differs)
			}
		}
	}
	if a := r.as(r.key(`{"name":"k","scopes":["webhooks"]}`).Key, "GET", path, ""); a.status != 403 {
		r.t.Errorf("who may not read deliveries: %d", a.status)
	}
	r.do(404, "GET", path, "", "Doorstep-Tenant", "acme")
	r.do(404, "GET", "/api/v1/explain?event=none&webhook="+filtered, "")
	r.do(404, "GET", "/api/v1/explain?event=e1&webhook=0198c9e0-0000-7000-8000-000000000001", "")
	for query, field := range map[string]string{"event=e1": "webhook", "webhook=" + filtered: "event", "event=e1&webhook=x": "webhook"} {
		if a := r.do(422, "GET", "/api/v1/explain?"+query, ""); len(a.Errors) == 0 || !strings.Contains(a.Errors[0].Field, field) {
			r.t.Errorf("%s: %s", query, a.text)
		}
	}
}

// explainsWhatIsGone: the log has dropped the event, a webhook is deleted, disabled, changed.
func (r *rig) explainsWhatIsGone(plain, filtered, sent string) {
	r.t.Helper()
	ask := func(webhook string) console.Explanation {
		r.t.Helper()
		return data[console.Explanation](r.t, r.do(200, "GET", "/api/v1/explain?event=e1&webhook="+webhook, ""))
	}
	r.do(200, "POST", "/api/v1/webhooks/"+plain+"/pause", "")
	eventually(r.t, func() error { // the clock passes the event's time
		r.do(200, "PATCH", "/api/v1/webhooks/"+plain, fmt.Sprintf(`{"description":"%d"}`, time.Now().UnixNano()))
		if x := ask(plain); x.Verdict != "changed_since" || *x.Checks[5].Passes || !strings.Contains(x.Checks[5].Message, "paused") {
			return fmt.Errorf("%s %+v", x.Verdict, x.Checks)
		}
		return nil
	})
	r.expire(r.topics.Events)
	if x := ask(filtered); !x.Event.DataGone || x.Checks[3].Passes != nil || x.Verdict != "not_made" || !strings.Contains(x.Reason, "attributes any more") {
		r.t.Errorf("gone: %+v", x)
	}
	r.do(204, "DELETE", "/api/v1/webhooks/"+sent, "")
	if x := ask(sent); !x.Webhook.Deleted || x.Verdict != "exhausted" || len(x.Checks) != 0 {
		r.t.Errorf("deleted: %+v", x)
	}
}
