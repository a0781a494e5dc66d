package sender

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/failure/failuretest"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// keeperWorld is a webhook, its owners one after the other, their store and their log. It must be used in a bubble of
// synctest: what a step sets going has ended when the step ends.
type keeperWorld struct {
	t      *rapid.T
	topics wire.Topics
	policy failure.Policy
	now    time.Time
	hook   webhook.Webhook
	store  *faultyStore
	older  []saved // what the store held, for a rollback

	states   failure.State    // as followers of `states` know it
	held     map[string]bool  // notices that stand in a state on `states`
	notices  []failure.Notice // the log
	queue    []*work          // not in anybody's hands
	owner    *owner           // never nil
	recent   []*work          // done, and not committed yet
	applying bool             // an outcome is being applied that is not in the history yet
	exact    bool             // the next owner must not lose anything
	fault    string

	model
}

// saved is what the store held at a point of the history.
type saved struct {
	state failure.State
	point int
}

// work is a record of a lane. It is done once; after a crash it may be in the lane again.
type work struct {
	name       int
	generation uint64 // the webhook's, when its attempt was begun
	entry      *entry
	point      int // of the history, with its outcome; 0: none
}

// owner is a sender, as far as this webhook is concerned.
type owner struct {
	*keeper
	log      *fakeLog
	inFlight []*work
	ending   []*work // their receipts are open
	began    int     // the point that it found in the store, beyond what is on `states`
	gone     bool
}

// fakeLog is a producer whose records wait for their acknowledgement, in the order of their topics.
type fakeLog struct {
	world  *keeperWorld
	states []*unwritten
	told   []*unwritten
	dead   bool
}

type unwritten struct {
	record  *kgo.Record
	promise func(*kgo.Record, error)
	point   int  // of the history, that it knows
	seen    bool // its owner had asked the store
}

func (l *fakeLog) Produce(_ context.Context, r *kgo.Record, promise func(*kgo.Record, error)) {
	if l.dead {
		return
	}
	u := &unwritten{record: r, promise: promise, point: len(l.world.history) - 1}
	if l.world.applying {
		u.point++
	}
	e := l.world.owner.loaded(l.world.hook.ID)
	u.seen = e != nil && !e.unseen.Load()
	if r.Topic == l.world.topics.States {
		l.states = append(l.states, u)
	} else {
		l.told = append(l.told, u)
	}
}

// land takes the first n records of a topic into the log; alive: their producer hears of it.
func (l *fakeLog) land(queue *[]*unwritten, n int, alive bool) {
	for range n {
		u := (*queue)[0]
		*queue = (*queue)[1:]
		if u.record.Topic == l.world.topics.States {
			l.world.landState(l, u)
		} else {
			l.world.landNotice(u)
		}
		if alive {
			u.promise(u.record, nil)
			synctest.Wait()
		}
	}
}

// faultyStore is a store that loses calls, or their answers.
type faultyStore struct {
	failuretest.Memory
	away, mute bool
}

func (s *faultyStore) up() bool { return !s.away && !s.mute }

var errStoreAway = errors.New("store is away")

func (s *faultyStore) Load(ctx context.Context, id string) (failure.Entry, error) {
	if s.away || s.mute {
		return failure.Entry{}, errStoreAway
	}
	return s.Memory.Load(ctx, id)
}

func (s *faultyStore) CompareAndSet(ctx context.Context, was failure.Token, next failure.State) (failure.Entry, bool, error) {
	if s.away {
		return failure.Entry{}, false, errStoreAway
	}
	now, set, err := s.Memory.CompareAndSet(ctx, was, next)
	if s.mute {
		return failure.Entry{}, false, errStoreAway
	}
	return now, set, err
}

// model is what a perfect owner would hold: one that sees every outcome once, and never dies. Its states keep all their
// notices pending.
type model struct {
	history []point
	written int // the newest point that is in `states`
	stored  int // the newest point that the store surely holds
	// ghosts are states that dead owners may have left in the store, of the owners after them who could not ask it. They
	// come back unless such an owner's own count is on `states`.
	ghosts []failure.State
	// possible are the ghosts that the present owner has not seen yet, with its own outcomes.
	possible []failure.State
}

// point is the history after an outcome.
type point struct {
	state failure.State
	log   bool // must be on `states` before the attempt's record is done
}

func newKeeperWorld(t *rapid.T) *keeperWorld {
	topics, err := wire.NewTopics("p.", nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &keeperWorld{
		t: t, topics: topics, now: noon, store: &faultyStore{}, held: map[string]bool{},
		hook:   webhook.Webhook{ID: "11111111-2222-4333-8444-555555555555", Tenant: "acme", Active: true, Generation: 1},
		policy: failure.Policy{WarnAfter: rapid.IntRange(0, 4).Draw(t, "warn after"), DisableAfter: rapid.IntRange(0, 6).Draw(t, "disable after")},
	}
	w.history = []point{{state: failure.State{WebhookID: w.hook.ID, Tenant: w.hook.Tenant, Generation: 1}}}
	w.begin()
	return w
}

// begin makes the next owner.
func (w *keeperWorld) begin() {
	l := &fakeLog{world: w}
	k := newKeeper(w.store, func(_ string, g uint64) failure.State { return w.states.At(g) },
		func(string) failure.Policy { return w.policy }, l, w.topics, slog.New(slog.DiscardHandler))
	w.owner = &owner{keeper: k, log: l}
}

func (w *keeperWorld) tick() time.Time {
	w.now = w.now.Add(time.Second)
	return w.now
}

// same compares states apart from what only an owner counts.
func (w *keeperWorld) same(a, b failure.State) string {
	return cmp.Diff(a.At(w.hook.Generation), b.At(w.hook.Generation), cmpopts.EquateEmpty(),
		cmpopts.IgnoreFields(failure.State{}, "WebhookID", "Tenant", "Version", "PendingNotices", "Unknown", "LastSuccessAt"))
}

// fits reports whether an owner holds a state of the model, with the notices that are not in the log.
func (w *keeperWorld) fits(held, s failure.State) bool {
	pending, all := ids(held.PendingNotices), ids(s.PendingNotices)
	told := ids(w.notices)
	return w.same(s, held) == "" &&
		!slices.ContainsFunc(pending, func(id string) bool { return !slices.Contains(all, id) }) &&
		!slices.ContainsFunc(all, func(id string) bool { return !slices.Contains(pending, id) && !slices.Contains(told, id) })
}

func (w *keeperWorld) present() failure.State { return w.history[len(w.history)-1].state }

// landState puts a state into the log.
func (w *keeperWorld) landState(l *fakeLog, u *unwritten) {
	s, err := wire.ReadState(u.record)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.states.Newer(s) || !s.Newer(w.states) && w.states.WebhookID != "" && !cmp.Equal(s, w.states, cmpopts.EquateEmpty()) {
		w.t.Fatalf("`states` went back, or stood still with a change: from %s to %s", show(w.states), show(s))
	}
	w.states = s
	for _, n := range s.PendingNotices {
		w.held[n.ID] = true
	}
	if u.point > w.written {
		w.written = u.point
		if u.seen {
			w.ghosts = nil
		}
	}
}

// landNotice puts a notice into the log.
func (w *keeperWorld) landNotice(u *unwritten) {
	n, err := wire.ReadNotice(u.record)
	if err != nil {
		w.t.Fatal(err)
	}
	if !w.held[n.ID] {
		w.t.Fatalf("notice %s of kind %s is in the log before its state", n.ID, n.Kind)
	}
	w.notices = append(w.notices, n)
}

// load makes the owner load the webhook, and checks what it begins at.
func (w *keeperWorld) load() *entry {
	fresh := w.owner.loaded(w.hook.ID) == nil
	e := w.owner.load(context.Background(), &w.hook, 3, func() bool { return w.owner.gone })
	if fresh {
		w.began(e)
	}
	return e
}

// began checks what a new owner begins at: a point of the history that loses nothing it may not lose.
func (w *keeperWorld) began(e *entry) {
	s := e.at(w.hook.Generation)
	lowest := w.written
	if w.exact {
		lowest = len(w.history) - 1
	}
	w.exact = false
	if w.store.up() {
		lowest = max(lowest, w.stored)
	}
	for i := len(w.history) - 1; i >= lowest; i-- {
		if !w.fits(s, w.history[i].state) {
			continue
		}
		rest := w.history[i+1:]
		if e.unseen.Load() {
			for _, p := range rest {
				w.ghosts = append(w.ghosts, p.state)
			}
			w.possible = slices.Clone(w.ghosts)
		}
		if now, err := w.store.Load(context.Background(), w.hook.ID); err == nil && now.State.Newer(w.states) {
			w.owner.began = i
		}
		w.forget(i)
		return
	}
	for _, g := range w.ghosts {
		if w.fits(s, g) {
			w.forget(lowest)
			w.history = append(w.history, point{state: g})
			return
		}
	}
	w.t.Fatalf("a new owner begins at %s; in `states` is %s, the last was %s: %s", show(s), show(w.history[w.written].state),
		show(w.present()), w.same(w.present(), s))
}

// forget cuts the history behind a point.
func (w *keeperWorld) forget(i int) {
	w.history = w.history[:i+1]
	w.older = slices.DeleteFunc(w.older, func(s saved) bool { return s.point > i })
	w.stored = min(w.stored, i)
}

// ended applies an outcome to the model, as it was applied by the owner.
func (w *keeperWorld) ended(k *work, o failure.Outcome) {
	before := w.present()
	apply := func(s failure.State) (failure.State, []failure.Effect) {
		return failure.Apply(s.At(w.hook.Generation), w.policy, []failure.Outcome{o})
	}
	next, effects := apply(before)
	got := k.entry.at(w.hook.Generation)
	for i := range w.possible {
		w.possible[i], _ = apply(w.possible[i])
	}
	adopted := false
	if !w.fits(got, next) {
		for _, p := range w.possible {
			if w.fits(got, p) {
				next, adopted = p, true
			}
		}
	}
	if !w.fits(got, next) {
		w.t.Fatalf("after %s: %s; notices %v, want %v", describe(o), w.same(next, got), ids(got.PendingNotices), ids(next.PendingNotices))
	}
	if !k.entry.unseen.Load() {
		w.possible = nil
	}
	changed := w.same(before, next) != ""
	w.history = append(w.history, point{state: next, log: !adopted && (len(effects) > 0 || changed && !w.store.up())})
	k.point = len(w.history) - 1
	if w.store.up() && (changed || w.stored == k.point-1) {
		w.stored = k.point
	}
	if !changed && w.written == k.point-1 {
		w.written = k.point
	}
}

// adopt notes that the owner, when it took a told notice out of the state, found in the store what a former one had left.
func (w *keeperWorld) adopt() {
	e := w.owner.loaded(w.hook.ID)
	if e == nil || w.fits(e.at(w.hook.Generation), w.present()) {
		return
	}
	for _, p := range w.possible {
		if w.fits(e.at(w.hook.Generation), p) {
			w.history = append(w.history, point{state: p})
			return
		}
	}
}

func describe(o failure.Outcome) string {
	return fmt.Sprintf("answer %d of generation %d", o.StatusCode, o.Generation)
}

func show(s failure.State) string {
	return fmt.Sprintf("(%d, %d) streak %d of %d, warned %t, disabled %t, %d notices", s.Generation, s.Version, s.FailStreak, s.FailureCount,
		!s.WarnedAt.IsZero(), s.Disabled, len(s.PendingNotices))
}

// receipt is the one of a record that is in the owner's hands.
func (w *keeperWorld) receipt(o *owner, k *work) *receipt {
	o.ending = append(o.ending, k)
	return newReceipt(func(ok bool) {
		if o.gone {
			return
		}
		if !ok {
			w.fault = "a record was given up"
		}
		for p := w.written + 1; p < len(w.history) && p <= max(k.point, o.began); p++ {
			if w.history[p].log && (p == k.point || p <= o.began) {
				w.fault = fmt.Sprintf("record %d is done, and what it or a former owner brought about is not on `states`", k.name)
			}
		}
		o.ending = slices.DeleteFunc(o.ending, func(other *work) bool { return other == k })
		w.recent = append(w.recent, k)
	})
}

var outcomes = map[string]func(*failure.Outcome){
	"ok":   func(o *failure.Outcome) { o.OK, o.StatusCode = true, 200 },
	"bad":  func(o *failure.Outcome) { o.StatusCode, o.Error = 500, "answered 500" },
	"busy": func(o *failure.Outcome) { o.StatusCode, o.Error, o.RetryAfter = 429, "answered 429", time.Minute },
	"gone": func(o *failure.Outcome) { o.StatusCode, o.Error, o.Gone = 410, "answered 410", true },
}

func (w *keeperWorld) outcome(kind string, generation uint64) failure.Outcome {
	o := failure.Outcome{At: w.tick(), Generation: generation}
	outcomes[kind](&o)
	return o
}

// take takes a record in hand as a sender does.
func (w *keeperWorld) take(k *work) {
	if f, _ := judge(&delivery.Delivery{}, &w.hook, w.owner.peek(&w.hook), w.now); f != send {
		w.settle(k, f)
		return
	}
	e := w.load()
	if f, _ := judge(&delivery.Delivery{}, &w.hook, e.at(w.hook.Generation), w.now); f != send {
		w.settle(k, f)
		return
	}
	if len(w.possible) == 0 && w.present().At(w.hook.Generation).Disabled {
		w.t.Fatal("an attempt begins of a webhook that is disabled")
	}
	k.generation, k.entry, k.point = w.hook.Generation, e, 0
	w.owner.inFlight = append(w.owner.inFlight, k)
}

func (w *keeperWorld) settle(k *work, f fate) {
	if f == putOff { // it waits in the lanes
		w.queue = append(w.queue, k)
		return
	}
	k.point = 0
	r := w.receipt(w.owner, k)
	if !w.owner.quiet(w.hook.ID) {
		w.owner.catchUp(w.load(), r)
	}
	r.close()
}

// end ends an attempt.
func (w *keeperWorld) end(i int, kind string) {
	o := w.owner
	k := o.inFlight[i]
	o.inFlight = slices.Delete(o.inFlight, i, i+1)
	r := w.receipt(o, k)
	outcome := w.outcome(kind, k.generation)
	w.applying = true
	o.record(context.Background(), k.entry, w.hook.Generation, outcome, r)
	w.applying = false
	w.ended(k, outcome)
	r.close()
}

// acknowledge lets everything land that the owner has written, and what follows from that.
func (w *keeperWorld) acknowledge() {
	l := w.owner.log
	for len(l.states)+len(l.told) > 0 {
		l.land(&l.states, len(l.states), true)
		l.land(&l.told, len(l.told), true)
	}
}

// flush is the sender's.
func (w *keeperWorld) flush() (written bool) {
	r := newReceipt(func(bool) { written = true })
	w.owner.flush(r)
	r.close()
	w.acknowledge()
	return written
}

// retire ends the owner: what it has in hand is in the lanes. One that never loaded the webhook changes nothing.
func (w *keeperWorld) retire(inOrder bool) {
	o := w.owner
	if o.loaded(w.hook.ID) != nil {
		w.exact = inOrder
	}
	o.gone, o.log.dead = true, true
	w.queue = slices.Concat(o.inFlight, o.ending, w.queue)
	w.possible = nil
	w.begin()
}
