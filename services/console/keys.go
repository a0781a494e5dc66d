package console

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/auth"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

const (
	maxKeyName  = 150 // characters
	maxClientID = 256 // characters
)

// KeyInput is an API key to be made.
type KeyInput struct {
	Name              string   `json:"name" maxLength:"150" doc:"What it is for"`
	Scopes            []string `json:"scopes" enum:"events,webhooks,webhooks:read,deliveries,deliveries:read,admin"`
	Platform          bool     `json:"platform,omitempty" doc:"True: it acts for any tenant. Only a platform key can make one"`
	DeveloperClientID string   `json:"developer_client_id,omitempty" doc:"The third-party application that it is given to; webhooks made with it bear it"`
	ExpiresAt         string   `json:"expires_at,omitempty" format:"date-time" doc:"Empty: never"`
}

// Key is an API key. The key itself is told once, in the answer to its creation.
type Key struct {
	ID                string         `json:"id" format:"uuid"`
	Tenant            *string        `json:"tenant" doc:"Null: a platform key"`
	Name              string         `json:"name"`
	Prefix            string         `json:"prefix" doc:"Its first characters, to tell keys apart"`
	Scopes            []tenant.Scope `json:"scopes"`
	DeveloperClientID string         `json:"developer_client_id"`
	CreatedAt         time.Time      `json:"created_at"`
	ExpiresAt         *time.Time     `json:"expires_at"`
	Key               string         `json:"key,omitempty" doc:"Told once, at creation"`
}

func keyView(k tenant.APIKey) Key {
	v := Key{
		ID: k.ID, Name: k.Name, Prefix: k.Prefix, Scopes: k.Scopes, DeveloperClientID: k.DeveloperClientID,
		CreatedAt: k.CreatedAt, ExpiresAt: orNull(k.ExpiresAt),
	}
	if k.Tenant != "" {
		v.Tenant = &k.Tenant
	}
	return v
}

type keyListInput struct {
	Limit    int    `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"How many at most"`
	Cursor   string `query:"cursor" maxLength:"256" doc:"meta.next_cursor of the page before"`
	Platform bool   `query:"platform" doc:"True: the platform's own keys"`
}

func (s *Service) routeKeys(api huma.API) {
	add(s, api, route{
		id: "list-api-keys", method: http.MethodGet, path: "api-keys", summary: "List API keys", scope: tenant.ScopeAdmin,
	}, s.listKeys)
	add(s, api, route{
		id: "create-api-key", method: http.MethodPost, path: "api-keys", summary: "Make an API key", scope: tenant.ScopeAdmin,
		status: http.StatusCreated, body: KeyInput{}, maxBody: maxBody, problems: []int{413},
	}, s.createKey)
	add(s, api, route{
		id: "delete-api-key", method: http.MethodDelete, path: "api-keys/{id}", summary: "Revoke an API key", scope: tenant.ScopeAdmin,
		status: http.StatusNoContent, problems: []int{404},
	}, s.deleteKey)
}

func platformOnly(c caller) error {
	if !c.Platform() {
		return newProblem(http.StatusForbidden, "only a platform key may do this")
	}
	return nil
}

func (s *Service) listKeys(ctx context.Context, in *keyListInput) (*output[[]Key], error) {
	c := callerOf(ctx)
	of := c.Tenant
	if in.Platform {
		if err := platformOnly(c); err != nil {
			return nil, err
		}
		of = ""
	}
	store, err := s.sql()
	if err != nil {
		return nil, err
	}
	keys, next, err := store.APIKeys(ctx, of, sqlstore.Page{After: in.Cursor, Limit: in.Limit})
	if err != nil {
		return nil, err
	}
	views := make([]Key, len(keys))
	for i, k := range keys {
		views[i] = keyView(k)
	}
	return replyList(ctx, views, next), nil
}

func (s *Service) createKey(ctx context.Context, in *rawInput) (*output[Key], error) {
	now, c := time.Now().UTC(), callerOf(ctx)
	k, platform, err := decodeKey(in.RawBody, now)
	if err != nil {
		return nil, err
	}
	k.Tenant = c.Tenant
	if platform {
		if err := platformOnly(c); err != nil {
			return nil, err
		}
		k.Tenant = ""
	}
	store, err := s.sql()
	if err != nil {
		return nil, err
	}
	text := newKey()
	k.ID, k.Hash, k.Prefix = uuid.Must(uuid.NewV7()).String(), auth.Hash(text), auth.Prefix(text)
	if k, err = store.CreateAPIKey(ctx, k); err != nil {
		return nil, err
	}
	v := keyView(k)
	v.Key = text
	return reply(ctx, v), nil
}

func newKey() string {
	var random [24]byte
	_, _ = rand.Read(random[:]) // never errs
	return auth.NewKey(random)
}

func decodeKey(body []byte, now time.Time) (k tenant.APIKey, platform bool, err error) {
	var in KeyInput
	f := decode(body, &in, "")
	if len(f) > 0 {
		return tenant.APIKey{}, false, f
	}
	checkNUL(body, &f)
	if n := utf8.RuneCountInString(in.Name); n == 0 || n > maxKeyName {
		f.Add("name", "must have 1 to %d characters", maxKeyName)
	}
	if utf8.RuneCountInString(in.DeveloperClientID) > maxClientID {
		f.Add("developer_client_id", "has more than %d characters", maxClientID)
	}
	k = tenant.APIKey{
		Name: in.Name, Scopes: decodeScopes(in.Scopes, &f), DeveloperClientID: in.DeveloperClientID,
		CreatedAt: now, ExpiresAt: decodeTime(in.ExpiresAt, "expires_at", &f),
	}
	if !k.ExpiresAt.IsZero() && !k.ExpiresAt.After(now) {
		f.Add("expires_at", "is in the past")
	}
	return k, in.Platform, f.Err()
}

func decodeScopes(names []string, f *invalid.Fields) []tenant.Scope {
	if len(names) == 0 {
		f.Add("scopes", "needs at least one of %s", scopeNames())
	}
	var scopes []tenant.Scope
	for _, name := range names {
		scope := tenant.Scope(name)
		if !slices.Contains(tenant.Scopes(), scope) {
			f.Add("scopes", "%q is none of %s", clip(name), scopeNames())
		} else if !slices.Contains(scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	return scopes
}

func scopeNames() string {
	var names []string
	for _, s := range tenant.Scopes() {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}

func (s *Service) deleteKey(ctx context.Context, in *idInput) (*noOutput, error) {
	store, err := s.sql()
	if err != nil {
		return nil, err
	}
	if err := checkID(in.ID); err != nil {
		return nil, err
	}
	c := callerOf(ctx)
	err = store.DeleteAPIKey(ctx, c.Tenant, in.ID)
	if errors.Is(err, sqlstore.ErrNotFound) && c.Platform() {
		err = store.DeleteAPIKey(ctx, "", in.ID)
	}
	return nil, err
}

// firstKeyID is the id of the first platform key, the same in every installation, so that of
// several consoles that start at once one makes it.
func firstKeyID() string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://github.com/doorstep-dev/doorstep#first-key")).String()
}

// bootstrap makes what a new installation needs: the default tenant, and a platform key if there is
// none.
func (s *Service) bootstrap(ctx context.Context, store *sqlstore.Store) error {
	now := time.Now().UTC()
	if err := store.EnsureTenant(ctx, event.DefaultTenant, now); err != nil {
		return err
	}
	text := s.cfg.BootstrapKey
	if text == "" {
		text = newKey()
	}
	created, err := store.CreateFirstAPIKey(ctx, tenant.APIKey{
		ID: firstKeyID(), Name: "first key", Prefix: auth.Prefix(text), Hash: auth.Hash(text), Scopes: tenant.Scopes(), CreatedAt: now,
	})
	if err != nil || !created {
		return err
	}
	hash := auth.Hash(text)
	s.firstKey.Store(&hash)
	s.log.Info("first platform key made", "given", s.cfg.BootstrapKey != "")
	if s.cfg.BootstrapKey == "" && s.cfg.FirstKey != nil {
		s.cfg.FirstKey(text)
	}
	return nil
}
