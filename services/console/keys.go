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
	Name              string   `json:"name" minLength:"1" maxLength:"150" doc:"What it is for"`
	Scopes            []string `json:"scopes" minItems:"1" enum:"events,webhooks,webhooks:read,deliveries,deliveries:read,admin"`
	Platform          bool     `json:"platform,omitempty" doc:"True: it acts for any tenant. Only a platform key can make one"`
	DeveloperClientID string   `json:"developer_client_id,omitempty" maxLength:"256" doc:"The third-party application that it is given to; webhooks made with it bear it"`
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
	UpdatedAt         *time.Time     `json:"updated_at" doc:"Null: not changed since it was made"`
	ExpiresAt         *time.Time     `json:"expires_at"`
	LastUsedAt        *time.Time     `json:"last_used_at" doc:"The last call of the REST API, or sign-in to the web console, to the minute; null: none. Publishing over gRPC does not count: ingest never opens SQL"`
	Key               string         `json:"key,omitempty" doc:"Told once, at creation"`
}

func keyView(k tenant.APIKey) Key {
	v := Key{
		ID: k.ID, Name: k.Name, Prefix: k.Prefix, Scopes: k.Scopes, DeveloperClientID: k.DeveloperClientID,
		CreatedAt: k.CreatedAt, UpdatedAt: orNull(k.UpdatedAt), ExpiresAt: orNull(k.ExpiresAt), LastUsedAt: orNull(k.LastUsedAt),
	}
	if k.Tenant != "" {
		v.Tenant = &k.Tenant
	}
	return v
}

type keyListInput struct {
	Platform bool `query:"platform" doc:"True: the platform's own keys"`
}

func (s *Service) routeKeys(api huma.API) {
	add(s, api, route{
		id: "list-api-keys", method: http.MethodGet, path: "api-keys", summary: "List API keys", scope: tenant.ScopeAdmin,
		list: listOf[Key](sqlstore.APIKeyList()),
	}, s.listKeys)
	add(s, api, route{
		id: "create-api-key", method: http.MethodPost, path: "api-keys", summary: "Make an API key", scope: tenant.ScopeAdmin,
		status: http.StatusCreated, body: KeyInput{}, maxBody: maxBody, once: true, problems: []int{413},
	}, s.createKey)
	add(s, api, route{
		id: "get-api-key", method: http.MethodGet, path: "api-keys/{id}", summary: "Show an API key", scope: tenant.ScopeAdmin,
		tags: true, problems: []int{404}, list: oneOf[Key](),
	}, s.getKey)
	add(s, api, route{
		id: "patch-api-key", method: http.MethodPatch, path: "api-keys/{id}", scope: tenant.ScopeAdmin,
		summary: "Change an API key's name, scopes or expiry (merge patch, RFC 7396)", body: KeyPatch{},
		media: "application/merge-patch+json", maxBody: maxBody, tags: true, problems: []int{404, 409, 413},
	}, s.patchKey)
	add(s, api, route{
		id: "delete-api-key", method: http.MethodDelete, path: "api-keys/{id}", summary: "Revoke an API key", scope: tenant.ScopeAdmin,
		status: http.StatusNoContent, tags: true, problems: []int{404, 409},
	}, s.deleteKey)
}

func platformOnly(c caller) error {
	if !c.Platform() {
		return newProblem(http.StatusForbidden, "only a platform key may do this")
	}
	return nil
}

// asks is whose rows a list is to have: the tenant's, or "" for the platform's own, which are for its keys.
func (c caller) asks(platform bool) (tenantID string, err error) {
	if !platform {
		return c.Tenant, nil
	}
	return "", platformOnly(c)
}

func (s *Service) listKeys(ctx context.Context, in *keyListInput) (*output[[]Key], error) {
	of, err := callerOf(ctx).asks(in.Platform)
	if err != nil {
		return nil, err
	}
	store, err := s.sql()
	if err != nil {
		return nil, err
	}
	keys, found, err := store.APIKeys(ctx, of, queryOf(ctx))
	if err != nil {
		return nil, err
	}
	views := make([]Key, len(keys))
	for i, k := range keys {
		views[i] = keyView(k)
	}
	return replyList(ctx, views, found), nil
}

func (s *Service) createKey(ctx context.Context, in *rawInput) (*tagged[Key], error) {
	now, c := time.Now().UTC(), callerOf(ctx)
	k, platform, err := decodeKey(in.RawBody, now)
	if err != nil {
		return nil, err
	}
	if err := c.mayGive(k.Scopes, nil); err != nil {
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
	k.Version = 1
	answering(ctx, func() any { return replyTagged(ctx, k.Version, keyView(k)) })
	if k, err = store.CreateAPIKey(ctx, authorOf(ctx), k); err != nil {
		return nil, err
	}
	out := replyTagged(ctx, k.Version, keyView(k))
	out.Body.Data.Key = text
	return out, nil
}

// mayGive errs unless the caller has every scope that is given to a key, but for those that the key had: what a key may do
// is never more than what the one who made it so may.
func (c caller) mayGive(scopes, had []tenant.Scope) error {
	var missing []string
	for _, scope := range scopes {
		if !c.Allows(scope) && !(auth.Principal{Key: tenant.APIKey{Scopes: had}}).Allows(scope) {
			missing = append(missing, string(scope))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	p := newProblem(http.StatusForbidden, "an API key cannot give scopes that it does not have: "+strings.Join(missing, ", "))
	p.Errors = []FieldProblem{{Field: "scopes", Message: "may hold those of the key that makes the call only"}}
	return p
}

// readKey is the key of that id: of the tenant, or, for a platform key, of the platform. It errs as unmet does.
func readKey(ctx context.Context, store *sqlstore.Store, id string) (tenant.APIKey, error) {
	if err := checkID(id); err != nil {
		return tenant.APIKey{}, err
	}
	c := callerOf(ctx)
	k, err := store.APIKey(ctx, c.Tenant, id)
	if errors.Is(err, sqlstore.ErrNotFound) && c.Platform() {
		k, err = store.APIKey(ctx, "", id)
	}
	if err == nil {
		err = unmet(ctx, k.Version)
	}
	return k, err
}

func (s *Service) getKey(ctx context.Context, in *idInput) (*tagged[Key], error) {
	store, err := s.sql()
	if err != nil {
		return nil, err
	}
	k, err := readKey(ctx, store, in.ID)
	if err != nil {
		return nil, err
	}
	return replyTagged(ctx, k.Version, keyView(k)), nil
}

// KeyPatch is what can be changed of an API key. Absent fields stay; expires_at null: never.
type KeyPatch struct {
	Name      string   `json:"name,omitempty" maxLength:"150"`
	Scopes    []string `json:"scopes,omitempty" enum:"events,webhooks,webhooks:read,deliveries,deliveries:read,admin" doc:"None that the key of the call does not have, but for those that this one had"`
	ExpiresAt string   `json:"expires_at,omitempty" format:"date-time" doc:"Null: never. In the future, unless it stays as it is"`
}

func (s *Service) patchKey(ctx context.Context, in *idRawInput) (*tagged[Key], error) {
	store, err := s.sql()
	if err != nil {
		return nil, err
	}
	k, err := retried(func() (tenant.APIKey, error) {
		was, err := readKey(ctx, store, in.ID)
		if err != nil {
			return tenant.APIKey{}, err
		}
		k, err := patchedKey(was, in.RawBody, time.Now().UTC())
		if err == nil {
			err = callerOf(ctx).mayGive(k.Scopes, was.Scopes)
		}
		if err != nil {
			return tenant.APIKey{}, err
		}
		return store.UpdateAPIKey(ctx, authorOf(ctx), k)
	})
	if err != nil {
		return nil, err
	}
	return replyTagged(ctx, k.Version, keyView(k)), nil
}

// patchedKey is k with a merge patch (RFC 7396) applied at now.
func patchedKey(k tenant.APIKey, patch []byte, now time.Time) (tenant.APIKey, error) {
	before := KeyPatch{Name: k.Name, ExpiresAt: timeText(k.ExpiresAt)}
	for _, scope := range k.Scopes {
		before.Scopes = append(before.Scopes, string(scope))
	}
	in, err := merged(before, patch, []string{"id", "tenant", "platform", "prefix", "developer_client_id", "created_at", "updated_at", "last_used_at", "key"})
	if err != nil {
		return tenant.APIKey{}, err
	}
	var f invalid.Fields
	checkKeyName(in.Name, &f)
	k.Name, k.Scopes, k.UpdatedAt = in.Name, decodeScopes(in.Scopes, &f), now
	if in.ExpiresAt != before.ExpiresAt {
		k.ExpiresAt = decodeExpiry(in.ExpiresAt, now, &f)
	}
	return k, f.Err()
}

func checkKeyName(name string, f *invalid.Fields) {
	if n := utf8.RuneCountInString(name); n == 0 || n > maxKeyName {
		f.Add("name", "must have 1 to %d characters", maxKeyName)
	}
}

// decodeExpiry reads when a key ends; empty: never.
func decodeExpiry(text string, now time.Time, f *invalid.Fields) time.Time {
	at := decodeTime(text, "expires_at", f)
	if !at.IsZero() && !at.After(now) {
		f.Add("expires_at", "is in the past")
	}
	return at
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
	checkKeyName(in.Name, &f)
	if utf8.RuneCountInString(in.DeveloperClientID) > maxClientID {
		f.Add("developer_client_id", "has more than %d characters", maxClientID)
	}
	k = tenant.APIKey{
		Name: in.Name, Scopes: decodeScopes(in.Scopes, &f), DeveloperClientID: in.DeveloperClientID,
		CreatedAt: now, ExpiresAt: decodeExpiry(in.ExpiresAt, now, &f),
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
	var of string
	return nil, remove(ctx, func() (uint64, error) {
		k, err := readKey(ctx, store, in.ID)
		of = k.Tenant
		return k.Version, err
	}, func(version uint64) error { return store.DeleteAPIKey(ctx, authorOf(ctx), of, in.ID, version) })
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
	if err := store.EnsureTenant(ctx, doorstep("bootstrap", now), event.DefaultTenant, now); err != nil {
		return err
	}
	text := s.cfg.BootstrapKey
	if text == "" {
		text = newKey()
	}
	created, err := store.CreateFirstAPIKey(ctx, doorstep("bootstrap", now), tenant.APIKey{
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
