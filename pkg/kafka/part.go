package kafka

import (
	"context"
	"sync"
)

// Part is one partition while this member owns it. A record read from it is first started (in the
// order of the log), then begun (when its turn comes, in any order), then done or given up.
type Part struct {
	Topic string
	ID    int32
	// Committed is where the group stood when this member got the partition: what lies before it is finished.
	Committed int64

	reading reading // Lanes.mu guards it

	mu      sync.Mutex
	tracker *tracker
	begun   int
	waited  bool // Full said so, and Done has not said yet that there is room
	gone    bool
	idle    chan struct{} // closed when gone and nothing is begun; made by drain
}

// NewPart is a partition that a member gets, from what the group committed of it last.
func NewPart(topic string, id int32, offset int64, metadata string) *Part {
	return &Part{
		Topic: topic, ID: id, Committed: offset,
		tracker: newTracker(offset, metadata), reading: reading{next: offset, looked: -1},
	}
}

// Start notes that a record is taken in hand; false: it was finished before, or the partition is gone.
func (p *Part) Start(offset int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.gone && p.tracker.start(offset)
}

// Finished reports whether a record that was read was finished by the partition's former owner: Start says so too, and
// this spares decoding it.
func (p *Part) Finished(offset int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tracker.finishedBefore(offset)
}

// Full reports whether nothing more may be started until something is done: Done says so.
func (p *Part) Full() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	full := p.tracker.full()
	p.waited = p.waited || full
	return full
}

// Begin notes that work on a started record begins; Done or GiveUp must follow. False: the partition
// is gone and the work is its new owner's.
func (p *Part) Begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return false
	}
	p.begun++
	return true
}

// Done ends begun work: everything that follows from the record is in the log. It reports whether a partition that
// was full has room again for a good number of records. Who waits for room must ask again now and then, too:
// the others may take long.
func (p *Part) Done(offset int64) (room bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tracker.done(offset)
	p.end()
	room = p.waited && p.tracker.spare()
	p.waited = p.waited && !room
	return room
}

// GiveUp ends begun work that is not finished: the record will be read again by the next owner.
func (p *Part) GiveUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end()
}

// Gone reports whether the partition was given away.
func (p *Part) Gone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone
}

func (p *Part) end() {
	p.begun--
	if p.begun == 0 && p.idle != nil {
		close(p.idle)
		p.idle = nil
	}
}

func (p *Part) lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
}

// drain returns when nothing is begun any more, or ctx ends.
func (p *Part) drain(ctx context.Context) {
	p.mu.Lock()
	if p.begun == 0 {
		p.mu.Unlock()
		return
	}
	idle := make(chan struct{})
	p.idle = idle
	p.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

// commit returns what to commit; false: nothing has changed.
func (p *Part) commit() (offset int64, metadata string, changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.tracker.dirty {
		return 0, "", false
	}
	offset, metadata = p.tracker.commit()
	return offset, metadata, true
}

func (p *Part) touch() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tracker.dirty = true
}
