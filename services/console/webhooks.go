package console

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/catalogue"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

func (s *Service) routeWebhooks(api huma.API) {
	add(s, api, route{
		id: "list-webhooks", method: http.MethodGet, path: "webhooks", summary: "List webhooks, oldest first",
		scope: tenant.ScopeWebhooksRead, list: listOf[Webhook](sqlstore.WebhookList(), unsorted()...),
	}, s.listWebhooks)
	add(s, api, route{
		id: "create-webhook", method: http.MethodPost, path: "webhooks", summary: "Register a webhook",
		scope: tenant.ScopeWebhooks, status: http.StatusCreated, body: WebhookBody{}, maxBody: maxBody, once: true, problems: []int{413},
	}, s.createWebhook)
	add(s, api, route{
		id: "get-webhook", method: http.MethodGet, path: "webhooks/{id}", summary: "Show a webhook",
		scope: tenant.ScopeWebhooksRead, tags: true, problems: []int{404}, list: oneOf[Webhook](),
	}, s.getWebhook)
	add(s, api, route{
		id: "patch-webhook", method: http.MethodPatch, path: "webhooks/{id}", summary: "Change a webhook (merge patch, RFC 7396)",
		scope: tenant.ScopeWebhooks, body: WebhookBody{}, media: "application/merge-patch+json", maxBody: maxBody,
		tags: true, problems: []int{404, 409, 413},
	}, s.patchWebhook)
	add(s, api, route{
		id: "delete-webhook", method: http.MethodDelete, path: "webhooks/{id}", summary: "Delete a webhook",
		scope: tenant.ScopeWebhooks, status: http.StatusNoContent, tags: true, problems: []int{404, 409},
	}, s.deleteWebhook)
}

// show is a webhook as the API answers it, with its secrets if secret.
func (s *Service) show(ctx context.Context, w webhook.Webhook, of tenant.Tenant, secret bool) Webhook {
	return s.views(ctx, []webhook.Webhook{w}, of, secret)[0]
}

// replyWebhook answers with a webhook, with its secrets if secret, and the tag that it has in an answer to GET.
func (s *Service) replyWebhook(ctx context.Context, w webhook.Webhook, of tenant.Tenant, secret bool) *tagged[Webhook] {
	v := s.show(ctx, w, of, callerOf(ctx).Allows(tenant.ScopeWebhooks))
	out := replyTagged(ctx, w.Version, v)
	if !secret {
		known := secrets{headers: v.Headers, publicKey: v.PublicKey}.masked()
		out.Body.Data.Headers, out.Body.Data.Secret = known.headers, ""
	}
	return out
}

// shows are webhooks as the API lists them.
func (s *Service) shows(ctx context.Context, webhooks []webhook.Webhook, of tenant.Tenant) []Webhook {
	return s.views(ctx, webhooks, of, false)
}

func (s *Service) views(ctx context.Context, webhooks []webhook.Webhook, of tenant.Tenant, secret bool) []Webhook {
	past, now := s.pastOf(ctx, webhooks), time.Now()
	views := make([]Webhook, len(webhooks))
	for i, w := range webhooks {
		state, known := s.states.Get(w.ID, w.Generation), s.secretsOf(ctx, w)
		if !secret {
			known = known.masked()
		}
		views[i] = past.over(view(w, known, of, state, now), state)
	}
	return views
}

func (s *Service) listWebhooks(ctx context.Context, _ *noInput) (*output[[]Webhook], error) {
	store, of, err := s.storeAndTenant(ctx)
	if err != nil {
		return nil, err
	}
	webhooks, found, err := store.Webhooks(ctx, of.ID, queryOf(ctx))
	if err != nil {
		return nil, err
	}
	return replyList(ctx, s.shows(ctx, webhooks, of), found), nil
}

func (s *Service) storeAndTenant(ctx context.Context) (*sqlstore.Store, tenant.Tenant, error) {
	store, err := s.sql()
	if err != nil {
		return nil, tenant.Tenant{}, err
	}
	of, err := tenantOf(ctx, store, callerOf(ctx).Tenant)
	return store, of, err
}

func (s *Service) createWebhook(ctx context.Context, in *rawInput) (*tagged[Webhook], error) {
	store, of, err := s.storeAndTenant(ctx)
	if err != nil {
		return nil, err
	}
	now, key := time.Now().UTC(), callerOf(ctx).Key
	ours, twice := heard(of.Profile, in.RawBody)
	w, said, err := patched(webhook.Webhook{Active: true}, ours.patch)
	signs, secretErr := signingKey(said.Secret, random32())
	notice, outside := checkCatalogue(ctx, store, of, webhook.Webhook{}, w)
	if err := s.checkTarget(ctx, w.URL, twice, err, secretErr, outside); err != nil {
		return nil, ours.told(of.Profile, err)
	}
	w.ID, w.Tenant = uuid.Must(uuid.NewV7()).String(), of.ID
	w.SigningKeys = withKeyPair([]webhook.SigningKey{signs}, said.wantsKeyPair(), random32(), now)
	w.APIKeyID, w.DeveloperClientID, w.ThirdParty = key.ID, key.DeveloperClientID, true
	w.CreatedAt, w.UpdatedAt = now, now
	w.Generation, w.Version = 1, 1
	answering(ctx, func() any { return s.replyWebhook(ctx, w, of, true) })
	if w, err = store.CreateWebhook(ctx, authorOf(ctx), s.seal(w)); err != nil {
		return nil, err
	}
	answer := s.replyWebhook(ctx, w, of, true)
	answer.Body.Meta.Notice = notice
	return answer, nil
}

// checkCatalogue errs with what of a webhook does not go with its tenant's catalogue; the notice is for its caller where it
// does. was is the webhook before.
func checkCatalogue(ctx context.Context, store *sqlstore.Store, of tenant.Tenant, was, w webhook.Webhook) (notice string, err error) {
	types, err := store.Outline(ctx, of.ID)
	if err != nil {
		return "", err
	}
	faults, notices := catalogue.CheckWebhook(of.Open, types, was, w)
	return strings.Join(notices, " "), faults.Err()
}

// checkTarget adds what is wrong with where a URL leads to the faults that were found already, so that
// a caller hears of all at once.
func (s *Service) checkTarget(ctx context.Context, url string, found ...error) error {
	var all invalid.Fields
	for _, err := range found {
		var f invalid.Fields
		if err != nil && !errors.As(err, &f) {
			return err
		}
		all = append(all, f...)
	}
	if url != "" {
		if err := s.target.check(ctx, url); err != nil {
			all.Add("url", "%s", err)
		}
	}
	return all.Err()
}

func (s *Service) getWebhook(ctx context.Context, in *idInput) (*tagged[Webhook], error) {
	store, of, err := s.storeAndTenant(ctx)
	if err != nil {
		return nil, err
	}
	w, err := readWebhook(ctx, store, of.ID, in.ID)
	if err != nil {
		return nil, err
	}
	// Who may only read must not be able to sign.
	return s.replyWebhook(ctx, w, of, callerOf(ctx).Allows(tenant.ScopeWebhooks)), nil
}

// readWebhook is a tenant's webhook. It errs with sqlstore.ErrNotFound, and as unmet does.
func readWebhook(ctx context.Context, store *sqlstore.Store, of, id string) (webhook.Webhook, error) {
	if err := checkID(id); err != nil {
		return webhook.Webhook{}, err
	}
	w, err := store.Webhook(ctx, of, id)
	if err == nil {
		err = unmet(ctx, w.Version)
	}
	return w, err
}

func (s *Service) patchWebhook(ctx context.Context, in *idRawInput) (*tagged[Webhook], error) {
	store, of, err := s.storeAndTenant(ctx)
	if err != nil {
		return nil, err
	}
	var notice string
	w, err := retried(func() (webhook.Webhook, error) { return s.patchOnce(ctx, store, of, in, &notice) })
	if err != nil {
		return nil, err
	}
	answer := s.replyWebhook(ctx, w, of, false)
	answer.Body.Meta.Notice = notice
	return answer, nil
}

func (s *Service) patchOnce(
	ctx context.Context, store *sqlstore.Store, of tenant.Tenant, in *idRawInput, notice *string,
) (webhook.Webhook, error) {
	was, err := readWebhook(ctx, store, of.ID, in.ID)
	if err != nil {
		return webhook.Webhook{}, err
	}
	ours, twice := heard(of.Profile, in.RawBody)
	w, said, err := patched(was, ours.patch)
	if err == nil && said.Secret != "" {
		err = invalid.Fields{{Name: "secret", Message: "can be given at creation only; afterwards POST /api/v1/webhooks/{id}/rotate-secret replaces it"}}
	}
	url := w.URL
	if url == was.URL {
		url = "" // judged when it was registered, and again before each attempt
	}
	told, outside := checkCatalogue(ctx, store, of, was, w)
	*notice = told
	if err := s.checkTarget(ctx, url, twice, err, outside); err != nil {
		return webhook.Webhook{}, ours.told(of.Profile, err)
	}
	if activates(ours.patch) {
		if w.Generation, err = s.activated(was, of, byKey); err != nil {
			return webhook.Webhook{}, err
		}
	}
	w.Held, w.UpdatedAt = s.held(was, w.Active), time.Now().UTC()
	w.SigningKeys = withKeyPair(w.SigningKeys, said.wantsKeyPair(), random32(), w.UpdatedAt)
	return store.UpdateWebhook(ctx, authorOf(ctx), s.seal(w))
}

func (s *Service) deleteWebhook(ctx context.Context, in *idInput) (*noOutput, error) {
	store, err := s.sql()
	if err != nil {
		return nil, err
	}
	of := callerOf(ctx).Tenant
	return nil, remove(ctx, func() (uint64, error) {
		w, err := readWebhook(ctx, store, of, in.ID)
		return w.Version, err
	}, func(version uint64) error { return store.DeleteWebhook(ctx, authorOf(ctx), of, in.ID, version) })
}
