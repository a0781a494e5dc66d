package schedule

import "time"

// hook is one webhook's queue, cap and pace.
type hook[T any] struct {
	id     string
	limits Limits

	pace          pace
	waited, fresh fifo[T] // waited goes first
	deficit       int     // bytes it may still send in its turn

	cap      int
	inFlight int
	latency  time.Duration // moving average of the answers
	best     window        // the quickest answer lately
	progress time.Time     // of its last answer, or when it began to have something in flight
	answered bool
	accepted bool // its last POST was

	allowedAt time.Time // of the next POST under the rate limit

	inRing     bool
	next, prev *hook[T]
	isLimited  bool
}

// pace is the side that a webhook stands on.
type pace int

const (
	slow  pace = iota // it has not answered yet, or not within fastLatency lately
	quick             // it has
)

func (p pace) other() pace { return 1 - p }

type entry[T any] struct {
	item T
	size int // bytes
}

func newHook[T any](id string, now time.Time) *hook[T] {
	return &hook[T]{id: id, cap: startCap, latency: firstLatency, progress: now}
}

func (h *hook[T]) queued() int { return h.waited.len() + h.fresh.len() }

// silence is how long it has let POSTs wait without an answer to any, or, if it never had one, how long it is known.
func (h *hook[T]) silence(now time.Time) time.Duration {
	if h.inFlight > 0 || !h.answered {
		return now.Sub(h.progress)
	}
	return 0
}

func (h *hook[T]) paceAt(now time.Time) pace {
	if !h.answered || h.latency > fastLatency || h.silence(now) > fastLatency {
		return slow
	}
	return quick
}

// answers reports whether it is quick, or slow and accepts what it gets. What has never answered does not.
func (h *hook[T]) answers(now time.Time) bool {
	return h.paceAt(now) == quick || h.answered && h.accepted && h.silence(now) <= slowest
}

// room is how many deliveries may be queued: what is sent within the horizon at the pace of now.
func (h *hook[T]) room(now time.Time, cfg Config) int {
	latency := max(h.latency, time.Microsecond)
	if h.inFlight > 0 {
		latency = max(latency, now.Sub(h.progress))
	}
	// A quick receiver's cap is still growing: judge it by what it may grow to.
	flight := h.cap
	if latency <= fastLatency && h.inFlight < steadyCap {
		flight = max(flight, min(steadyCap, h.limit(cfg)))
	}
	room := int(cfg.Horizon * time.Duration(flight) / latency)
	if r := h.limits.RateLimit; r > 0 {
		room = min(room, int(cfg.Horizon.Seconds()*float64(r)))
	}
	return max(room, 1)
}

func (h *hook[T]) limit(cfg Config) int {
	if h.limits.MaxInFlight > 0 {
		return h.limits.MaxInFlight
	}
	return cfg.GrowTo
}

func (h *hook[T]) start(now time.Time) {
	if h.inFlight == 0 {
		h.progress = now
	}
	h.inFlight++
	if r := h.limits.RateLimit; r > 0 {
		// A burst of at most a tenth of a second's worth.
		earliest := now.Add(-100 * time.Millisecond)
		if h.allowedAt.Before(earliest) {
			h.allowedAt = earliest
		}
		h.allowedAt = h.allowedAt.Add(time.Second / time.Duration(r))
	}
}

func (h *hook[T]) allowed(now time.Time) bool {
	return h.limits.RateLimit == 0 || !h.allowedAt.After(now)
}

func (h *hook[T]) finish(now time.Time, latency time.Duration, ok, busy bool, cfg Config) {
	h.inFlight--
	h.progress, h.answered, h.accepted = now, true, ok
	h.latency += (latency - h.latency) / 8
	h.best.add(now, latency)
	limit, best := h.limit(cfg), h.best.least()
	switch {
	case !ok:
		h.cap = max(1, h.cap/2)
	case busy && h.cap > startCap && h.latency > 2*crowded*best:
		h.cap--
	case h.cap < min(steadyCap, limit):
		h.cap++
	case h.cap < limit && h.latency <= fastLatency && h.latency <= crowded*best:
		h.cap++
	case h.cap > steadyCap && h.latency > 2*crowded*best:
		h.cap--
	}
	h.cap = min(h.cap, limit)
}

// window keeps the least of what was added in the last windowTime and the one before it.
type window struct {
	since       time.Time
	now, before time.Duration // 0: nothing yet
}

func (w *window) add(now time.Time, d time.Duration) {
	if now.Sub(w.since) > windowTime {
		w.since, w.before, w.now = now, w.now, 0
	}
	if d = max(d, 1); w.now == 0 || d < w.now {
		w.now = d
	}
}

func (w *window) least() time.Duration {
	if w.before != 0 && w.before < w.now {
		return w.before
	}
	return w.now
}

func (h *hook[T]) push(e entry[T], waited bool) {
	if waited {
		h.waited.push(e)
	} else {
		h.fresh.push(e)
	}
}

func (h *hook[T]) head() entry[T] {
	if h.waited.len() > 0 {
		return h.waited.head()
	}
	return h.fresh.head()
}

func (h *hook[T]) pop() {
	if h.waited.len() > 0 {
		h.waited.pop()
		return
	}
	h.fresh.pop()
}

func (h *hook[T]) popNewest() entry[T] {
	if h.fresh.len() > 0 {
		return h.fresh.popNewest()
	}
	return h.waited.popNewest()
}

func (h *hook[T]) dropIf(gone func(T) bool) []entry[T] {
	return append(h.waited.dropIf(gone), h.fresh.dropIf(gone)...)
}
