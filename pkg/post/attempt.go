package post

import (
	"context"
	"errors"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
)

// attempt follows one attempt. The hooks for writing, reading and idleness run on the connection's
// goroutines.
type attempt struct {
	start  time.Time
	done   <-chan struct{} // closed when the attempt's time is over
	giveUp context.CancelCauseFunc
	gets   int   // connections that net/http has looked for, for one request
	conn   *conn // the last one; nil: none was got
	http1  *http1
	reused bool
	wrote  atomic.Int64 // nanoseconds after start; 0: not
	first  atomic.Int64
}

func (a *attempt) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn:              a.getConn,
		GotConn:              a.gotConn,
		PutIdleConn:          a.putIdleConn,
		WroteRequest:         func(httptrace.WroteRequestInfo) { a.wrote.Store(int64(time.Since(a.start))) },
		GotFirstResponseByte: func() { a.first.Store(int64(time.Since(a.start))) },
	}
}

// maxGets is how many connections net/http may look for: it opens another as often as a receiver
// takes no request on HTTP/2 (GOAWAY at once, no streams allowed), for as long as there is time.
const maxGets = 16

var errTurnedAway = errors.New("the receiver takes no request on its connections")

func (a *attempt) getConn(string) {
	if a.gets++; a.gets > maxGets {
		a.giveUp(errTurnedAway)
	}
}

func (a *attempt) gotConn(info httptrace.GotConnInfo) {
	a.leave()
	a.reused = info.Reused
	if a.conn, a.http1 = connOf(info.Conn); a.http1 == nil && a.conn != nil {
		a.conn.begin()
	} else if a.http1 != nil && a.reused {
		a.http1.take(a.done)
	}
}

func (a *attempt) putIdleConn(error) {
	if a.http1 != nil {
		a.http1.rest()
	}
}

// leave says that the attempt uses its connection no more.
func (a *attempt) leave() {
	if a.conn != nil && a.http1 == nil {
		a.conn.end()
	}
}

// How often a request is sent again: in all, and to a receiver of HTTP/2 that says that it did not look
// at it.
const (
	maxAgain    = 8
	maxTurnedTo = 2
)

// unseen reports whether a request that failed was certainly not looked at, so that it may be sent
// again: nothing of it was written to a connection that the receiver had closed meanwhile, or a
// receiver of HTTP/2 says so (RFC 9113, section 8.7). again is how often that was so already.
func (a *attempt) unseen(err error, again int) bool {
	if a.http1 != nil {
		return a.reused && a.http1.unsent() // as often as there are such connections
	}
	// net/http has no names for these.
	says := func(s string) bool { return strings.Contains(err.Error(), s) }
	switch {
	case tookNone(err):
		return again < maxAgain
	case says("graceful shutdown GOAWAY"), says("REFUSED_STREAM; received from peer"):
		return again < maxTurnedTo
	}
	return false
}

// describe notes the connection and its phases in out.
func (a *attempt) describe(out *delivery.Outcome) {
	if a.conn == nil {
		return
	}
	out.RemoteAddress = a.conn.opened.remote
	out.Phases.Reused = a.reused
	if !a.reused {
		a.conn.opened.describe(out)
	}
	// An answer may come before the request is completely written.
	if wrote, first := a.wrote.Load(), a.first.Load(); wrote > 0 && first > wrote {
		out.Phases.FirstByte = time.Duration(first - wrote)
	}
}

func (o *opened) describe(out *delivery.Outcome) {
	out.RemoteAddress = o.remote
	out.Phases.DNS, out.Phases.Connect, out.Phases.TLS = o.dns, o.connect, o.tls
}
