package schedule

import (
	"container/heap"
	"time"
)

// Config bounds a Queue. Zero fields take the defaults.
type Config struct {
	MaxQueued      int           // deliveries queued in all; 20,000
	MaxQueuedBytes int           // bytes queued in all; 64 MiB
	MaxInFlight    int           // POSTs in flight in all; 2,048
	Horizon        time.Duration // what a webhook cannot send within this is parked; 5 s
	GrowTo         int           // the cap of a webhook that sets none, while it answers fast; 256
}

const (
	startCap     = 2
	steadyCap    = 16          // above it the cap grows only while answers are fast
	fastLatency  = time.Second // an answer within this is fast
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
	def(&c.MaxInFlight, 2_048)
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
	cfg      Config
	hooks    map[string]*hook[T]
	ring     ring[T]
	limited  limitedHeap[T] // out of their rate, the first to be allowed again on top
	queued   int
	bytes    int
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
	return Stats{Queued: q.queued, Bytes: q.bytes, InFlight: q.inFlight, Webhooks: len(q.hooks)}
}

// Push offers a delivery of size bytes for a webhook. Those that waited before (retries, parked) go
// ahead of the new ones of the same webhook.
func (q *Queue[T]) Push(now time.Time, webhook string, limits Limits, item T, size int, waited bool) Verdict {
	h := q.hooks[webhook]
	if h == nil {
		h = newHook[T](webhook, now)
		q.hooks[webhook] = h
	}
	h.limits = limits
	if h.queued() >= h.room(now, q.cfg) {
		return Park
	}
	if q.queued >= q.cfg.MaxQueued || (q.queued > 0 && q.bytes+size > q.cfg.MaxQueuedBytes) {
		return Full
	}
	h.push(entry[T]{item, size}, waited)
	q.queued++
	q.bytes += size
	q.enlist(h, now)
	return Queued
}

// Next gives out the delivery whose turn it is; Done must follow. False: nothing can be sent now.
func (q *Queue[T]) Next(now time.Time) (item T, webhook string, ok bool) {
	q.releaseLimited(now)
	for q.inFlight < q.cfg.MaxInFlight {
		h := q.ring.front()
		if h == nil {
			break
		}
		e := h.head()
		if cost := max(e.size, minCost); h.deficit < cost {
			h.deficit += quantum
			if h.deficit < cost {
				q.ring.rotate()
				continue
			}
		}
		h.deficit -= max(e.size, minCost)
		h.pop()
		q.queued--
		q.bytes -= e.size
		q.inFlight++
		h.start(now)
		switch {
		case h.queued() == 0 || h.inFlight >= h.cap:
			q.ring.remove(h)
			h.deficit = 0
		case !h.allowed(now):
			q.ring.remove(h)
			q.limit(h)
		case h.deficit < max(h.head().size, minCost):
			q.ring.rotate()
		}
		return e.item, h.id, true
	}
	return item, "", false
}

// Done ends a delivery that Next gave out: how long its POST took, and whether it was accepted.
func (q *Queue[T]) Done(now time.Time, webhook string, latency time.Duration, ok bool) {
	h := q.hooks[webhook]
	q.inFlight--
	h.finish(now, latency, ok, q.cfg)
	q.enlist(h, now)
}

// Release ends a delivery that Next gave out and that was not sent after all.
func (q *Queue[T]) Release(now time.Time, webhook string) {
	h := q.hooks[webhook]
	q.inFlight--
	h.inFlight--
	q.enlist(h, now)
}

// Shed takes back what its webhook can no longer send within the horizon, newest first, and forgets
// webhooks that have been idle for long. It costs time in proportion to the webhooks known.
func (q *Queue[T]) Shed(now time.Time) []T {
	var out []T
	for id, h := range q.hooks {
		for over := h.queued() - max(1, h.room(now, q.cfg)); over > 0; over-- {
			e := h.popNewest()
			q.queued--
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
			q.queued--
			q.bytes -= e.size
		}
		if h.queued() == 0 {
			q.ring.remove(h)
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

// enlist puts h at the end of the ring if it may send.
func (q *Queue[T]) enlist(h *hook[T], now time.Time) {
	if h.inRing || h.isLimited || h.queued() == 0 || h.inFlight >= h.cap {
		return
	}
	if !h.allowed(now) {
		q.limit(h)
		return
	}
	q.ring.add(h)
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
