package fault

import (
	"crypto/sha256"
	"slices"
	"sync"
	"time"
)

// Hash is of a body.
type Hash [sha256.Size]byte

// Ack is an event that was acknowledged. A producer may publish it again and get a second one.
type Ack struct {
	Event string
	Body  Hash
	At    time.Time
}

// Post is one POST that a receiver got.
type Post struct {
	Delivery string // webhook-id
	Event    string
	Hook     int
	Body     Hash
	At       time.Time
	Status   int // that the receiver answered
}

// Record is a record of a lane that asked for a POST.
type Record struct {
	Event     string
	Hook      int
	Written   time.Time
	Committed time.Time // when the group's commits first said that it is finished; zero: never
}

// Disturbance is something that was done to Doorstep.
type Disturbance struct {
	What string // e.g. "kill -9 sender-1"
	Kind string // e.g. "kill -9 sender"
	From time.Time
	To   time.Time // when it was healed
	// Repeats says that a sender could not commit its last work: kill -9 of a sender, or servers away.
	Repeats bool
	// Forgets says that what a producer publishes again may be delivered again: Redis away or emptied.
	Forgets bool
}

// History is what producers, receivers and the plan note, and the log.
type History struct {
	mu           sync.Mutex
	Acks         []Ack
	Posts        []Post
	Records      []Record
	Disturbances []Disturbance
}

// Ack notes an acknowledgement.
func (h *History) Ack(a Ack) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Acks = append(h.Acks, a)
}

// Post notes a POST.
func (h *History) Post(p Post) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Posts = append(h.Posts, p)
}

// Disturb notes a disturbance.
func (h *History) Disturb(d Disturbance) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Disturbances = append(h.Disturbances, d)
}

// Counts are the numbers so far.
func (h *History) Counts() (acks, posts int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.Acks), len(h.Posts)
}

// Between is the history of the events that were acknowledged between two times, with all disturbances and these records.
func (h *History) Between(from, to time.Time, records []Record) *History {
	h.mu.Lock()
	defer h.mu.Unlock()
	first := map[string]time.Time{}
	for _, a := range h.Acks {
		if at, known := first[a.Event]; !known || a.At.Before(at) {
			first[a.Event] = a.At
		}
	}
	within := func(event string) bool {
		at, known := first[event]
		return known && !at.Before(from) && at.Before(to)
	}
	out := &History{Disturbances: slices.Clone(h.Disturbances)}
	for _, a := range h.Acks {
		if within(a.Event) {
			out.Acks = append(out.Acks, a)
		}
	}
	for _, p := range h.Posts {
		if within(p.Event) {
			out.Posts = append(out.Posts, p)
		}
	}
	for _, r := range records {
		if within(r.Event) {
			out.Records = append(out.Records, r)
		}
	}
	return out
}
