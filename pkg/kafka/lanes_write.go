package kafka

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// deniedAgain is how often a record is tried that ACLs do not allow to write.
const deniedAgain = time.Second

// unwritten is a record that waits for an ACL.
type unwritten struct {
	ctx     context.Context //nolint:containedctx // a call's, which is made later
	record  *kgo.Record
	promise func(*kgo.Record, error)
}

// Produce writes a record, as the client does. One that ACLs do not allow is kept, and all that come after it, in their
// order: until they are allowed, or Close. Given up, the record that it follows from could not be finished before a restart,
// and its work would be repeated then. Sure is false meanwhile, so little is kept.
func (l *Lanes) Produce(ctx context.Context, r *kgo.Record, promise func(*kgo.Record, error)) {
	if l.holding.Load() && l.follows(unwritten{ctx, r, promise}) {
		return
	}
	client := l.writer.client.Load()
	client.Produce(ctx, r, func(r *kgo.Record, err error) { // the one thing more that a write costs here
		if err == nil || !denied(err) {
			promise(r, err)
			return
		}
		l.writer.heed(client, err)
		l.keep(unwritten{ctx, r, promise}, err)
	})
}

// follows keeps a record if others wait before it.
func (l *Lanes) follows(u unwritten) bool {
	l.writing.Lock()
	defer l.writing.Unlock()
	if len(l.unwritten) == 0 {
		return false
	}
	l.unwritten = append(l.unwritten, u)
	return true
}

// keep keeps a record that was denied.
func (l *Lanes) keep(u unwritten, err error) {
	err = fmt.Errorf("write to topic %s: %w", u.record.Topic, Denied(err))
	l.pulse.Heard(err, time.Now())
	if l.said.due("write", time.Now()) {
		l.log.Error("kafka: nothing new begins until what follows from the last work is written", "error", err)
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	l.unwritten = append(l.unwritten, u)
	l.holding.Store(true)
	if len(l.unwritten) == 1 {
		go l.tryAgain()
	}
}

// tryAgain writes what is kept, one after the other, until nothing is.
func (l *Lanes) tryAgain() {
	allowed := false
	for more := true; more; {
		if !allowed {
			wait(l.closing, deniedAgain)
		}
		l.writing.Lock()
		first := l.unwritten[0]
		l.writing.Unlock()
		again := *first.record
		err := l.writer.ProduceSync(l.closing, &again).FirstErr()
		if allowed = !denied(err); !allowed {
			l.pulse.Heard(fmt.Errorf("write to topic %s: %w", again.Topic, Denied(err)), time.Now())
			continue
		}
		first.promise(&again, err)
		l.writing.Lock()
		l.unwritten = l.unwritten[1:]
		more = len(l.unwritten) > 0
		l.holding.Store(more)
		l.writing.Unlock()
	}
}

// held reports whether records wait for an ACL.
func (l *Lanes) held() bool { return l.holding.Load() }
