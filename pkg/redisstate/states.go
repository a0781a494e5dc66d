package redisstate

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// States is the failure.Store in Redis. Its tokens are the stored bytes.
type States struct {
	client *Client
	swap   *redis.Script
}

var _ failure.Store = (*States)(nil)

// swapScript compares and sets the whole value; what the value means is decided in package failure
// alone.
const swapScript = `
local now = redis.call('GET', KEYS[1]) or ''
if now ~= ARGV[1] then
	return {0, now}
end
redis.call('SET', KEYS[1], ARGV[2])
return {1, ''}
`

// States are the failure states in this Redis.
func (c *Client) States() *States { return &States{client: c, swap: redis.NewScript(swapScript)} }

func (s *States) key(webhookID string) string { return s.client.prefix + "state:" + webhookID }

// Load returns the webhook's state. It errs if what is stored cannot be read.
func (s *States) Load(ctx context.Context, webhookID string) (failure.Entry, error) {
	var value string
	err := s.client.call(ctx, func(ctx context.Context) (err error) {
		value, err = s.client.redis.Get(ctx, s.key(webhookID)).Result()
		return err
	})
	if errors.Is(err, redis.Nil) {
		return failure.Entry{}, nil
	}
	if err != nil {
		return failure.Entry{}, fmt.Errorf("load state of webhook %s: %w", webhookID, err)
	}
	state, err := wire.DecodeState([]byte(value))
	if err != nil {
		return failure.Entry{}, fmt.Errorf("load state of webhook %s: %w", webhookID, err)
	}
	return failure.Entry{State: state, Token: failure.Token(value)}, nil
}

// CompareAndSet stores next if was is what is stored.
func (s *States) CompareAndSet(ctx context.Context, was failure.Token, next failure.State) (failure.Entry, bool, error) {
	if next.WebhookID == "" {
		return failure.Entry{}, false, errors.New("state without a webhook id")
	}
	value, err := wire.EncodeState(next)
	if err != nil {
		return failure.Entry{}, false, err
	}
	var reply []any
	err = s.client.call(ctx, func(ctx context.Context) (err error) {
		reply, err = s.swap.Run(ctx, s.client.redis, []string{s.key(next.WebhookID)}, string(was), value).Slice()
		return err
	})
	if err != nil {
		return failure.Entry{}, false, fmt.Errorf("compare and set state of webhook %s: %w", next.WebhookID, err)
	}
	set, now, err := readReply(reply)
	switch {
	case err != nil:
		return failure.Entry{}, false, fmt.Errorf("compare and set state of webhook %s: %w", next.WebhookID, err)
	case set:
		return failure.Entry{State: next, Token: failure.Token(value)}, true, nil
	}
	e := failure.Entry{Token: failure.Token(now)}
	if state, err := wire.DecodeState([]byte(now)); err == nil {
		e.State = state // else unreadable: the owner's own state takes its place
	}
	return e, false, nil
}

func readReply(reply []any) (set bool, now string, err error) {
	if len(reply) == 2 {
		n, isNumber := reply[0].(int64)
		text, isText := reply[1].(string)
		if isNumber && isText {
			return n == 1, text, nil
		}
	}
	return false, "", fmt.Errorf("unexpected answer of %d parts", len(reply))
}
