package sender

import (
	"context"
	"errors"
	"slices"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// A notice takes three steps, each after the one before is acknowledged: the state that holds it is written to `states`,
// the notice to `notices`, and the state without it to `states`. So whoever finds it in the log finds its streak
// in `states` too, and raises no second one, whatever the store has lost. The records of the attempts
// that raised it, and of those that end meanwhile, are done only behind the last step: a crash before that
// leaves the next owner a record to read, and with it the webhook to look after.

var errNotWritten = errors.New("not written")

// publishIf publishes the state if it must be, or if it holds what a former owner may not have published, and
// makes the receipts wait for all that is on its way. The caller has e.mu.
func (k *keeper) publishIf(must bool, e *entry, receipts ...*receipt) {
	if must || e.behind.Load() || e.untold() != nil {
		k.publish(e, receipts...)
	}
	if len(e.telling) == 0 {
		return
	}
	for _, r := range receipts {
		r.open.Add(1)
	}
	e.waiting = append(e.waiting, receipts...)
}

// publish writes the state, and then its notices that are not on their way yet. The state is written under the
// receipts. The caller has e.mu, which keeps a webhook's records in order.
func (k *keeper) publish(e *entry, receipts ...*receipt) {
	state, fresh, behind := e.stored.State, e.untold(), e.behind.Load()
	record, err := wire.State(k.topics.States, state)
	if err != nil {
		k.log.Error("failure state cannot be encoded", "webhook", state.WebhookID, "error", err)
		for _, r := range receipts {
			r.fail()
		}
		return
	}
	e.dirty.Store(false)
	for _, n := range fresh {
		e.telling = append(e.telling, n.ID)
	}
	for _, r := range receipts {
		r.open.Add(1)
	}
	written := newReceipt(func(ok bool) {
		var err error
		switch {
		case !ok:
			err = errNotWritten
			e.dirty.Store(true)
		case behind:
			e.behind.Store(false)
		}
		for _, r := range receipts {
			r.acknowledge(err)
		}
		switch {
		case len(fresh) == 0:
		case ok:
			go k.tell(e, fresh) // the client's callbacks must not wait
		default:
			go k.told(e, fresh, false)
		}
	})
	written.write(k.out, record)
	written.close()
}

// untold are the notices of the state that are not on their way to the log. The caller has e.mu.
func (e *entry) untold() (fresh []failure.Notice) {
	for _, n := range e.stored.State.PendingNotices {
		if !slices.Contains(e.telling, n.ID) {
			fresh = append(fresh, n)
		}
	}
	return fresh
}

// tell writes notices whose state is in the log.
func (k *keeper) tell(e *entry, notices []failure.Notice) {
	written := newReceipt(func(ok bool) { go k.told(e, notices, ok) })
	for _, n := range notices {
		record, err := wire.Notice(k.topics.Notices, n)
		if err != nil {
			k.log.Error("notice cannot be encoded", "webhook", n.WebhookID, "error", err)
			written.fail()
			continue
		}
		written.write(k.out, record)
	}
	written.close()
}

// told takes notices that are in the log out of the state. If this is lost in a crash, they are written
// again with the same ids.
func (k *keeper) told(e *entry, notices []failure.Notice, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var ids []string
	for _, n := range notices {
		ids = append(ids, n.ID)
	}
	e.telling = slices.DeleteFunc(e.telling, func(id string) bool { return slices.Contains(ids, id) })
	var failed error
	if ok {
		stored, err := failure.Update(context.Background(), k.store, e.stored, func(s failure.State) failure.State { return s.Written(ids...) })
		k.answered(err)
		e.hold(stored)
		k.publish(e, e.waiting...)
	} else {
		failed = errNotWritten
	}
	if ok && len(e.telling) > 0 {
		return
	}
	for _, r := range e.waiting {
		r.acknowledge(failed)
	}
	e.waiting = nil
}

// catchUp writes under r what a former owner of a loaded webhook may not have written.
func (k *keeper) catchUp(e *entry, r *receipt) {
	e.mu.Lock()
	defer e.mu.Unlock()
	k.publishIf(false, e, r)
}

// quiet reports whether nothing can be left to write of the webhook.
func (k *keeper) quiet(webhookID string) bool {
	e := k.loaded(webhookID)
	return e != nil && !e.behind.Load() && len(e.current.Load().PendingNotices) == 0
}
