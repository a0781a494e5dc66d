package post

import (
	"context"
	"net"
	"slices"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
)

// dialing is a dial that attempts wait for, each as long as its own time to connect allows. There are as many at a
// time as the attempts need links: an HTTP/2 connection has place for many. The dial ends with the last who waits.
type dialing struct {
	room     *room
	joinable time.Time // until when others may wait for it too; then it may hang where a new one would not
	watch    *watch
	cancel   context.CancelFunc
	done     chan struct{}

	// The pool's, under its lock.
	waiting int
	link    *link // when done: held for those who wait
	err     error
}

// joinable returns a dial under way that has place for one more attempt.
func (r *room) joinable(now time.Time) *dialing {
	for _, d := range r.dials {
		if d.waiting > 0 && d.waiting < r.seats && now.Before(d.joinable) {
			return d
		}
	}
	return nil
}

// dial starts a dial. The caller holds the lock.
func (p *pool) dial(r *room, now time.Time) *dialing {
	joinable := now.Add(min(time.Second, p.dialer.timeout/5))
	// Those who wait have their own time; this one is what the addresses of a name share.
	ctx, cancel := context.WithDeadline(context.Background(), joinable.Add(p.dialer.timeout))
	d := &dialing{room: r, joinable: joinable, watch: &watch{since: now}, cancel: cancel, done: make(chan struct{})}
	r.dials = append(r.dials, d)
	go func() {
		defer cancel()
		c, wire, over2, err := p.dialer.open(ctx, r.origin, d.watch)
		var l *link
		if err == nil {
			l, err = p.link(c, wire, over2)
		}
		p.finished(d, l, err)
	}()
	return d
}

// link makes a link of a connection.
func (p *pool) link(c *conn, wire net.Conn, over2 bool) (*link, error) {
	if !over2 {
		return newLink(c, wire), nil
	}
	l := &link{conn: c, wire: wire}
	var err error
	if l.http2, err = p.http2.NewClientConn(wire); err != nil { //nolint:staticcheck // see newTransport
		_ = c.Close() // what failed is told
		var out delivery.Outcome
		explain(&out, err, false)
		return nil, &failure{out.ErrorCode, out.Error, c.opened}
	}
	return l, nil
}

// finished ends a dial with what came of it. A link is held, as if somebody used it, for those who wait.
func (p *pool) finished(d *dialing, l *link, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer close(d.done)
	r := d.room
	r.dials = slices.DeleteFunc(r.dials, func(other *dialing) bool { return other == d })
	if err == nil && d.waiting == 0 {
		l.cut()
		err = context.Canceled
	}
	if err != nil {
		d.err = err
		p.leaveRoom(r)
		return
	}
	d.link, l.room, l.users = l, r, 1
	if l.http2 == nil {
		r.links++
		r.seats = 1
		return
	}
	if len(r.shared) == 0 {
		r.seats = guessedSeats
	}
	r.shared = append(r.shared, l)
}

// wait waits for a dial. Without link and error there was one, but for others.
func (p *pool) wait(ctx context.Context, d *dialing, by time.Time, a *attempt) (*link, error) {
	over := by
	if a.end.Before(by) {
		over = a.end
	}
	timer := time.NewTimer(time.Until(over))
	defer timer.Stop()
	var late error
	select {
	case <-d.done:
	case <-ctx.Done():
		late = ctx.Err()
	case <-timer.C:
		if late = p.dialer.tooLate(d.watch); over.Equal(a.end) {
			late = errTimeUp
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.stopWaiting(d)
	if late != nil {
		return nil, late
	}
	if d.err != nil {
		return nil, d.err
	}
	l := d.link
	switch {
	case l == nil: // somebody else's
		return nil, nil
	case l.http2 == nil:
		d.link = nil
	case !l.http2.ReserveNewRequest():
		d.room.seats = min(d.room.seats, max(l.users-1, 1))
		return nil, nil
	default:
		l.users++
	}
	l.used = true
	a.reused = false
	return l, nil
}

// stopWaiting is one who waits less. The last ends the dial, or gives back its link.
func (p *pool) stopWaiting(d *dialing) {
	if d.waiting--; d.waiting > 0 {
		return
	}
	d.cancel()
	if d.link != nil {
		p.free(d.link)
		d.link = nil
	}
}
