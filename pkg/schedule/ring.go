package schedule

// ring is a circular list of the webhooks that may send; its front has the turn.
type ring[T any] struct{ first *hook[T] }

func (r *ring[T]) front() *hook[T] { return r.first }

func (r *ring[T]) rotate() { r.first = r.first.next }

func (r *ring[T]) add(h *hook[T]) {
	h.inRing = true
	if r.first == nil {
		h.next, h.prev, r.first = h, h, h
		return
	}
	last := r.first.prev
	h.prev, h.next = last, r.first
	last.next, r.first.prev = h, h
}

func (r *ring[T]) remove(h *hook[T]) {
	if !h.inRing {
		return
	}
	if h.next == h {
		r.first = nil
	} else {
		h.prev.next, h.next.prev = h.next, h.prev
		if r.first == h {
			r.first = h.next
		}
	}
	h.inRing, h.next, h.prev = false, nil, nil
}

// limitedHeap orders webhooks by when their rate allows the next POST.
type limitedHeap[T any] []*hook[T]

func (l limitedHeap[T]) Len() int           { return len(l) }
func (l limitedHeap[T]) Less(i, j int) bool { return l[i].allowedAt.Before(l[j].allowedAt) }
func (l limitedHeap[T]) Swap(i, j int)      { l[i], l[j] = l[j], l[i] }
func (l *limitedHeap[T]) Push(x any)        { *l = append(*l, x.(*hook[T])) }
func (l *limitedHeap[T]) Pop() any {
	old := *l
	h := old[len(old)-1]
	old[len(old)-1] = nil
	*l = old[:len(old)-1]
	return h
}

// fifo is a queue that reuses its memory.
type fifo[T any] struct {
	items []entry[T]
	start int
}

func (f *fifo[T]) len() int { return len(f.items) - f.start }

func (f *fifo[T]) head() entry[T] { return f.items[f.start] }

func (f *fifo[T]) push(e entry[T]) {
	if f.start > 32 && f.start*2 > len(f.items) {
		n := copy(f.items, f.items[f.start:])
		clear(f.items[n:])
		f.items, f.start = f.items[:n], 0
	}
	f.items = append(f.items, e)
}

func (f *fifo[T]) pop() {
	f.items[f.start] = entry[T]{}
	f.start++
	if f.start == len(f.items) {
		f.items, f.start = f.items[:0], 0
	}
}

func (f *fifo[T]) popNewest() entry[T] {
	last := len(f.items) - 1
	e := f.items[last]
	f.items[last] = entry[T]{}
	f.items = f.items[:last]
	if f.start == len(f.items) {
		f.items, f.start = f.items[:0], 0
	}
	return e
}

func (f *fifo[T]) dropIf(gone func(T) bool) (dropped []entry[T]) {
	kept := f.items[:0]
	for _, e := range f.items[f.start:] {
		if gone(e.item) {
			dropped = append(dropped, e)
		} else {
			kept = append(kept, e)
		}
	}
	clear(f.items[len(kept):])
	f.items, f.start = kept, 0
	return dropped
}
