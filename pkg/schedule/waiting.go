package schedule

import "time"

// slowest is the silence after which a webhook that is slow does not answer any more: about what its slowest answers may take.
const slowest = 10 * time.Second

// Waiting tells of everything queued whether the queue itself holds it back, for want of room in flight: its webhook
// answers and may have more in flight. What is not held back waits for its webhook: its cap, its rate, or an answer from
// one that hangs. starved says that this process has no processor time to spare: what waits for answers of quick webhooks
// waits for that as well. It costs time in proportion to what is queued and the webhooks known.
func (q *Queue[T]) Waiting(now time.Time, starved bool, tell func(item T, heldBack bool)) {
	for _, h := range q.hooks {
		if h.queued() == 0 {
			continue
		}
		heldBack := h.answers(now) && (h.inRing || starved && !h.isLimited && h.paceAt(now) == quick)
		for _, f := range []*fifo[T]{&h.waited, &h.fresh} {
			for _, e := range f.items[f.start:] {
				tell(e.item, heldBack)
			}
		}
	}
}

// Used is the time that POSTs of webhooks that answer have spent in flight since the queue was made, on the quick and on
// the slow side, counted when they end. Either side has Room for so many at once.
func (q *Queue[T]) Used() (quickSide, slowSide time.Duration) { return q.used[quick], q.used[slow] }

// Room is how many POSTs each of the two sides may begin at once.
func (q *Queue[T]) Room() int { return max(1, q.cfg.MaxInFlight/4) }
