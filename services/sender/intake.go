package sender

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// Bounds of what is read ahead and held in memory until it is due.
//
// A partition is paused only while its records must wait: what was fetched ahead of it is then
// thrown away, and after the pause the broker may first answer a fetch that did not ask for it.
// As long as records flow, reading as a whole stops instead when enough is held. What is not due
// flows not: a wave of parked records that comes due soon holds up nobody who is due now.
const (
	maxHeld      = 200             // records of one partition that must wait
	maxHeldBytes = 512 << 10       // and their bytes
	readAhead    = 2 * time.Second // what is due within this does not have to wait,
	maxSoon      = 1000            // if it is no more than so many records

	maxFlowing      = 4000     // records held of the partitions that flow
	maxFlowingBytes = 16 << 20 // and their bytes
)

// held is a record that was read and is not done.
type held struct {
	part     *kafka.Part
	offset   int64
	waited   bool // it comes from a tier or parking lane
	delivery delivery.Delivery
	record   *kgo.Record // only if it cannot be read
	err      error       // why it cannot be read
	started  bool
}

func (h *held) position() delivery.Position {
	return delivery.Position{Topic: h.part.Topic, Partition: h.part.ID, Offset: h.offset}
}

// payloadPosition is where the body can be read: where the run was first written.
func (h *held) payloadPosition() delivery.Position {
	if h.delivery.FirstPosition != (delivery.Position{}) {
		return h.delivery.FirstPosition
	}
	return h.position()
}

// next is the delivery as it is written to another topic.
func (h *held) next() delivery.Delivery {
	d := h.delivery
	d.FirstPosition = h.payloadPosition()
	return d
}

// size is about how many bytes it holds in memory. What can be read is a copy, so that a record that waits does not hold
// all that was fetched with it.
func (h *held) size() int {
	if h.record != nil {
		return len(h.record.Value)
	}
	return len(h.delivery.Body)
}

func newHeld(p *kafka.Part, r *kgo.Record, immediate string) *held {
	h := &held{part: p, offset: r.Offset, waited: p.Topic != immediate}
	if p.Finished(r.Offset) {
		return h // it is dropped when its turn comes, and what stands in it does not matter
	}
	if h.delivery, h.err = wire.ReadDelivery(r); h.err != nil {
		h.record = r
	}
	return h
}

// line is one partition's records that were read and not started, in the log's order.
type line struct {
	part   *kafka.Part
	held   []*held
	bytes  int
	early  bool // its head is not due
	waits  bool // its records must wait
	paused bool
	due    time.Time // when its head is due, for the metric; zero: at once

	stuckSince time.Time // zero: it is not
}

func (l *line) add(h *held) {
	l.held = append(l.held, h)
	l.bytes += h.size()
}

func (l *line) drop() {
	l.bytes -= l.held[0].size()
	l.held[0] = nil
	l.held = l.held[1:]
}

// notDue notes that the head is not due.
func (l *line) notDue(now time.Time) {
	last := l.held[len(l.held)-1].delivery.DueAt
	l.early = true
	l.waits = last.Sub(now) > readAhead || len(l.held) >= maxSoon || l.bytes >= maxHeldBytes
}

// stuck notes that the head must wait for something else than its time. A partition that is full for
// a moment, because the machine is busy, does not count as waiting.
func (l *line) stuck(now time.Time) {
	if l.stuckSince.IsZero() {
		l.stuckSince = now
	}
	l.waits = now.Sub(l.stuckSince) > readAhead/2
}

// full reports whether the partition is to be paused; spare, whether it may go on.
func (l *line) full() bool {
	return l.waits && (len(l.held) >= maxHeld || l.bytes >= maxHeldBytes)
}

func (l *line) spare() bool {
	return !l.waits || (len(l.held) <= maxHeld/2 && l.bytes <= maxHeldBytes/2)
}
