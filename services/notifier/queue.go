package notifier

import (
	"container/heap"
	"slices"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
)

// letter is the mail of a notice to an administrator, until it has ended.
type letter struct {
	id            string // failure.MailedID
	part          *kafka.Part
	entry         *entry
	administrator string // id
	tries         int    // that failed
	due           time.Time
	again         bool // it was looked at before, and has the places of those
}

// queue holds letters until their turn: the new ones in order, the others when they are due. The zero queue is empty.
type queue struct {
	fresh []*letter
	again byDue
}

func (q *queue) add(l *letter) {
	if l.again {
		heap.Push(&q.again, l)
	} else {
		q.fresh = append(q.fresh, l)
	}
}

// pop takes the next letter, first of those that come again if they may; nil: none is due.
func (q *queue) pop(now time.Time, again bool) *letter {
	if again && len(q.again) > 0 && !now.Before(q.again[0].due) {
		return heap.Pop(&q.again).(*letter)
	}
	if len(q.fresh) == 0 {
		return nil
	}
	l := q.fresh[0]
	q.fresh[0] = nil
	q.fresh = q.fresh[1:]
	return l
}

// due is when the first of those that come again is; false: there are none.
func (q *queue) due() (time.Time, bool) {
	if len(q.again) == 0 {
		return time.Time{}, false
	}
	return q.again[0].due, true
}

// drop takes out letters.
func (q *queue) drop(which func(*letter) bool) {
	all := slices.Concat(q.fresh, q.again)
	*q = queue{}
	for _, l := range all {
		if !which(l) {
			q.add(l)
		}
	}
}

func (q *queue) len() int { return len(q.fresh) + len(q.again) }

// each calls f for every letter, in no order.
func (q *queue) each(f func(*letter)) {
	for _, l := range q.fresh {
		f(l)
	}
	for _, l := range q.again {
		f(l)
	}
}

// byDue is a heap.
type byDue []*letter

func (h byDue) Len() int           { return len(h) }
func (h byDue) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h byDue) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push is heap.Interface's.
func (h *byDue) Push(x any) { *h = append(*h, x.(*letter)) }

// Pop is heap.Interface's.
func (h *byDue) Pop() any {
	last := len(*h) - 1
	l := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return l
}
