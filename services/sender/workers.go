package sender

import "sync/atomic"

// maxIdleWorkers bounds the goroutines that are kept for attempts to come, some 16 KiB each.
const maxIdleWorkers = 256

// workers make attempts, one after another as long as there are any. Their goroutines are kept: growing the stack
// of a fresh one to what an attempt takes costs more than signing.
type workers struct {
	run  func(*held) *held // makes an attempt and returns the next to make, nil if there is none now
	work chan *held        // to a worker that waits for one
	idle atomic.Int32
}

func newWorkers(run func(*held) *held) *workers {
	return &workers{run: run, work: make(chan *held)}
}

// start has an attempt made. It does not block.
func (w *workers) start(h *held) {
	select {
	case w.work <- h:
	default:
		go w.loop(h)
	}
}

func (w *workers) loop(h *held) {
	for h != nil {
		for h != nil {
			h = w.run(h)
		}
		if w.idle.Add(1) <= maxIdleWorkers {
			h = <-w.work
		}
		w.idle.Add(-1)
	}
}

// close ends the workers that wait. Nothing may be started any more.
func (w *workers) close() { close(w.work) }
