package post

import (
	"sync"
	"time"
)

// stage is a part of opening a connection.
type stage string

const (
	stageDNS     stage = "looking up its name"
	stageConnect stage = "the TCP connection"
	stageTLS     stage = "the TLS handshake"
)

// watch sees the parts of a dial. Several addresses are dialled side by side, and who waits for
// the dial may ask how far it came.
type watch struct {
	mu     sync.Mutex
	tries  int // addresses so far
	stage  stage
	since  time.Time // the stage's begin
	opened opened    // of the stages before; remote: the last address that was tried and is allowed
	tried  error     // what came of the last one that failed
}

// enter begins a stage and returns how long the one before took.
func (w *watch) enter(s stage) time.Duration {
	now := time.Now()
	took := now.Sub(w.since)
	w.stage, w.since = s, now
	return took
}

func (w *watch) resolving() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.enter(stageDNS)
}

func (w *watch) resolved(remembered bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !remembered {
		w.opened.dns = time.Since(w.since)
	}
}

// connecting reports whether one more address may be tried.
func (w *watch) connecting() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stage != stageConnect {
		w.enter(stageConnect)
	}
	w.tries++
	return w.tries <= maxAddresses
}

// trying is told of an address that is allowed.
func (w *watch) trying(address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opened.remote = address
}

// failed is told what came of it.
func (w *watch) failed(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tried = err
}

// connected ends the TCP part and returns how that went; what may follow is TLS.
func (w *watch) connected(remote string) opened {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opened.remote = remote
	w.opened.connect = w.enter(stageTLS)
	return w.opened
}

// result is how far the dial came, the stage under way included.
func (w *watch) result() (o opened, s stage, tried error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o = w.opened
	switch took := time.Since(w.since); w.stage {
	case stageDNS:
		o.dns = max(o.dns, took)
	case stageConnect:
		o.connect = took
	case stageTLS:
		o.tls = took
	}
	return o, w.stage, w.tried
}
