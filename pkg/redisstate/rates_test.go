package redisstate_test

import (
	"errors"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/redisstate"
)

func TestALimit(t *testing.T) {
	limit := redisstate.Limit{Burst: 3, Every: time.Second}
	now := time.Unix(1e9, 0)
	var full time.Time
	for i, step := range []struct {
		pause time.Duration
		want  redisstate.Spent
	}{
		{0, redisstate.Spent{Allowed: true, Remaining: 2, Reset: time.Second}},
		{0, redisstate.Spent{Allowed: true, Remaining: 1, Reset: 2 * time.Second}},
		{0, redisstate.Spent{Allowed: true, Remaining: 0, Reset: 3 * time.Second}},
		{0, redisstate.Spent{RetryAfter: time.Second, Reset: 3 * time.Second}},
		{600 * time.Millisecond, redisstate.Spent{RetryAfter: 400 * time.Millisecond, Reset: 2400 * time.Millisecond}},
		{400 * time.Millisecond, redisstate.Spent{Allowed: true, Remaining: 0, Reset: 3 * time.Second}},
		{time.Hour, redisstate.Spent{Allowed: true, Remaining: 2, Reset: time.Second}},
	} {
		now = now.Add(step.pause)
		var got redisstate.Spent
		if full, got = limit.Spend(full, now); got != step.want {
			t.Errorf("step %d: %+v, want %+v", i, got, step.want)
		}
	}
}

// TestALimitHolds: in no time is there more than what a limit says.
func TestALimitHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := redisstate.Limit{Burst: rapid.IntRange(1, 9).Draw(t, "burst"), Every: time.Duration(rapid.IntRange(1, 1e9).Draw(t, "every"))}
		start := time.Unix(1e9, 0)
		now, full, allowed := start, time.Time{}, 0
		for _, pause := range rapid.SliceOfN(rapid.IntRange(0, 2e9), 1, 50).Draw(t, "pauses") {
			now = now.Add(time.Duration(pause))
			var s redisstate.Spent
			if full, s = limit.Spend(full, now); s.Allowed {
				allowed++
			} else if _, later := limit.Spend(full, now.Add(s.RetryAfter)); !later.Allowed {
				t.Fatalf("not after Retry-After: %+v", s)
			}
		}
		if most := limit.Burst + int(now.Sub(start)/limit.Every); allowed > most {
			t.Fatalf("%d, at most %d", allowed, most)
		}
	})
}

// TestRedisLimitsAlike: the script does what Limit.Spend does.
func TestRedisLimitsAlike(t *testing.T) {
	server := miniredis.RunT(t)
	c := connect(t, config("redis://"+server.Addr()))
	now, names := time.Unix(1_800_000_000, 0), 0
	rapid.Check(t, func(t *rapid.T) {
		names++
		limit := redisstate.Limit{Burst: rapid.IntRange(1, 5).Draw(t, "burst"), Every: time.Duration(rapid.IntRange(1, 3000).Draw(t, "every")) * time.Millisecond}
		var full time.Time
		for _, pause := range rapid.SliceOfN(rapid.IntRange(0, 4000), 1, 12).Draw(t, "pauses") {
			step := time.Duration(pause) * time.Millisecond
			now = now.Add(step)
			server.SetTime(now)
			server.FastForward(step)
			var want redisstate.Spent
			full, want = limit.Spend(full, now)
			got, err := c.Spend(t.Context(), string(rune('a'+names%26))+time.Duration(names).String(), limit)
			if err != nil || got != want {
				t.Fatalf("Redis says %+v, %v, Go %+v", got, err, want)
			}
		}
	})
}

func TestSpend(t *testing.T) {
	eachServer(t, func(t *testing.T, cfg redisstate.Config) {
		one, other := connect(t, cfg), connect(t, cfg)
		limit := redisstate.Limit{Burst: 4, Every: time.Hour}
		for i := range 6 {
			c := []*redisstate.Client{one, other}[i%2]
			got, err := c.Spend(t.Context(), "key:k", limit)
			if err != nil || got.Allowed != (i < 4) || got.Remaining != max(0, 3-i) || (got.RetryAfter > 0) == got.Allowed {
				t.Errorf("the %d. time: %+v, %v", i+1, got, err)
			}
		}
		if got, err := one.Spend(t.Context(), "key:other", limit); err != nil || got.Remaining != 3 {
			t.Errorf("another key: %+v, %v", got, err)
		}
	})
}

func TestSpendWithoutRedis(t *testing.T) {
	server := miniredis.RunT(t)
	c := connect(t, config("redis://"+server.Addr()))
	server.Close()
	for range 3 {
		if _, err := c.Spend(t.Context(), "k", redisstate.Limit{Burst: 1, Every: time.Second}); err == nil {
			t.Error("counted without Redis")
		}
	}
	if _, err := c.Spend(t.Context(), "k", redisstate.Limit{Burst: 1, Every: time.Second}); !errors.Is(err, redisstate.ErrAway) {
		t.Errorf("away: %v", err)
	}
}
