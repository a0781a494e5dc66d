package console

import (
	"slices"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/seal"
	"github.com/doorstep-dev/doorstep/pkg/signature"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// maxKeys is how many keys of one scheme a webhook has at most, the current one included. Every key is a
// signature on every POST, and receivers look at 32 of them at most.
const maxKeys = 4

// keyPairOf is a new ed25519 key, not sealed yet.
func keyPairOf(random [32]byte) webhook.SigningKey {
	return webhook.SigningKey{
		Scheme: webhook.SchemeEd25519,
		Secret: webhook.Plain(signature.NewKeyPair(random).Raw()),
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

// checkNew errs if a key, which is plain, is one that the webhook has or had: who got hold of that could go on
// signing. One that cannot be read cannot be told.
func checkNew(sealing seal.Keys, w webhook.Webhook, k webhook.SigningKey) error {
	for i, had := range w.SigningKeys {
		if !sameSecret(sealing, w.ID, had, k) {
			continue
		}
		current := !slices.ContainsFunc(w.SigningKeys[:i], func(newer webhook.SigningKey) bool { return newer.Scheme == k.Scheme })
		if current {
			return invalid.Fields{{Name: "secret", Message: "is the webhook's secret already; give another, or none to have one generated"}}
		}
		return invalid.Fields{{Name: "secret", Message: "is a former secret of the webhook; give another, or none to have one generated"}}
	}
	return nil
}
