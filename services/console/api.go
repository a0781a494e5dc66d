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
	"github.com/doorstep-dev/doorstep/pkg/trace"
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
	also                      []int        // other statuses of success, with the same answer
	body                      any          // what the body is, for the description; nil: none
	bodyOptional              bool         // an empty body is allowed
	sends                     bool         // it makes webhooks be sent to, although it is not one of their routes
	media                     string       // of the body; empty: application/json
	orYAML                    bool         // the body may be YAML too
	maxBody                   int64
	tags                      bool                       // it is about one thing that has an ETag: GET takes If-None-Match, the others If-Match
	once                      bool                       // it heeds Idempotency-Key
	within                    time.Duration              // bounds its work, once the body is read; 0: workTime
	problems                  []int                      // beside 401, 403, 422 and 503
	answers                   map[string]*huma.MediaType // of success, by media type; nil: as the handler's type says
	list                      *listing                   // what its list can be asked (queryOf), or which fields of one thing; nil: neither
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

	Total       *int `json:"total,omitempty" doc:"Of a list that was asked for total=true: how many there are, of all pages; at most 10,000"`
	TotalCapped bool `json:"total_capped,omitempty" doc:"True: there are more than total"`
}

type output[T any] struct{ Body Reply[T] }

func reply[T any](ctx context.Context, data T) *output[T] {
	return &output[T]{Body: Reply[T]{Data: data, Meta: Meta{RequestID: requestID(ctx)}}}
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
	noOutput struct{}
)

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
	s.routeRecover(api)
	s.routeTests(api)
	s.routeTry(api)
	s.routeEvents(api)
	s.routeEventsRead(api)
	s.routeDeliveries(api)
	s.routeExplain(api)
	s.routeTail(api)
	s.routeAudit(api)
	s.routeAuditLog(api)
	s.routeKeys(api)
	s.routeAdministrators(api)
	s.routeMails(api)
	s.routeTenants(api)
	s.routeEventTypes(api)
	s.routeProfiles(api)
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
	if r.once {
		handle = once(s, handle)
	}
	limit := cmp.Or(r.within, workTime)
	op := s.operation(api, r)
	huma.Register(api, op, func(ctx context.Context, in *I) (*O, error) {
		within, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		out, err := handle(within, in)
		if t, ok := any(out).(interface{ tag() string }); ok && err == nil && r.method == http.MethodGet {
			none, _ := ctx.Value(noneMatchKey).([]string)
			err = notModified(none, t.tag())
		}
		if err != nil {
			return nil, s.problemOf(ctx, err)
		}
		return out, nil
	})
	for _, status := range r.also {
		op.Responses[strconv.Itoa(status)] = op.Responses[strconv.Itoa(cmp.Or(r.status, http.StatusOK))]
	}
	r.describeBody(api)
}

// operation describes a route, and has its middlewares.
func (s *Service) operation(api huma.API, r route) huma.Operation {
	schemas := api.OpenAPI().Components.Schemas
	op := huma.Operation{
		OperationID: r.id, Method: r.method, Path: "/api/v1/" + r.path, Summary: r.summary, DefaultStatus: r.status,
		Security: []map[string][]string{{"key": r.scopes()}}, Responses: map[string]*huma.Response{},
		MaxBodyBytes: r.maxBody + 1, BodyReadTimeout: readTimeout, SkipValidateBody: true,
		Parameters: []*huma.Param{{
			Name: auth.TenantHeader, In: "header",
			Schema:      &huma.Schema{Type: huma.TypeString, Pattern: `^([a-z0-9][a-z0-9_-]{0,63})?$`},
			Description: "The tenant that a platform key acts for; without it, default.",
		}},
		Middlewares: huma.Middlewares{s.authorize(r)},
	}
	r.describeProblems(&op, schemas)
	r.describeTags(&op)
	r.describeOnce(&op)
	if r.answers != nil {
		op.Responses[strconv.Itoa(cmp.Or(r.status, http.StatusOK))] = &huma.Response{Content: r.answers}
	}
	if r.body != nil && !r.bodyOptional {
		op.Middlewares = append(op.Middlewares, s.wantBody)
	}
	if r.list != nil {
		r.list.describe(&op, schemas)
		op.Middlewares = append(op.Middlewares, s.readList(r.list.List))
	}
	return op
}

// describeBody adds the body to the description of a route's operation: bodies are decoded by hand, so the description is
// made by hand too.
func (r route) describeBody(api huma.API) {
	if r.body == nil {
		return
	}
	schemas := api.OpenAPI().Components.Schemas
	schema, ok := r.body.(*huma.Schema)
	if !ok {
		schema = schemas.Schema(reflect.TypeOf(r.body), true, "")
	}
	nullable(schemas, schema)
	described := api.OpenAPI().Paths["/api/v1/"+r.path]
	for _, o := range []*huma.Operation{described.Post, described.Put, described.Patch} {
		if o != nil && o.OperationID == r.id {
			o.RequestBody.Content = map[string]*huma.MediaType{cmp.Or(r.media, mediaJSON): {Schema: schema}}
			if r.orYAML {
				o.RequestBody.Content[mediaYAML] = yamlDocument()
			}
			o.RequestBody.Required = !r.bodyOptional
		}
	}
}

// yamlDocument describes a document as YAML.
func yamlDocument() *huma.MediaType {
	return &huma.MediaType{Schema: &huma.Schema{
		Type: huma.TypeObject, Description: "As JSON; names at the top that begin with x- are left out, so that they can hold anchors",
	}}
}

// describeProblems describes the answers that are no success.
func (r route) describeProblems(op *huma.Operation, schemas huma.Registry) {
	problems := append([]int{401, 403, 422, 429, 503}, r.problems...)
	if r.once {
		problems = append(problems, http.StatusConflict)
	}
	if r.tags {
		problems = append(problems, http.StatusPreconditionFailed) // a GET with If-Match too
	}
	for _, status := range problems {
		op.Responses[strconv.Itoa(status)] = &huma.Response{
			Description: http.StatusText(status),
			Content: map[string]*huma.MediaType{
				"application/problem+json": {Schema: schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")},
			},
		}
	}
	op.Responses["431"] = &huma.Response{
		Description: fmt.Sprintf("URL and headers have over %d KiB", maxHeaderBytes>>10),
		Content:     map[string]*huma.MediaType{"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}},
	}
}

// scopes are those that a key needs, for the description.
func (r route) scopes() []string {
	if r.scope == "" {
		return []string{}
	}
	return []string{string(r.scope)}
}

// authorize lets in whoever shows a key that has the route's scope, for a tenant that has what the route belongs to, and
// hands on who it is and what it demands.
func (s *Service) authorize(of route) func(huma.Context, func(huma.Context)) {
	return func(hc huma.Context, next func(huma.Context)) {
		ctx := hc.Context()
		r, w := humago.Unwrap(hc)
		c, err := s.authenticate(ctx, hc.Header("Authorization"), hc.Header(auth.TenantHeader))
		err = s.limited(ctx, r, w.Header(), c, err)
		if err == nil && of.scope != "" && !c.Allows(of.scope) {
			err = newProblem(http.StatusForbidden, fmt.Sprintf("the API key does not have the scope %s", of.scope))
		}
		if err == nil && of.needsWebhooks() {
			err = s.checkWebhooks(c.Tenant)
		}
		if err == nil {
			ctx = withAction(context.WithValue(ctx, callerKey, c), sqlstore.ByAPIKey, of.id)
			ctx, err = of.withTags(ctx, r.Header)
		}
		if err == nil {
			ctx, err = of.withOnce(ctx, r, w.Header())
		}
		if err != nil {
			writeProblem(w, r, s.problemOf(ctx, err))
			return
		}
		s.traced(ctx, of, hc, next)
	}
}

// traced has a request that was let in answered within its span.
func (s *Service) traced(ctx context.Context, of route, hc huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(hc)
	span := s.cfg.Publish.Trace.Request(trace.Parent(r.Header.Get(trace.Header)), of.method, "/api/v1/"+of.path)
	if rec, ok := w.(*recorder); ok {
		rec.trace = span.Context()
	}
	status := http.StatusInternalServerError // should it panic
	defer func() { span.Answered(status) }()
	next(huma.WithContext(hc, context.WithValue(ctx, traceKey, span.Context())))
	status = cmp.Or(hc.Status(), http.StatusOK)
}

// limited counts a request by its key, or, if nobody was let in for it, by where it came from. It errs as authenticated
// does, or with a 429. Who shows a valid key is never kept out for what others of its address do.
func (s *Service) limited(ctx context.Context, r *http.Request, header http.Header, c caller, authenticated error) error {
	switch {
	case errors.Is(authenticated, auth.ErrNoKey), errors.Is(authenticated, auth.ErrWrongKey):
		return cmp.Or(s.rates.spend(ctx, limitAddress, addressOf(r), header), authenticated)
	case c.Key.ID != "":
		return cmp.Or(s.rates.spend(ctx, limitKey, c.Key.ID, header), authenticated)
	}
	return authenticated
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
	now := time.Now()
	principal, err := auth.Authenticate(find, authorization, now)
	if err := failed(); err != nil {
		return caller{}, err
	}
	if err != nil {
		return caller{}, err
	}
	s.keyUses.saw(principal.Key, now)
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
