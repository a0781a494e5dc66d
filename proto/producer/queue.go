package producer

import "time"

// item is an event without an outcome.
type item struct {
	event *Event
	size  int // bytes of its message
	done  func(Result)
	since time.Time // when it was handed over
	state state
}

type state uint8

const (
	waiting state = iota // to be sent
	sent                 // on the call that is open
	settled              // its outcome is known
)

// queue holds a stream's events, in order, until their outcomes are known. Their sequences count up from first.
type queue struct {
	items []item // those that are settled are dropped from the head
	first uint64 // of items[0]
	low   int    // of items; none before it waits

	waiting, waitingBytes int
	held, heldBytes       int // not settled
}

// add appends an event.
func (q *queue) add(it item) {
	q.items = append(q.items, it)
	q.waiting++
	q.waitingBytes += it.size
	q.held++
	q.heldBytes += it.size
}

// next is the sequence of the event that is added next.
func (q *queue) next() uint64 { return q.first + uint64(len(q.items)) }

// oldest is the first event that waits; there must be one.
func (q *queue) oldest() *item {
	for q.items[q.low].state != waiting {
		q.low++
	}
	return &q.items[q.low]
}

// take takes the next events that wait, as far as their sequences count up, and at most so many, with so many bytes unless it
// is one alone. They count as sent.
func (q *queue) take(most, mostBytes int) (sequence uint64, events []*Event) {
	if q.waiting == 0 {
		return 0, nil
	}
	q.oldest()
	sequence = q.first + uint64(q.low) //nolint:gosec // an index
	events = make([]*Event, 0, min(most, q.waiting))
	for bytes := 0; q.low < len(q.items) && len(events) < most; q.low++ {
		it := &q.items[q.low]
		if it.state != waiting || len(events) > 0 && bytes+it.size > mostBytes {
			break
		}
		bytes += it.size
		it.state = sent
		q.waiting--
		q.waitingBytes -= it.size
		events = append(events, it.event)
	}
	return sequence, events
}

// find is the event that was sent with a sequence, nil if there is none without an outcome.
func (q *queue) find(sequence uint64) *item {
	if sequence < q.first || sequence >= q.next() || q.items[sequence-q.first].state != sent {
		return nil
	}
	return &q.items[sequence-q.first]
}

// settle drops an event that find has found.
func (q *queue) settle(it *item) {
	it.state = settled
	it.event, it.done = nil, nil
	q.held--
	q.heldBytes -= it.size
	n := 0
	for n < len(q.items) && q.items[n].state == settled {
		n++
	}
	q.items = q.items[n:]
	q.first += uint64(n) //nolint:gosec // a count
	q.low = max(0, q.low-n)
}

// again lets an event that find has found wait once more.
func (q *queue) again(sequence uint64) {
	it := q.find(sequence)
	it.state = waiting
	q.waiting++
	q.waitingBytes += it.size
	q.low = min(q.low, int(sequence-q.first)) //nolint:gosec // an index
}

// restart lets all that was sent wait once more: the call is over.
func (q *queue) restart() {
	for i := range q.items {
		if q.items[i].state == sent {
			q.items[i].state = waiting
		}
	}
	q.low, q.waiting, q.waitingBytes = 0, q.held, q.heldBytes
}

// clear empties the queue and returns what had no outcome, in order.
func (q *queue) clear() (left []item) {
	for _, it := range q.items {
		if it.state != settled {
			left = append(left, it)
		}
	}
	*q = queue{first: q.next()}
	return left
}
