package redisstate_test

import (
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/redisstate"
)

func TestClear(t *testing.T) {
	eachServer(t, func(t *testing.T, cfg redisstate.Config) {
		raw := rawClient(t, cfg)
		other := cfg.Prefix
		cfg.Prefix += "gone*" // which must not stand for others
		clean, keep := cfg.Prefix+"a", other+"gone-not"
		t.Cleanup(func() { raw.Del(t.Context(), keep) })
		for _, key := range []string{clean, cfg.Prefix + "b", keep} {
			if err := raw.Set(t.Context(), key, "1", 0).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if err := redisstate.Clear(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if n, err := raw.Exists(t.Context(), clean, cfg.Prefix+"b").Result(); err != nil || n != 0 {
			t.Errorf("%d keys are left, %v", n, err)
		}
		if n, err := raw.Exists(t.Context(), keep).Result(); err != nil || n != 1 {
			t.Errorf("a key of another prefix is gone: %d, %v", n, err)
		}
		cfg.Prefix = ""
		if err := redisstate.Clear(t.Context(), cfg); err == nil {
			t.Error("everything was deleted")
		}
	})
}
