package console

import (
	"context"
	"sync"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

const (
	// keyUseEvery is how often the use of one key is noted at most.
	keyUseEvery = time.Minute
	// keyUsesWaiting are uses that wait to be written. What is beyond them is noted with the key's next use.
	keyUsesWaiting = 1000
	keyUseTime     = 5 * time.Second
)

// keyUse says when a key was used.
type keyUse struct {
	id string
	at time.Time
}

// keyUses notes when API keys were last used, without a request having to wait for it.
type keyUses struct {
	noted   sync.Map // by id: when the use was that is noted last
	waiting chan keyUse
}

func newKeyUses() keyUses { return keyUses{waiting: make(chan keyUse, keyUsesWaiting)} }

// saw notes a use, unless one of the same minute is noted, by this console or, as k says, by another.
func (u *keyUses) saw(k tenant.APIKey, now time.Time) {
	if now.Sub(k.LastUsedAt) < keyUseEvery {
		return
	}
	before, seen := u.noted.LoadOrStore(k.ID, now)
	if at, _ := before.(time.Time); seen && (now.Sub(at) < keyUseEvery || !u.noted.CompareAndSwap(k.ID, before, now)) {
		return
	}
	select {
	case u.waiting <- keyUse{k.ID, now}:
	default:
		u.noted.Delete(k.ID)
	}
}

// keepKeyUses writes what waits until ctx ends.
func (s *Service) keepKeyUses(ctx context.Context, store *sqlstore.Store) {
	for {
		select {
		case <-ctx.Done():
			return
		case use := <-s.keyUses.waiting:
			within, cancel := context.WithTimeout(ctx, keyUseTime)
			err := store.APIKeyUsed(within, use.id, use.at)
			cancel()
			if err != nil && ctx.Err() == nil {
				s.keyUses.noted.Delete(use.id)
				s.seldom.Warn(ctx, s.log, "the use of an API key was not noted", "key", use.id, "error", err)
			}
		}
	}
}
