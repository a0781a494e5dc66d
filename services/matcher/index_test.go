package matcher

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// storm registers n webhooks, each with a condition of its own, and returns how often, of all times that it was tried
// meanwhile, events could be matched at once.
func storm(x *index, n int) (free, tried int) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for i := range n {
			x.changed(webhook.Webhook{
				ID: fmt.Sprint(i), Tenant: "acme", Active: true, EventTypes: []string{"card.updated"},
				Condition: fmt.Sprintf(`data.amount > %d && event.attributes["eventUser"] in ["545", "546"]`, i),
			}, false, delivery.Position{Offset: int64(i)})
		}
	}()
	for ; ; tried++ {
		select {
		case <-ended:
			return free, tried
		default:
		}
		if x.mu.TryRLock() {
			x.mu.RUnlock()
			free++
		}
		runtime.Gosched()
	}
}

// Compiling takes a thousand times as long as what is done under the lock: matching is held up by the latter only.
func TestAStormOfRegistrationsDoesNotStopMatching(t *testing.T) {
	x := newIndex()
	free, tried := storm(x, 500)
	t.Logf("events could be matched at once %d of %d times", free, tried)
	if free*2 < tried {
		t.Errorf("the index could be read %d of %d times only while conditions were compiled", free, tried)
	}
	if x.index.Len() != 500 {
		t.Errorf("%d webhooks, want 500", x.index.Len())
	}
}
