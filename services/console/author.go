package console

import (
	"context"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
)

// acting is what a request does, as the audit log names it, and how its caller came.
type acting struct {
	kind   sqlstore.AuthorKind
	action string // an operation of the API; of a page, the one that does the same
}

func withAction(ctx context.Context, kind sqlstore.AuthorKind, action string) context.Context {
	return context.WithValue(ctx, actingKey, acting{kind, action})
}

// authorOf is who makes the request of ctx. A request that nobody was let in for has none, and changes nothing: every
// function of the store that changes something refuses it.
func authorOf(ctx context.Context) sqlstore.Author {
	doing, _ := ctx.Value(actingKey).(acting)
	c := callerOf(ctx)
	return sqlstore.Author{
		Kind: doing.kind, KeyID: c.Key.ID, KeyName: c.Key.Name, Platform: doing.kind != "" && c.Platform(), Action: doing.action,
		RequestID: requestID(ctx), At: time.Now().UTC(), Once: completion(ctx),
	}
}

// doorstep is the author of what Doorstep does by itself.
func doorstep(action string, now time.Time) sqlstore.Author {
	return sqlstore.Author{Kind: sqlstore.BySystem, Action: action, At: now}
}
