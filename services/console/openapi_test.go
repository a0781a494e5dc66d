package console_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
)

// TestTheDescriptionHolds: what it refers to is there, paths have their parameters, and the lists of the
// history name their filters.
func TestTheDescriptionHolds(t *testing.T) {
	t.Parallel()
	c := start(t, config(t, ownLog(t), sqldbtest.SQLite(t)))
	text := c.as("", "GET", "/api/openapi.json", "").text
	var whole any
	if err := json.Unmarshal([]byte(text), &whole); err != nil {
		t.Fatal(err)
	}
	for _, ref := range refs(whole) {
		at := whole
		for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
			object, _ := at.(map[string]any)
			at = object[name]
		}
		if at == nil {
			t.Errorf("%s leads to nothing", ref)
		}
	}
	var api struct {
		Components struct{ Schemas map[string]any }
		Paths      map[string]map[string]struct {
			Summary    string
			Parameters []struct{ Name, In string }
			Responses  map[string]struct{ Content map[string]any }
		}
	}
	if err := json.Unmarshal([]byte(text), &api); err != nil {
		t.Fatal(err)
	}
	for name := range api.Components.Schemas {
		if strings.ContainsFunc(name, func(c rune) bool { return c < '0' || c > 'z' }) || strings.ContainsAny(name, "{}[]:<>") {
			t.Errorf("a schema is named %q", name)
		}
	}
	for path, methods := range api.Paths {
		for method, op := range methods {
			if op.Summary == "" || strings.Contains(path, "{id}") && !slices.ContainsFunc(op.Parameters, func(p struct{ Name, In string }) bool {
				return p.Name == "id" && p.In == "path"
			}) {
				t.Errorf("%s %s: %q, %v", method, path, op.Summary, op.Parameters)
			}
		}
	}
	for path, want := range map[string]string{
		"/api/v1/deliveries": "cursor filter[created_at][gt] filter[created_at][gte] filter[created_at][lt] filter[created_at][lte] " +
			"filter[event_id] filter[event_id][eq] filter[event_type] filter[event_type][eq] filter[external_reference] filter[external_reference][eq] " +
			"filter[status] filter[status][eq] filter[status][in] filter[webhook_id] filter[webhook_id][eq] hide limit show sort total",
		"/api/v1/events": "cursor filter[external_reference] filter[external_reference][eq] filter[received_at][gt] filter[received_at][gte] " +
			"filter[received_at][lt] filter[received_at][lte] filter[type] filter[type][eq] hide limit show sort total",
		"/api/v1/events/{id}": "hide show",
	} {
		var names []string
		for _, p := range api.Paths[path]["get"].Parameters {
			if p.In == "query" {
				names = append(names, p.Name)
			}
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
	for call, want := range map[string]string{
		"get /api/v1/deliveries":                   "200 401 403 422 429 431 503",
		"get /api/v1/deliveries/{id}":              "200 401 403 404 422 429 431 503",
		"get /api/v1/deliveries/{id}/payload":      "200 401 403 404 410 422 429 431 503",
		"post /api/v1/deliveries/{id}/resend":      "202 401 403 404 409 410 422 429 431 503",
		"post /api/v1/webhooks/{id}/rotate-secret": "200 401 403 404 409 412 413 422 429 431 503",
		"post /api/v1/webhooks/{id}/pause":         "200 401 403 404 409 412 422 429 431 503",
		"post /api/v1/webhooks/{id}/resume":        "200 401 403 404 409 412 422 429 431 503",
		"post /api/v1/webhooks/{id}/release":       "202 401 403 404 409 412 413 422 429 431 503",
		"post /api/v1/webhooks/{id}/discard":       "202 401 403 404 409 412 413 422 429 431 503",
		"post /api/v1/webhooks/{id}/recover":       "202 401 403 404 409 412 413 422 429 431 503",
		"patch /api/v1/jobs/{id}":                  "200 401 403 404 409 413 422 429 431 503",
		"delete /api/v1/jobs/{id}":                 "204 401 403 404 409 422 429 431 503",
		"get /api/v1/jobs":                         "200 401 403 422 429 431 503",
		"get /api/v1/jobs/{id}":                    "200 401 403 404 422 429 431 503",
		"get /api/v1/events":                       "200 401 403 422 429 431 503",
		"get /api/v1/events/{id}":                  "200 401 403 404 422 429 431 503",
		"post /api/v1/webhooks/{id}/test":          "200 202 401 403 404 409 413 422 429 431 503",
		"post /api/v1/webhooks/{id}/try":           "200 401 403 404 413 422 429 431 503",
		"post /api/v1/webhooks/try":                "200 401 403 413 422 429 431 503",
		"get /api/v1/explain":                      "200 401 403 404 422 429 431 503",
	} {
		method, path, _ := strings.Cut(call, " ")
		responses := api.Paths[path][method].Responses
		if got := strings.Join(slices.Sorted(maps.Keys(responses)), " "); got != want {
			t.Errorf("%s: %s, want %s", call, got, want)
		}
		for status, r := range responses {
			if len(r.Content) != 1 && status != "204" {
				t.Errorf("%s, %s: %v", call, status, r.Content)
			}
		}
	}
}

// refs are all references of a document.
func refs(v any) (out []string) {
	switch v := v.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			out = append(out, ref)
		}
		for _, x := range v {
			out = append(out, refs(x)...)
		}
	case []any:
		for _, x := range v {
			out = append(out, refs(x)...)
		}
	}
	return out
}
