package redisstate

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Limit is how often something may happen: Burst times at once, and once more each Every. Both are above zero.
type Limit struct {
	Burst int
	Every time.Duration
}

// Spent is what a Limit says of one time.
type Spent struct {
	Allowed    bool
	Remaining  int           // how often it may happen again at once
	RetryAfter time.Duration // until it is allowed; 0 if it was
	Reset      time.Duration // until it may happen Burst times at once
}

// Spend decides by the generic cell rate algorithm whether it may happen at now. full is when the whole burst would be
// there again, as the time before has left it; it returns what it is then, the same if it was not allowed.
func (l Limit) Spend(full, now time.Time) (time.Time, Spent) {
	if full.Before(now) {
		full = now
	}
	next := full.Add(l.Every)
	room := time.Duration(l.Burst)*l.Every - next.Sub(now)
	if room < 0 {
		return full, Spent{RetryAfter: -room, Reset: full.Sub(now)}
	}
	return next, Spent{Allowed: true, Remaining: int(room / l.Every), Reset: next.Sub(now)}
}

// spend is Limit.Spend in Redis, by Redis's clock, in microseconds. What is full again is not kept.
var spend = redis.NewScript(`
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local burst, every = tonumber(ARGV[1]), tonumber(ARGV[2])
local full = tonumber(redis.call('GET', KEYS[1]) or now)
if full < now then full = now end
local next = full + every
local room = burst * every - (next - now)
if room < 0 then return {0, 0, -room, full - now} end
redis.call('SET', KEYS[1], string.format('%.0f', next), 'PX', math.ceil((next - now) / 1000))
return {1, math.floor(room / every), 0, next - now}
`)

// Spend counts one time of what key names, among all who share this Redis. It errs with ErrAway, and whenever Redis does
// not answer within the timeout: then it is not known whether it was counted.
func (c *Client) Spend(ctx context.Context, key string, l Limit) (Spent, error) {
	var said []int64
	err := c.call(ctx, func(ctx context.Context) (err error) {
		said, err = spend.Run(ctx, c.redis, []string{c.prefix + "rate:" + key}, l.Burst, l.Every.Microseconds()).Int64Slice()
		return err
	})
	if err == nil && len(said) != 4 {
		err = errNoAnswer
	}
	if err != nil {
		return Spent{}, fmt.Errorf("count what is limited: %w", err)
	}
	return Spent{
		Allowed: said[0] == 1, Remaining: int(said[1]),
		RetryAfter: time.Duration(said[2]) * time.Microsecond, Reset: time.Duration(said[3]) * time.Microsecond,
	}, nil
}
