package notifier

import (
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

const (
	maxSending = 8
	// maxAgain is how many of them may be letters that were looked at before.
	maxAgain = maxSending / 2
)

// desk holds what is read and what is to be mailed.
type desk struct {
	log        *slog.Logger
	giveUp     time.Duration
	admins     func(tenant string) []tenant.Administrator
	holds      func(n failure.Notice, now time.Time) bool
	quarantine func(*kgo.Record, error)
	wake       chan struct{} // something may be due now

	mu      sync.Mutex
	books   map[*kafka.Part]*book
	queue   queue
	sending map[string]*letter // by id
}

// book is a partition that this notifier owns.
type book struct {
	ledger
	part     *kafka.Part
	next     int64 // first offset that is not read
	end      int64 // what next must reach before anything is mailed; -1: not known yet
	finished int64 // what lies before it was finished by the group
	unseen   []*entry
}

func (b *book) read() bool { return b.end >= 0 && b.next >= b.end }

func newDesk(log *slog.Logger, giveUp time.Duration) *desk {
	return &desk{
		log: log, giveUp: giveUp, wake: make(chan struct{}, 1),
		books: map[*kafka.Part]*book{}, sending: map[string]*letter{},
	}
}

// unread are those of the partitions owned that are not read to their end yet.
func (d *desk) unread(owned []*kafka.Part) (parts []*kafka.Part) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range owned {
		if b := d.books[p]; b == nil || !b.read() {
			parts = append(parts, p)
		}
	}
	return parts
}

// bounded reports whether the end of a partition is known.
func (d *desk) bounded(p *kafka.Part) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.books[p]
	return b != nil && b.end >= 0
}

// bound notes where a partition starts and ends, asked for since it came: the first end that is told is the
// one to be read to. What retention takes meanwhile need not be.
func (d *desk) bound(p *kafka.Part, start, end int64, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.Gone() {
		return
	}
	b := d.books[p]
	if b == nil {
		b = &book{ledger: newLedger(), part: p, end: -1}
		d.books[p] = b
	}
	if b.end < 0 {
		b.end = end
		if p.Committed <= end { // else the log is another than the group knew
			b.finished = p.Committed
		}
	}
	if start >= b.end {
		b.next = max(b.next, b.end)
	}
	d.look(b, now)
}

// take takes records of a partition whose end is known, in order.
func (d *desk) take(batch kafka.Batch, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.books[batch.Part]
	if b == nil {
		return // given away meanwhile
	}
	for _, r := range batch.Records {
		d.record(b, r)
		b.next = r.Offset + 1
	}
	d.look(b, now)
}

// record takes one record: all that is new and open waits to be looked at, the rest is done.
func (d *desk) record(b *book, r *kgo.Record) {
	open := r.Offset >= b.finished && b.part.Start(r.Offset)
	var e *entry
	if !r.Attrs.IsControl() {
		n, err := wire.ReadNotice(r)
		if err == nil {
			e = b.add(n, r.Offset, r.Timestamp)
		} else if open {
			d.quarantine(r, err)
		}
	}
	switch {
	case e == nil && open:
		done(b.part, r.Offset)
	case e != nil && open:
		b.unseen = append(b.unseen, e)
	case e != nil:
		e.ended = true
	}
}

// done finishes a record without work.
func done(p *kafka.Part, offset int64) {
	if p.Begin() {
		p.Done(offset)
	}
}

// look decides who is to be mailed of the notices that are new, once the book is read.
func (d *desk) look(b *book, now time.Time) {
	if !b.read() {
		return
	}
	for _, e := range b.unseen {
		n := e.notice
		to := addressees(n, d.admins(n.Tenant))
		e.until = deadline(n, d.giveUp, now, d.holds(n, now))
		for _, a := range b.open(n, to) {
			e.open++
			d.queue.add(&letter{id: failure.MailedID(n.ID, a.ID), part: b.part, entry: e, administrator: a.ID})
		}
		if len(to) == 0 {
			d.log.Warn("nobody is told of a notice: its tenant has no administrator who wants it",
				"notice", n.ID, "kind", n.Kind, "tenant", n.Tenant, "webhook", n.WebhookID)
		}
		if e.open == 0 {
			e.ended = true
			done(b.part, e.offset)
		}
	}
	b.unseen = nil
	d.signal()
}

func (d *desk) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// next takes the letter that is to be handled now; finish or putOff must follow. It returns nil if there is none,
// and when to look again: at the latest then.
func (d *desk) next(now time.Time) (l *letter, look time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	again := 0
	for _, l := range d.sending {
		if l.again {
			again++
		}
	}
	for len(d.sending) < maxSending {
		l := d.queue.pop(now, again < maxAgain)
		if l == nil {
			break
		}
		if d.begin(l, now) {
			return l, now
		}
	}
	if due, ok := d.queue.due(); ok && again < maxAgain && len(d.sending) < maxSending {
		return nil, due
	}
	return nil, now.Add(time.Minute) // a letter that ends wakes too
}

// begin begins work on a letter; false: it needs none, or not now.
func (d *desk) begin(l *letter, now time.Time) bool {
	b := d.books[l.part]
	switch {
	case b == nil: // given away
		return false
	case d.sending[l.id] != nil: // from before the partition went and came back
		l.due, l.again = now.Add(time.Second), true
		d.queue.add(l)
		return false
	case b.has(l.entry.notice.ID, l.administrator): // as a record says that came meanwhile
		d.end(l, false)
		return false
	case !l.part.Begin():
		return false
	}
	d.sending[l.id] = l
	return true
}

// finish ends a letter that was begun and whose mail has ended, or is not to be sent.
func (d *desk) finish(l *letter, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sending, l.id)
	if b := d.books[l.part]; b != nil {
		b.mailed[l.id] = now
	}
	d.end(l, true)
	d.signal()
}

// end ends a letter; with the last one its notice is done.
func (d *desk) end(l *letter, begun bool) {
	e := l.entry
	e.open--
	e.ended = e.open == 0
	switch {
	case e.ended && begun:
		l.part.Done(e.offset)
	case e.ended:
		done(l.part, e.offset)
	case begun:
		l.part.GiveUp()
	}
}

// putOff puts a letter that was begun back until it is due.
func (d *desk) putOff(l *letter, due time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sending, l.id)
	l.part.GiveUp()
	if d.books[l.part] != nil {
		l.due, l.again = due, true
		d.queue.add(l)
	}
	d.signal()
}

// drop forgets partitions that are given away: nothing more of them begins.
func (d *desk) drop(parts []*kafka.Part) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range parts {
		delete(d.books, p)
	}
	d.queue.drop(func(l *letter) bool { return d.books[l.part] == nil })
}

// forget drops what the log does not hold any more.
func (d *desk) forget(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, b := range d.books {
		b.forget(now)
	}
}

// waiting is how many mails have not ended, and since when the oldest of them waits.
func (d *desk) waiting() (n int, oldest time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	older := func(l *letter) {
		if at := l.entry.notice.RaisedAt; oldest.IsZero() || at.Before(oldest) {
			oldest = at
		}
	}
	d.queue.each(older)
	for _, l := range d.sending {
		older(l)
	}
	return d.queue.len() + len(d.sending), oldest
}
