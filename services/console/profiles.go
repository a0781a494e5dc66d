package console

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/doorstep-dev/doorstep/pkg/catalogue"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/lists"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

// ListedProfile is a profile that comes with Doorstep, or the one that was last applied to the tenant.
type ListedProfile struct {
	Profile     string `json:"profile"`
	Description string `json:"description"`
	EventTypes  int    `json:"event_types" doc:"How many it has"`
	Applied     bool   `json:"applied" doc:"It is the one that was last applied to the tenant"`
}

// AppliedProfile says what applying a profile did, or a change of it.
type AppliedProfile struct {
	Profile  string            `json:"profile"`
	Tenant   string            `json:"tenant"`
	Added    []string          `json:"added" doc:"Event types that the tenant did not have"`
	Changed  []string          `json:"changed" doc:"Event types that a profile brought, and this one says otherwise"`
	Removed  []string          `json:"removed" doc:"Event types of the profile before, which this one does not have"`
	Kept     []string          `json:"kept" doc:"Event types of the tenant's own, of names that the profile has too: they stay as they are"`
	Webhooks []WebhookOfNoType `json:"webhooks" doc:"Webhooks that want event types which the closed catalogue does not have, at most 100. They stay as they are; no events of these types can be published"`
}

// ProfilePatch changes what a profile says for a tenant.
type ProfilePatch struct {
	Description string                   `json:"description,omitempty" maxLength:"1024"`
	Open        bool                     `json:"open,omitempty" doc:"Event types outside its catalogue are accepted"`
	Policy      catalogue.ProfilePolicy  `json:"policy,omitzero"`
	Payload     catalogue.ProfilePayload `json:"payload,omitzero"`
	Features    map[string]bool          `json:"features,omitempty"`
	EventTypes  []catalogue.Entry        `json:"event_types,omitempty" maxItems:"1000" doc:"All that the profile brings: those that are not named go"`
}

// WebhookOfNoType is a webhook that wants what is not in the catalogue.
type WebhookOfNoType struct {
	ID         string   `json:"id"`
	Name       string   `json:"name"`
	EventTypes []string `json:"event_types" doc:"Those that the catalogue does not have"`
}

// maxOfNoType is how many such webhooks are told of.
const maxOfNoType = 100

type profileInput struct {
	ID     string `path:"id" maxLength:"64"`
	Format string `query:"format" enum:"json,yaml" doc:"yaml: as with Accept: application/yaml"`
	Accept string `header:"Accept"`
}

func (s *Service) routeProfiles(api huma.API) {
	add(s, api, route{
		id: "list-profiles", method: http.MethodGet, path: "profiles", summary: "List the profiles that come with Doorstep, and the tenant's",
		scope: tenant.ScopeWebhooksRead,
	}, s.listProfiles)
	whole := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Reply[catalogue.Profile]](), true, "")
	add(s, api, route{
		id: "get-profile", method: http.MethodGet, path: "profiles/{id}", summary: "Show a profile that comes with Doorstep, or that is applied to the tenant, as JSON or YAML",
		scope: tenant.ScopeWebhooksRead, problems: []int{404},
		answers: map[string]*huma.MediaType{mediaJSON: {Schema: whole}, mediaYAML: yamlDocument()},
	}, s.getProfile)
	add(s, api, route{
		id: "apply-profile", method: http.MethodPost, path: "profiles",
		summary: "Apply a profile to the tenant: one that comes with Doorstep by its name alone, or a whole one as JSON or YAML; for a platform key",
		scope:   tenant.ScopeAdmin, body: catalogue.Profile{}, orYAML: true, maxBody: maxDocument, problems: []int{413},
	}, s.applyProfile)
	add(s, api, route{
		id: "patch-profile", method: http.MethodPatch, path: "profiles/{id}",
		summary: "Change what the profile that is applied to the tenant says for it, by merge patch; for a platform key",
		scope:   tenant.ScopeAdmin, body: ProfilePatch{}, media: "application/merge-patch+json", maxBody: maxDocument, problems: []int{404, 409, 413},
	}, s.patchProfile)
	add(s, api, route{
		id: "delete-profile", method: http.MethodDelete, path: "profiles/{id}",
		summary: "Take back from the tenant what the profile brought; for a platform key",
		scope:   tenant.ScopeAdmin, status: http.StatusNoContent, problems: []int{404, 409},
	}, s.deleteProfile)
}

func (s *Service) listProfiles(ctx context.Context, _ *noInput) (*output[[]ListedProfile], error) {
	store, of, err := s.storeAndTenant(ctx)
	if err != nil {
		return nil, err
	}
	var views []ListedProfile
	for _, name := range catalogue.Shipped() {
		p, err := catalogue.Load(name)
		if err != nil {
			return nil, err
		}
		views = append(views, ListedProfile{name, p.Description, len(p.EventTypes), of.Profile == name})
	}
	if of.Profile != "" && !slices.Contains(catalogue.Shipped(), of.Profile) {
		types, err := store.Catalogue(ctx, of.ID)
		if err != nil {
			return nil, err
		}
		views = append(views, ListedProfile{of.Profile, "the tenant's own", len(catalogue.Applied(of.Profile, of, types).EventTypes), true})
	}
	return replyList(ctx, views, lists.Found{}), nil
}

func (s *Service) getProfile(ctx context.Context, in *profileInput) (*anyOutput, error) {
	document, is := catalogue.Document(in.ID)
	var p catalogue.Profile
	var err error
	if is {
		p, err = catalogue.Load(in.ID)
	} else {
		p, document, err = s.ownProfile(ctx, in.ID)
	}
	if err != nil {
		return nil, err
	}
	if asYAML(in.Format, in.Accept) {
		return &anyOutput{ContentType: mediaYAML, Body: document}, nil
	}
	return &anyOutput{ContentType: mediaJSON, Body: reply(ctx, p).Body}, nil
}

// ownProfile is a profile that does not come with Doorstep, and is applied to the caller's tenant.
func (s *Service) ownProfile(ctx context.Context, name string) (p catalogue.Profile, document []byte, err error) {
	store, of, err := s.storeAndTenant(ctx)
	if err == nil && (name == "" || of.Profile != name) {
		err = sqlstore.ErrNotFound
	}
	if err != nil {
		return p, nil, err
	}
	types, err := store.Catalogue(ctx, of.ID)
	if err != nil {
		return p, nil, err
	}
	p = catalogue.Applied(name, of, types)
	document, err = p.YAML()
	return p, document, err
}

// profileOf is the profile that a caller names or describes, checked but for its policy and payload.
func profileOf(media string, raw []byte) (catalogue.Profile, error) {
	var (
		p     catalogue.Profile
		names map[string]json.RawMessage
	)
	if err := readDocument(media, raw, &p); err != nil {
		return p, err
	}
	if err := readDocument(media, raw, &names); err != nil {
		return p, err
	}
	if len(names) > 1 || p.Name == "" {
		return p, p.CheckOwn().Err()
	}
	shipped, err := catalogue.Load(p.Name)
	if err != nil {
		return p, invalid.Fields{{Name: "profile", Message: err.Error() + "; or give a whole profile, with event_types"}}
	}
	return shipped, nil
}

func (s *Service) applyProfile(ctx context.Context, in *documentInput) (*output[AppliedProfile], error) {
	if err := platformOnly(callerOf(ctx)); err != nil {
		return nil, err
	}
	p, err := profileOf(in.ContentType, in.RawBody)
	if err != nil {
		return nil, err
	}
	return s.applied(ctx, func(tenant.Tenant, []tenant.EventType) (catalogue.Profile, error) { return p, nil })
}

func (s *Service) patchProfile(ctx context.Context, in *idRawInput) (*output[AppliedProfile], error) {
	if err := platformOnly(callerOf(ctx)); err != nil {
		return nil, err
	}
	return s.applied(ctx, func(t tenant.Tenant, types []tenant.EventType) (catalogue.Profile, error) {
		if err := appliedTo(t, in.ID); err != nil {
			return catalogue.Profile{}, err
		}
		p := catalogue.Applied(in.ID, t, types)
		now, err := merged(ProfilePatch{p.Description, p.Open, p.Policy, p.Payload, p.Features, p.EventTypes}, in.RawBody, []string{"profile", "names"})
		if err != nil {
			return p, err
		}
		p.Description, p.Open, p.Policy, p.Payload, p.Features, p.EventTypes = now.Description, now.Open, now.Policy, now.Payload, now.Features, now.EventTypes
		return p, p.CheckRest().Err()
	})
}

func (s *Service) deleteProfile(ctx context.Context, in *idInput) (*noOutput, error) {
	if err := platformOnly(callerOf(ctx)); err != nil {
		return nil, err
	}
	_, err := s.applied(ctx, func(t tenant.Tenant, _ []tenant.EventType) (catalogue.Profile, error) {
		return catalogue.Profile{Open: true}, appliedTo(t, in.ID)
	})
	return nil, err
}

// appliedTo errs if a profile is not the one that is applied to a tenant.
func appliedTo(t tenant.Tenant, name string) error {
	switch {
	case name != "" && t.Profile == name:
		return nil
	case slices.Contains(catalogue.Shipped(), name):
		return conflict("not_applied", name+" is not applied to the tenant, and comes with Doorstep as it is: POST /api/v1/profiles applies it")
	}
	return sqlstore.ErrNotFound
}

// applied gives the caller's tenant a profile that is decided by what the tenant has.
func (s *Service) applied(
	ctx context.Context, decide func(tenant.Tenant, []tenant.EventType) (catalogue.Profile, error),
) (*output[AppliedProfile], error) {
	store, err := s.sql()
	if err != nil {
		return nil, err
	}
	var (
		p      catalogue.Profile
		effect catalogue.Effect
		after  []tenant.EventType
		of     = callerOf(ctx).Tenant
	)
	err = store.ChangeCatalogue(ctx, authorOf(ctx), of, func(t tenant.Tenant, types []tenant.EventType) (tenant.Tenant, []tenant.EventType, error) {
		var err error
		if p, err = decide(t, types); err != nil {
			return t, nil, err
		}
		t, after, effect = p.Apply(t, types)
		if f := t.Check(); len(f) > 0 {
			return t, nil, f
		}
		return t, after, tooMany(after)
	})
	if err != nil {
		return nil, err
	}
	out := AppliedProfile{
		Profile: p.Name, Tenant: of, Added: orNone(effect.Added), Changed: orNone(effect.Changed), Removed: orNone(effect.Removed),
		Kept: orNone(effect.Kept), Webhooks: []WebhookOfNoType{},
	}
	more := 0
	if !p.Open {
		if out.Webhooks, more, err = ofNoType(ctx, store, of, after); err != nil {
			return nil, err
		}
	}
	answer := reply(ctx, out)
	if more > 0 {
		answer.Body.Meta.Notice = fmt.Sprintf("%d more webhooks want event types that the catalogue does not have", more)
	}
	return answer, nil
}

// ofNoType are a tenant's webhooks that want types which are not among these, and how many more there are than it tells of.
func ofNoType(ctx context.Context, store *sqlstore.Store, of string, types []tenant.EventType) (out []WebhookOfNoType, more int, err error) {
	out = []WebhookOfNoType{}
	for cursor := ""; ; {
		q, err := sqlstore.WebhookList().Page(lists.MaxLimit, cursor)
		if err != nil {
			return nil, 0, err
		}
		webhooks, found, err := store.Webhooks(ctx, of, q)
		if err != nil {
			return nil, 0, err
		}
		for _, w := range webhooks {
			missing := catalogue.Missing(types, w)
			switch {
			case len(missing) == 0:
			case len(out) == maxOfNoType:
				more++
			default:
				out = append(out, WebhookOfNoType{w.ID, w.Name, missing})
			}
		}
		if cursor = found.Next; cursor == "" {
			return out, more, nil
		}
	}
}

// orNone is a list for JSON, empty rather than null.
func orNone(names []string) []string { return append([]string{}, names...) }
