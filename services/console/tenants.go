package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/lists"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

// Tenant is one customer.
type Tenant struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Open      bool      `json:"open" doc:"Event types outside its catalogue are accepted"`
	Policy    Policy    `json:"policy" doc:"Its own values; null: the installation's"`
	Payload   Payload   `json:"payload" doc:"Of its webhooks that say nothing else"`
	Features  Features  `json:"features"`
	Profile   string    `json:"profile" doc:"The profile last applied"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

func tenantView(t tenant.Tenant) Tenant {
	return Tenant{
		ID: t.ID, Name: t.Name, Open: t.Open, Policy: policyView(t.Policy), Payload: payloadView(t.Payload),
		Features: featuresView(t), Profile: t.Profile, CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt,
	}
}

// Me is the caller as Doorstep sees it.
type Me struct {
	APIKeyID          string  `json:"api_key_id" format:"uuid" doc:"Of the API key of this call; webhooks made with it bear it"`
	DeveloperClientID *string `json:"developer_client_id" doc:"The application that the key was given to; null: none"`
	Key               Key     `json:"key" doc:"The API key of this call"`
	Tenant            string  `json:"tenant" doc:"The tenant that this call acts for"`
}

func (s *Service) routeTenants(api huma.API) {
	add(s, api, route{
		id: "list-tenants", method: http.MethodGet, path: "tenants", scope: tenant.ScopeAdmin,
		summary: "List tenants: all for a platform key, else the key's own", list: listOf[Tenant](sqlstore.TenantList()),
	}, s.listTenants)
	add(s, api, route{
		id: "create-tenant", method: http.MethodPost, path: "tenants", summary: "Make a tenant; for a platform key",
		scope: tenant.ScopeAdmin, status: http.StatusCreated, body: TenantInput{}, maxBody: maxBody, once: true, problems: []int{409, 413},
	}, s.createTenant)
	add(s, api, route{
		id: "get-tenant", method: http.MethodGet, path: "tenants/{id}", summary: "Show a tenant: any for a platform key, else the key's own",
		scope: tenant.ScopeAdmin, tags: true, problems: []int{404}, list: oneOf[Tenant](),
	}, s.getTenant)
	add(s, api, route{
		id: "patch-tenant", method: http.MethodPatch, path: "tenants/{id}",
		summary: "Change a tenant (merge patch, RFC 7396); its own key may change name and payload only",
		scope:   tenant.ScopeAdmin, body: TenantInput{}, media: "application/merge-patch+json", maxBody: maxBody,
		tags: true, problems: []int{404, 409, 413},
	}, s.patchTenant)
	add(s, api, route{
		id: "delete-tenant", method: http.MethodDelete, path: "tenants/{id}",
		summary: "Delete a tenant that owns neither webhooks nor API keys, with its administrators; for a platform key",
		scope:   tenant.ScopeAdmin, status: http.StatusNoContent, tags: true, problems: []int{404, 409},
	}, s.deleteTenant)
	add(s, api, route{id: "me", method: http.MethodGet, path: "me", summary: "Who am I"}, s.me)
}

func (s *Service) listTenants(ctx context.Context, _ *noInput) (*output[[]Tenant], error) {
	store, err := s.sql()
	if err != nil {
		return nil, err
	}
	var (
		tenants []tenant.Tenant
		found   lists.Found
	)
	if c := callerOf(ctx); c.Platform() {
		tenants, found, err = store.Tenants(ctx, queryOf(ctx))
	} else {
		tenants, found, err = store.OwnTenant(ctx, c.Tenant, queryOf(ctx))
	}
	if err != nil {
		return nil, err
	}
	views := make([]Tenant, len(tenants))
	for i, t := range tenants {
		views[i] = tenantView(t)
	}
	return replyList(ctx, views, found), nil
}

func (s *Service) createTenant(ctx context.Context, in *rawInput) (*tagged[Tenant], error) {
	if err := platformOnly(callerOf(ctx)); err != nil {
		return nil, err
	}
	t, err := newTenant(in.RawBody)
	if err != nil {
		return nil, err
	}
	store, err := s.sql()
	if err != nil {
		return nil, err
	}
	t.CreatedAt = time.Now().UTC()
	t.UpdatedAt = t.CreatedAt
	t.Version = 1
	answering(ctx, func() any { return replyTagged(ctx, t.Version, tenantView(t)) })
	t, err = store.CreateTenant(ctx, authorOf(ctx), t)
	if errors.Is(err, sqlstore.ErrExists) {
		return nil, newProblem(http.StatusConflict, "there is a tenant of that id already; PATCH changes it")
	}
	if err != nil {
		return nil, err
	}
	return replyTagged(ctx, t.Version, tenantView(t)), nil
}

// readTenant is the tenant of that id, if the caller may see it.
func (s *Service) readTenant(ctx context.Context, store *sqlstore.Store, id string) (tenant.Tenant, error) {
	if c := callerOf(ctx); !event.ValidTenant(id) || !c.Platform() && id != c.Tenant {
		return tenant.Tenant{}, sqlstore.ErrNotFound
	}
	t, err := store.Tenant(ctx, id)
	if err == nil {
		err = unmet(ctx, t.Version)
	}
	return t, err
}

func (s *Service) getTenant(ctx context.Context, in *idInput) (*tagged[Tenant], error) {
	store, err := s.sql()
	if err != nil {
		return nil, err
	}
	t, err := s.readTenant(ctx, store, in.ID)
	if err != nil {
		return nil, err
	}
	return replyTagged(ctx, t.Version, tenantView(t)), nil
}

func (s *Service) patchTenant(ctx context.Context, in *idRawInput) (*tagged[Tenant], error) {
	store, err := s.sql()
	if err != nil {
		return nil, err
	}
	t, err := retried(func() (tenant.Tenant, error) { return s.patchTenantOnce(ctx, store, in) })
	if err != nil {
		return nil, err
	}
	return replyTagged(ctx, t.Version, tenantView(t)), nil
}

func (s *Service) patchTenantOnce(ctx context.Context, store *sqlstore.Store, in *idRawInput) (tenant.Tenant, error) {
	t, err := s.readTenant(ctx, store, in.ID)
	if err != nil {
		return tenant.Tenant{}, err
	}
	if !callerOf(ctx).Platform() {
		if err := checkOwnPatch(in.RawBody); err != nil {
			return tenant.Tenant{}, err
		}
	}
	if t, err = patchedTenant(t, in.RawBody); err != nil {
		return tenant.Tenant{}, err
	}
	t.UpdatedAt = time.Now().UTC()
	return store.UpdateTenant(ctx, authorOf(ctx), t)
}

func (s *Service) deleteTenant(ctx context.Context, in *idInput) (*noOutput, error) {
	if err := platformOnly(callerOf(ctx)); err != nil {
		return nil, err
	}
	store, err := s.sql()
	if err != nil {
		return nil, err
	}
	if _, err := s.readTenant(withoutDemand(ctx), store, in.ID); err != nil {
		return nil, err
	}
	if in.ID == event.DefaultTenant {
		return nil, newProblem(http.StatusConflict, "this tenant is the installation's own: a platform key that names no tenant acts for it")
	}
	err = remove(ctx, func() (uint64, error) {
		t, err := s.readTenant(ctx, store, in.ID)
		return t.Version, err
	}, func(version uint64) error { return store.DeleteTenant(ctx, authorOf(ctx), in.ID, version) })
	if use := new(sqlstore.TenantInUseError); errors.As(err, &use) {
		return nil, newProblem(http.StatusConflict, fmt.Sprintf("the tenant %s; delete these first", use))
	}
	if err == nil {
		s.tenants.Delete(in.ID)
	}
	return nil, err
}

func (s *Service) me(ctx context.Context, _ *noInput) (*output[Me], error) {
	c := callerOf(ctx)
	return reply(ctx, Me{
		APIKeyID: c.Key.ID, DeveloperClientID: textOrNull(c.Key.DeveloperClientID), Key: keyView(c.Key), Tenant: c.Tenant,
	}), nil
}

// tenantOf is the tenant with its policy; one that nobody named yet is open, with the defaults.
func tenantOf(ctx context.Context, store *sqlstore.Store, id string) (tenant.Tenant, error) {
	t, err := store.Tenant(ctx, id)
	if errors.Is(err, sqlstore.ErrNotFound) {
		return tenant.Tenant{ID: id, Open: true}, nil
	}
	return t, err
}

// checkID errs like a missing row for what cannot be an id.
func checkID(id string) error {
	if _, err := uuid.Parse(id); err != nil || len(id) != 36 {
		return sqlstore.ErrNotFound
	}
	return nil
}

// orNull is a time for JSON, null for the zero time.
func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
