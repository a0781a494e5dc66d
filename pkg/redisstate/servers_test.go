package redisstate_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/doorstep-dev/doorstep/pkg/redisstate"
)

// eachServer runs check on miniredis, and on the real Redis that TEST_REDIS names. There it works
// under a prefix of its own, and leaves nothing behind.
func eachServer(t *testing.T, check func(t *testing.T, cfg redisstate.Config)) {
	t.Run("miniredis", func(t *testing.T) {
		check(t, config("redis://"+miniredis.RunT(t).Addr()))
	})
	t.Run("redis", func(t *testing.T) {
		url := os.Getenv("TEST_REDIS")
		if url == "" {
			if os.Getenv("TEST_REQUIRE_REAL") == "1" {
				t.Fatal("TEST_REQUIRE_REAL=1 and TEST_REDIS is not set")
			}
			t.Skip("TEST_REDIS is not set")
		}
		cfg := config(url)
		raw := rawClient(t, cfg)
		t.Logf("on %s %s", raw.Options().Addr, raw.InfoMap(t.Context(), "server").Item("Server", "redis_version"))
		t.Cleanup(func() { clean(t, raw, cfg.Prefix) })
		check(t, cfg)
	})
}

// config allows more than the default time: these tests are not about a slow machine.
func config(url string) redisstate.Config {
	return redisstate.Config{URL: url, Prefix: "test-" + uuid.NewString() + ":", Timeout: 5 * time.Second}
}

func rawClient(t *testing.T, cfg redisstate.Config) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(cfg.URL)
	if err != nil {
		t.Fatal("the URL of the test's Redis cannot be read")
	}
	raw := redis.NewClient(options)
	t.Cleanup(func() { _ = raw.Close() })
	return raw
}

func clean(t *testing.T, raw *redis.Client, prefix string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	keys := raw.Scan(ctx, 0, prefix+"*", 1000).Iterator()
	for keys.Next(ctx) {
		raw.Del(ctx, keys.Val())
	}
	if err := keys.Err(); err != nil {
		t.Errorf("clean up: %v", err)
	}
}

func connect(t *testing.T, cfg redisstate.Config) *redisstate.Client {
	t.Helper()
	c, err := redisstate.Connect(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
