package sender

import (
	"fmt"
	"sync"

	"github.com/doorstep-dev/doorstep/pkg/signature"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// signers keeps a prepared signer for each webhook, as preparing one costs more than signing.
type signers struct {
	mu   sync.RWMutex
	byID map[string]preparedSigner
}

type preparedSigner struct {
	version uint64 // of the webhook
	signer  *signature.Signer
}

// of returns the signer of the webhook as it is now.
func (s *signers) of(w webhook.Webhook) (*signature.Signer, error) {
	s.mu.RLock()
	p, ok := s.byID[w.ID]
	s.mu.RUnlock()
	if ok && p.version == w.Version {
		return p.signer, nil
	}
	keys := make([]signature.Key, 0, len(w.SigningKeys))
	for _, k := range w.SigningKeys {
		if k.Secret.KeyID != webhook.PlainKeyID {
			return nil, fmt.Errorf("secret of webhook %s is sealed with key %q, which this sender does not have", w.ID, k.Secret.KeyID)
		}
		secret, err := signature.SecretOf(signature.Scheme(k.Scheme), k.Secret.Bytes)
		if err != nil {
			return nil, fmt.Errorf("secret of webhook %s: %w", w.ID, err)
		}
		keys = append(keys, signature.Key{Secret: secret, ExpiresAt: k.ExpiresAt})
	}
	signer, err := signature.NewSigner(keys...)
	if err != nil {
		return nil, fmt.Errorf("secret of webhook %s: %w", w.ID, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byID[w.ID] = preparedSigner{w.Version, signer}
	return signer, nil
}

// forget drops the signer of a webhook that is gone.
func (s *signers) forget(webhookID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, webhookID)
}
