package console_test

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/doorstep-dev/doorstep/services/console"
)

// TestListsAreAsked: the order, the filters, the fields and the total of a list, through HTTP.
func TestListsAreAsked(t *testing.T) {
	t.Parallel()
	c := ready(t)
	for _, body := range []string{
		`{"name":"b","url":"http://127.0.0.1/1","event_types":["card.updated"],"external_reference":"r1","rate_limit":5}`,
		`{"name":"a","url":"http://127.0.0.1/2","event_types":["card.*","board.created"],"active":false}`,
		`{"name":"A","url":"http://127.0.0.1/3","event_types":["*"],"rate_limit":7}`,
		`{"name":"a","url":"http://127.0.0.1/4","event_types":["card.updated"]}`,
	} {
		c.create(body)
	}
	for query, want := range map[string]string{
		"":                                                        "1 2 3 4",
		"sort=-created_at":                                        "4 3 2 1",
		"sort=name,-created_at":                                   "3 4 2 1",
		"sort=-name,url":                                          "1 2 4 3",
		"sort=-active,name":                                       "3 4 1 2",
		"filter[name]=a":                                          "2 4",
		"filter[name][eq]=a":                                      "2 4",
		"filter[name][ne]=a":                                      "1 3",
		"filter[name][in]=A,b":                                    "1 3",
		"filter[name][contains]=a":                                "2 3 4",
		"filter[url][contains]=/3":                                "3",
		"filter[active]=false":                                    "2",
		"filter[rate_limit][gte]=5":                               "1 3",
		"filter[rate_limit][gt]=5":                                "3",
		"filter[rate_limit][lt]=7":                                "1 2 4",
		"filter[rate_limit][in]=0,7":                              "2 3 4",
		"filter[event_types]=card.updated":                        "1 4",
		"filter[event_types][contains]=card.*":                    "2",
		"filter[event_types][ne]=card.updated":                    "2 3",
		"filter[event_types][in]=*,card.*":                        "2 3",
		"filter[external_reference]=r1":                           "1",
		"filter[created_at][gt]=2030-01-01T00:00:00Z":             "",
		"filter[created_at][lt]=2230-01-01T00:00:00Z&sort=-url":   "4 3 2 1",
		"filter[name]=a&filter[event_types]=card.updated&limit=1": "4",
		"cursor=&limit=":                                          "1 2 3 4",
	} {
		var got []string
		for _, w := range data[[]console.Webhook](t, c.do(200, "GET", "/api/v1/webhooks?"+query, "")) {
			got = append(got, w.URL[len(w.URL)-1:])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", query, got, want)
		}
	}
	for query, want := range map[string]int{"total=true&limit=1": 4, "total=true&filter[name]=a&limit=1": 2, "total=true&filter[name]=c": 0} {
		if m := c.do(200, "GET", "/api/v1/webhooks?"+query, "").Meta; m.Total == nil || *m.Total != want || m.TotalCapped {
			t.Errorf("%s: %v, want %d", query, m.Total, want)
		}
	}
	if m := c.do(200, "GET", "/api/v1/webhooks", "").Meta; m.Total != nil {
		t.Errorf("a total that nobody asked for: %d", *m.Total)
	}
}

// TestCursorsAreBound: a cursor goes on with its own list, order and filters, and nowhere else.
func TestCursorsAreBound(t *testing.T) {
	t.Parallel()
	c := ready(t)
	for _, name := range []string{"x", "y", "z"} {
		c.create(`{"name":"a","url":"http://127.0.0.1/","event_types":["*"]}`)
		c.key(`{"name":"k","scopes":["events"]}`)
		c.do(201, "POST", "/api/v1/administrators", `{"email":"`+name+`@example.com"}`)
	}
	const first = "/api/v1/webhooks?limit=1&sort=name&filter[name]=a"
	cursor := url.QueryEscape(c.do(200, "GET", first, "").Meta.NextCursor)
	if cursor == "" {
		t.Fatal("no next page")
	}
	for _, query := range []string{
		first, "/api/v1/webhooks?limit=2&sort=name&filter[name]=a", "/api/v1/webhooks?sort=name&filter[name][eq]=a", first + "&show=name", first + "&total=true",
	} {
		if a := c.do(200, "GET", query+"&cursor="+cursor, ""); len(data[[]console.Webhook](t, a)) == 0 {
			t.Errorf("%s goes on with nothing", query)
		}
	}
	for _, query := range []string{
		"/api/v1/webhooks?", "/api/v1/webhooks?sort=name", "/api/v1/webhooks?sort=-name&filter[name]=a", "/api/v1/webhooks?sort=name&filter[name]=b",
		"/api/v1/webhooks?sort=name&filter[name][in]=a", "/api/v1/api-keys?sort=name&filter[name]=a", "/api/v1/administrators?sort=name&filter[name]=a",
		"/api/v1/jobs?", "/api/v1/tenants?", "/api/v1/deliveries?", "/api/v1/mails?",
	} {
		if a := c.do(422, "GET", query+"&cursor="+cursor, ""); len(a.Errors) != 1 || a.Errors[0].Field != "cursor" {
			t.Errorf("%s: %s", query, a.text)
		}
	}
	keys := c.do(200, "GET", "/api/v1/api-keys?limit=1", "").Meta.NextCursor
	if a := c.do(422, "GET", "/api/v1/api-keys?limit=1&platform=true&cursor="+url.QueryEscape(keys), ""); a.Errors[0].Field != "cursor" {
		t.Errorf("a cursor of a tenant's keys for the platform's: %s", a.text)
	}
}

// TestFieldsAreChosen: show and hide, of lists and of one.
func TestFieldsAreChosen(t *testing.T) {
	t.Parallel()
	c := ready(t)
	w := c.create(`{"name":"a<b","url":"http://127.0.0.1/","event_types":["*"],"metadata":{"z":"1","a":"2"}}`)
	for query, want := range map[string]string{
		"show=name":                 `{"id":"` + w.ID + `","name":"a<b"}`,
		"show=metadata,name":        `{"id":"` + w.ID + `","name":"a<b","metadata":{"a":"2","z":"1"}}`,
		"show=name,url&hide=url,id": `{"id":"` + w.ID + `","name":"a<b"}`,
		"show=id":                   `{"id":"` + w.ID + `"}`,
	} {
		if a := c.do(200, "GET", "/api/v1/webhooks/"+w.ID+"?"+query, ""); string(a.Data) != want {
			t.Errorf("one, %s: %s", query, a.Data)
		}
		if a := c.do(200, "GET", "/api/v1/webhooks?"+query, ""); string(a.Data) != "["+want+"]" {
			t.Errorf("a list, %s: %s", query, a.Data)
		}
	}
	var whole, less map[string]any
	if err := json.Unmarshal(c.do(200, "GET", "/api/v1/webhooks/"+w.ID, "").Data, &whole); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(c.do(200, "GET", "/api/v1/webhooks/"+w.ID+"?hide=secret,headers", "").Data, &less); err != nil {
		t.Fatal(err)
	}
	if len(less) != len(whole)-2 || less["secret"] != nil || less["headers"] != nil || whole["secret"] == nil {
		t.Errorf("all but two: %v", less)
	}
	for path, field := range map[string]string{
		"/api/v1/webhooks/" + w.ID + "?show=colour": "show",
		"/api/v1/webhooks/" + w.ID + "?hide=name,x": "hide",
		"/api/v1/webhooks/" + w.ID + "?sort=name":   "sort",
		"/api/v1/webhooks/" + w.ID + "?show=a":      "show",
		"/api/v1/webhooks/" + w.ID + "?hide=":       "hide",
		"/api/v1/webhooks?show=":                    "show",
		"/api/v1/webhooks?show=,":                   "show",
		"/api/v1/me?show=tenant":                    "show",
	} {
		if a := c.do(422, "GET", path, ""); len(a.Errors) == 0 || a.Errors[0].Field != field {
			t.Errorf("%s: %s", path, a.text)
		}
	}
}

// TestListsSayWhatThereIs: what a list cannot be asked is refused, with what it can be.
func TestListsSayWhatThereIs(t *testing.T) {
	t.Parallel()
	c := ready(t)
	for query, want := range map[string]string{
		"sort=colour":                           `sort: "colour" is not a field of this list; there are name, url, active, external_reference, created_at, updated_at`,
		"sort=-fail_streak":                     `sort: "fail_streak" comes from the failure state and the history, which are kept apart from webhooks, so this list is not sorted by it; there are name,`,
		"sort=retry_count":                      `sort: "retry_count" may be inherited from the tenant, so this list is not sorted by it; there are name`,
		"sort=paused":                           `sort: "paused" is not one that this list is sorted by; there are name`,
		"sort=name,-name":                       `sort: "name" is named twice`,
		"sort=name,":                            `sort: "" is not a field of this list`,
		"sort=+name":                            `sort: " name" is not a field of this list`,
		"filter[fail_streak][gte]=3":            `filter[fail_streak][gte]: "fail_streak" comes from the failure state and the history, which are kept apart from webhooks, so this list is not filtered by it; there are id, name`,
		"filter[colour]=x":                      `filter[colour]: "colour" is not a field of this list; there are id, name, description`,
		"filter[name][like]=x":                  `filter[name][like]: "like" is not an operator of name; there are eq, ne, in, contains`,
		"filter[active][gt]=true":               `filter[active][gt]: "gt" is not an operator of active; there are eq, ne`,
		"filter[active]=yes":                    "filter[active]: must be true or false",
		"filter[rate_limit]=1.5":                "filter[rate_limit]: must be a whole number",
		"filter[rate_limit][in]=1,,2":           "filter[rate_limit][in]: has an empty value",
		"filter[created_at][gt]=monday":         "filter[created_at][gt]: must be an RFC 3339 time of 1970 to 2261",
		"filter[created_at]=null":               "filter[created_at]: must be an RFC 3339 time",
		"filter[id]=x":                          "filter[id]: must be a UUID",
		"filter[name]=":                         "filter[name]: needs a value",
		"filter[name]=%00":                      "filter[name]: must be UTF-8 text without NUL characters",
		"filter[name]=%ff":                      "filter[name]: must be UTF-8 text without NUL characters",
		"filter[name=1":                         "filter[name: must be filter[field] or filter[field][operator]; there are the fields id, name",
		"filter[name][eq][x]=1":                 "filter[name][eq][x]: must be filter[field]",
		"filter[name;drop]=1":                   `filter[name;drop]: "name;drop" is not a field`,
		"filter[name)--][eq]=1":                 `filter[name)--][eq]: "name)--" is not a field`,
		"total=1":                               "total: must be true or false",
		"limit=-1":                              "limit: must be a whole number from 1 to 500",
		"colour=red":                            "colour: is not a parameter of this; there are limit, cursor, sort, total, show, hide, filter[id], filter[name], filter[description]",
		"cursor=" + strings.Repeat("x", 20_000): "cursor: is not a next_cursor of this list",
	} {
		query = strings.ReplaceAll(query, ";", "%3B")
		a := c.do(422, "GET", "/api/v1/webhooks?"+query, "")
		if len(a.Errors) == 0 || !strings.HasPrefix(a.Errors[0].Field+": "+a.Errors[0].Message, want) {
			t.Errorf("%.60s: %s, want %s", query, a.text, want)
		}
	}
	all := c.do(422, "GET", "/api/v1/webhooks?limit=0&sort=x&filter[y]=1&show=z&total=q", "")
	var fields []string
	for _, e := range all.Errors {
		fields = append(fields, e.Field)
	}
	if slices.Sort(fields); strings.Join(fields, " ") != "filter[y] limit show sort total" {
		t.Errorf("not all faults are told: %s", all.text)
	}
}

// describedSchema and describedParameter are what the description says of a parameter.
type (
	describedSchema struct {
		Type     any // a name, or several
		Format   string
		Enum     []any
		Items    *describedSchema
		MaxItems int
		AnyOf    []describedSchema
	}
	describedParameter struct {
		Name, In, Description string
		Explode               *bool
		Schema                describedSchema
	}
)

// values are some that the schema allows.
func (s describedSchema) values() (all []string) {
	switch {
	case s.Items != nil:
		each := s.Items.values()
		return append(each, strings.Join(each[:min(2, len(each), s.MaxItems)], ","))
	case s.AnyOf != nil:
		for _, a := range s.AnyOf {
			all = append(all, a.values()...)
		}
		return all
	case s.Enum != nil:
		for _, v := range s.Enum {
			all = append(all, v.(string))
		}
		return all
	case s.Type == "integer":
		return []string{"7"}
	case s.Type == "boolean":
		return []string{"true", "false"}
	case s.Format == "uuid":
		return []string{"0199C9A4-0000-7000-8000-00000000000A", "0199c9a4-0000-7000-8000-00000000000b"}
	case s.Format == "date-time":
		return []string{"2026-03-04T05:06:07Z", "2026-03-04T05:06:07.123456789+02:00"}
	}
	return []string{"card.updated"}
}

// TestListParametersAreTrue asks every list for every parameter that the description has, with values of its schema.
func TestListParametersAreTrue(t *testing.T) {
	t.Parallel()
	c := ready(t)
	var api struct {
		Paths map[string]struct {
			Get struct{ Parameters []describedParameter }
		}
	}
	if err := json.Unmarshal([]byte(c.do(200, "GET", "/api/openapi.json", "").text), &api); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for path, item := range api.Paths {
		if !slices.ContainsFunc(item.Get.Parameters, func(p describedParameter) bool { return p.Name == "sort" }) {
			continue
		}
		for _, p := range item.Get.Parameters {
			if p.In != "query" || p.Name == "cursor" {
				continue
			}
			if p.Description == "" || p.Schema.Type == "array" && (p.Explode == nil || *p.Explode) {
				t.Errorf("%s, %s: %q, %v", path, p.Name, p.Description, p.Explode)
			}
			for _, v := range p.Schema.values() {
				asked++
				query := url.Values{p.Name: {v}}.Encode()
				if p.Name == "profile" {
					query = "format=yaml&profile=ours" // what an export is called
				}
				if a := c.as(bootKey, "GET", path+"?"+query, ""); a.status != 200 {
					t.Errorf("%s?%s: %s", path, query, a.text)
				}
			}
		}
	}
	if asked < 300 {
		t.Errorf("only %d values were asked for", asked)
	}
}
