package sender

import (
	"fmt"
	"sync"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/seal"
	"github.com/doorstep-dev/doorstep/pkg/signature"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// tellUnreadableEvery is how often the log tells of one webhook that its secrets cannot be read.
const tellUnreadableEvery = time.Minute

// signers keeps what is secret of each webhook opened and prepared, as preparing it costs more than signing.
// What cannot be opened is not remembered: it is tried again at each attempt.
type signers struct {
	keys seal.Keys

	mu   sync.RWMutex
	byID map[string]prepared
	told map[string]time.Time // when the log was told that a webhook's secrets cannot be read
}

// prepared is what is secret of a webhook, as a POST needs it.
type prepared struct {
	version uint64 // of the webhook
	signer  *signature.Signer
	headers []delivery.Header // custom ones
}

func newSigners(keys seal.Keys) *signers {
	return &signers{keys: keys, byID: map[string]prepared{}, told: map[string]time.Time{}}
}

// of returns what is secret of the webhook as it is now. It errs if something of it cannot be read, without
// saying what is in it.
func (s *signers) of(w *webhook.Webhook, now time.Time) (prepared, error) {
	s.mu.RLock()
	p, ok := s.byID[w.ID]
	s.mu.RUnlock()
	if ok && p.version == w.Version {
		return p, nil
	}
	p, err := prepare(s.keys, w, now)
	if err != nil {
		return prepared{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byID[w.ID] = p
	delete(s.told, w.ID)
	return p, nil
}

// prepare opens what is secret of a webhook. A signing key that has expired signs nothing, so it may be
// unreadable.
func prepare(sealing seal.Keys, w *webhook.Webhook, now time.Time) (prepared, error) {
	p := prepared{version: w.Version, headers: make([]delivery.Header, 0, len(w.Headers))}
	keys := make([]signature.Key, 0, len(w.SigningKeys))
	for _, k := range w.SigningKeys {
		if !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt) {
			continue
		}
		raw, err := sealing.OpenSigningKey(w.ID, k)
		if err != nil {
			return prepared{}, err
		}
		secret, err := signature.SecretOf(signature.Scheme(k.Scheme), raw)
		if err != nil {
			return prepared{}, fmt.Errorf("signing key %s: %w", k.Scheme, err)
		}
		keys = append(keys, signature.Key{Secret: secret, ExpiresAt: k.ExpiresAt})
	}
	for _, h := range w.Headers {
		value, err := sealing.OpenHeader(w.ID, h)
		if err != nil {
			return prepared{}, err
		}
		p.headers = append(p.headers, delivery.Header{Name: h.Name, Value: value})
	}
	var err error
	p.signer, err = signature.NewSigner(keys...)
	return p, err
}

// tell reports whether the log is to be told now that a webhook's secrets cannot be read.
func (s *signers) tell(webhookID string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, ok := s.told[webhookID]; ok && now.Sub(last) < tellUnreadableEvery {
		return false
	}
	s.told[webhookID] = now
	return true
}

// forget drops what is known of a webhook that is gone.
func (s *signers) forget(webhookID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, webhookID)
	delete(s.told, webhookID)
}
