package registry

import (
	"context"
	"log/slog"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// States are the failure states of all webhooks that ever failed, as their owners last wrote them: at
// once when a streak starts or ends, at a threshold, at a disable; else up to a second late.
type States struct {
	reader  *reader
	options options

	mu   sync.RWMutex
	byID map[string]failure.State
}

// NewStates prepares to follow `states`; Run does it. id names the Kafka client.
func NewStates(cfg kafka.Config, id string, log *slog.Logger, opts ...Option) (*States, error) {
	topics, err := names(cfg)
	if err != nil {
		return nil, err
	}
	s := &States{options: newOptions(log, opts), byID: map[string]failure.State{}}
	if s.reader, err = newReader(cfg, id, log, topics.States, s.apply); err != nil {
		return nil, err
	}
	return s, nil
}

// Run follows the topic until ctx ends, then returns nil. It must be called once: it owns the client.
func (s *States) Run(ctx context.Context) error { return s.reader.Run(ctx) }

// Ready is closed once everything is applied that was in the topic when Run began.
func (s *States) Ready() <-chan struct{} { return s.reader.Ready() }

// Get returns the state of a webhook as it reads at the webhook's generation: an older one counts as
// empty. A webhook that never failed has the zero state.
func (s *States) Get(webhookID string, generation uint64) failure.State {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byID[webhookID].At(generation)
}

func (s *States) apply(r *kgo.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Value == nil {
		delete(s.byID, string(r.Key))
		return
	}
	state, err := wire.ReadState(r)
	if err != nil {
		s.options.quarantine(r, err)
		return
	}
	// Two owners may write for a moment during a hand-over: the newer state holds, whoever came last.
	if was, known := s.byID[state.WebhookID]; !known || state.Newer(was) {
		s.byID[state.WebhookID] = state
	}
}
