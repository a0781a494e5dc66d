package schedule

import (
	"container/heap"
	"time"
)

// Config bounds a Queue. Zero fields take the defaults.
type Config struct {
	MaxQueued      int           // deliveries queued in all; 20,000
	MaxQueuedBytes int           // bytes queued in all; 64 MiB
	MaxInFlight    int           // POSTs in flight in all; 4,096. A quarter each for the quick and the slow side, half for what falls silent
	Horizon        time.Duration // what a webhook cannot send within this is parked; 5 s
	GrowTo         int           // the cap of a webhook that sets none, while it answers fast; 256
}

const (
	startCap     = 2
	steadyCap    = 16          // above it the cap grows only while answers are fast
	fastLatency  = time.Second // an answer within this is fast
	busy         = 128         // POSTs in flight in all, from which on those that only wait are too many
	crowded      = 2           // an average above this many times the best means that more POSTs at once only wait
	firstLatency = 10 * time.Millisecond
	quantum      = 16 << 10         // bytes a turn
	minCost      = 1 << 10          // bytes
	windowTime   = 10 * time.Second // for which the best answer is remembered, and as long again
	forgetAfter  = 10 * time.Minute
)

func (c Config) withDefaults() Config {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.MaxQueued, 20_000)
	def(&c.MaxQueuedBytes, 64<<20)
	def(&c.MaxInFlight, 4_096)
	def(&c.GrowTo, 256)
	if c.Horizon == 0 {
		c.Horizon = 5 * time.Second
	}
	return c
}

// Limits are a webhook's own.
type Limits struct {
	MaxInFlight int // 0: Config.GrowTo
	RateLimit   int // POSTs per second; 0: not limited
}

// Verdict is what becomes of a delivery that was pushed.
type Verdict int

// The verdicts.
const (
	Queued Verdict = iota // it will be given out by Next
	Park                  // its webhook cannot take it within the horizon
	Full                  // the queue has no room: push it again later
)

// Queue holds deliveries that are due, by webhook, until it is their turn.
type Queue[T any] struct {
	cfg     Config
	hooks   map[string]*hook[T]
	sides   [2]side[T]
	turn    pace           // the side that is served next if both may
	limited limitedHeap[T] // out of their rate, the first to be allowed again on top
	bytes   int
	used    [2]time.Duration // by POSTs of webhooks that answer, by the side that they ended on
}

// side are the webhooks of one pace.
type side[T any] struct {
	ring     ring[T]
	queued   int
	inFlight int
}

// New makes an empty queue.
func New[T any](cfg Config) *Queue[T] {
	return &Queue[T]{cfg: cfg.withDefaults(), hooks: map[string]*hook[T]{}}
}

// Stats are counts of the moment.
type Stats struct {
	Queued, Bytes, InFlight, Webhooks int
}

// Stats returns the counts.
func (q *Queue[T]) Stats() Stats {
	return Stats{Queued: q.queued(), Bytes: q.bytes, InFlight: q.inFlight(), Webhooks: len(q.hooks)}
}

func (q *Queue[T]) queued() int   { return q.sides[quick].queued + q.sides[slow].queued }
func (q *Queue[T]) inFlight() int { return q.sides[quick].inFlight + q.sides[slow].inFlight }

// Push offers a delivery of size bytes for a webhook. Those that waited before (retries, parked) go
// ahead of the new ones of the same webhook.
func (q *Queue[T]) Push(now time.Time, webhook string, limits Limits, item T, size int, waited bool) Verdict {
	h := q.hooks[webhook]
	if h == nil {
		h = newHook[T](webhook, now)
		q.hooks[webhook] = h
	}
	h.limits = limits
	h.cap = min(h.cap, h.limit(q.cfg)) // also before its first answer
	q.side(h, now)
	if h.queued() >= h.room(now, q.cfg) {
		return Park
	}
	if h.pace == slow && q.sides[slow].queued >= q.cfg.MaxQueued/2 && h.silence(now) > fastLatency {
		return Park
	}
	if q.queued() >= q.cfg.MaxQueued || (q.bytes > 0 && q.bytes+size > q.cfg.MaxQueuedBytes) ||
		h.pace == slow && q.sides[slow].queued >= q.cfg.MaxQueued/2 {
		return Full
	}
	h.push(entry[T]{item, size}, waited)
	q.sides[h.pace].queued++
	q.bytes += size
	q.enlist(h, now)
	return Queued
}

// Next gives out the delivery whose turn it is; Done must follow. False: nothing can be sent now.
func (q *Queue[T]) Next(now time.Time) (item T, webhook string, ok bool) {
	q.releaseLimited(now)
	for {
		h := q.front(now)
		if h == nil {
			return item, "", false
		}
		ring := &q.sides[h.pace].ring
		e := h.head()
		if cost := max(e.size, minCost); h.deficit < cost {
			h.deficit += quantum
			if h.deficit < cost {
				ring.rotate()
				continue
			}
		}
		q.give(h, e, now)
		switch {
		case h.queued() == 0 || h.inFlight >= h.cap:
			ring.remove(h)
			h.deficit = 0
		case !h.allowed(now):
			ring.remove(h)
			q.limit(h)
		case h.deficit < max(h.head().size, minCost):
			ring.rotate()
		}
		return e.item, h.id, true
	}
}

// front is the webhook that has the turn, nil if none may send.
func (q *Queue[T]) front(now time.Time) *hook[T] {
	for _, p := range [2]pace{q.turn, q.turn.other()} {
		for q.admits(p) {
			h := q.sides[p].ring.front()
			if h == nil {
				break
			}
			if q.side(h, now); h.pace == p {
				return h
			}
		}
	}
	return nil
}

// admits reports whether a side may have one more POST in flight.
func (q *Queue[T]) admits(p pace) bool {
	return q.inFlight() < q.cfg.MaxInFlight && q.sides[p].inFlight < q.Room()
}

// give takes the head off h's queue into flight.
func (q *Queue[T]) give(h *hook[T], e entry[T], now time.Time) {
	h.deficit -= max(e.size, minCost)
	h.pop()
	q.bytes -= e.size
	s := &q.sides[h.pace]
	s.queued--
	s.inFlight++
	h.start(now)
	q.turn = h.pace.other()
}

// side moves h, with what it has queued and in flight, to the side that it belongs to now.
func (q *Queue[T]) side(h *hook[T], now time.Time) {
	p := h.paceAt(now)
	if p == h.pace {
		return
	}
	was, is := &q.sides[h.pace], &q.sides[p]
	was.queued, is.queued = was.queued-h.queued(), is.queued+h.queued()
	was.inFlight, is.inFlight = was.inFlight-h.inFlight, is.inFlight+h.inFlight
	listed := h.inRing
	was.ring.remove(h)
	h.pace = p
	if listed {
		is.ring.add(h)
	}
}

// Done ends a delivery that Next gave out: how long its POST took, and whether it was accepted. It reports whether the
// webhook answers: accepted it, or refuses within a second as a rule.
func (q *Queue[T]) Done(now time.Time, webhook string, latency time.Duration, ok bool) (answers bool) {
	h := q.hooks[webhook]
	q.sides[h.pace].inFlight--
	on := h.pace
	h.finish(now, latency, ok, q.inFlight() > busy, q.cfg)
	q.side(h, now)
	q.enlist(h, now)
	if answers = h.answers(now); answers {
		q.used[on] += latency
	}
	return answers
}

// Release ends a delivery that Next gave out and that was not sent after all.
func (q *Queue[T]) Release(now time.Time, webhook string) {
	h := q.hooks[webhook]
	q.sides[h.pace].inFlight--
	h.inFlight--
	q.enlist(h, now)
}

// Stalled says that the caller itself stood still for so long: it was starved or stopped. Nobody's answers could be taken
// then, so that time is no silence of theirs.
func (q *Queue[T]) Stalled(d time.Duration) {
	for _, h := range q.hooks {
		h.progress = h.progress.Add(d)
	}
}

// Shed takes back what its webhook can no longer send within the horizon, newest first, moves webhooks that
// have fallen silent to the slow side, and forgets those that have been idle for long. It costs time in
// proportion to the webhooks known, and is to be called a few times a second.
func (q *Queue[T]) Shed(now time.Time) []T {
	var out []T
	for id, h := range q.hooks {
		q.side(h, now)
		for over := h.queued() - max(1, h.room(now, q.cfg)); over > 0; over-- {
			e := h.popNewest()
			q.sides[h.pace].queued--
			q.bytes -= e.size
			out = append(out, e.item)
		}
		if h.queued() == 0 && h.inFlight == 0 && now.Sub(h.progress) > forgetAfter {
			delete(q.hooks, id)
		}
	}
	return out
}

// Drop takes back every queued delivery for which gone is true.
func (q *Queue[T]) Drop(gone func(T) bool) {
	for _, h := range q.hooks {
		for _, e := range h.dropIf(gone) {
			q.sides[h.pace].queued--
			q.bytes -= e.size
		}
		if h.queued() == 0 {
			q.sides[h.pace].ring.remove(h)
		}
	}
}

// Wake is when Next may give out more although nothing was pushed or done; zero: never.
func (q *Queue[T]) Wake() time.Time {
	if len(q.limited) == 0 {
		return time.Time{}
	}
	return q.limited[0].allowedAt
}

// enlist puts h at the end of its side's ring if it may send.
func (q *Queue[T]) enlist(h *hook[T], now time.Time) {
	if h.inRing || h.isLimited || h.queued() == 0 || h.inFlight >= h.cap {
		return
	}
	if !h.allowed(now) {
		q.limit(h)
		return
	}
	q.sides[h.pace].ring.add(h)
}

func (q *Queue[T]) limit(h *hook[T]) {
	h.isLimited = true
	heap.Push(&q.limited, h)
}

func (q *Queue[T]) releaseLimited(now time.Time) {
	for len(q.limited) > 0 && !q.limited[0].allowedAt.After(now) {
		h := heap.Pop(&q.limited).(*hook[T])
		h.isLimited = false
		q.enlist(h, now)
	}
}
