package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/doorstep-dev/doorstep/pkg/auth"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/obs"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

// Largest bodies, in bytes: of anything, and of events.
const (
	maxBody       = 256 << 10
	maxEventsBody = 8 << 20
)

// route is one operation of the API.
type route struct {
	id, method, path, summary string
	scope                     tenant.Scope // empty: any key
	status                    int          // of success; 0: 200
	body                      any          // what the body is, for the description; nil: none
	bodyOptional              bool         // an empty body is allowed
	media                     string       // of the body; empty: application/json
	maxBody                   int64
	within                    time.Duration              // bounds its work, once the body is read; 0: workTime
	problems                  []int                      // beside 401, 403, 422 and 503
	answers                   map[string]*huma.MediaType // of success, by media type; nil: as the handler's type says
}

// Reply is the body of every success.
type Reply[T any] struct {
	Data T    `json:"data"`
	Meta Meta `json:"meta"`
}

// Meta stands beside the data of a reply.
type Meta struct {
	RequestID  string `json:"request_id" doc:"Names the request in Doorstep's log"`
	NextCursor string `json:"next_cursor,omitempty" doc:"Of a list: the cursor of the next page; absent on the last"`
	Notice     string `json:"notice,omitempty" doc:"What did not follow although the request was carried out, and why"`
}

type output[T any] struct{ Body Reply[T] }

func reply[T any](ctx context.Context, data T) *output[T] {
	return &output[T]{Body: Reply[T]{Data: data, Meta: Meta{RequestID: requestID(ctx)}}}
}

func replyList[T any](ctx context.Context, data []T, next string) *output[[]T] {
	if data == nil {
		data = []T{}
	}
	out := reply(ctx, data)
	out.Body.Meta.NextCursor = next
	return out
}

type (
	noInput struct{}
	idInput struct {
		ID string `path:"id"`
	}
	rawInput struct {
		RawBody []byte `contentType:"application/json"`
	}
	idRawInput struct {
		ID      string `path:"id"`
		RawBody []byte `contentType:"application/json"`
	}
	listInput struct {
		Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"How many at most"`
		Cursor string `query:"cursor" maxLength:"256" doc:"meta.next_cursor of the page before"`
	}
	noOutput struct{}
)

func (l listInput) page() sqlstore.Page { return sqlstore.Page{After: l.Cursor, Limit: l.Limit} }

// caller is who makes a request, and for which tenant.
type caller struct {
	auth.Principal
	Tenant string
}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey).(caller)
	return c
}

// handler is the console's whole address: the API, what Mount adds, and a note at the root.
func (s *Service) handler() http.Handler {
	mux := http.NewServeMux()
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	api := humago.New(mux, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Doorstep", Version: obs.Version(),
				Description: "Webhooks of a tenant, and the events that they are sent. Every call needs an API key.",
			},
			Components: &huma.Components{
				Schemas:         registry,
				SecuritySchemes: map[string]*huma.SecurityScheme{"key": {Type: "http", Scheme: "bearer", Description: "An API key, dsk_..."}},
			},
		},
		OpenAPIPath: "/api/openapi", Formats: huma.DefaultFormats, DefaultFormat: "application/json",
		RejectUnknownQueryParameters: true, Transformers: []huma.Transformer{transform},
	})
	s.routeWebhooks(api)
	s.routeRotate(api)
	s.routeSuspend(api)
	s.routeJobs(api)
	s.routeEvents(api)
	s.routeEventsRead(api)
	s.routeDeliveries(api)
	s.routeTail(api)
	s.routeAudit(api)
	s.routeKeys(api)
	s.routeAdministrators(api)
	s.routeMails(api)
	s.routeTenants(api)
	// Huma describes its own error model beside ours.
	delete(registry.Map(), "ErrorModel")
	delete(registry.Map(), "ErrorDetail")
	if s.cfg.Mount != nil {
		s.cfg.Mount(mux)
	}
	s.routeWeb(mux)
	mux.HandleFunc("GET /{$}", index)
	mux.HandleFunc("/", elsewhere(mux))
	return s.around(mux)
}

// add makes an operation of a route. A handler's error becomes a problem.
func add[I, O any](s *Service, api huma.API, r route, handle func(context.Context, *I) (*O, error)) {
	schemas := api.OpenAPI().Components.Schemas
	op := huma.Operation{
		OperationID: r.id, Method: r.method, Path: "/api/v1/" + r.path, Summary: r.summary, DefaultStatus: r.status,
		Security: []map[string][]string{{"key": {}}}, Responses: map[string]*huma.Response{},
		MaxBodyBytes: r.maxBody + 1, BodyReadTimeout: readTimeout, SkipValidateBody: true,
		Parameters: []*huma.Param{{
			Name: auth.TenantHeader, In: "header", Schema: &huma.Schema{Type: huma.TypeString},
			Description: "The tenant that a platform key acts for; without it, default.",
		}},
		Middlewares: huma.Middlewares{s.authorize(r.scope)},
	}
	for _, status := range append([]int{401, 403, 422, 503}, r.problems...) {
		op.Responses[strconv.Itoa(status)] = &huma.Response{
			Description: http.StatusText(status),
			Content: map[string]*huma.MediaType{
				"application/problem+json": {Schema: schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")},
			},
		}
	}
	if r.answers != nil {
		op.Responses[strconv.Itoa(cmp.Or(r.status, http.StatusOK))] = &huma.Response{Content: r.answers}
	}
	if r.body != nil && !r.bodyOptional {
		op.Middlewares = append(op.Middlewares, s.wantBody)
	}
	limit := cmp.Or(r.within, workTime)
	huma.Register(api, op, func(ctx context.Context, in *I) (*O, error) {
		within, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		out, err := handle(within, in)
		if err != nil {
			return nil, s.problemOf(ctx, err)
		}
		return out, nil
	})
	if r.body != nil {
		// Bodies are decoded by hand, so the description is too.
		media := r.media
		if media == "" {
			media = "application/json"
		}
		schema, ok := r.body.(*huma.Schema)
		if !ok {
			schema = schemas.Schema(reflect.TypeOf(r.body), true, "")
		}
		described := api.OpenAPI().Paths[op.Path]
		for _, o := range []*huma.Operation{described.Post, described.Patch} {
			if o != nil && o.OperationID == r.id {
				o.RequestBody.Content = map[string]*huma.MediaType{media: {Schema: schema}}
				o.RequestBody.Required = !r.bodyOptional
			}
		}
	}
}

// authorize lets in whoever shows a key that has the scope.
func (s *Service) authorize(scope tenant.Scope) func(huma.Context, func(huma.Context)) {
	return func(hc huma.Context, next func(huma.Context)) {
		ctx := hc.Context()
		c, err := s.authenticate(ctx, hc.Header("Authorization"), hc.Header(auth.TenantHeader))
		if err == nil && scope != "" && !c.Allows(scope) {
			err = newProblem(http.StatusForbidden, fmt.Sprintf("the API key does not have the scope %s", scope))
		}
		if err != nil {
			r, w := humago.Unwrap(hc)
			writeProblem(w, r, s.problemOf(ctx, err))
			return
		}
		next(huma.WithValue(hc, callerKey, c))
	}
}

// wantBody refuses an empty body as the invalid JSON that it is; huma would answer 400.
func (s *Service) wantBody(hc huma.Context, next func(huma.Context)) {
	if r, w := humago.Unwrap(hc); r.ContentLength == 0 {
		writeProblem(w, r, invalidFields(invalid.Fields{{Name: "body", Message: "is required"}}))
		return
	}
	next(hc)
}

func (s *Service) authenticate(ctx context.Context, authorization, named string) (caller, error) {
	find, failed := s.finder(ctx)
	principal, err := auth.Authenticate(find, authorization, time.Now())
	if err := failed(); err != nil {
		return caller{}, err
	}
	if err != nil {
		return caller{}, err
	}
	of, err := principal.Tenant(named)
	return caller{Principal: principal, Tenant: of}, err
}

// finder looks keys up for auth; failed says afterwards why one could not be looked up.
func (s *Service) finder(ctx context.Context) (find func(hash [32]byte) (tenant.APIKey, bool), failed func() error) {
	var fault error
	find = func(hash [32]byte) (tenant.APIKey, bool) {
		k, err := s.key(ctx, hash)
		if err != nil && !errors.Is(err, sqlstore.ErrNotFound) {
			fault = err
		}
		return k, err == nil
	}
	return find, func() error { return fault }
}

// key finds a key in SQL, where it is known at once, else in the log's settings, which are there
// while SQL is away. For a moment after SQL did not answer it is not asked for what the settings know, so that
// not every request waits for it.
func (s *Service) key(ctx context.Context, hash [32]byte) (tenant.APIKey, error) {
	known, ok := s.settings.Key(hash)
	if ok && time.Now().UnixNano() < s.keysFromLog.Load() {
		return known, nil
	}
	store, err := s.sql()
	if err == nil {
		within, cancel := context.WithTimeout(ctx, keyTime)
		defer cancel()
		var k tenant.APIKey
		if k, err = store.APIKeyByHash(within, hash); err == nil || errors.Is(err, sqlstore.ErrNotFound) {
			return k, err
		}
		s.keysFromLog.Store(time.Now().Add(keyTime).UnixNano())
	}
	if ok {
		return known, nil
	}
	return tenant.APIKey{}, err
}
