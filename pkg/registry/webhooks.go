package registry

import (
	"context"
	"log/slog"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// Webhooks are all webhooks.
type Webhooks struct {
	reader  *reader
	options options

	mu   sync.RWMutex
	byID map[string]*webhook.Webhook // never changed in place
}

// NewWebhooks prepares to follow `webhooks`; Run does it. id names the Kafka client.
func NewWebhooks(cfg kafka.Config, id string, log *slog.Logger, opts ...Option) (*Webhooks, error) {
	topics, err := names(cfg)
	if err != nil {
		return nil, err
	}
	w := &Webhooks{options: newOptions(log, opts), byID: map[string]*webhook.Webhook{}}
	if w.reader, err = newReader(cfg, id, log, topics.Webhooks, w.apply); err != nil {
		return nil, err
	}
	return w, nil
}

// Run follows the topic until ctx ends, then returns nil. It must be called once: it owns the client.
func (w *Webhooks) Run(ctx context.Context) error { return w.reader.Run(ctx) }

// Ready is closed once everything is applied that was in the topic when Run began.
func (w *Webhooks) Ready() <-chan struct{} { return w.reader.Ready() }

// Get returns a webhook, and false if there is none of that id (any more). It costs a read lock and a
// look into a map.
func (w *Webhooks) Get(id string) (webhook.Webhook, bool) {
	hook := w.Lookup(id)
	if hook == nil {
		return webhook.Webhook{}, false
	}
	return *hook, true
}

// Lookup is Get without a copy: nil if there is no webhook of that id (any more). It must not be changed.
func (w *Webhooks) Lookup(id string) *webhook.Webhook {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.byID[id]
}

// Each calls f with every webhook, which must not be changed. Changes wait until it is done.
func (w *Webhooks) Each(f func(*webhook.Webhook)) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	for _, hook := range w.byID {
		f(hook)
	}
}

// Len is the number of webhooks.
func (w *Webhooks) Len() int {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return len(w.byID)
}

// Applied reports whether the record at p has been applied.
func (w *Webhooks) Applied(p delivery.Position) bool {
	return w.reader.Applied(p.Topic, p.Partition, p.Offset)
}

// Wait returns once the record at p has been applied; it errs if ctx ends first.
func (w *Webhooks) Wait(ctx context.Context, p delivery.Position) error {
	return w.reader.Wait(ctx, p.Topic, p.Partition, p.Offset)
}

func (w *Webhooks) apply(r *kgo.Record) {
	hook, gone, err := wire.ReadWebhook(r)
	if err != nil {
		w.options.quarantine(r, err)
		return
	}
	if !w.options.passOn {
		w.keep(&hook, gone)
	}
	if w.options.onChange != nil {
		w.options.onChange(hook, gone, wire.PositionOf(r))
	}
}

func (w *Webhooks) keep(hook *webhook.Webhook, gone bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if gone {
		delete(w.byID, hook.ID)
	} else {
		w.byID[hook.ID] = hook
	}
}
