package redisstate_test

import (
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/failure/failuretest"
	"github.com/doorstep-dev/doorstep/pkg/redisstate"
)

func TestStates(t *testing.T) {
	eachServer(t, func(t *testing.T, cfg redisstate.Config) {
		failuretest.Run(t, func(t *testing.T) failure.Store { return connect(t, cfg).States() })
	})
}

// A value that cannot be read gives way to the owner's state.
func TestUnreadableState(t *testing.T) {
	eachServer(t, func(t *testing.T, cfg redisstate.Config) {
		store, raw, held := connect(t, cfg).States(), rawClient(t, cfg), failuretest.Full()
		key := cfg.Prefix + "state:" + held.WebhookID
		if err := raw.Set(t.Context(), key, "\xff\xff no record", 0).Err(); err != nil {
			t.Fatal(err)
		}
		if e, err := store.Load(t.Context(), held.WebhookID); err == nil {
			t.Fatalf("Load gave %+v", e)
		}
		raise := func(s failure.State) failure.State { s.Version++; return s }
		if _, err := failure.Update(t.Context(), store, failure.Entry{State: held}, raise); err != nil {
			t.Fatal(err)
		}
		got, err := store.Load(t.Context(), held.WebhookID)
		if err != nil || got.State.Version != held.Version+1 {
			t.Fatalf("Load = %+v, %v", got.State, err)
		}
	})
}

// A Redis that was restarted knows no scripts.
func TestScriptIsLoadedAgain(t *testing.T) {
	eachServer(t, func(t *testing.T, cfg redisstate.Config) {
		store, state := connect(t, cfg).States(), failuretest.Full()
		one, set, err := store.CompareAndSet(t.Context(), "", state)
		if err != nil || !set {
			t.Fatalf("set %t, %v", set, err)
		}
		if err := rawClient(t, cfg).ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		state.Version++
		if _, set, err := store.CompareAndSet(t.Context(), one.Token, state); err != nil || !set {
			t.Fatalf("after a flush: set %t, %v", set, err)
		}
	})
}
