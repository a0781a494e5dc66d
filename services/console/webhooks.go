package console

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

func (s *Service) routeWebhooks(api huma.API) {
	add(s, api, route{
		id: "list-webhooks", method: http.MethodGet, path: "webhooks", summary: "List webhooks, oldest first",
		scope: tenant.ScopeWebhooksRead,
	}, s.listWebhooks)
	add(s, api, route{
		id: "create-webhook", method: http.MethodPost, path: "webhooks", summary: "Register a webhook",
		scope: tenant.ScopeWebhooks, status: http.StatusCreated, body: WebhookInput{}, maxBody: maxBody, problems: []int{413},
	}, s.createWebhook)
	add(s, api, route{
		id: "get-webhook", method: http.MethodGet, path: "webhooks/{id}", summary: "Show a webhook",
		scope: tenant.ScopeWebhooksRead, problems: []int{404},
	}, s.getWebhook)
	add(s, api, route{
		id: "patch-webhook", method: http.MethodPatch, path: "webhooks/{id}", summary: "Change a webhook (merge patch, RFC 7396)",
		scope: tenant.ScopeWebhooks, body: WebhookInput{}, media: "application/merge-patch+json", maxBody: maxBody,
		problems: []int{404, 409, 413},
	}, s.patchWebhook)
	add(s, api, route{
		id: "delete-webhook", method: http.MethodDelete, path: "webhooks/{id}", summary: "Delete a webhook",
		scope: tenant.ScopeWebhooks, status: http.StatusNoContent, problems: []int{404},
	}, s.deleteWebhook)
}

// show is a webhook as the API answers it, with its secrets if secret.
func (s *Service) show(ctx context.Context, w webhook.Webhook, of tenant.Tenant, secret bool) Webhook {
	return s.views(ctx, []webhook.Webhook{w}, of, secret)[0]
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

func (s *Service) listWebhooks(ctx context.Context, in *listInput) (*output[[]Webhook], error) {
	store, of, err := s.storeAndTenant(ctx)
	if err != nil {
		return nil, err
	}
	webhooks, next, err := store.Webhooks(ctx, of.ID, in.page())
	if err != nil {
		return nil, err
	}
	return replyList(ctx, s.shows(ctx, webhooks, of), next), nil
}

func (s *Service) storeAndTenant(ctx context.Context) (*sqlstore.Store, tenant.Tenant, error) {
	store, err := s.sql()
	if err != nil {
		return nil, tenant.Tenant{}, err
	}
	of, err := tenantOf(ctx, store, callerOf(ctx).Tenant)
	return store, of, err
}

func (s *Service) createWebhook(ctx context.Context, in *rawInput) (*output[Webhook], error) {
	store, of, err := s.storeAndTenant(ctx)
	if err != nil {
		return nil, err
	}
	now, key := time.Now().UTC(), callerOf(ctx).Key
	w, said, err := patched(webhook.Webhook{Active: true}, in.RawBody)
	signs, secretErr := signingKey(said.Secret, random32())
	if err := s.checkTarget(ctx, w.URL, err, secretErr); err != nil {
		return nil, err
	}
	w.ID, w.Tenant = uuid.Must(uuid.NewV7()).String(), of.ID
	w.SigningKeys = withKeyPair([]webhook.SigningKey{signs}, said.wantsKeyPair(), random32(), now)
	w.APIKeyID, w.DeveloperClientID, w.ThirdParty = key.ID, key.DeveloperClientID, key.DeveloperClientID != ""
	w.CreatedAt, w.UpdatedAt = now, now
	if w, err = store.CreateWebhook(ctx, s.seal(w)); err != nil {
		return nil, err
	}
	return reply(ctx, s.show(ctx, w, of, true)), nil
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

func (s *Service) getWebhook(ctx context.Context, in *idInput) (*output[Webhook], error) {
	store, of, err := s.storeAndTenant(ctx)
	if err != nil {
		return nil, err
	}
	w, err := readWebhook(ctx, store, of.ID, in.ID)
	if err != nil {
		return nil, err
	}
	// Who may only read must not be able to sign.
	return reply(ctx, s.show(ctx, w, of, callerOf(ctx).Allows(tenant.ScopeWebhooks))), nil
}

func readWebhook(ctx context.Context, store *sqlstore.Store, of, id string) (webhook.Webhook, error) {
	if err := checkID(id); err != nil {
		return webhook.Webhook{}, err
	}
	return store.Webhook(ctx, of, id)
}

func (s *Service) patchWebhook(ctx context.Context, in *idRawInput) (*output[Webhook], error) {
	store, of, err := s.storeAndTenant(ctx)
	if err != nil {
		return nil, err
	}
	w, err := retried(func() (webhook.Webhook, error) { return s.patchOnce(ctx, store, of, in) })
	if err != nil {
		return nil, err
	}
	return reply(ctx, s.show(ctx, w, of, false)), nil
}

func (s *Service) patchOnce(ctx context.Context, store *sqlstore.Store, of tenant.Tenant, in *idRawInput) (webhook.Webhook, error) {
	was, err := readWebhook(ctx, store, of.ID, in.ID)
	if err != nil {
		return webhook.Webhook{}, err
	}
	w, said, err := patched(was, in.RawBody)
	if err == nil && said.Secret != "" {
		err = invalid.Fields{{Name: "secret", Message: "can be given at creation only; afterwards POST /api/v1/webhooks/{id}/rotate-secret replaces it"}}
	}
	url := w.URL
	if url == was.URL {
		url = "" // judged when it was registered, and again before each attempt
	}
	if err := s.checkTarget(ctx, url, err); err != nil {
		return webhook.Webhook{}, err
	}
	if activates(in.RawBody) {
		if w.Generation, err = s.activated(was, of, byKey); err != nil {
			return webhook.Webhook{}, err
		}
	}
	w.Held, w.UpdatedAt = s.held(was, w.Active), time.Now().UTC()
	w.SigningKeys = withKeyPair(w.SigningKeys, said.wantsKeyPair(), random32(), w.UpdatedAt)
	return store.UpdateWebhook(ctx, s.seal(w))
}

func (s *Service) deleteWebhook(ctx context.Context, in *idInput) (*noOutput, error) {
	store, err := s.sql()
	if err != nil {
		return nil, err
	}
	if err := checkID(in.ID); err != nil {
		return nil, err
	}
	return nil, store.DeleteWebhook(ctx, callerOf(ctx).Tenant, in.ID)
}
