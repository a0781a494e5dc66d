package failuretest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/failure"
)

// apply is a change by one outcome.
func apply(p failure.Policy, o failure.Outcome) func(failure.State) failure.State {
	return func(s failure.State) failure.State {
		next, _ := failure.Apply(s, p, []failure.Outcome{o})
		return next
	}
}

func failed(second int, generation uint64) failure.Outcome {
	at := time.Date(2026, 11, 22, 12, 0, second, 0, time.UTC)
	return failure.Outcome{At: at, Generation: generation, StatusCode: 500, Error: "answered 500"}
}

func mustUpdate(t *testing.T, store failure.Store, was failure.Entry, change func(failure.State) failure.State) failure.Entry {
	t.Helper()
	now, err := failure.Update(t.Context(), store, was, change)
	if err != nil {
		t.Fatal(err)
	}
	return now
}

func mustLoad(t *testing.T, store failure.Store, webhookID string) failure.Entry {
	t.Helper()
	now, err := store.Load(t.Context(), webhookID)
	if err != nil {
		t.Fatal(err)
	}
	return now
}

func noticeIDs(s failure.State) (ids []string) {
	for _, n := range s.PendingNotices {
		ids = append(ids, n.ID)
	}
	return ids
}

// noticesWait is a hand-over while notices are on their way to the log: the next owner finds them as they were raised,
// and what the former one takes out late stays out, beside what the next one has counted.
func noticesWait(t *testing.T, store failure.Store) {
	policy := failure.Policy{WarnAfter: 2, DisableAfter: 4}
	former := failure.Entry{State: failure.State{WebhookID: uuid.NewString(), Tenant: "acme", Generation: 1}}
	for i := range 2 {
		former = mustUpdate(t, store, former, apply(policy, failed(i, 1)))
	}
	next := mustLoad(t, store, former.State.WebhookID)
	same(t, former.State, next.State)
	warning := noticeIDs(next.State)
	if len(warning) != 1 || warning[0] != failure.NoticeID(next.State.WebhookID, 1, failed(0, 1).At, failure.NoticeWarning) {
		t.Fatalf("notices %v after the warning", warning)
	}
	next = mustUpdate(t, store, next, apply(policy, failed(2, 1)))
	former = mustUpdate(t, store, former, func(s failure.State) failure.State { return s.Written(warning...) })
	next = mustUpdate(t, store, next, apply(policy, failed(3, 1)))
	same(t, next.State, mustLoad(t, store, next.State.WebhookID).State)
	want := []string{failure.NoticeID(next.State.WebhookID, 1, failed(0, 1).At, failure.NoticeDisabled)}
	if diff := cmp.Diff(want, noticeIDs(next.State)); diff != "" || next.State.FailStreak != 4 || former.State.FailStreak != 3 {
		t.Errorf("streak %d, after %d; notices: %s", next.State.FailStreak, former.State.FailStreak, diff)
	}
}

// generations is a reactivation beside an owner that has not heard of it: what it still counts changes nothing.
func generations(t *testing.T, store failure.Store) {
	policy := failure.Policy{DisableAfter: 2}
	former := failure.Entry{State: failure.State{WebhookID: uuid.NewString(), Tenant: "acme", Generation: 1}}
	for i := range 2 {
		former = mustUpdate(t, store, former, apply(policy, failed(i, 1)))
	}
	next := mustLoad(t, store, former.State.WebhookID)
	next = mustUpdate(t, store, next, apply(policy, failed(2, 2)))
	if s := next.State; s.Disabled || s.Generation != 2 || s.FailStreak != 1 || s.FailureCount != 3 || len(s.PendingNotices) != 1 {
		t.Errorf("after a failure of the next generation: %+v", s)
	}
	former = mustUpdate(t, store, former, apply(policy, failed(3, 1)))
	same(t, next.State, former.State)
	same(t, next.State, mustLoad(t, store, next.State.WebhookID).State)

	// The generation holds over a higher version.
	old := former.State
	old.Generation, old.Version = 1, 1<<50
	mustSet(t, store, former.Token, old)
	next = mustUpdate(t, store, next, apply(policy, failed(4, 2)))
	if s := next.State; s.Generation != 2 || s.FailStreak != 2 || !s.Disabled {
		t.Errorf("over a higher version of the former generation: %+v", s)
	}
	same(t, next.State, mustLoad(t, store, next.State.WebhookID).State)
}

// rolledBack is a store that was restored to what it once held, a notice among it that stands in the log since.
func rolledBack(t *testing.T, store failure.Store) {
	policy := failure.Policy{WarnAfter: 1}
	held := mustUpdate(t, store, failure.Entry{State: failure.State{WebhookID: uuid.NewString(), Tenant: "acme", Generation: 1}},
		apply(policy, failed(0, 1)))
	saved := held.State
	held = mustUpdate(t, store, held, func(s failure.State) failure.State { return s.Written(noticeIDs(s)...) })
	held = mustUpdate(t, store, held, apply(policy, failed(1, 1)))
	mustSet(t, store, held.Token, saved)
	held = mustUpdate(t, store, held, apply(policy, failed(2, 1)))
	now := mustLoad(t, store, held.State.WebhookID)
	same(t, held.State, now.State)
	if s := now.State; s.FailStreak != 3 || len(s.PendingNotices) != 0 || s.WarnedAt.IsZero() {
		t.Errorf("after the rollback: %+v", s)
	}
}
