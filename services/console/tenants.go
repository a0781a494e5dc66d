package console

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

// Tenant is one customer.
type Tenant struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Open      bool      `json:"open" doc:"Event types outside its catalogue are accepted"`
	Profile   string    `json:"profile" doc:"The profile last applied"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

func tenantView(t tenant.Tenant) Tenant {
	return Tenant{ID: t.ID, Name: t.Name, Open: t.Open, Profile: t.Profile, CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt}
}

// Me is the caller as Doorstep sees it.
type Me struct {
	Key    Key    `json:"key" doc:"The API key of this call"`
	Tenant string `json:"tenant" doc:"The tenant that this call acts for"`
}

func (s *Service) routeTenants(api huma.API) {
	add(s, api, route{
		id: "list-tenants", method: http.MethodGet, path: "tenants", scope: tenant.ScopeAdmin,
		summary: "List tenants: all for a platform key, else the key's own",
	}, s.listTenants)
	add(s, api, route{id: "me", method: http.MethodGet, path: "me", summary: "Who am I"}, s.me)
}

func (s *Service) listTenants(ctx context.Context, in *listInput) (*output[[]Tenant], error) {
	store, err := s.sql()
	if err != nil {
		return nil, err
	}
	var (
		tenants []tenant.Tenant
		next    string
	)
	if c := callerOf(ctx); c.Platform() {
		tenants, next, err = store.Tenants(ctx, in.page())
	} else {
		var own tenant.Tenant
		own, err = store.Tenant(ctx, c.Tenant)
		tenants = []tenant.Tenant{own}
	}
	if err != nil {
		return nil, err
	}
	views := make([]Tenant, len(tenants))
	for i, t := range tenants {
		views[i] = tenantView(t)
	}
	return replyList(ctx, views, next), nil
}

func (s *Service) me(ctx context.Context, _ *noInput) (*output[Me], error) {
	c := callerOf(ctx)
	return reply(ctx, Me{Key: keyView(c.Key), Tenant: c.Tenant}), nil
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
