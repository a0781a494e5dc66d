package failure

import (
	"context"
	"fmt"
)

// Store keeps the state of each webhook. The owner of a webhook writes it; a second owner, which
// may exist for a moment, is noticed because the stored value is no longer the one it knows.
// package failuretest holds the checks that every Store passes.
type Store interface {
	// Load returns the webhook's state; the zero Entry if none is stored.
	Load(ctx context.Context, webhookID string) (Entry, error)

	// CompareAndSet stores next if what is stored is known by the token was, and returns what is
	// stored now. It asks once: after an error next may be stored or not, and only the caller knows
	// what that means. A stored value that cannot be read comes back as a zero State with its token.
	CompareAndSet(ctx context.Context, was Token, next State) (now Entry, set bool, err error)
}

// Token stands for one stored value, whole; only its Store reads it. Empty: nothing is stored.
type Token string

// Entry is a webhook's state as its owner holds it, and the token of what it knows to be stored.
type Entry struct {
	State State
	Token Token
}

// Update changes was and stores it, until nobody came between:
//
//   - Someone stored a newer state: the change is made again, to that one.
//   - The store lost the state or fell behind (emptied, restored): was is put back, changed.
//   - The store fails: the changed entry comes back with the error, and its owner goes on from it.
//     The next Update brings the store up to date, whether the failed write arrived or not.
//
// A change that gives no Newer state costs no call. It must be pure: it may be called again.
func Update(ctx context.Context, store Store, was Entry, change func(State) State) (Entry, error) {
	for {
		next := change(was.State)
		if !next.Newer(was.State) {
			return was, nil
		}
		now, set, err := store.CompareAndSet(ctx, was.Token, next)
		switch {
		case err != nil:
			return Entry{next, was.Token}, fmt.Errorf("store state of webhook %s: %w", next.WebhookID, err)
		case set:
			return now, nil
		case now.State.Newer(was.State):
			was = now
		default:
			was.Token = now.Token
		}
	}
}
