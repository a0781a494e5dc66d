package console

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/doorstep-dev/doorstep/pkg/catalogue"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/lists"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

// Media types of catalogues.
const (
	mediaJSON   = "application/json"
	mediaYAML   = "application/yaml"
	mediaSchema = "application/schema+json"
)

// maxDocument bounds catalogues and profiles, in bytes. A shipped one has 20 KiB.
const maxDocument = 4 << 20

// EventType is an entry of a tenant's catalogue. Lists leave out its schema and its example, unless show names them.
type EventType struct {
	catalogue.Entry
	Profile   string    `json:"profile" doc:"The profile that brought it; empty: it is the tenant's own, and no profile changes it"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

func eventTypeView(t tenant.EventType) EventType {
	return EventType{Entry: catalogue.EntryOf(t), Profile: t.Profile, CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt}
}

type (
	typeInput struct {
		Type string `path:"type" maxLength:"128"`
	}
	schemaInput struct {
		Type string `path:"type" maxLength:"128"`
		Of   string `query:"of" enum:"data,body" default:"data" doc:"Of the events' data, or of the body that webhooks are sent that say nothing else than the tenant"`
	}
	eventTypesInput struct {
		Format  string `query:"format" enum:"json,yaml" doc:"yaml: the whole catalogue as a document, as with Accept: application/yaml, whatever else is asked"`
		Profile string `query:"profile" maxLength:"64" doc:"Of YAML: a profile of this name, with the tenant's policy and payload"`
		Accept  string `header:"Accept"`
	}
	// anyOutput is JSON or bytes of another media type.
	anyOutput struct {
		ContentType string `header:"Content-Type"`
		Body        any
	}
)

// asYAML reports whether a caller asks for YAML.
func asYAML(format, accept string) bool {
	return format == "yaml" || format == "" && strings.Contains(accept, "yaml")
}

func (s *Service) routeEventTypes(api huma.API) {
	views := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Reply[[]EventType]](), true, "")
	answers := map[string]*huma.MediaType{mediaJSON: {Schema: views}, mediaYAML: yamlDocument()}
	for _, r := range []route{
		{id: "list-event-types", path: "event-types", summary: "List the tenant's event types by name, or export them as YAML"},
		{id: "list-webhook-events", path: "webhooks/events", summary: "List the event types that webhooks may want: the same as event-types"},
	} {
		r.method, r.scope, r.answers, r.list = http.MethodGet, tenant.ScopeWebhooksRead, answers, eventTypeList()
		add(s, api, r, s.listEventTypes)
	}
	add(s, api, route{
		id: "create-event-type", method: http.MethodPost, path: "event-types", summary: "Add an event type to the tenant's catalogue",
		scope: tenant.ScopeAdmin, status: http.StatusCreated, body: catalogue.Entry{}, maxBody: maxBody, once: true, problems: []int{409, 413},
	}, s.createEventType)
	add(s, api, route{
		id: "import-event-types", method: http.MethodPut, path: "event-types",
		summary: "Add or replace many event types at once, from JSON or YAML; others stay", scope: tenant.ScopeAdmin,
		body: catalogue.Types{}, orYAML: true, maxBody: maxDocument, problems: []int{413},
	}, s.importEventTypes)
	add(s, api, route{
		id: "get-event-type", method: http.MethodGet, path: "event-types/{type}", summary: "Show an event type with its schema and example",
		scope: tenant.ScopeWebhooksRead, problems: []int{404}, tags: true, list: oneByKey[EventType]("type"),
	}, s.getEventType)
	add(s, api, route{
		id: "put-event-type", method: http.MethodPut, path: "event-types/{type}",
		summary: "Add or replace an event type; it is the tenant's own from then on", scope: tenant.ScopeAdmin,
		body: catalogue.Entry{}, maxBody: maxBody, problems: []int{413}, tags: true, also: []int{http.StatusCreated},
	}, s.putEventType)
	add(s, api, route{
		id: "delete-event-type", method: http.MethodDelete, path: "event-types/{type}",
		summary: "Take an event type out of the catalogue; webhooks that want it stay as they are", scope: tenant.ScopeAdmin,
		status: http.StatusNoContent, problems: []int{404}, tags: true,
	}, s.deleteEventType)
	add(s, api, route{
		id: "get-event-type-schema", method: http.MethodGet, path: "event-types/{type}/schema",
		summary: "The JSON Schema (2020-12) of an event type's data, or of the bodies that are sent", scope: tenant.ScopeWebhooksRead,
		problems: []int{404}, answers: map[string]*huma.MediaType{mediaSchema: {Schema: &huma.Schema{}}},
	}, s.getEventTypeSchema)
}

func (s *Service) listEventTypes(ctx context.Context, in *eventTypesInput) (*anyOutput, error) {
	store, of, err := s.storeAndTenant(ctx)
	if err != nil {
		return nil, err
	}
	if asYAML(in.Format, in.Accept) {
		return exported(ctx, store, of, in.Profile)
	}
	if in.Profile != "" {
		return nil, invalid.Fields{{Name: "profile", Message: "is a parameter of format=yaml"}}
	}
	q := queryOf(ctx)
	types, found, err := store.EventTypes(ctx, of.ID, q.Fields.Named("schema") || q.Fields.Named("example"), q)
	if err != nil {
		return nil, err
	}
	views := make([]EventType, len(types))
	for i, t := range types {
		views[i] = eventTypeView(t)
	}
	return &anyOutput{ContentType: mediaJSON, Body: replyList(ctx, views, found).Body}, nil
}

// eventTypeList is what a list of event types can be asked.
func eventTypeList() *listing {
	return listOf[EventType](sqlstore.EventTypeList(catalogue.Kinds()),
		lists.Apart{Names: []string{"schema", "example"}, Why: "is JSON, and listed only if show names it"})
}

// exported is a tenant's catalogue as YAML: its types, or, with a name, a profile.
func exported(ctx context.Context, store *sqlstore.Store, of tenant.Tenant, name string) (*anyOutput, error) {
	types, err := store.Catalogue(ctx, of.ID)
	if err != nil {
		return nil, err
	}
	document, err := catalogue.Types{EventTypes: catalogue.Entries(types)}.YAML()
	if name != "" {
		p := catalogue.ProfileOf(name, of, types)
		if faults := p.CheckOwn(); len(faults) > 0 {
			return nil, faults
		}
		document, err = p.YAML()
	}
	if err != nil {
		return nil, err
	}
	return &anyOutput{ContentType: mediaYAML, Body: document}, nil
}

func (s *Service) getEventType(ctx context.Context, in *typeInput) (*tagged[EventType], error) {
	t, err := s.eventType(ctx, in.Type)
	if err == nil {
		err = unmet(ctx, t.Version)
	}
	if err != nil {
		return nil, err
	}
	return replyTagged(ctx, t.Version, eventTypeView(t)), nil
}

func (s *Service) eventType(ctx context.Context, name string) (tenant.EventType, error) {
	store, err := s.sql()
	if err != nil {
		return tenant.EventType{}, err
	}
	if !event.ValidType(name) {
		return tenant.EventType{}, sqlstore.ErrNotFound
	}
	return store.EventType(ctx, callerOf(ctx).Tenant, name)
}

func (s *Service) getEventTypeSchema(ctx context.Context, in *schemaInput) (*anyOutput, error) {
	t, err := s.eventType(ctx, in.Type)
	if err != nil {
		return nil, err
	}
	schema := t.Schema
	if in.Of == "body" {
		_, of, err := s.storeAndTenant(ctx)
		if err != nil {
			return nil, err
		}
		schema = catalogue.BodySchema(t, of.Payload)
	}
	if len(schema) == 0 {
		return nil, newProblem(http.StatusNotFound, "the event type has no schema")
	}
	return &anyOutput{ContentType: mediaSchema, Body: schema}, nil
}

// readDocument reads JSON, or YAML if the media type says so, into a struct.
func readDocument(media string, raw []byte, into any) error {
	if strings.Contains(media, "yaml") {
		var err error
		if raw, err = catalogue.FromYAML(raw); err != nil {
			return invalid.Fields{{Name: "body", Message: err.Error()}}
		}
	}
	var said map[string]json.RawMessage
	f := decode(raw, &said, "")
	if len(f) == 0 && said == nil {
		f.Add("body", "must be an object")
	}
	if len(f) == 0 {
		f = decode(raw, into, "")
	}
	if len(f) == 0 {
		checkNUL(raw, &f)
	}
	return f.Err()
}

// tooMany says that a catalogue would hold more types than it may.
func tooMany(types []tenant.EventType) error {
	if n := len(types); n > catalogue.MaxTypes {
		return invalid.Fields{{Name: "event_types", Message: fmt.Sprintf("the catalogue would have %d, the limit is %d", n, catalogue.MaxTypes)}}
	}
	return nil
}

// compareTypes orders by name.
func compareTypes(a, b tenant.EventType) int { return cmp.Compare(a.Type, b.Type) }
