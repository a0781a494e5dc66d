package matcher

import (
	"sync"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/match"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// index is a match.Index that is changed by the follower of `webhooks` while events are matched. Only the follower
// changes it, so the follower itself may read it without the lock; and it compiles conditions so, since a storm of
// registrations would otherwise hold up matching for as long as all their compilations take.
type index struct {
	mu    sync.RWMutex
	index *match.Index
}

func newIndex() *index { return &index{index: match.NewIndex()} }

// changed is a callback of registry.OnChange.
func (x *index) changed(w webhook.Webhook, gone bool, at delivery.Position) {
	var change match.Change
	if !gone {
		change = x.index.Prepare(w, at)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if gone {
		x.index.Remove(w.ID)
	} else {
		x.index.Apply(change)
	}
}

func (x *index) match(e event.Event, limit int, r *match.Result) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	x.index.Match(e, limit, r)
}
