package replicas

import (
	"cmp"
	"math"
	"time"
)

const (
	// Busy is the part of what it can do that a sender is to be kept busy for.
	Busy = 0.7
	// Window is the time that use and pace are means over.
	Window = 15 * time.Second
	// Standing is how long a backlog must have stood to count, and the least that is measured by.
	Standing = 5 * time.Second
	// Hold is how long what is said stays when less is needed.
	Hold = time.Minute
	// Least is what a sender with a seat says at the least.
	Least = 0.01

	// telling is the use from which on a sender's pace tells what it can do.
	telling = 0.5
	// moving is the processor time of moving a delivery on, as a part of a POST's.
	moving = 0.25
)

// Config is what is asked of the senders.
type Config struct {
	DrainWithin time.Duration // in which a backlog is to be gone; above 0
}

// Sample is what a sender has seen at a moment, and since the sample before.
type Sample struct {
	At       time.Time
	Seats    map[int32]Seat // its own, by partition
	InFlight float64        // part of the room in flight that POSTs of webhooks that answer have taken since then, 0 to 1
	CPU      float64        // part of the processor time that this process has taken since then, 0 to 1
}

// Seat is what a sender has seen of a partition of all lanes. Counts are of deliveries.
type Seat struct {
	Posts     int // ended since the sample before, of webhooks that answer
	Others    int // ended since then in another way: parked, put off, suspended, cancelled, or POSTed to who hangs
	Held      int // queued now, held back by this sender
	Receivers int // that wait for their receivers now
	Unseen    int // due now, and nobody has looked at them yet
}

// Need is how many senders a sender's seats need, and why.
type Need struct {
	Required  float64 // senders; 0 without a seat
	Capacity  float64 // POSTs per second that this sender can make; 0: not known yet
	Use       float64 // part of it that is used, 0 to 1
	Senders   float64 // deliveries that more senders would help
	Receivers float64 // deliveries that wait for their receivers
}

// Of is the need that samples show, oldest first, all of the same seats. capacity is what the sender is known to be able
// to do from before, 0 if nothing. measured is false while the samples cover less than Standing: then only the backlog is
// known.
func Of(samples []Sample, capacity float64, cfg Config) (n Need, measured bool) {
	if len(samples) == 0 {
		return n, false
	}
	w := look(samples)
	n.Capacity = capacity
	for _, s := range w.seats {
		n.Senders += s.backlog
		n.Receivers += s.receivers
	}
	if w.took < Standing || len(w.seats) == 0 {
		return n, false
	}
	n.Use = w.use()
	n.Capacity = w.capacity(n.Use, capacity)
	for _, s := range w.seats {
		required := 0.0
		if w.posts > 0 {
			required = n.Use * s.posts / w.posts
		}
		if n.Capacity > 0 {
			required = max(0, required+s.growth/n.Capacity)
			required += s.backlog / (n.Capacity * cfg.DrainWithin.Seconds())
		}
		n.Required += min(1, required/Busy)
	}
	n.Required = max(n.Required, Least)
	return n, true
}

// window is what samples come to.
type window struct {
	took          time.Duration
	inFlight, cpu float64 // means
	posts, others float64
	seats         []seat
}

type seat struct {
	posts, others      float64
	backlog, receivers float64
	growth             float64 // of the backlog, per second
}

func look(samples []Sample) window {
	first, last := samples[0], samples[len(samples)-1]
	w := window{took: last.At.Sub(first.At)}
	sums := map[int32]*seat{}
	for p := range last.Seats {
		sums[p] = &seat{}
	}
	for i, s := range samples[1:] {
		part := s.At.Sub(samples[i].At).Seconds() / w.took.Seconds()
		w.inFlight += s.InFlight * part
		w.cpu += s.CPU * part
		for p, sum := range sums {
			sum.posts += float64(s.Seats[p].Posts)
			sum.others += float64(s.Seats[p].Others)
		}
	}
	for _, sum := range sums {
		w.posts += sum.posts
		w.others += sum.others
	}
	for p, sum := range sums {
		helped := ratio(sum.posts, sum.others, ratio(w.posts, w.others, 0))
		sum.backlog = standing(samples, p, helped, last.At.Add(-Standing), last.At)
		if spread := w.took - Standing; spread >= Standing {
			was := standing(samples, p, helped, first.At, first.At.Add(Standing))
			sum.growth = (sum.backlog - was) / spread.Seconds()
		}
		sum.receivers = float64(last.Seats[p].Receivers) + (1-helped)*float64(last.Seats[p].Unseen)
		w.seats = append(w.seats, *sum)
	}
	return w
}

// ratio is a part of two, otherwise if there is nothing of either.
func ratio(a, b, otherwise float64) float64 {
	if a+b == 0 {
		return otherwise
	}
	return a / (a + b)
}

// standing is the least backlog of a seat between two times.
func standing(samples []Sample, p int32, helped float64, from, to time.Time) float64 {
	least := math.Inf(1)
	for _, s := range samples {
		if !s.At.Before(from) && !s.At.After(to) {
			least = min(least, float64(s.Seats[p].Held)+helped*float64(s.Seats[p].Unseen))
		}
	}
	return least
}

// use is the part of what the sender can do that POSTs take, 0 to 1.
func (w window) use() float64 {
	cpu := w.cpu * ratio(w.posts, moving*w.others, 1)
	return min(1, max(w.inFlight, cpu))
}

// capacity is how many POSTs per second the sender can make, if known is what it could.
func (w window) capacity(use, known float64) float64 {
	if use == 0 {
		return known
	}
	shown := w.posts / w.took.Seconds() / use
	if use >= telling && shown > 0 {
		return shown
	}
	return max(known, shown)
}

// Estimate follows a sender's samples. The zero value with a Config is ready; it is not safe for use by several
// goroutines at once.
type Estimate struct {
	Config Config

	samples  []Sample
	capacity float64
	said     []said
}

// said is what was needed for each seat at a moment.
type said struct {
	at  time.Time
	per float64
}

// Add takes the next sample, about one a second, and returns what is needed now.
func (e *Estimate) Add(s Sample) Need {
	if n := len(e.samples); n > 0 && !sameSeats(e.samples[n-1], s) {
		e.samples = nil
	}
	e.samples = append(e.samples, s)
	for len(e.samples) > 1 && s.At.Sub(e.samples[1].At) >= Window {
		e.samples = e.samples[1:]
	}
	n, measured := Of(e.samples, e.capacity, e.Config)
	for len(e.said) > 0 && s.At.Sub(e.said[0].at) > Hold {
		e.said = e.said[1:]
	}
	seats := float64(len(s.Seats))
	if seats == 0 {
		return n
	}
	if measured {
		e.capacity = n.Capacity
		e.said = append(e.said, said{s.At, n.Required / seats})
	}
	for _, was := range e.said {
		n.Required = max(n.Required, min(1, was.per)*seats)
	}
	n.Required = cmp.Or(n.Required, Least)
	return n
}

func sameSeats(a, b Sample) bool {
	if len(a.Seats) != len(b.Seats) {
		return false
	}
	for p := range a.Seats {
		if _, ok := b.Seats[p]; !ok {
			return false
		}
	}
	return true
}
