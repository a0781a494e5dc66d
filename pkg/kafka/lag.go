package kafka

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// emptied is how long a Poll must have waited for what it returned to show that nothing was left from before.
const emptied = 5 * time.Millisecond

// Lag asks the brokers how many records of each of its partitions are committed and have not been polled. Markers of
// transactions look like records there; a partition that has nothing else is told apart by asking again: it has no lag
// when Poll had to wait since the last call and got nothing of it.
func (l *Lanes) Lag(ctx context.Context) (map[*Part]int64, error) {
	ends, err := NewAdmin(l.client).CommittedOffsets(ctx, l.cfg.Topics...)
	if err != nil {
		return nil, fmt.Errorf("read the ends of lanes: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	waited := l.waited || !l.pollBegan.IsZero() && time.Since(l.pollBegan) > emptied
	l.waited = false
	out := make(map[*Part]int64, len(l.parts))
	for _, p := range l.parts {
		end, known := ends.Lookup(p.Topic, p.ID)
		if !known || end.Err != nil {
			continue
		}
		out[p] = p.lag(end, waited)
	}
	return out, nil
}

// reading is how far a partition has been polled. Lanes.mu guards it.
type reading struct {
	next   int64 // the offset after the last record
	looked int64 // next when Lag was asked last; -1: not yet
	paused bool  // now, or at some time since then
	held   bool  // paused now
}

func (p *Part) lag(end kadm.ListedOffset, waited bool) int64 {
	r := &p.reading
	still := r.looked == r.next && !r.paused
	r.looked, r.paused = r.next, r.held
	if still && waited {
		return 0
	}
	return max(0, end.Offset-r.next)
}

// hold notes that a partition is paused, or goes on.
func (l *Lanes) hold(p *Part, held bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p.reading.held = held
	p.reading.paused = p.reading.paused || held
}
