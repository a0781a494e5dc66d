package sender

import (
	"time"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/replicas"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// tally counts what has ended of a partition of all lanes.
type tally struct{ posts, others int }

// waitsOf is what records wait for on the lanes that have a delay, by topic.
func waitsOf(topics wire.Topics) map[string]wait {
	out := map[string]wait{}
	for _, t := range topics.Tiers {
		out[t.Topic] = wait{delay: t.Delay}
	}
	for _, t := range []wire.Tier{topics.Parked, topics.ParkedLong} {
		out[t.Topic] = wait{delay: t.Delay, parked: true}
	}
	return out
}

// count notes that a record of a partition has ended: by a POST to a webhook that answers, or in another way.
func (d *dispatcher) count(h *held, post bool) {
	t := d.tallies[h.part.ID]
	if post {
		t.posts++
	} else {
		t.others++
	}
	d.tallies[h.part.ID] = t
}

// survey is what the partitions that this sender owns have done since it was called before, and what they have to do.
// lag is what the log holds of each beyond what was read; starved says that there is no processor time to spare. False:
// it says nothing now, since nothing may begin.
func (d *dispatcher) survey(parts []*kafka.Part, lag map[*kafka.Part]int64, starved bool, now time.Time) (map[int32]replicas.Seat, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping || !d.sure() {
		return nil, false
	}
	seats := map[int32]replicas.Seat{}
	lines := make(map[*kafka.Part]*line, len(d.lines))
	for _, l := range d.lines {
		lines[l.part] = l
	}
	for _, p := range parts {
		if p.Gone() {
			continue
		}
		seat := seats[p.ID]
		if wait := d.waits[p.Topic]; wait.parked {
			seat.Receivers += lines[p].len() + int(lag[p])
		} else {
			seat.Unseen += lines[p].overdue(lag[p], wait.delay, now)
		}
		seats[p.ID] = seat
	}
	d.queue.Waiting(now, starved, func(h *held, heldBack bool) {
		seat := seats[h.part.ID]
		if heldBack {
			seat.Held++
		} else {
			seat.Receivers++
		}
		seats[h.part.ID] = seat
	})
	for id, seat := range seats {
		seat.Posts, seat.Others = d.tallies[id].posts, d.tallies[id].others
		seats[id] = seat
	}
	clear(d.tallies)
	return seats, true
}

// used is the time that POSTs to webhooks that answer have taken in flight so far, of the side where it is more, and how many of them
// that side may have at once.
func (d *dispatcher) used() (quick, slow time.Duration, room int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	quick, slow = d.queue.Used()
	return quick, slow, d.queue.Room()
}

func (l *line) len() int {
	if l == nil {
		return 0
	}
	return len(l.held)
}

// overdue is how many records are due of a line and of the lag behind it; delay is what records of its lane wait. What is
// not read yet of a lane with a delay is taken to come evenly, up to now.
func (l *line) overdue(lag int64, delay time.Duration, now time.Time) int {
	if l == nil || len(l.held) == 0 {
		if delay > 0 {
			return 0 // whether its head is due is known in a moment
		}
		return int(lag)
	}
	due := 0
	for _, h := range l.held {
		if h.delivery.DueAt.After(now) {
			return due
		}
		due++
	}
	if delay == 0 {
		return due + int(lag)
	}
	late := now.Sub(l.held[due-1].delivery.DueAt)
	return due + int(float64(lag)*float64(late)/float64(late+delay))
}
