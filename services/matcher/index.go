package matcher

import (
	"sync"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/match"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// index is a match.Index that is changed by the follower of `webhooks` while events are matched.
type index struct {
	mu    sync.RWMutex
	index *match.Index
}

func newIndex() *index { return &index{index: match.NewIndex()} }

// changed is a callback of registry.OnChange.
func (x *index) changed(w webhook.Webhook, gone bool, at delivery.Position) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if gone {
		x.index.Remove(w.ID)
	} else {
		x.index.Put(w, at)
	}
}

func (x *index) match(e event.Event, limit int, r *match.Result) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	x.index.Match(e, limit, r)
}
