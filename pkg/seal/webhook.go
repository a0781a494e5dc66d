package seal

import (
	"errors"
	"fmt"
	"slices"

	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// headerOf and signingKeyOf say what a secret of a webhook is of. They are part of what is stored: who changes
// them makes every sealed secret unreadable.
func headerOf(webhookID, name string) string { return "webhook/" + webhookID + "/header/" + name }

func signingKeyOf(webhookID string, scheme webhook.Scheme) string {
	return "webhook/" + webhookID + "/signing-key/" + string(scheme)
}

// OpenHeader is the value of a header of the webhook of that id. It errs as Open does, and names the header.
func (k Keys) OpenHeader(webhookID string, h webhook.Header) (string, error) {
	value, err := k.Open(h.Value, headerOf(webhookID, h.Name))
	if err != nil {
		return "", fmt.Errorf("header %s: %w", h.Name, err)
	}
	return string(value), nil
}

// OpenSigningKey is the secret of a signing key of the webhook of that id. It errs as Open does, and names
// the scheme.
func (k Keys) OpenSigningKey(webhookID string, of webhook.SigningKey) ([]byte, error) {
	secret, err := k.Open(of.Secret, signingKeyOf(webhookID, of.Scheme))
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", of.Scheme, err)
	}
	return secret, nil
}

// Webhook is w with all its secrets sealed with the key in force, and whether any was not before. Nonces come
// from the function. One that cannot be opened stays as it is, and the error names it; the webhook is good all
// the same. w itself stays.
func (k Keys) Webhook(w webhook.Webhook, nonce func() [12]byte) (sealed webhook.Webhook, changed bool, err error) {
	var errs []error
	w.Headers, w.SigningKeys = slices.Clone(w.Headers), slices.Clone(w.SigningKeys)
	for i, h := range w.Headers {
		if h.Value.KeyID == k.Current() {
			continue
		}
		value, err := k.OpenHeader(w.ID, h)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		w.Headers[i].Value, changed = k.Seal(nonce(), []byte(value), headerOf(w.ID, h.Name)), true
	}
	for i, key := range w.SigningKeys {
		if key.Secret.KeyID == k.Current() {
			continue
		}
		secret, err := k.OpenSigningKey(w.ID, key)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		w.SigningKeys[i].Secret, changed = k.Seal(nonce(), secret, signingKeyOf(w.ID, key.Scheme)), true
	}
	return w, changed, errors.Join(errs...)
}
