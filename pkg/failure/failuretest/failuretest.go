// Package failuretest holds the checks that every failure.Store passes, and a Store in memory.
package failuretest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/failure"
)

// Run checks a Store. open returns one for the test; the stores of several calls may share their
// server: every check works on webhooks of its own.
func Run(t *testing.T, open func(t *testing.T) failure.Store) {
	for name, check := range map[string]func(*testing.T, failure.Store){
		"nothing is stored at first":          nothing,
		"every field comes back":              everyField,
		"only the value that is known":        compares,
		"only where nothing is stored":        putIfAbsent,
		"a repeated write meets itself":       repeats,
		"webhooks are apart":                  apart,
		"two owners lose no outcome":          twoOwners,
		"the owner puts its last value back":  putsBack,
		"a rollback brings no notice back":    rolledBack,
		"notices wait until they are written": noticesWait,
		"a raised generation holds":           generations,
		"a cancelled call says so":            cancelled,
		"a state without a webhook is no one": nameless,
	} {
		t.Run(name, func(t *testing.T) { check(t, open(t)) })
	}
}

// Full is a state with a value in every field, in a webhook of its own.
func Full() failure.State {
	at := func(minute int) time.Time { return time.Date(2026, 11, 22, 12, minute, 1, 234567891, time.UTC) }
	webhook := uuid.NewString()
	return failure.State{
		WebhookID: webhook, Tenant: "acme", Generation: 3, Version: 1 << 40,
		FailStreak: 501, FailStreakStartedAt: at(1), LastFailedAt: at(2), LastFailureAt: at(3), FailureCount: 1 << 33,
		LastSuccessAt: at(4), Disabled: true, DisabledAt: at(5), DisableReason: failure.DisabledByStreak,
		DisabledUntil: at(6), WarnedAt: at(7), LastStatusCode: 503, LastError: "answered 503 – \x00 öö",
		PendingNotices: []failure.Notice{
			{
				ID: uuid.NewString(), Kind: failure.NoticeWarning, Tenant: "acme", WebhookID: webhook, Generation: 3,
				FailStreak: 250, FailStreakStartedAt: at(1), RaisedAt: at(7), LastStatusCode: 500, LastError: "answered 500",
			},
			{ID: uuid.NewString(), Kind: failure.NoticeDisabled, Tenant: "acme", WebhookID: webhook, Generation: 3, RaisedAt: at(8)},
		},
	}
}

func nothing(t *testing.T, store failure.Store) {
	got, err := store.Load(t.Context(), uuid.NewString())
	if err != nil || !cmp.Equal(got, failure.Entry{}) {
		t.Fatalf("Load = %+v, %v; want the zero Entry", got, err)
	}
}

func everyField(t *testing.T, store failure.Store) {
	want := Full()
	set := mustSet(t, store, "", want)
	same(t, want, set.State)
	got, err := store.Load(t.Context(), want.WebhookID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, want, got.State)
	if got.Token != set.Token || got.Token == "" {
		t.Errorf("tokens of one value: %q written, %q loaded", set.Token, got.Token)
	}
}

func compares(t *testing.T, store failure.Store) {
	first := fresh()
	second, third := first, first
	second.Version, third.Version = 2, 3
	one := mustSet(t, store, "", first)
	two := mustSet(t, store, one.Token, second)

	now, set, err := store.CompareAndSet(t.Context(), one.Token, third)
	if err != nil || set {
		t.Fatalf("CompareAndSet over a token of the past: set %t, %v", set, err)
	}
	same(t, second, now.State)
	if now.Token != two.Token {
		t.Error("the token is not that of what is stored")
	}
	same(t, third, mustSet(t, store, now.Token, third).State)
}

func putIfAbsent(t *testing.T, store failure.Store) {
	first := fresh()
	other := first
	other.Version = 7
	mustSet(t, store, "", first)
	now, set, err := store.CompareAndSet(t.Context(), "", other)
	if err != nil || set {
		t.Fatalf("CompareAndSet over nothing where something is: set %t, %v", set, err)
	}
	same(t, first, now.State)

	if _, set, err = store.CompareAndSet(t.Context(), now.Token, fresh()); err != nil || set {
		t.Fatalf("CompareAndSet over something where nothing is: set %t, %v", set, err)
	}
}

// repeats is a write whose answer was lost: it is found stored, and not taken for a success, as
// another owner may have written the very same state.
func repeats(t *testing.T, store failure.Store) {
	first := fresh()
	second := first
	second.Version = 2
	one := mustSet(t, store, "", first)
	two := mustSet(t, store, one.Token, second)
	now, set, err := store.CompareAndSet(t.Context(), one.Token, second)
	if err != nil || set {
		t.Fatalf("CompareAndSet: set %t, %v", set, err)
	}
	same(t, second, now.State)
	if now.Token != two.Token {
		t.Error("the token is not that of what is stored")
	}
}

func apart(t *testing.T, store failure.Store) {
	a, b := fresh(), fresh()
	b.FailStreak = 9
	mustSet(t, store, "", a)
	mustSet(t, store, "", b)
	got, err := store.Load(t.Context(), a.WebhookID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, a, got.State)
}

// twoOwners lets owners that do not know of one another count failures: none is lost or counted
// twice, and the limit is reached once.
func twoOwners(t *testing.T, store failure.Store) {
	const owners, failures = 4, 25
	policy := failure.Policy{WarnAfter: owners * failures / 2, DisableAfter: owners * failures}
	start := failure.State{WebhookID: uuid.NewString(), Tenant: "acme", Generation: 1}
	told := make([]map[failure.EffectKind]int, owners)
	errs := make([]error, owners)
	var wg sync.WaitGroup
	for i := range owners {
		wg.Go(func() { told[i], errs[i] = ownAlone(t.Context(), store, start, policy, failures) })
	}
	wg.Wait()
	sum := map[failure.EffectKind]int{}
	for i, kinds := range told {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		for kind, n := range kinds {
			sum[kind] += n
		}
	}
	want := map[failure.EffectKind]int{failure.StreakStarted: 1, failure.Warned: 1, failure.Disabled: 1}
	if diff := cmp.Diff(want, sum); diff != "" {
		t.Errorf("told: %s", diff)
	}
	got, err := store.Load(t.Context(), start.WebhookID)
	if err != nil {
		t.Fatal(err)
	}
	if s := got.State; s.FailStreak != owners*failures || s.Version != owners*failures || !s.Disabled || len(s.PendingNotices) != 2 {
		t.Errorf("after %d failures: %+v", owners*failures, s)
	}
}

// ownAlone counts failures as an owner that knows of no other, and returns what it told. All
// owners see the same outcomes, so that they often want to write the same state.
func ownAlone(ctx context.Context, store failure.Store, start failure.State, p failure.Policy, failures int) (map[failure.EffectKind]int, error) {
	told, e := map[failure.EffectKind]int{}, failure.Entry{State: start}
	for i := range failures {
		outcome := failure.Outcome{At: time.Date(2026, 11, 22, 12, 0, i, 0, time.UTC), Generation: 1, StatusCode: 500, Error: fmt.Sprintf("answer %d", i)}
		var effects []failure.Effect
		var err error
		e, err = failure.Update(ctx, store, e, func(s failure.State) (next failure.State) {
			next, effects = failure.Apply(s, p, []failure.Outcome{outcome})
			return next
		})
		if err != nil {
			return nil, err
		}
		for _, effect := range effects {
			told[effect.Kind]++
		}
	}
	return told, nil
}

// putsBack is the owner of a webhook whose state the store lost or fell behind with: the owner
// holds what another server of its kind knew.
func putsBack(t *testing.T, store failure.Store) {
	older := fresh()
	held := older
	held.Version, held.FailStreak = 40, 7
	for name, stored := range map[string]bool{"emptied": false, "fell behind": true} {
		held.WebhookID = uuid.NewString()
		older.WebhookID = held.WebhookID
		if stored {
			mustSet(t, store, "", older)
		}
		want := held
		want.Version, want.FailStreak = 41, 8
		got, err := failure.Update(t.Context(), store, failure.Entry{State: held, Token: "of another life"},
			func(s failure.State) failure.State { s.Version++; s.FailStreak++; return s })
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		same(t, want, got.State)
		now, err := store.Load(t.Context(), held.WebhookID)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		same(t, want, now.State)
	}
}

func cancelled(t *testing.T, store failure.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Load(ctx, uuid.NewString()); err == nil {
		t.Error("Load with a cancelled context gave no error")
	}
	if _, set, err := store.CompareAndSet(ctx, "", fresh()); err == nil || set {
		t.Errorf("CompareAndSet with a cancelled context: set %t, %v", set, err)
	}
}

func nameless(t *testing.T, store failure.Store) {
	if _, set, err := store.CompareAndSet(t.Context(), "", failure.State{Version: 1}); err == nil || set {
		t.Errorf("CompareAndSet without a webhook id: set %t, %v", set, err)
	}
}

func fresh() failure.State {
	return failure.State{WebhookID: uuid.NewString(), Tenant: "acme", Generation: 1, Version: 1, FailStreak: 1}
}

func mustSet(t *testing.T, store failure.Store, was failure.Token, next failure.State) failure.Entry {
	t.Helper()
	now, set, err := store.CompareAndSet(t.Context(), was, next)
	if err != nil || !set {
		t.Fatalf("CompareAndSet: set %t, %v", set, err)
	}
	return now
}

func same(t *testing.T, want, got failure.State) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("state: %s", diff)
	}
}
