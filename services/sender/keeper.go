package sender

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// keeper keeps the failure states of the webhooks that this sender owns.
type keeper struct {
	store  failure.Store
	view   func(webhookID string, generation uint64) failure.State // what `states` says
	policy func(tenant string) failure.Policy
	out    producer
	topics wire.Topics
	log    *slog.Logger

	away atomic.Bool // the store did not answer when last asked

	mu      sync.RWMutex
	entries map[string]*entry
}

// entry is one webhook's state. Who works on a delivery holds its webhook's entry throughout: once
// forgotten, it is one that a second owner came beside.
type entry struct {
	webhookID string
	tenant    string
	part      int32 // of every lane

	current atomic.Pointer[failure.State] // what holds; nil until loaded

	pendingMu  sync.Mutex
	pending    []failure.Outcome
	receipts   []*receipt // of pending
	generation uint64     // the webhook's, the highest that was seen
	added      uint64     // outcomes ever added

	mu      sync.Mutex // held over a load or a store
	stored  failure.Entry
	applied uint64            // outcomes ever applied
	unseen  atomic.Bool       // the store has not answered yet, and may hold a newer state
	unheard []failure.Outcome // a success that changes nothing but what the store may hold
	dirty   atomic.Bool       // `states` does not have it yet
	behind  atomic.Bool       // nor what a former owner stored
	telling []string          // ids of the notices that are on their way to the log
	waiting []*receipt        // for those
}

func newKeeper(store failure.Store, view func(string, uint64) failure.State, policy func(string) failure.Policy, out producer, topics wire.Topics, log *slog.Logger) *keeper {
	return &keeper{store: store, view: view, policy: policy, out: out, topics: topics, log: log, entries: map[string]*entry{}}
}

// at is the state as it reads at the webhook's generation. The entry must be loaded.
func (e *entry) at(generation uint64) failure.State { return e.current.Load().At(generation) }

// hold makes stored what holds. The caller has e.mu.
func (e *entry) hold(stored failure.Entry) {
	e.stored = stored
	state := stored.State
	e.current.Store(&state)
}

// loaded returns the webhook's entry, nil if it is not loaded.
func (k *keeper) loaded(webhookID string) *entry {
	k.mu.RLock()
	e := k.entries[webhookID]
	k.mu.RUnlock()
	if e == nil || e.current.Load() == nil {
		return nil
	}
	return e
}

// peek returns the state as far as it is known without asking anyone.
func (k *keeper) peek(w *webhook.Webhook) failure.State {
	if e := k.loaded(w.ID); e != nil {
		return e.at(w.Generation)
	}
	return k.view(w.ID, w.Generation)
}

// load returns the entry of a webhook whose delivery was begun, asking the store the first time. gone reports
// whether the partition was given away: then the entry is for this delivery alone.
func (k *keeper) load(ctx context.Context, w *webhook.Webhook, part int32, gone func() bool) *entry {
	if e := k.loaded(w.ID); e != nil {
		return e
	}
	e := k.entry(w, part, gone)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.current.Load() != nil {
		return e
	}
	known := k.view(w.ID, 0)
	stored := failure.Entry{State: known}
	e.unseen.Store(true)
	k.look(ctx, e, &stored)
	stored.State = stored.State.At(w.Generation)
	stored.State.WebhookID, stored.State.Tenant = w.ID, w.Tenant
	e.hold(stored)
	return e
}

func (k *keeper) entry(w *webhook.Webhook, part int32, gone func() bool) *entry {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e := k.entries[w.ID]; e != nil {
		return e
	}
	e := &entry{webhookID: w.ID, tenant: w.Tenant, part: part}
	if !gone() { // asked under the lock that forget takes after it is so
		k.entries[w.ID] = e
	}
	return e
}

// look asks the store for what it holds of a webhook that it was not asked for yet. If it answers, held becomes the
// newer of the two. The caller has e.mu.
func (k *keeper) look(ctx context.Context, e *entry, held *failure.Entry) bool {
	stored, err := k.store.Load(ctx, e.webhookID)
	k.answered(err)
	if err != nil {
		return false
	}
	e.unseen.Store(false)
	held.Token = stored.Token
	if stored.State.Newer(held.State) {
		held.State = stored.State
		e.dirty.Store(true)
		e.behind.Store(true)
	}
	return true
}

// record applies an outcome, and returns once it is in force. generation is the webhook's now, which may be above the
// attempt's. What must be in the log before the attempt's record is done is written under r.
func (k *keeper) record(ctx context.Context, e *entry, generation uint64, o failure.Outcome, r *receipt) {
	if o.OK && !e.unseen.Load() && !e.behind.Load() {
		s := e.current.Load()
		if after, _ := failure.Apply(*s, failure.Policy{}, []failure.Outcome{o}); !after.Newer(*s) && len(s.PendingNotices) == 0 {
			return
		}
	}
	e.pendingMu.Lock()
	e.pending = append(e.pending, o)
	e.receipts = append(e.receipts, r)
	e.generation = max(e.generation, generation)
	e.added++
	mine := e.added
	e.pendingMu.Unlock()

	e.mu.Lock()
	defer e.mu.Unlock()
	if e.applied < mine { // else another's batch took it along
		k.apply(ctx, e)
	}
}

// apply applies the outcomes that are pending. The caller has e.mu.
func (k *keeper) apply(ctx context.Context, e *entry) {
	e.pendingMu.Lock()
	batch, receipts, generation := slices.Concat(e.unheard, e.pending), e.receipts, e.generation
	e.pending, e.receipts, e.applied = nil, nil, e.added
	e.pendingMu.Unlock()

	was := e.stored
	blind := e.unseen.Load() && !k.look(ctx, e, &was)
	if known := k.view(e.webhookID, 0); known.Newer(was.State) {
		was.State = known // a former owner's last, read late, or a second owner's
	}
	var effects []failure.Effect
	stored, err := failure.Update(ctx, k.store, was, func(s failure.State) failure.State {
		next := s.At(generation)
		next.WebhookID, next.Tenant = e.webhookID, e.tenant
		next, effects = failure.Apply(next, k.policy(e.tenant), batch)
		if blind && next.Newer(s) {
			next = next.Ahead(batch[len(batch)-1].At)
		}
		return next
	})
	k.answered(err)
	changed := stored.State.Newer(was.State)
	e.unseen.Store(blind && !changed)
	e.unheard = nil
	if blind && !changed {
		e.unheard = lastSuccess(batch)
	}
	if stored.State.Newer(e.stored.State) {
		e.dirty.Store(true)
	}
	e.hold(stored)
	k.publishIf(len(effects) > 0 || err != nil, e, receipts...)
}

// lastSuccess is the last success among outcomes, if there is one.
func lastSuccess(outcomes []failure.Outcome) []failure.Outcome {
	for _, o := range slices.Backward(outcomes) {
		if o.OK {
			return []failure.Outcome{o}
		}
	}
	return nil
}

// answered logs when the store begins and ceases to answer.
func (k *keeper) answered(err error) {
	if away := err != nil; away != k.away.Swap(away) {
		if away {
			k.log.Warn("failure states are not stored, going on from memory", "error", err)
		} else {
			k.log.Info("failure states are stored again")
		}
	}
}

// flush writes to `states` what has changed since it was last written, and waits, under r, for notices.
func (k *keeper) flush(r *receipt) {
	for _, e := range k.all() {
		e.mu.Lock()
		k.publishIf(e.dirty.Load(), e, r)
		e.mu.Unlock()
	}
}

// forget drops the states of partitions that were given away, after a flush.
func (k *keeper) forget(parts map[int32]bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, e := range k.entries {
		if parts[e.part] {
			delete(k.entries, id)
		}
	}
}

func (k *keeper) all() []*entry {
	k.mu.RLock()
	defer k.mu.RUnlock()
	out := make([]*entry, 0, len(k.entries))
	for _, e := range k.entries {
		out = append(out, e)
	}
	return out
}
