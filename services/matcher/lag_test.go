package matcher_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
)

// A matcher that is held up tells how many events wait and for how long, and that it has caught up.
func TestTheLagIsTold(t *testing.T) {
	const events = 7
	w := newWorld(t)
	var full atomic.Bool
	w.cfg.Room = func() error {
		if full.Load() {
			return errors.New("disk full")
		}
		return nil
	}
	w.hook("h")
	m := w.start()
	lag := func(unit string) float64 { return m.metric(t, "doorstep_matcher_lag_"+unit) }
	w.publish("first")
	w.want(w.topics.Deliveries, "first>h")
	w.eventually("without a lag", func() bool { return lag("records") == 0 && lag("seconds") == 0 })
	full.Store(true)
	want := []string{"first>h"}
	for i := range events {
		id := fmt.Sprintf("e%d", i)
		w.publish(id)
		want = append(want, id+">h")
	}
	// A poll that was under way when the room went is matched still.
	w.eventually("behind", func() bool { return lag("records") > 0 && lag("seconds") > 0 })
	w.eventually("counting what waits", func() bool { return lag("records") == events+1-m.metric(t, "doorstep_events_matched_total") })
	older := lag("seconds")
	w.eventually("growing older", func() bool { return lag("seconds") > older })
	full.Store(false)
	w.want(w.topics.Deliveries, want...)
	w.eventually("caught up", func() bool { return lag("records") == 0 && lag("seconds") == 0 })
}
