package sender

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// Two owners of a webhook that do not know of one another, as when one has lost its partitions and what it began still
// ends: while the store answers no failure is lost or counted twice, each threshold is told once, and a
// disable is never undone.
func TestASecondOwnerForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(struct{ rapid.TB }{t}, func(t *rapid.T) {
			w := newKeeperWorld(t)
			log := &sharedLog{t: t, topics: w.topics, warned: map[int64]string{}, disabled: map[uint64]string{}}
			owners := make([]*keeper, 2)
			for i := range owners {
				owners[i] = newKeeper(w.store, func(string, uint64) failure.State { return failure.State{} },
					func(string) failure.Policy { return w.policy }, log, w.topics, slog.New(slog.DiscardHandler))
			}
			// gone: neither keeps the other's entry, nor is there one to find.
			held := []*entry{owners[0].load(t.Context(), &w.hook, 3, no), owners[1].load(t.Context(), &w.hook, 3, yes)}
			failures, open := 0, 0
			for range rapid.IntRange(1, 60).Draw(t, "outcomes") {
				i := rapid.IntRange(0, 1).Draw(t, "owner")
				kind := answers.Draw(t, "answer")
				if rapid.IntRange(0, 15).Draw(t, "reactivated") == 0 {
					w.hook.Generation++
				}
				if kind != "ok" {
					failures++
				}
				open++
				r := newReceipt(func(ok bool) {
					if ok {
						open--
					}
				})
				owners[i].record(t.Context(), held[i], w.hook.Generation, w.outcome(kind, w.hook.Generation), r)
				r.close()
				synctest.Wait()
				log.check()
			}
			got, err := w.store.Load(context.Background(), w.hook.ID)
			if err != nil || got.State.FailureCount != uint64(failures) {
				t.Fatalf("%d failures counted of %d, %v", got.State.FailureCount, failures, err)
			}
			if open != 0 {
				t.Fatalf("%d records are not done", open)
			}
			if n := len(got.State.PendingNotices); n != 0 {
				t.Fatalf("%d notices are left in the state", n)
			}
			if loaded := owners[1].loaded(w.hook.ID); loaded != nil {
				t.Fatal("an owner whose partition is gone keeps the webhook")
			}
		})
	})
}

func yes() bool { return true }
func no() bool  { return false }

// sharedLog acknowledges at once, and looks at what it is given.
type sharedLog struct {
	t        *rapid.T
	topics   wire.Topics
	states   failure.State
	warned   map[int64]string  // by the streak's start
	disabled map[uint64]string // by generation
	fault    string
}

func (l *sharedLog) Produce(_ context.Context, r *kgo.Record, promise func(*kgo.Record, error)) {
	if r.Topic == l.topics.States {
		s, err := wire.ReadState(r)
		if err != nil || l.states.Disabled && !s.Disabled && s.Generation == l.states.Generation {
			l.fault = "a disable was undone"
		}
		if s.Newer(l.states) {
			l.states = s
		}
		promise(r, nil)
		return
	}
	n, err := wire.ReadNotice(r)
	if err != nil {
		l.fault = err.Error()
	}
	if n.Kind == failure.NoticeWarning {
		once(&l.fault, l.warned, n.FailStreakStartedAt.UnixNano(), n.ID)
	} else {
		once(&l.fault, l.disabled, n.Generation, n.ID)
	}
	promise(r, nil)
}

// once notes an id under what it may stand for once; the same id may come again.
func once[K comparable](fault *string, seen map[K]string, key K, id string) {
	if was, ok := seen[key]; ok && was != id {
		*fault = "told twice"
	}
	seen[key] = id
}

func (l *sharedLog) check() {
	if l.fault != "" {
		l.t.Fatal(l.fault)
	}
}
