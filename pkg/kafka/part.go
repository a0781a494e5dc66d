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

	mu      sync.Mutex
	tracker *tracker
	begun   int
	gone    bool
	idle    chan struct{} // closed when gone and nothing is begun; made by drain
}

// Start notes that a record is taken in hand; false: it was finished before, or the partition is gone.
func (p *Part) Start(offset int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.gone && p.tracker.start(offset)
}

// Full reports whether nothing more may be started until something is done.
func (p *Part) Full() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tracker.full()
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

// Done ends begun work: everything that follows from the record is in the log.
func (p *Part) Done(offset int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tracker.done(offset)
	p.end()
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
