package console

import (
	"context"
	"encoding/json"
	"net/url"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/lists"
)

// listing is what a route's list can be asked, and what its rows are. A route of one thing has a listing without
// fields, which knows show and hide only.
type listing struct {
	lists.List
	of reflect.Type
}

// listOf is a list whose rows are shown as T. What is apart is shown, and said to be neither sorted nor filtered by.
func listOf[T any](l lists.List, apart ...lists.Apart) *listing {
	l.Shown, l.Apart = jsonNames(reflect.TypeFor[T]()), apart
	return &listing{List: l, of: reflect.TypeFor[T]()}
}

// oneOf is for a route that answers with one T, whose fields can be chosen.
func oneOf[T any]() *listing { return listOf[T](lists.List{}) }

// oneByKey is oneOf where the field that tells them apart is not id.
func oneByKey[T any](key string) *listing { return listOf[T](lists.List{Key: key}) }

// jsonNames are the names of a struct's fields in JSON, in their order.
func jsonNames(t reflect.Type) []string {
	var names []string
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}

// queryOf is what the list of the request's route is asked.
func queryOf(ctx context.Context) lists.Query {
	q, _ := ctx.Value(listKey).(lists.Query)
	return q
}

// readList reads what a list is asked. Huma sees the other parameters only: it knows a parameter by the field of a
// struct, and refuses all others.
func (s *Service) readList(l lists.List) func(huma.Context, func(huma.Context)) {
	return func(hc huma.Context, next func(huma.Context)) {
		u := hc.URL()
		values, err := url.ParseQuery(u.RawQuery)
		var q lists.Query
		if err != nil {
			err = invalid.Fields{{Name: "query", Message: "is not well-formed: names and values must be percent-encoded, with & between them"}}
		} else {
			q, err = l.Read(values)
		}
		if err != nil {
			r, w := humago.Unwrap(hc)
			writeProblem(w, r, s.problemOf(hc.Context(), err))
			return
		}
		for name := range values {
			if l.Ours(name) {
				delete(values, name)
			}
		}
		u.RawQuery = values.Encode()
		next(huma.WithValue(withURL{hc, u}, listKey, q))
	}
}

type humaContext = huma.Context

// withURL is a request with another URL.
type withURL struct {
	humaContext
	url url.URL
}

// URL is the other one.
func (c withURL) URL() url.URL { return c.url }

// Unwrap is the request as it came.
func (c withURL) Unwrap() huma.Context { return c.humaContext }

// picker is a reply of which some fields are shown.
type picker interface {
	pick(fields lists.Fields) (any, error)
}

func (r Reply[T]) pick(fields lists.Fields) (any, error) {
	raw, err := encode(r.Data)
	if err != nil {
		return nil, err
	}
	if raw, err = fields.Pick(raw); err != nil {
		return nil, err
	}
	return Reply[json.RawMessage]{Data: raw, Meta: r.Meta}, nil
}

// picked is a reply with the fields that the request asks for.
func picked(ctx context.Context, v any) (any, error) {
	if p, ok := v.(picker); ok {
		if fields := queryOf(ctx).Fields; !fields.All() {
			return p.pick(fields)
		}
	}
	return v, nil
}

func replyList[T any](ctx context.Context, data []T, found lists.Found) *output[[]T] {
	if data == nil {
		data = []T{}
	}
	out := reply(ctx, data)
	m := &out.Body.Meta
	m.NextCursor, m.Total, m.TotalCapped = found.Next, found.Total, found.More
	return out
}

// describe adds to an operation what its list can be asked. No field of an answer is required any more save the
// key, since show and hide leave out the others.
func (l *listing) describe(op *huma.Operation, schemas huma.Registry) {
	op.Parameters = append(op.Parameters, listParameters(l.List)...)
	ref := schemas.Schema(l.of, true, "").Ref
	if schema := schemas.SchemaFromRef(ref); schema != nil {
		schema.Required = []string{l.KeyName()}
	}
}

// unsorted are the fields of a webhook that are not in the table of webhooks as they are shown.
func unsorted() []lists.Apart {
	return []lists.Apart{
		{Why: "comes from the failure state and the history, which are kept apart from webhooks", Names: []string{
			"fail_streak", "fail_streak_started_at", "failure_count", "last_triggered_at", "last_success_at", "last_failed_at", "last_failure_at",
			"mailed_warning_at", "mailed_disabled_at", "disabled_until", "can_send", "suspended_count", "disabled", "disabled_at", "disable_reason",
		}},
		{Why: "may be inherited from the tenant", Names: []string{"payload", "retry_count", "timeout_seconds"}},
		{Why: "is kept sealed", Names: []string{"headers", "secret", "public_key"}},
	}
}
