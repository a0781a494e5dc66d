package post

import (
	"context"
	"slices"
	"sync"
	"time"
)

// pool keeps the open links: those in use, so that attempts share the ones of HTTP/2, and the idle ones, at most max
// in all. The oldest idle one goes first, for room and for age; the youngest of an origin is used first, so that a
// quiet time is enough to have fewer.
type pool struct {
	dialer *dialer
	http2  *http2Transport
	max    int
	keep   time.Duration

	mu             sync.Mutex
	rooms          map[origin]*room
	oldest, newest *link // idle ones
	idle           int
	sweeper        *time.Timer // nil: not set
	closed         bool
}

// room is what an origin has in the pool. It is there while it has something.
type room struct {
	origin origin
	idle   []*link // of HTTP/1, the oldest first
	shared []*link // of HTTP/2
	dials  []*dialing
	links  int // of HTTP/1, in use or not
	seats  int // attempts that one of its links has place for, as far as is known
}

// guessedSeats is what is expected of an origin with TLS that is not known: HTTP/2, with what RFC 9113 advises.
const guessedSeats = 100

func newPool(c Config) *pool {
	return &pool{dialer: newDialer(c), http2: newTransport(), max: c.MaxIdle, keep: c.IdleTimeout, rooms: map[origin]*room{}}
}

// get returns a link for one attempt: an idle one, one that is shared, or a new one.
func (p *pool) get(ctx context.Context, a *attempt) (*link, error) {
	for by := (time.Time{}); ; {
		l, d, now := p.take(a.target.origin, a)
		switch {
		case l != nil && (l.http2 != nil || l.quiet()):
			return l, nil
		case l != nil:
			p.drop(l)
			continue
		case d == nil:
			return nil, errTurnedAway
		}
		if by.IsZero() {
			by = now.Add(p.dialer.timeout)
		}
		if l, err := p.wait(ctx, d, by, a); l != nil || err != nil {
			return l, err
		}
	}
}

// take returns a link, or else a dial to wait for, or neither if the attempt caused enough of them.
func (p *pool) take(o origin, a *attempt) (l *link, d *dialing, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.rooms[o]
	if r != nil {
		if n := len(r.idle); n > 0 {
			l = r.idle[n-1]
			p.unlist(l)
			l.users, a.reused = 1, l.used
			l.used = true
			return l, nil, now
		}
		if l = p.seat(r); l != nil {
			a.reused = true
			return l, nil, now
		}
	}
	now = time.Now()
	if r == nil {
		r = &room{origin: o, seats: 1}
		if o.secure {
			r.seats = guessedSeats
		}
		p.rooms[o] = r
	}
	if d = r.joinable(now); d == nil {
		if a.dials++; a.dials > maxDials {
			p.leaveRoom(r)
			return nil, nil, now
		}
		d = p.dial(r, now)
	}
	d.waiting++
	return nil, d, now
}

// seat returns a link of HTTP/2 that takes one more request, if there is one.
func (p *pool) seat(r *room) *link {
	for _, l := range slices.Clone(r.shared) {
		idle := l.users == 0
		switch {
		case l.http2.ReserveNewRequest():
			if idle {
				p.unlist(l)
			}
			l.users++
			l.used = true
			return l
		case idle: // the receiver closed it, or lets nothing in
			p.retire(l)
		}
	}
	return nil
}

// release gives a link back that may be used again.
func (p *pool) release(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free(l)
}

// free notes one user less of a link, which is kept if it is the last.
func (p *pool) free(l *link) {
	if l.users--; l.users > 0 {
		return
	}
	if p.closed || l.http2 != nil && !l.http2.CanTakeNewRequest() {
		p.forget(l)
		l.end()
		return
	}
	p.list(l, time.Now())
	for p.idle > p.max {
		p.retire(p.oldest)
	}
}

// drop closes a link of HTTP/1 that is of no more use.
func (p *pool) drop(l *link) {
	l.cut()
	p.mu.Lock()
	defer p.mu.Unlock()
	l.users--
	p.forget(l)
}

// close closes the idle links. No link is kept from then on.
func (p *pool) close() {
	p.dialer.names.close()
	p.mu.Lock()
	p.closed = true
	if p.sweeper != nil {
		p.sweeper.Stop()
	}
	old := p.idleSince(time.Now())
	p.mu.Unlock()
	endAll(old)
}

// sweep closes the links that were idle for long enough.
func (p *pool) sweep() {
	now := time.Now()
	p.mu.Lock()
	p.sweeper = nil
	old := p.idleSince(now.Add(-p.keep))
	p.schedule(now)
	p.mu.Unlock()
	endAll(old) // outside the lock, since there may be many
}

// schedule sets the one timer of the pool, if there are idle links.
func (p *pool) schedule(now time.Time) {
	if p.oldest != nil && p.sweeper == nil && !p.closed {
		p.sweeper = time.AfterFunc(max(p.keep-now.Sub(p.oldest.since), p.keep/16), p.sweep)
	}
}

// idleSince takes the links out of the pool that are idle since then, or longer.
func (p *pool) idleSince(then time.Time) (old []*link) {
	for l := p.oldest; l != nil && !l.since.After(then); l = p.oldest {
		p.unlist(l)
		p.forget(l)
		old = append(old, l)
	}
	return old
}

// retire closes an idle link.
func (p *pool) retire(l *link) {
	p.unlist(l)
	p.forget(l)
	l.end()
}

func endAll(links []*link) {
	for _, l := range links {
		l.end()
	}
}
