package console

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// For how long a replaced key signs beside the new one.
const (
	defaultOverlap = 24 * time.Hour
	maxOverlap     = 7 * 24 * time.Hour
)

// RotateSecretInput says how a webhook's secret is replaced. Null and absent fields take the defaults.
type RotateSecretInput struct {
	Scheme         string `json:"scheme,omitempty" enum:"v1,v1a" doc:"v1: the secret. v1a: the ed25519 key pair, which is made if there is none. Default v1"`
	Secret         string `json:"secret,omitempty" doc:"Of v1 only: whsec_ and base64 of 24 to 64 random bytes. Default: one is generated"`
	OverlapSeconds *int   `json:"overlap_seconds,omitempty" minimum:"0" maximum:"604800" doc:"For how long the former keys of the scheme sign too; 0: they end at once. Default 86400, a day"`
}

func (s *Service) routeRotate(api huma.API) {
	add(s, api, route{
		id: "rotate-webhook-secret", method: http.MethodPost, path: "webhooks/{id}/rotate-secret",
		summary: "Replace a webhook's secret; for a while deliveries are signed with the former one too",
		scope:   tenant.ScopeWebhooks, body: RotateSecretInput{}, bodyOptional: true, maxBody: maxBody, tags: true, once: true, problems: []int{404, 409, 413},
	}, s.rotateSecret)
}

// rotateSecret makes a new key and shows the webhook with it.
func (s *Service) rotateSecret(ctx context.Context, in *idRawInput) (*tagged[Webhook], error) {
	store, of, err := s.storeAndTenant(ctx)
	if err != nil {
		return nil, err
	}
	key, overlap, err := decodeRotation(in.RawBody, random32())
	if err != nil {
		return nil, err
	}
	w, err := changeWebhook(ctx, store, of.ID, in.ID, func(w webhook.Webhook) (webhook.Webhook, error) {
		if err := checkNew(s.sealing, w, key); err != nil {
			return w, err
		}
		w.UpdatedAt = time.Now().UTC()
		// A former key that cannot be read would keep senders from signing with the new one.
		w.SigningKeys = rotated(readable(s.sealing, w, key.Scheme), key, overlap, w.UpdatedAt)
		w = s.seal(w)
		next := w
		next.Version++
		answering(ctx, func() any { return s.replyWebhook(ctx, next, of, true) })
		return w, nil
	})
	if err != nil {
		return nil, err
	}
	s.log.Info("secret rotated", "webhook", w.ID, "scheme", key.Scheme, "overlap", overlap.String(), "key", callerOf(ctx).Key.ID)
	return s.replyWebhook(ctx, w, of, true), nil
}

// decodeRotation is the new key that a caller asks for, made of the random bytes unless it is given, and for
// how long the former ones sign on.
func decodeRotation(body []byte, random [32]byte) (webhook.SigningKey, time.Duration, error) {
	var in RotateSecretInput
	if len(bytes.TrimSpace(body)) > 0 {
		if f := decode(body, &in, ""); len(f) > 0 {
			return webhook.SigningKey{}, 0, f
		}
	}
	var f invalid.Fields
	overlap := defaultOverlap
	if n := in.OverlapSeconds; n != nil {
		// Beyond the limit it stays beyond the limit, and does not overflow.
		overlap = time.Duration(min(max(*n, -1), int(maxOverlap/time.Second)+1)) * time.Second
	}
	if overlap < 0 || overlap > maxOverlap {
		f.Add("overlap_seconds", "must be 0 to %d, seven days", int(maxOverlap/time.Second))
	}
	var key webhook.SigningKey
	switch in.Scheme {
	case "", string(webhook.SchemeHMAC):
		var err error
		if key, err = signingKey(in.Secret, random); err != nil {
			var wrong invalid.Fields
			if !errors.As(err, &wrong) {
				return webhook.SigningKey{}, 0, err
			}
			f = append(f, wrong...)
		}
	case string(webhook.SchemeEd25519):
		if key = keyPairOf(random); in.Secret != "" {
			f.Add("secret", "can be given for the scheme v1 only; key pairs are always generated")
		}
	default:
		f.Add("scheme", "must be v1 (the secret) or v1a (the ed25519 key pair)")
	}
	return key, overlap, f.Err()
}

// changeWebhook stores what change makes of a tenant's webhook, and tries again with what another request has
// written meanwhile. It errs with sqlstore.ErrNotFound, with sqlstore.ErrConflict once it gives up, and as
// change does.
func changeWebhook(ctx context.Context, store *sqlstore.Store, of, id string, change func(webhook.Webhook) (webhook.Webhook, error)) (webhook.Webhook, error) {
	return retried(func() (webhook.Webhook, error) {
		w, err := readWebhook(ctx, store, of, id)
		if err != nil {
			return webhook.Webhook{}, err
		}
		if w, err = change(w); err != nil {
			return webhook.Webhook{}, err
		}
		return store.UpdateWebhook(ctx, authorOf(ctx), w)
	})
}
