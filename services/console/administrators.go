package console

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

// AdministratorInput is what a caller may say of an administrator. Null and absent fields take the defaults.
type AdministratorInput struct {
	Email    string   `json:"email,omitempty" maxLength:"254" doc:"Required. One address; a tenant has it once, whatever its case" example:"admin@example.com"`
	Name     string   `json:"name,omitempty" maxLength:"150"`
	Language string   `json:"language,omitempty" maxLength:"35" doc:"Of the mails, a BCP 47 tag; default en. A language that there are no texts for gets English"`
	Notices  []string `json:"notices,omitempty" enum:"warning,disabled,gone,expiry" doc:"What to be told of; empty: everything"`
}

// Administrator gets a tenant's notices by mail.
type Administrator struct {
	ID        string    `json:"id" format:"uuid"`
	Email     string    `json:"email"`
	Name      string    `json:"name"`
	Language  string    `json:"language"`
	Notices   []string  `json:"notices" enum:"warning,disabled,gone,expiry" doc:"What it is told of; empty: everything"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

func administratorView(a tenant.Administrator) Administrator {
	return Administrator{
		ID: a.ID, Email: a.Email, Name: a.Name, Language: a.Language, Notices: append([]string{}, a.Notices...),
		CreatedAt: a.CreatedAt, UpdatedAt: a.UpdatedAt,
	}
}

func (s *Service) routeAdministrators(api huma.API) {
	add(s, api, route{
		id: "list-administrators", method: http.MethodGet, path: "administrators", scope: tenant.ScopeAdmin,
		summary: "List the tenant's administrators, oldest first", list: listOf[Administrator](sqlstore.AdministratorList(noticeKinds())),
	}, s.listAdministrators)
	add(s, api, route{
		id: "create-administrator", method: http.MethodPost, path: "administrators", scope: tenant.ScopeAdmin,
		summary: "Add an administrator, who is mailed when webhooks fail",
		status:  http.StatusCreated, body: AdministratorInput{}, maxBody: maxBody, once: true, problems: []int{409, 413},
	}, s.createAdministrator)
	add(s, api, route{
		id: "get-administrator", method: http.MethodGet, path: "administrators/{id}", scope: tenant.ScopeAdmin,
		summary: "Show an administrator", tags: true, problems: []int{404}, list: oneOf[Administrator](),
	}, s.getAdministrator)
	add(s, api, route{
		id: "patch-administrator", method: http.MethodPatch, path: "administrators/{id}", scope: tenant.ScopeAdmin,
		summary: "Change an administrator (merge patch, RFC 7396)", body: AdministratorInput{},
		media: "application/merge-patch+json", maxBody: maxBody, tags: true, problems: []int{404, 409, 413},
	}, s.patchAdministrator)
	add(s, api, route{
		id: "delete-administrator", method: http.MethodDelete, path: "administrators/{id}", scope: tenant.ScopeAdmin,
		summary: "Remove an administrator, who is mailed no more", status: http.StatusNoContent, tags: true, problems: []int{404, 409},
	}, s.deleteAdministrator)
}

func (s *Service) listAdministrators(ctx context.Context, _ *noInput) (*output[[]Administrator], error) {
	store, err := s.sql()
	if err != nil {
		return nil, err
	}
	administrators, found, err := store.Administrators(ctx, callerOf(ctx).Tenant, queryOf(ctx))
	if err != nil {
		return nil, err
	}
	views := make([]Administrator, len(administrators))
	for i, a := range administrators {
		views[i] = administratorView(a)
	}
	return replyList(ctx, views, found), nil
}

func (s *Service) createAdministrator(ctx context.Context, in *rawInput) (*tagged[Administrator], error) {
	now := time.Now().UTC()
	a, err := patchedAdministrator(tenant.Administrator{}, in.RawBody)
	if err != nil {
		return nil, err
	}
	store, err := s.sql()
	if err != nil {
		return nil, err
	}
	a.ID, a.Tenant = uuid.Must(uuid.NewV7()).String(), callerOf(ctx).Tenant
	a.CreatedAt, a.UpdatedAt = now, now
	a.Version = 1
	answering(ctx, func() any { return replyTagged(ctx, a.Version, administratorView(a)) })
	if a, err = store.CreateAdministrator(ctx, authorOf(ctx), a); err != nil {
		return nil, orTaken(err)
	}
	return replyTagged(ctx, a.Version, administratorView(a)), nil
}

// orTaken is err, or the problem that the tenant has the e-mail address already.
func orTaken(err error) error {
	if !errors.Is(err, sqlstore.ErrExists) {
		return err
	}
	p := newProblem(http.StatusConflict, "the tenant has an administrator with this e-mail address already")
	p.Errors = []FieldProblem{{Field: "email", Message: "is taken by another administrator"}}
	return p
}

func readAdministrator(ctx context.Context, store *sqlstore.Store, id string) (tenant.Administrator, error) {
	if err := checkID(id); err != nil {
		return tenant.Administrator{}, err
	}
	a, err := store.Administrator(ctx, callerOf(ctx).Tenant, id)
	if err == nil {
		err = unmet(ctx, a.Version)
	}
	return a, err
}

func (s *Service) getAdministrator(ctx context.Context, in *idInput) (*tagged[Administrator], error) {
	store, err := s.sql()
	if err != nil {
		return nil, err
	}
	a, err := readAdministrator(ctx, store, in.ID)
	if err != nil {
		return nil, err
	}
	return replyTagged(ctx, a.Version, administratorView(a)), nil
}

func (s *Service) patchAdministrator(ctx context.Context, in *idRawInput) (*tagged[Administrator], error) {
	store, err := s.sql()
	if err != nil {
		return nil, err
	}
	a, err := retried(func() (tenant.Administrator, error) {
		a, err := readAdministrator(ctx, store, in.ID)
		if err != nil {
			return tenant.Administrator{}, err
		}
		if a, err = patchedAdministrator(a, in.RawBody); err != nil {
			return tenant.Administrator{}, err
		}
		a.UpdatedAt = time.Now().UTC()
		return store.UpdateAdministrator(ctx, authorOf(ctx), a)
	})
	if err != nil {
		return nil, orTaken(err)
	}
	return replyTagged(ctx, a.Version, administratorView(a)), nil
}

func (s *Service) deleteAdministrator(ctx context.Context, in *idInput) (*noOutput, error) {
	store, err := s.sql()
	if err != nil {
		return nil, err
	}
	return nil, remove(ctx, func() (uint64, error) {
		a, err := readAdministrator(ctx, store, in.ID)
		return a.Version, err
	}, func(version uint64) error {
		return store.DeleteAdministrator(ctx, authorOf(ctx), callerOf(ctx).Tenant, in.ID, version)
	})
}

// patchedAdministrator is a with a merge patch (RFC 7396) applied.
func patchedAdministrator(a tenant.Administrator, patch []byte) (tenant.Administrator, error) {
	in, err := merged(AdministratorInput{Email: a.Email, Name: a.Name, Language: a.Language, Notices: a.Notices},
		patch, []string{"id", "created_at", "updated_at"})
	if err != nil {
		return tenant.Administrator{}, err
	}
	a.Email, a.Name, a.Language, a.Notices = in.Email, in.Name, cmp.Or(in.Language, tenant.DefaultLanguage), in.Notices
	return a, a.Check(noticeKinds()).Err()
}

func noticeKinds() []string {
	var names []string
	for _, k := range failure.NoticeKinds() {
		names = append(names, string(k))
	}
	return names
}
