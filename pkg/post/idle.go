package post

import (
	"slices"
	"time"
)

// list adds a link to the idle ones.
func (p *pool) list(l *link, now time.Time) {
	l.since, l.prev = now, p.newest
	if p.newest != nil {
		p.newest.next = l
	} else {
		p.oldest = l
	}
	p.newest = l
	p.idle++
	if l.http2 == nil {
		l.room.idle = append(l.room.idle, l)
	}
	p.schedule(now)
}

// unlist takes a link from the idle ones.
func (p *pool) unlist(l *link) {
	if l.prev != nil {
		l.prev.next = l.next
	} else {
		p.oldest = l.next
	}
	if l.next != nil {
		l.next.prev = l.prev
	} else {
		p.newest = l.prev
	}
	l.prev, l.next = nil, nil
	p.idle--
	if l.http2 != nil {
		return
	}
	r := l.room
	if n := len(r.idle); r.idle[n-1] == l {
		r.idle[n-1] = nil
		r.idle = r.idle[:n-1]
		return
	}
	r.idle = slices.DeleteFunc(r.idle, func(other *link) bool { return other == l })
}

// forget takes a link that is not idle out of its room.
func (p *pool) forget(l *link) {
	r := l.room
	if l.http2 != nil {
		r.shared = slices.DeleteFunc(r.shared, func(other *link) bool { return other == l })
	} else {
		r.links--
	}
	p.leaveRoom(r)
}

// leaveRoom forgets a room that has nothing any more.
func (p *pool) leaveRoom(r *room) {
	if p.rooms[r.origin] == r && r.links == 0 && len(r.shared) == 0 && len(r.dials) == 0 {
		delete(p.rooms, r.origin)
	}
}
