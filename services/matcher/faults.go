package matcher

import (
	"context"
	"log/slog"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

const (
	// faultsEvery is how often faults are told, one record at most for each webhook.
	faultsEvery = time.Second
	// maxFaults bounds the webhooks whose counters are kept although nothing of them is left to tell.
	maxFaults = 10_000
)

// faults counts how often the conditions of webhooks could not be evaluated. An event of a busy type may fail thousands
// of times a second at a condition that is wrong, so not every failure is written: each second a record for each webhook
// says how many there have been and what the last one was. The count of a record is that of all since the counter
// began, so records may be lost or come again; a kill loses what was counted in its last second.
type faults struct {
	topic    string
	instance string
	log      *slog.Logger

	mu sync.Mutex
	of map[string]*fault // by webhook
}

// fault is what is known of a webhook's condition.
type fault struct {
	last delivery.Attempt // with the counter and its count
	told int              // the count that the log has
}

// failed is what of one transaction could not be evaluated, by webhook: the last failure, with their number as count.
type failed map[string]delivery.Attempt

// add notes a failure.
func (f failed) add(a delivery.Attempt) {
	a.Count = f[a.WebhookID].Count + 1
	f[a.WebhookID] = a
}

func newFaults(topic, instance string, log *slog.Logger) *faults {
	return &faults{topic: topic, instance: instance, log: log, of: map[string]*fault{}}
}

// add counts the failures of a transaction that was committed at now.
func (f *faults) add(of failed, now time.Time) {
	if len(of) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, a := range of {
		known := f.of[id]
		if known == nil || known.last.Condition != a.Condition {
			// A counter that is given up is never gone on with: its name has its time.
			known = &fault{last: delivery.Attempt{Counter: f.instance + "." + strconv.FormatInt(now.UnixNano(), 36)}}
			f.of[id] = known
		}
		a.Counter, a.Count = known.last.Counter, known.last.Count+a.Count
		known.last = a
	}
	if len(f.of) > maxFaults {
		maps.DeleteFunc(f.of, func(_ string, known *fault) bool { return known.told == known.last.Count })
	}
}

// tell writes what has been counted since it was last told.
func (f *faults) tell(writer *kafka.Writer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, known := range f.of {
		if known.told == known.last.Count {
			continue
		}
		r, err := wire.Attempt(f.topic, known.last)
		if err != nil {
			f.log.Error("condition error not written", "webhook", known.last.WebhookID, "error", err)
			known.told = known.last.Count
			continue
		}
		was, count := known.told, known.last.Count
		known.told = count
		// On a goroutine of its own, which may wait for this lock.
		writer.TryProduce(context.Background(), r, func(_ *kgo.Record, err error) {
			if err != nil {
				f.untold(known, count, was)
			}
		})
	}
}

// untold notes that a record was not written: what it said is told again, unless something newer was told since.
func (f *faults) untold(known *fault, count, was int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if known.told == count {
		known.told = was
	}
}

// run tells until ctx ends.
func (f *faults) run(ctx context.Context, writer *kafka.Writer, room func() error) {
	ticker := time.NewTicker(faultsEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if room == nil || room() == nil {
			f.tell(writer)
		}
	}
}
