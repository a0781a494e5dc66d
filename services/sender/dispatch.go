package sender

import (
	"sync"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/schedule"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

const (
	shedEvery = 100 * time.Millisecond
	// longestNap bounds how long the dispatcher sleeps when nothing is known to come.
	longestNap = time.Second
	// askAgain is how soon it asks again whether the partitions are surely ours.
	askAgain = 50 * time.Millisecond
	// stalled is how late the dispatcher may run before that counts as this process's own standing still.
	stalled = 50 * time.Millisecond
	// roomFor is how many deliveries must have left a queue that was full before it is filled again, as far as it
	// has as many.
	roomFor = 64
)

// actions is what the dispatcher sets going. None of them may block.
type actions interface {
	// lookup returns the webhook, nil if it is gone, and its state; caughtUp is false while `webhooks` has not been read
	// up to the position that the delivery was matched with.
	lookup(d *delivery.Delivery) (w *webhook.Webhook, s failure.State, caughtUp bool)
	// attempt has the attempt of a begun record made, and calls dispatcher.finished, failed or released when it has ended;
	// the attempt of what that returns is made next.
	attempt(h *held)
	// settle ends a begun record without an attempt.
	settle(h *held, f fate, reason delivery.SuspendReason, until time.Time)
}

// parkIt is the fate, beside those of judge, of what its webhook's queue cannot take.
const parkIt fate = -1

// wait is what records of a lane wait for.
type wait struct {
	delay  time.Duration
	parked bool // they wait for their receivers
}

// dispatcher holds what was read until it is due and gives it out in fair turns. One goroutine runs
// it; others hand it records and tell it what has ended.
type dispatcher struct {
	do        actions
	immediate string          // the topic of first attempts
	waits     map[string]wait // of lanes other than that, by topic
	pause     func(*kafka.Part)
	resume    func(*kafka.Part)
	sure      func() bool   // the partitions are surely ours still
	wake      chan struct{} // something has changed

	mu       sync.Mutex
	lines    []*line
	first    int // the line that is served first next time
	queue    *schedule.Queue[*held]
	shedAt   time.Time
	wakeAt   time.Time       // when step is called at the latest
	tallies  map[int32]tally // of what has ended since survey was called, by partition
	full     int             // how many may be queued still when a queue that was full is filled again; below 0: it was not
	stopping bool
	room     chan struct{} // closed when there is room to read again; nil: nobody waits for it
}

func newDispatcher(do actions, immediate string, lanes interface {
	Pause(*kafka.Part)
	Resume(*kafka.Part)
	Sure() bool
}, cfg schedule.Config) *dispatcher {
	return &dispatcher{
		do: do, immediate: immediate, pause: lanes.Pause, resume: lanes.Resume, sure: lanes.Sure,
		wake: make(chan struct{}, 1), tallies: map[int32]tally{}, full: -1, queue: schedule.New[*held](cfg),
	}
}

func (d *dispatcher) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// add takes what one poll has read.
func (d *dispatcher) add(batches []kafka.Batch) {
	fresh := make([][]*held, len(batches))
	for i, b := range batches {
		for _, r := range b.Records {
			fresh[i] = append(fresh[i], newHeld(b.Part, r, d.immediate))
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, b := range batches {
		if b.Part.Gone() {
			continue
		}
		l := d.line(b.Part)
		for _, h := range fresh[i] {
			l.add(h)
		}
	}
	d.signal()
}

func (d *dispatcher) line(p *kafka.Part) *line {
	for _, l := range d.lines {
		if l.part == p {
			return l
		}
	}
	l := &line{part: p}
	d.lines = append(d.lines, l)
	return l
}

// hasRoom returns nil if more may be read, else a channel that is closed when it may be asked again.
func (d *dispatcher) hasRoom() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.flowing() < 1 {
		return nil
	}
	if d.room == nil {
		d.room = make(chan struct{})
	}
	return d.room
}

// flowing is how much is held of the partitions that flow, as a part of what may be. A partition whose head is not due
// has a bound of its own.
func (d *dispatcher) flowing() float64 {
	records, bytes := 0, 0
	for _, l := range d.lines {
		if !l.paused && !l.early {
			records += len(l.held)
			bytes += l.bytes
		}
	}
	return max(float64(records)/maxFlowing, float64(bytes)/maxFlowingBytes)
}

// drop forgets all that has not begun of partitions that are given away.
func (d *dispatcher) drop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept := d.lines[:0]
	for _, l := range d.lines {
		if !l.part.Gone() {
			kept = append(kept, l)
		}
	}
	clear(d.lines[len(kept):])
	d.lines = kept
	d.queue.Drop(func(h *held) bool { return h.part.Gone() })
	d.makeRoom()
}

// finished notes the end of an attempt, and returns the record whose attempt its worker is to make next.
func (d *dispatcher) finished(h *held, latency time.Duration, ok bool, now time.Time) *held {
	d.mu.Lock()
	defer d.mu.Unlock()
	answers := d.queue.Done(now, h.delivery.WebhookID, latency, ok)
	d.count(h, answers)
	return d.goOn(now)
}

// failed notes that an attempt could not be made here. It returns what finished returns.
func (d *dispatcher) failed(h *held, took time.Duration, now time.Time) *held {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queue.Done(now, h.delivery.WebhookID, took, false)
	d.count(h, false)
	return d.goOn(now)
}

// released notes that a delivery that was given out was not sent after all. It returns what finished returns.
func (d *dispatcher) released(h *held, now time.Time) *held {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queue.Release(now, h.delivery.WebhookID)
	d.count(h, false)
	return d.goOn(now)
}

// goOn gives out what may be sent now, the first to the caller: so workers keep one another going, and the
// dispatcher need not run for each attempt. It is woken only for what workers cannot do.
func (d *dispatcher) goOn(now time.Time) (first *held) {
	if d.stopping || !d.sure() {
		return nil
	}
	first = d.next(now)
	for h := first; h != nil; {
		if h = d.next(now); h != nil {
			d.do.attempt(h)
		}
	}
	filled := d.queue.Stats().Queued <= d.full
	if at := d.queue.Wake(); filled || !at.IsZero() && at.Before(d.wakeAt) {
		d.signal()
	}
	return first
}

// next gives out the delivery whose turn it is, nil if there is none that may be sent now.
func (d *dispatcher) next(now time.Time) *held {
	for {
		h, webhookID, ok := d.queue.Next(now)
		if !ok {
			return nil
		}
		if h.part.Begin() {
			return h
		}
		d.queue.Release(now, webhookID)
	}
}

// stop makes every later step do nothing.
func (d *dispatcher) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopping = true
}

// step moves everything on that can be moved at now, and returns how long nothing will change by itself.
func (d *dispatcher) step(now time.Time) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if late := now.Sub(d.wakeAt); late > stalled && !d.wakeAt.IsZero() {
		d.queue.Stalled(late)
	}
	switch {
	case d.stopping:
		return longestNap
	case !d.sure():
		d.wakeAt = now.Add(askAgain)
		return askAgain
	}
	d.full = -1
	if !now.Before(d.shedAt) {
		d.shedAt = now.Add(shedEvery)
		for _, h := range d.queue.Shed(now) {
			d.end(h, parkIt, "", time.Time{})
		}
	}
	until := now.Add(longestNap)
	soon := func(t time.Time) {
		if !t.IsZero() && t.Before(until) {
			until = t
		}
	}
	for i := range d.lines {
		l := d.lines[(d.first+i)%len(d.lines)]
		at, full := d.feed(l, now)
		soon(at)
		if full {
			queued := d.queue.Stats().Queued
			d.full = queued - min(roomFor, 1+queued/4)
			break
		}
	}
	d.first++
	for h := d.next(now); h != nil; h = d.next(now) {
		d.do.attempt(h)
	}
	if queued := d.queue.Stats().Queued; queued <= d.full {
		soon(now)
	} else if queued > 0 {
		soon(d.shedAt)
	}
	soon(d.queue.Wake())
	d.makeRoom()
	d.wakeAt = until
	return until.Sub(now)
}

// makeRoom stops reading partitions whose records must wait, and goes on where there is room again.
func (d *dispatcher) makeRoom() {
	for _, l := range d.lines {
		switch {
		case l.paused && l.spare():
			l.paused = false
			d.resume(l.part)
		case !l.paused && l.full():
			l.paused = true
			d.pause(l.part)
		}
	}
	if d.room != nil && d.flowing() < 0.5 {
		close(d.room)
		d.room = nil
	}
}

// feed moves a line's records to the queue, or ends them, up to the first that must wait. It returns
// when to look at that one again at the latest, if that is known, and whether the queue as a whole is full.
func (d *dispatcher) feed(l *line, now time.Time) (at time.Time, full bool) {
	l.due, l.early, l.waits = time.Time{}, false, false
	for len(l.held) > 0 {
		h := l.held[0]
		l.due = h.delivery.DueAt
		if h.err == nil && h.delivery.DueAt.After(now) {
			l.notDue(now)
			return h.delivery.DueAt, false
		}
		w, state, caughtUp := d.do.lookup(&h.delivery)
		if !caughtUp || l.part.Full() {
			l.stuck(now)
			return now.Add(shedEvery), false // or when there is room for a good number, or the change has come
		}
		if !h.started {
			if !l.part.Start(h.offset) { // it was finished before
				l.drop()
				continue
			}
			h.started = true
		}
		if h.err != nil {
			l.drop()
			d.end(h, send, "", time.Time{})
			continue
		}
		f, reason := judge(&h.delivery, w, state, now)
		if f == send {
			limits := schedule.Limits{MaxInFlight: w.MaxInFlight, RateLimit: w.RateLimit}
			switch d.queue.Push(now, w.ID, limits, h, len(h.delivery.Body), h.waited) {
			case schedule.Full:
				return time.Time{}, true
			case schedule.Park:
				f = parkIt
			case schedule.Queued:
			}
		}
		l.drop()
		l.stuckSince = time.Time{}
		if f != send {
			d.end(h, f, reason, state.DisabledUntil)
		}
	}
	return time.Time{}, false
}

// end settles a started record without an attempt.
func (d *dispatcher) end(h *held, f fate, reason delivery.SuspendReason, until time.Time) {
	if h.part.Begin() {
		d.count(h, false)
		d.do.settle(h, f, reason, until)
	}
}

// counts are for the metrics.
type counts struct {
	schedule.Stats
	held      int
	oldestDue map[string]time.Time // by lane; only of heads that are due
}

func (d *dispatcher) counts(now time.Time) counts {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := counts{Stats: d.queue.Stats(), oldestDue: map[string]time.Time{}}
	for _, l := range d.lines {
		c.held += len(l.held)
		if l.due.IsZero() || l.due.After(now) {
			continue
		}
		if was, ok := c.oldestDue[l.part.Topic]; !ok || l.due.Before(was) {
			c.oldestDue[l.part.Topic] = l.due
		}
	}
	return c
}
