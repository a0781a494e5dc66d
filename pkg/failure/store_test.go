package failure_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/failure/failuretest"
)

func TestMemory(t *testing.T) {
	failuretest.Run(t, func(*testing.T) failure.Store { return &failuretest.Memory{} })
}

// away is a store that loses calls: before they reach the store, or with their answers.
type away struct {
	failure.Store
	before, after bool
}

var errAway = errors.New("connection refused")

func (a *away) CompareAndSet(ctx context.Context, was failure.Token, next failure.State) (failure.Entry, bool, error) {
	if a.before {
		return failure.Entry{}, false, errAway
	}
	now, set, err := a.Store.CompareAndSet(ctx, was, next)
	if a.after {
		return failure.Entry{}, false, errAway
	}
	return now, set, err
}

// The owner goes on from its copy while the store is away, and nothing is lost or counted twice
// once it is back, be it as it was, emptied, or with the write whose answer was lost.
func TestUpdateWhileTheStoreIsAway(t *testing.T) {
	fail := func(s failure.State) failure.State {
		next, _ := failure.Apply(s, failure.DefaultPolicy(), []failure.Outcome{bad(1)})
		return next
	}
	for name, tt := range map[string]struct {
		fault   away
		emptied bool
	}{
		"calls lost":            {fault: away{before: true}},
		"answers lost":          {fault: away{after: true}},
		"calls lost, emptied":   {fault: away{before: true}, emptied: true},
		"answers lost, emptied": {fault: away{after: true}, emptied: true},
	} {
		t.Run(name, func(t *testing.T) {
			memory := &failuretest.Memory{}
			e, err := failure.Update(t.Context(), memory, failure.Entry{State: start()}, fail)
			if err != nil {
				t.Fatal(err)
			}
			fault := tt.fault
			fault.Store = memory
			for range 3 {
				if e, err = failure.Update(t.Context(), &fault, e, fail); !errors.Is(err, errAway) {
					t.Fatalf("error %v, want %v", err, errAway)
				}
			}
			if e.State.FailStreak != 4 {
				t.Fatalf("streak %d in the owner's copy, want 4", e.State.FailStreak)
			}
			if tt.emptied {
				memory.Clear()
			}
			if e, err = failure.Update(t.Context(), memory, e, fail); err != nil {
				t.Fatal(err)
			}
			stored, err := memory.Load(t.Context(), e.State.WebhookID)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(e, stored); diff != "" {
				t.Errorf("held and stored differ: %s", diff)
			}
			if stored.State.FailStreak != 5 {
				t.Errorf("streak %d, want 5", stored.State.FailStreak)
			}
		})
	}
}

func TestUpdateWithoutChangeCostsNoCall(t *testing.T) {
	none := &away{before: true} // any call would fail
	succeed := func(s failure.State) failure.State {
		next, _ := failure.Apply(s, failure.DefaultPolicy(), []failure.Outcome{good(1)})
		return next
	}
	if _, err := failure.Update(t.Context(), none, failure.Entry{State: start()}, succeed); err != nil {
		t.Error(err)
	}
}
