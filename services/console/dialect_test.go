package console_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/services/console"
)

// under makes a tenant with a profile.
func (c *running) under(profile string) (tenant []string) {
	c.t.Helper()
	c.do(201, "POST", tenants, `{"id":"`+profile+`"}`)
	c.setProfile(profile, profile)
	return []string{"Doorstep-Tenant", profile}
}

func (c *running) setProfile(of, profile string) {
	c.t.Helper()
	if err := c.svc.SetProfile(c.t.Context(), of, profile); err != nil {
		c.t.Fatal(err)
	}
}

// fields are those of a webhook in an answer.
func fields(t *testing.T, a answer, names ...string) string {
	t.Helper()
	all, some := data[map[string]json.RawMessage](t, a), []string{}
	for _, n := range names {
		if raw, ok := all[n]; ok {
			some = append(some, fmt.Sprintf("%s=%s", n, raw))
		}
	}
	return strings.Join(some, " ")
}

func TestPlanDocketNames(t *testing.T) {
	t.Parallel()
	c := ready(t)
	of := c.under("plandocket")
	const path = "/api/v1/webhooks"
	names := []string{"events", "event_types", "is_active", "active", "retry_count", "timeout_seconds", "failure_count", "last_failure_at", "hook"}
	a := c.do(201, "POST", path, `{"url":"https://127.0.0.1/","name":"n","events":["task.created","task.*"],"is_active":false,"headers":{"X-A":"1"},"retry_count":4,"timeout_seconds":20}`, of...)
	if got := fields(t, a, names...); got != `events=["task.created","task.*"] event_types=["task.created","task.*"] is_active=false active=false `+
		`retry_count=4 timeout_seconds=20 failure_count=0 last_failure_at=null` {
		t.Errorf("created: %s", got)
	}
	one := path + "/" + data[console.Webhook](t, a).ID
	for body, want := range map[string]string{
		`{}`:                 `events=["task.created","task.*"] is_active=false`,
		`{"is_active":null}`: `events=["task.created","task.*"] is_active=true`, // the default
		`{"events":["a"],"event_types":["a"],"active":false,"is_active":false}`: `events=["a"] is_active=false`,
	} {
		// Each begins with the webhook as it was made.
		c.do(200, "PATCH", one, `{"events":["task.created","task.*"],"active":false}`, of...)
		if got := fields(t, c.do(200, "PATCH", one, body, of...), "events", "is_active"); got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
		if got := fields(t, c.do(200, "GET", one, "", of...), "events", "is_active"); got != want {
			t.Errorf("after %s it is shown with %s", body, got)
		}
	}
	for body, want := range map[string]string{
		`{"events":["a"],"event_types":["b"]}`:   "events: is event_types too, which says something else; say it once",
		`{"is_active":true,"active":false}`:      "is_active: is active too, which says something else; say it once",
		`{"is_active":null,"active":false}`:      "is_active: is active too, which says something else; say it once",
		`{"events":["A b"]}`:                     `events: "A b" is not a type, nor a type followed by .*`,
		`{"events":[]}`:                          "events: needs at least one type, e.g. card.updated, card.* or *",
		`{"events":null}`:                        "events: needs at least one type, e.g. card.updated, card.* or *",
		`{"events":"a"}`:                         "events: must be an array, not string",
		`{"is_active":"yes"}`:                    "is_active: must be true or false, not string",
		`{"event_types":[]}`:                     "event_types: needs at least one type, e.g. card.updated, card.* or *",
		`{"hook":"a"}`:                           "hook: is not a field of this: it is event_types under the profile planmill, which this tenant does not have",
		`{"Events":["a"]}`:                       "Events: is not a field of this",
		`{"events":["a"],"name":1,"url":"no"}`:   "name: must be a string, not number",
		`{"is_active":true,"failure_count":1}`:   "failure_count: is read-only",
		`{"events":["A b"],"is_active":true, 1}`: "body: is not valid JSON: invalid character '1' looking for beginning of object key string",
	} {
		if got := told(c.do(422, "PATCH", one, body, of...)); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
}

func TestPlanMillNames(t *testing.T) {
	t.Parallel()
	c := ready(t)
	of := c.under("planmill")
	const path = "/api/v1/webhooks"
	names := []string{"hook", "event_types", "eventUser", "eventProject", "filters"}
	// The request is PlanMill's own sample but for the URL.
	a := c.do(201, "POST", path, `{"hook":"request.update", "url":"https://127.0.0.1/accountupdate", "eventUser":545, "eventProject" : "66"}`, of...)
	if got := fields(t, a, names...); got != `hook="request.update" event_types=["request.update"] eventUser=545 eventProject=66 filters={"eventProject":"66","eventUser":"545"}` {
		t.Errorf("created: %s", got)
	}
	one := path + "/" + data[console.Webhook](t, a).ID
	for _, step := range []struct{ body, want string }{
		{`{"eventUser":null}`, `hook="request.update" eventProject=66`},
		{`{"eventProject":"A-1","filters":{"board":"7"}}`, `hook="request.update" eventProject="A-1"`},
		{`{"eventUser":"7","filters":{"eventUser":"7"}}`, `hook="request.update" eventUser=7 eventProject="A-1"`},
		{`{"filters":{"eventProject":null},"eventProject":null}`, `hook="request.update" eventUser=7`},
		{`{"filters":null,"eventUser":null}`, `hook="request.update"`},
		{`{"event_types":["a","b"]}`, ``},
		{`{"hook":"timereport.update"}`, `hook="timereport.update"`},
	} {
		if got := fields(t, c.do(200, "PATCH", one, step.body, of...), "hook", "eventUser", "eventProject"); got != step.want {
			t.Errorf("%s: %s, want %s", step.body, got, step.want)
		}
	}
	for body, want := range map[string]string{
		`{"hook":["a"]}`:                                      "hook: must be a string, one event type",
		`{"hook":"A b"}`:                                      `hook: "A b" is not a type, nor a type followed by .*`,
		`{"hook":null}`:                                       "hook: needs at least one type, e.g. card.updated, card.* or *",
		`{"hook":"a","event_types":["a","b"]}`:                "hook: is event_types too, which says something else; say it once",
		`{"eventUser":1.5}`:                                   "eventUser: must be a whole number or a string",
		`{"eventUser":true}`:                                  "eventUser: must be a whole number or a string",
		`{"eventUser":1,"filters":{"eventUser":"2"}}`:         "eventUser: is filters.eventUser too, which says something else; say it once",
		`{"eventUser":1,"filters":null}`:                      "eventUser: is filters.eventUser too, which says something else; say it once",
		`{"eventUser":1,"filters":[]}`:                        "filters: must be an object, not array",
		`{"eventProject":"` + strings.Repeat("x", 257) + `"}`: "eventProject: has more than 256 characters",
		`{"is_active":true}`:                                  "is_active: is not a field of this: it is active under the profile plandocket, which this tenant does not have",
	} {
		if got := told(c.do(422, "PATCH", one, body, of...)); got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
}

// Only the types that declare them have PlanMill's parameters, under either name; a webhook that has them already keeps them.
func TestFiltersAreByDeclaredAttributes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	of := r.under("planmill")
	const path = "/api/v1/webhooks"
	before := data[console.Webhook](t, r.do(201, "POST", path, `{"hook":"account.update","url":"https://127.0.0.1/","eventUser":1}`, of...))
	r.do(200, "POST", "/api/v1/profiles", `{"profile":"planmill"}`, of...)
	for body, want := range map[string]string{
		`{"hook":"request.update","eventUser":545,"eventProject":66`:            "",
		`{"event_types":["request.update","timereport.update"],"eventUser":545`: "",
		`{"hook":"timereport.update","filters":{"eventProject":"66"}`:           "",
		`{"hook":"account.update"`:                                              "",
		`{"hook":"account.update","eventUser":50`:                               "eventUser: ",
		`{"hook":"task.update","filters":{"eventProject":"6"}`:                  "filters[eventProject]: ",
		`{"hook":"request.update","filters":{"colour":"red"}`:                   "filters[colour]: ",
		`{"hook":"request.add","eventUser":1,"name":"otherwise"`:                "eventUser: ",
		`{"hook":"request.party"`:                                               "hook: request.party is not in the catalogue",
	} {
		a := r.as(bootKey, "POST", path, body+`,"url":"https://127.0.0.1/"}`, of...)
		if got := told(a); !strings.HasPrefix(got, want) || (a.status == 201) != (want == "") {
			t.Errorf("%s: %d %s, want %s", body, a.status, got, want)
		}
	}
	r.do(200, "PATCH", path+"/"+before.ID, `{"name":"kept"}`, of...)
	if got := told(r.do(422, "PATCH", path+"/"+before.ID, `{"eventUser":2}`, of...)); !strings.HasPrefix(got, "eventUser: ") {
		t.Errorf("changed: %s", got)
	}
}

// told are the faults of a 422.
func told(a answer) string {
	var all []string
	for _, f := range a.Errors {
		all = append(all, f.Field+": "+f.Message)
	}
	return strings.Join(all, "; ")
}

func TestProductNamesNeedTheirProfile(t *testing.T) {
	t.Parallel()
	c := ready(t)
	w := c.create(minimal)
	for _, body := range []string{`{"events":["a"]}`, `{"is_active":true}`, `{"hook":"a"}`, `{"eventUser":1}`, `{"eventProject":null}`} {
		for _, call := range [][2]string{{"POST", "/api/v1/webhooks"}, {"PATCH", "/api/v1/webhooks/" + w.ID}} {
			a := c.do(422, call[0], call[1], body)
			if got := told(a); !strings.Contains(body, a.Errors[0].Field) || !strings.Contains(got, "is not a field of this: it is ") || len(a.Errors) > 1 {
				t.Errorf("%s %s: %s", call[0], body, got)
			}
		}
	}
	all := data[map[string]any](t, c.do(200, "GET", "/api/v1/webhooks/"+w.ID, ""))
	for _, name := range []string{"events", "is_active", "hook", "eventUser", "eventProject"} {
		if _, ok := all[name]; ok {
			t.Errorf("%s is shown", name)
		}
	}
	// The names change with the profile, the webhook does not.
	c.setProfile("default", "plandocket")
	got := data[console.Webhook](t, c.do(200, "GET", "/api/v1/webhooks/"+w.ID, ""))
	if d := cmp.Diff(w.EventTypes, got.Events); d != "" || !*got.IsActive {
		t.Errorf("under plandocket: %s", d)
	}
}

// A disabled webhook is no more reactivated in a product's words than in ours.
func TestProductNamesObeyTheRules(t *testing.T) {
	t.Parallel()
	c := ready(t)
	c.setProfile("default", "plandocket")
	w := c.create(`{"url":"https://127.0.0.1/","events":["a"]}`)
	c.fails(dead(w))
	if a := c.do(409, "PATCH", "/api/v1/webhooks/"+w.ID, `{"is_active":true}`); a.Code != "reactivation_by_hand" {
		t.Errorf("refused with %s", a.text)
	}
}
