package sender

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/failure"
)

// Whatever fails, and in whatever order: the state is what a perfect owner would have counted, apart from what a crash
// may take. See the table "Owners" in package failure. The world checks at every step:
//
//   - between crashes the state is exactly the model's, an orderly hand-over loses nothing, and a crash at most what
//     was not in the log yet and what it may not be in the log yet: never an effect whose record was done
//   - `states` goes forward only; a notice is in the log behind its state
//   - no attempt begins while the webhook is disabled
//
// and in the end that exactly the notices were told, by id, that the model raised.
func TestOwnersAgainstAPerfectOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 5 { // five hundred histories, unless -rapid.checks says otherwise
			rapid.Check(struct{ rapid.TB }{t}, func(t *rapid.T) { // without its deadline, which a bubble does not have
				w := newKeeperWorld(t)
				t.Repeat(w.actions())
				w.quiet()
			})
		}
	})
}

// actions are what may happen next.
func (w *keeperWorld) actions() map[string]func(*rapid.T) {
	names := 0
	deliver := func(t *rapid.T) {
		if len(w.owner.inFlight) == 3 {
			t.Skip("enough in flight")
		}
		if len(w.queue) == 0 {
			names++
			w.queue = append(w.queue, &work{name: names})
		}
		k := w.queue[0]
		w.queue = w.queue[1:]
		w.take(k)
	}
	answer := func(t *rapid.T) {
		if len(w.owner.inFlight) == 0 {
			deliver(t)
		}
		if n := len(w.owner.inFlight); n > 0 {
			w.end(rapid.IntRange(0, n-1).Draw(t, "attempt"), answers.Draw(t, "answer"))
		}
	}
	return map[string]func(*rapid.T){
		"":                func(*rapid.T) { w.check() },
		"deliver":         deliver,
		"answer":          answer,
		"answer again":    answer, // often enough for a streak
		"second passes":   w.second,
		"log":             w.land,
		"commit":          func(*rapid.T) { w.recent = nil },
		"crash":           w.crash,
		"hand over":       w.handOver,
		"store emptied":   func(*rapid.T) { w.store.Clear(); w.stored, w.older = 0, nil },
		"store back":      func(*rapid.T) { w.store.away, w.store.mute = false, false },
		"store away":      func(*rapid.T) { w.store.away = true },
		"answers lost":    func(*rapid.T) { w.store.mute = true },
		"store saved":     w.save,
		"store restored":  w.rollBack,
		"reactivated":     func(*rapid.T) { w.hook.Generation++ },
		"wait of an hour": func(*rapid.T) { w.now = w.now.Add(time.Hour) },
	}
}

var answers = rapid.SampledFrom([]string{"bad", "bad", "bad", "bad", "busy", "gone", "ok", "ok"})

// second is what a sender does every second.
func (w *keeperWorld) second(*rapid.T) {
	r := newReceipt(func(bool) {})
	w.owner.flush(r)
	r.close()
}

// land acknowledges some of what was written.
func (w *keeperWorld) land(t *rapid.T) {
	l := w.owner.log
	l.land(&l.states, rapid.IntRange(0, len(l.states)).Draw(t, "states"), true)
	l.land(&l.told, rapid.IntRange(0, len(l.told)).Draw(t, "notices"), true)
}

// crash ends the owner; what it wrote last is in the log or not, and what it did last was committed or not.
func (w *keeperWorld) crash(t *rapid.T) {
	l := w.owner.log
	l.land(&l.states, rapid.IntRange(0, len(l.states)).Draw(t, "states in the log"), false)
	l.land(&l.told, rapid.IntRange(0, len(l.told)).Draw(t, "notices in the log"), false)
	again := rapid.IntRange(0, len(w.recent)).Draw(t, "not committed")
	w.queue = append(w.queue, w.recent[len(w.recent)-again:]...)
	w.recent = nil
	w.retire(false)
}

// handOver ends the owner in order.
func (w *keeperWorld) handOver(t *rapid.T) {
	for len(w.owner.inFlight) > 0 {
		w.end(0, answers.Draw(t, "answer"))
	}
	if !w.flush() {
		t.Fatal("not all is written")
	}
	if n := len(w.owner.ending); n > 0 {
		t.Fatalf("%d records are not done", n)
	}
	w.recent = nil
	w.retire(true)
}

func (w *keeperWorld) save(t *rapid.T) {
	if len(w.ghosts) > 0 {
		t.Skip("what it holds may be of no history")
	}
	e, err := w.store.Memory.Load(context.Background(), w.hook.ID)
	if err != nil {
		t.Fatal(err)
	}
	w.older = append(w.older, saved{e.State, len(w.history) - 1})
}

// rollBack puts back what the store once held.
func (w *keeperWorld) rollBack(t *rapid.T) {
	if len(w.older) == 0 {
		t.Skip("nothing was saved")
	}
	s := w.older[rapid.IntRange(0, len(w.older)-1).Draw(t, "saved")].state
	w.store.Clear()
	w.stored = 0
	if s.WebhookID == "" {
		return
	}
	if _, set, err := w.store.Memory.CompareAndSet(context.Background(), "", s); err != nil || !set {
		t.Fatal(set, err)
	}
}

// check is what is so after every step.
func (w *keeperWorld) check() {
	synctest.Wait()
	if w.fault != "" {
		w.t.Fatal(w.fault)
	}
}

// quiet lets everything come to its end, and looks at what is left.
func (w *keeperWorld) quiet() {
	w.store.away, w.store.mute = false, false
	w.now = w.now.Add(2 * time.Hour)
	for len(w.queue)+len(w.owner.inFlight) > 0 {
		for len(w.owner.inFlight) > 0 {
			w.end(0, "ok")
		}
		if len(w.queue) > 0 {
			k := w.queue[0]
			w.queue = w.queue[1:]
			w.take(k)
		}
	}
	w.flush()
	w.check()
	if n := len(w.owner.ending); n > 0 {
		w.t.Fatalf("%d records are not done", n)
	}
	w.adopt()
	if diff := cmp.Diff(ids(w.present().PendingNotices), ids(w.notices)); diff != "" {
		w.t.Fatalf("notices told: %s", diff)
	}
	w.load() // as for the next delivery
	w.flush()
	w.check()
	if n := len(w.states.PendingNotices); n > 0 {
		w.t.Fatalf("%d notices are left in the state on `states`", n)
	}
	if diff := w.same(w.present(), w.states); diff != "" {
		w.t.Fatalf("the last on `states`: %s", diff)
	}
}

// ids names notices, each once.
func ids(notices []failure.Notice) []string {
	out := []string{}
	for _, n := range notices {
		out = append(out, fmt.Sprintf("%s %s", n.Kind, n.ID))
	}
	slices.Sort(out)
	return slices.Compact(out)
}
