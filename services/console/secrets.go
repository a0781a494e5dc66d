package console

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"slices"

	"github.com/doorstep-dev/doorstep/pkg/post"
	"github.com/doorstep-dev/doorstep/pkg/seal"
	"github.com/doorstep-dev/doorstep/pkg/signature"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// hidden stands for the value of a header that is not told. In a request it says that the value stays.
const hidden = "***"

// secrets is what is secret of a webhook, as far as it can be read here.
type secrets struct {
	headers   map[string]string // by name; what cannot be read is hidden
	secret    string            // whsec_..., that deliveries are signed with now; empty: it cannot be read
	publicKey *string           // the public half of the newest key pair; nil: there is none, or it cannot be read
}

// opened is what is secret of a webhook. The error says what of it cannot be read, and the rest is good all the
// same.
func opened(keys seal.Keys, w webhook.Webhook) (secrets, error) {
	out := secrets{headers: map[string]string{}}
	var errs []error
	for _, h := range w.Headers {
		value, err := keys.OpenHeader(w.ID, h)
		if err != nil {
			value = hidden
			errs = append(errs, err)
		}
		out.headers[h.Name] = value
	}
	if s, ok, err := newest(keys, w, webhook.SchemeHMAC); err != nil {
		errs = append(errs, err)
	} else if ok {
		out.secret = s.Text()
	}
	if s, ok, err := newest(keys, w, webhook.SchemeEd25519); err != nil {
		errs = append(errs, err)
	} else if ok {
		public, _ := s.Public()
		out.publicKey = new(public.Text())
	}
	return out, errors.Join(errs...)
}

// newest is a webhook's newest key of a scheme, if it has one of it.
func newest(keys seal.Keys, w webhook.Webhook, scheme webhook.Scheme) (signature.Secret, bool, error) {
	for _, k := range w.SigningKeys {
		if k.Scheme != scheme {
			continue
		}
		raw, err := keys.OpenSigningKey(w.ID, k)
		if err != nil {
			return signature.Secret{}, false, err
		}
		s, err := signature.SecretOf(signature.Scheme(scheme), raw)
		return s, err == nil, err
	}
	return signature.Secret{}, false, nil
}

// masked is what is secret as everybody may see it who may see the webhook: no secret, and the values hidden of
// headers that an attempt hides too.
func (s secrets) masked() secrets {
	out := secrets{headers: map[string]string{}, publicKey: s.publicKey}
	for name, value := range s.headers {
		if post.Masked(name, value) {
			value = hidden
		}
		out.headers[name] = value
	}
	return out
}

// readable are the keys without those of a scheme that cannot be read here.
func readable(keys seal.Keys, w webhook.Webhook, scheme webhook.Scheme) []webhook.SigningKey {
	return slices.DeleteFunc(slices.Clone(w.SigningKeys), func(k webhook.SigningKey) bool {
		_, err := keys.OpenSigningKey(w.ID, k)
		return k.Scheme == scheme && err != nil
	})
}

// sameSecret reports whether a webhook's key, which may be sealed, is the same as one that is plain.
func sameSecret(keys seal.Keys, webhookID string, had, plain webhook.SigningKey) bool {
	secret, err := keys.OpenSigningKey(webhookID, had)
	return err == nil && had.Scheme == plain.Scheme && bytes.Equal(secret, plain.Secret.Bytes)
}

// seal seals what is secret of a webhook, as it is stored. What cannot be read stays as it is.
func (s *Service) seal(w webhook.Webhook) webhook.Webhook {
	w, _, _ = s.sealing.Webhook(w, nonce) // who shows the webhook tells what cannot be read
	return w
}

// secretsOf is what is secret of a webhook; the log is told of what cannot be read.
func (s *Service) secretsOf(ctx context.Context, w webhook.Webhook) secrets {
	out, err := opened(s.sealing, w)
	if err != nil {
		s.seldom.Error(ctx, s.log, "a webhook is shown without secrets that cannot be read", "webhook", w.ID, "tenant", w.Tenant, "error", err)
	}
	return out
}

func random32() (random [32]byte) {
	_, _ = rand.Read(random[:]) // never errs
	return random
}

// nonce is what one sealing needs to differ from all others.
func nonce() (random [12]byte) {
	_, _ = rand.Read(random[:]) // never errs
	return random
}
