package redisstate_test

import (
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/redisstate"
)

func TestMailed(t *testing.T) {
	eachServer(t, func(t *testing.T, cfg redisstate.Config) {
		c := connect(t, cfg)
		first, second := c.Mailed("notifier-0"), c.Mailed("notifier-1")
		take := func(m *redisstate.Mailed, id string) func() (redisstate.Lease, error) {
			return func() (redisstate.Lease, error) { return m.Take(t.Context(), id) }
		}
		do := func(f func() error) func() (redisstate.Lease, error) {
			return func() (redisstate.Lease, error) { return redisstate.Lease{}, f() }
		}
		none := redisstate.Lease{}
		for _, step := range []struct {
			name string
			do   func() (redisstate.Lease, error)
			want redisstate.Lease
		}{
			{"free", take(first, "a"), redisstate.Lease{Taken: true}},
			{"another's", take(second, "a"), none},
			{"another mail", take(second, "b"), redisstate.Lease{Taken: true}},
			{"taken again by the same, started anew", take(c.Mailed("notifier-0"), "a"), redisstate.Lease{Taken: true}},
			{"released by who does not have it", do(func() error { return second.Release(t.Context(), "a") }), none},
			{"still the first one's", take(second, "a"), none},
			{"released", do(func() error { return first.Release(t.Context(), "a") }), none},
			{"free again", take(second, "a"), redisstate.Lease{Taken: true}},
			{"ended", do(func() error { return second.End(t.Context(), "a", failure.MailSent) }), none},
			{"ended for the other", take(first, "a"), redisstate.Lease{Result: failure.MailSent}},
			{"and for its sender", take(second, "a"), redisstate.Lease{Result: failure.MailSent}},
			{"what has ended is not released", do(func() error { return second.Release(t.Context(), "a") }), none},
			{"so it stays", take(first, "a"), redisstate.Lease{Result: failure.MailSent}},
			{"ended without a lease", do(func() error { return first.End(t.Context(), "c", failure.MailFailed) }), none},
			{"failed", take(second, "c"), redisstate.Lease{Result: failure.MailFailed}},
		} {
			got, err := step.do()
			if err != nil || got != step.want {
				t.Fatalf("%s: %+v, %v; want %+v", step.name, got, err, step.want)
			}
		}
	})
}

func TestMailedValuesOfOthersAreNotTaken(t *testing.T) {
	eachServer(t, func(t *testing.T, cfg redisstate.Config) {
		if err := rawClient(t, cfg).Set(t.Context(), cfg.Prefix+"mailed:a", "something", 0).Err(); err != nil {
			t.Fatal(err)
		}
		if got, err := connect(t, cfg).Mailed("n").Take(t.Context(), "a"); err == nil || got != (redisstate.Lease{}) || !strings.Contains(err.Error(), "9 bytes") {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestMailedIsForgotten(t *testing.T) {
	eachServer(t, func(t *testing.T, cfg redisstate.Config) {
		m, raw := connect(t, cfg).Mailed("n"), rawClient(t, cfg)
		if _, err := m.Take(t.Context(), "leased"); err != nil {
			t.Fatal(err)
		}
		if err := m.End(t.Context(), "ended", failure.MailKept); err != nil {
			t.Fatal(err)
		}
		for id, want := range map[string]time.Duration{"leased": redisstate.MailLease, "ended": redisstate.MailedFor} {
			left, err := raw.TTL(t.Context(), cfg.Prefix+"mailed:"+id).Result()
			if err != nil || left > want || left < want-time.Minute {
				t.Errorf("%s: time to live %s, %v; want %s", id, left, err, want)
			}
		}
	})
	server := miniredis.RunT(t)
	c := connect(t, config("redis://"+server.Addr()))
	if _, err := c.Mailed("dead").Take(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		wait time.Duration
		want bool
	}{{redisstate.MailLease - time.Second, false}, {time.Second, true}} {
		server.FastForward(step.wait)
		if got, err := c.Mailed("other").Take(t.Context(), "a"); err != nil || got.Taken != step.want {
			t.Errorf("after %s: %+v, %v; want taken %t", step.wait, got, err, step.want)
		}
	}
}

func TestMailedWhileRedisIsAway(t *testing.T) {
	server := miniredis.RunT(t)
	m := connect(t, config("redis://"+server.Addr())).Mailed("n")
	server.Close()
	_, taken := m.Take(t.Context(), "a")
	for name, err := range map[string]error{
		"take": taken, "end": m.End(t.Context(), "a", failure.MailSent), "release": m.Release(t.Context(), "a"),
	} {
		if err == nil || !strings.Contains(err.Error(), "mail a") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
