package console

import (
	"bytes"
	"crypto/rand"
	"slices"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/signature"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// maxKeys is how many keys of one scheme a webhook has at most, the current one included. Every key is a
// signature on every POST, and receivers look at 32 of them at most.
const maxKeys = 4

func random32() (random [32]byte) {
	_, _ = rand.Read(random[:]) // never errs
	return random
}

// keyPairOf is a new ed25519 key.
func keyPairOf(random [32]byte) webhook.SigningKey {
	return webhook.SigningKey{
		Scheme: webhook.SchemeEd25519,
		Secret: webhook.Sealed{KeyID: webhook.PlainKeyID, Bytes: signature.NewKeyPair(random).Raw()},
	}
}

// rotated is a webhook's keys with a new one in force. Those of its scheme sign until overlap from now, or
// until they would have ended anyway; the oldest beyond maxKeys go at once, and so does what has expired.
// The given list stays as it is.
func rotated(keys []webhook.SigningKey, by webhook.SigningKey, overlap time.Duration, now time.Time) []webhook.SigningKey {
	kept, end, ofScheme := []webhook.SigningKey{by}, now.Add(overlap), 1
	for _, k := range keys {
		if k.Scheme == by.Scheme {
			if k.ExpiresAt.IsZero() || k.ExpiresAt.After(end) {
				k.ExpiresAt = end
			}
			if expired(k, now) || ofScheme == maxKeys {
				continue
			}
			ofScheme++
		}
		if !expired(k, now) {
			kept = append(kept, k)
		}
	}
	return inOrder(kept)
}

// withKeyPair is a webhook's keys with an ed25519 key, a new one if there is none, or without any.
func withKeyPair(keys []webhook.SigningKey, wanted bool, random [32]byte, now time.Time) []webhook.SigningKey {
	if hasKeyPair(keys) == wanted {
		return keys
	}
	if wanted {
		return rotated(keys, keyPairOf(random), 0, now)
	}
	return slices.DeleteFunc(slices.Clone(keys), func(k webhook.SigningKey) bool {
		return k.Scheme == webhook.SchemeEd25519 || expired(k, now)
	})
}

// inOrder sorts keys by scheme and leaves them newest first within one, so that the first signature of a
// POST is always the newest secret's: some receivers look at no other.
func inOrder(keys []webhook.SigningKey) []webhook.SigningKey {
	slices.SortStableFunc(keys, func(a, b webhook.SigningKey) int { return strings.Compare(string(a.Scheme), string(b.Scheme)) })
	return keys
}

func expired(k webhook.SigningKey, now time.Time) bool {
	return !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt)
}

func hasKeyPair(keys []webhook.SigningKey) bool {
	return slices.ContainsFunc(keys, func(k webhook.SigningKey) bool { return k.Scheme == webhook.SchemeEd25519 })
}

// checkNew errs if a key is one that the webhook has or had: who got hold of that could go on signing.
func checkNew(keys []webhook.SigningKey, k webhook.SigningKey) error {
	for i, had := range keys {
		if had.Scheme != k.Scheme || had.Secret.KeyID != k.Secret.KeyID || !bytes.Equal(had.Secret.Bytes, k.Secret.Bytes) {
			continue
		}
		current := !slices.ContainsFunc(keys[:i], func(newer webhook.SigningKey) bool { return newer.Scheme == k.Scheme })
		if current {
			return invalid.Fields{{Name: "secret", Message: "is the webhook's secret already; give another, or none to have one generated"}}
		}
		return invalid.Fields{{Name: "secret", Message: "is a former secret of the webhook; give another, or none to have one generated"}}
	}
	return nil
}

// secretText is the secret that the webhook's deliveries are signed with now: its newest HMAC key.
func secretText(w webhook.Webhook) string {
	s, _ := newest(w.SigningKeys, signature.SchemeHMAC)
	return s.Text()
}

// publicKeyText is the public half of the webhook's newest ed25519 key, or nil.
func publicKeyText(w webhook.Webhook) *string {
	s, ok := newest(w.SigningKeys, signature.SchemeEd25519)
	if !ok {
		return nil
	}
	public, _ := s.Public()
	return new(public.Text())
}

// newest is the newest key of a scheme that can be read here.
func newest(keys []webhook.SigningKey, scheme signature.Scheme) (signature.Secret, bool) {
	for _, k := range keys {
		if signature.Scheme(k.Scheme) != scheme || k.Secret.KeyID != webhook.PlainKeyID {
			continue
		}
		if s, err := signature.SecretOf(scheme, k.Secret.Bytes); err == nil {
			return s, true
		}
	}
	return signature.Secret{}, false
}
