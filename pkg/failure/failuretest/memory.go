package failuretest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/doorstep-dev/doorstep/pkg/failure"
)

// Memory is a Store in memory: for tests, and the plainest reading of the port. It is safe for
// concurrent use; the zero value is empty and ready.
type Memory struct {
	mu     sync.Mutex
	values map[string]string // webhook id -> State as JSON, which is its token too
}

var _ failure.Store = (*Memory)(nil)

// Load returns the webhook's state.
func (m *Memory) Load(ctx context.Context, webhookID string) (failure.Entry, error) {
	if err := ctx.Err(); err != nil {
		return failure.Entry{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return entry(m.values[webhookID]), nil
}

// CompareAndSet stores next if was is what is stored.
func (m *Memory) CompareAndSet(ctx context.Context, was failure.Token, next failure.State) (failure.Entry, bool, error) {
	if err := ctx.Err(); err != nil {
		return failure.Entry{}, false, err
	}
	if next.WebhookID == "" {
		return failure.Entry{}, false, errors.New("state without a webhook id")
	}
	value, err := json.Marshal(next)
	if err != nil {
		return failure.Entry{}, false, fmt.Errorf("encode state of webhook %s: %w", next.WebhookID, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := m.values[next.WebhookID]; now != string(was) {
		return entry(now), false, nil
	}
	if m.values == nil {
		m.values = map[string]string{}
	}
	m.values[next.WebhookID] = string(value)
	return entry(string(value)), true, nil
}

// Clear forgets everything, as a Redis that was emptied.
func (m *Memory) Clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values = nil
}

// entry reads a stored value; one that cannot be read is a zero State with its token.
func entry(value string) failure.Entry {
	e := failure.Entry{Token: failure.Token(value)}
	if value == "" || json.Unmarshal([]byte(value), &e.State) != nil {
		e.State = failure.State{}
	}
	return e
}
