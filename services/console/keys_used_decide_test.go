package console

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

func TestUsesAreNotedOnceAMinute(t *testing.T) {
	u, now := newKeyUses(), time.Now()
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { u.saw(tenant.APIKey{ID: "k"}, now) })
	}
	all.Wait()
	if n := len(u.waiting); n != 1 {
		t.Errorf("fifty uses at once are noted %d times", n)
	}
	u.saw(tenant.APIKey{ID: "k"}, now.Add(59*time.Second))
	u.saw(tenant.APIKey{ID: "other", LastUsedAt: now.Add(-time.Second)}, now)
	if n := len(u.waiting); n != 1 {
		t.Errorf("within a minute: %d", n)
	}
	u.saw(tenant.APIKey{ID: "k"}, now.Add(time.Minute))
	if n := len(u.waiting); n != 2 {
		t.Errorf("a minute later: %d", n)
	}
	for i := range 2 * keyUsesWaiting {
		u.saw(tenant.APIKey{ID: strconv.Itoa(i)}, now) // does not wait for anybody
	}
	if n := len(u.waiting); n != keyUsesWaiting {
		t.Errorf("%d wait", n)
	}
}
