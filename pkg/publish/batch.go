package publish

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/event"
)

// batch gathers the results of one call.
type batch struct {
	mu      sync.Mutex
	results []Result
	left    int
	done    chan struct{} // closed when none is left
}

func newBatch(events []event.Event) *batch {
	b := &batch{results: make([]Result, len(events)), left: len(events), done: make(chan struct{})}
	if len(events) == 0 {
		close(b.done)
	}
	for i, e := range events {
		b.results[i] = Result{EventID: e.ID, Err: ErrUnavailable} // until it is known
	}
	return b
}

func (b *batch) set(i int, r Result) {
	b.mu.Lock()
	b.results[i] = r
	b.left--
	last := b.left == 0
	b.mu.Unlock()
	if last {
		close(b.done)
	}
}

// wait returns the results when all are there, or what is known of them when ctx ends or most has passed.
func (b *batch) wait(ctx context.Context, most time.Duration) []Result {
	late := time.NewTimer(most) // and no context with a deadline, which costs several times as much
	defer late.Stop()
	select {
	case <-b.done:
		return b.results
	case <-ctx.Done():
	case <-late.C:
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.results)
}
