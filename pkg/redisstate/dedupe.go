package redisstate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// SeenFor is how long an event id is remembered.
const SeenFor = 24 * time.Hour

// Item is an event and where it stands in the log.
type Item struct {
	Tenant   string
	EventID  string
	Position string // "topic-id:partition:offset"
}

// Dedupe knows which events were seen before, by their position in the log.
type Dedupe struct{ client *Client }

// Dedupe is the memory of events in this Redis.
func (c *Client) Dedupe() *Dedupe { return &Dedupe{client: c} }

// Seen says of each event whether it is a duplicate: its id was seen before at another position.
// At the same position it is a replay, which is no duplicate. An event that is new is remembered,
// for the rest of the batch too.
//
// It takes one round trip and at most Config.Timeout for the whole batch. On an error the events
// that are known to be duplicates still say so, the others do not: the caller goes on.
func (d *Dedupe) Seen(ctx context.Context, events []Item) ([]bool, error) {
	duplicates := make([]bool, len(events))
	if len(events) == 0 {
		return duplicates, nil
	}
	err := d.client.call(ctx, func(ctx context.Context) error {
		return d.ask(ctx, events, duplicates)
	})
	if err != nil {
		return duplicates, fmt.Errorf("look up %d events for duplicates: %w", len(events), err)
	}
	return duplicates, nil
}

// ask fills in duplicates and returns the first error.
func (d *Dedupe) ask(ctx context.Context, events []Item, duplicates []bool) error {
	replies := make([]*redis.StatusCmd, len(events))
	_, whole := d.client.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, e := range events {
			key := d.client.prefix + "seen:" + e.Tenant + "/" + e.EventID
			replies[i] = p.SetArgs(ctx, key, e.Position, redis.SetArgs{Mode: "NX", Get: true, TTL: SeenFor})
		}
		return nil
	})
	var first error
	for i, reply := range replies {
		before, err := reply.Result() // redis.Nil: nothing was there
		switch {
		case errors.Is(err, redis.Nil):
		case err == nil && before != "":
			duplicates[i] = before != events[i].Position
		default:
			// The library leaves replies empty, without an error, if the pipeline never began
			// (a wrong password). To take that for a position would drop the event.
			first = cmp.Or(first, err, whole, errNoAnswer)
		}
	}
	return first
}

var errNoAnswer = errors.New("redis gave no answer")
