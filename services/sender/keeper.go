package sender

import (
	"context"
	"log/slog"
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

// entry is one webhook's state.
type entry struct {
	part int32 // of every lane

	current atomic.Pointer[failure.State] // what holds; nil until loaded

	pendingMu sync.Mutex
	pending   []failure.Outcome
	added     uint64 // outcomes ever added

	mu      sync.Mutex // held over a load or a store
	stored  failure.Entry
	applied uint64 // outcomes ever applied
	dirty   bool   // `states` does not have it yet
}

func newKeeper(store failure.Store, view func(string, uint64) failure.State, policy func(string) failure.Policy, out producer, topics wire.Topics, log *slog.Logger) *keeper {
	return &keeper{store: store, view: view, policy: policy, out: out, topics: topics, log: log, entries: map[string]*entry{}}
}

// peek returns the state as far as it is known without asking anyone.
func (k *keeper) peek(w webhook.Webhook) failure.State {
	k.mu.RLock()
	e := k.entries[w.ID]
	k.mu.RUnlock()
	if e != nil {
		if s := e.current.Load(); s != nil {
			return s.At(w.Generation)
		}
	}
	return k.view(w.ID, w.Generation)
}

// load returns the state that holds, asking the store the first time.
func (k *keeper) load(ctx context.Context, w webhook.Webhook, part int32) failure.State {
	e := k.entry(w.ID, part)
	if s := e.current.Load(); s != nil {
		return s.At(w.Generation)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.current.Load(); s != nil {
		return s.At(w.Generation)
	}
	stored, err := k.store.Load(ctx, w.ID)
	k.answered(err)
	known := k.view(w.ID, 0)
	if known.Newer(stored.State) {
		stored.State = known // the store was emptied, or is away
	}
	e.dirty = stored.State.Newer(known) || len(stored.State.PendingNotices) > 0
	stored.State = stored.State.At(w.Generation)
	stored.State.WebhookID, stored.State.Tenant = w.ID, w.Tenant
	k.hold(e, stored)
	return stored.State
}

func (k *keeper) entry(webhookID string, part int32) *entry {
	k.mu.RLock()
	e := k.entries[webhookID]
	k.mu.RUnlock()
	if e != nil {
		return e
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if e := k.entries[webhookID]; e != nil {
		return e
	}
	e = &entry{part: part}
	k.entries[webhookID] = e
	return e
}

// hold makes stored what holds. The caller has e.mu.
func (k *keeper) hold(e *entry, stored failure.Entry) {
	e.stored = stored
	state := stored.State
	e.current.Store(&state)
}

// record applies an outcome of a webhook that was loaded, and returns once it is in force. What it changes in
// `states` and `notices` is written under r.
func (k *keeper) record(ctx context.Context, w webhook.Webhook, part int32, o failure.Outcome, r *receipt) {
	e := k.entry(w.ID, part)
	if s := e.current.Load(); s != nil && o.OK {
		if after, _ := failure.Apply(*s, failure.Policy{}, []failure.Outcome{o}); !after.Newer(*s) {
			return
		}
	}
	e.pendingMu.Lock()
	e.pending = append(e.pending, o)
	e.added++
	mine := e.added
	e.pendingMu.Unlock()

	e.mu.Lock()
	defer e.mu.Unlock()
	if e.applied >= mine {
		return // another's batch took it along
	}
	e.pendingMu.Lock()
	batch := e.pending
	e.pending, e.applied = nil, e.added
	e.pendingMu.Unlock()

	var effects []failure.Effect
	stored, err := failure.Update(ctx, k.store, e.stored, func(s failure.State) failure.State {
		s.WebhookID, s.Tenant = w.ID, w.Tenant
		s, effects = failure.Apply(s, k.policy(w.Tenant), batch)
		return s
	})
	k.answered(err)
	if stored.State.Newer(e.stored.State) {
		e.dirty = true
	}
	k.hold(e, stored)
	if len(effects) > 0 {
		k.publish(e, r)
	}
}

// publish writes the state and the notices that are not known to be written. The caller has e.mu, which
// keeps the records of one webhook in order.
func (k *keeper) publish(e *entry, r *receipt) {
	state := e.stored.State
	record, err := wire.State(k.topics.States, state)
	if err != nil {
		k.log.Error("failure state cannot be encoded", "webhook", state.WebhookID, "error", err)
		r.fail()
		return
	}
	e.dirty = false
	r.write(k.out, record)
	if len(state.PendingNotices) == 0 {
		return
	}
	var ids []string
	notices := newReceipt(func(ok bool) {
		if ok {
			go k.written(e, ids)
		}
		r.acknowledge(nil)
		if !ok {
			r.fail()
		}
	})
	r.open.Add(1)
	for _, n := range state.PendingNotices {
		record, err := wire.Notice(k.topics.Notices, n)
		if err != nil {
			k.log.Error("notice cannot be encoded", "webhook", state.WebhookID, "error", err)
			notices.fail()
			continue
		}
		ids = append(ids, n.ID)
		notices.write(k.out, record)
	}
	notices.close()
}

// written takes notices that stand in the log out of the state. If this is lost in a crash, they are
// written again with the same ids.
func (k *keeper) written(e *entry, ids []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	stored, err := failure.Update(context.Background(), k.store, e.stored, func(s failure.State) failure.State { return s.Written(ids...) })
	k.answered(err)
	e.dirty = e.dirty || stored.State.Newer(e.stored.State)
	k.hold(e, stored)
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

// flush writes to `states` what has changed since it was last written.
func (k *keeper) flush(r *receipt) {
	for _, e := range k.all() {
		e.mu.Lock()
		if e.dirty {
			k.publish(e, r)
		}
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
