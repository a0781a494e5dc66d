package post

import (
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
)

// attempt times one attempt. The hooks for writing and reading run on the connection's goroutines.
type attempt struct {
	start  time.Time
	got    bool // a connection
	reused bool
	opened *opened
	wrote  atomic.Int64 // nanoseconds after start; 0: not
	first  atomic.Int64
}

func (a *attempt) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			a.got, a.reused, a.opened = true, info.Reused, openedOf(info.Conn)
		},
		WroteRequest:         func(httptrace.WroteRequestInfo) { a.wrote.Store(int64(time.Since(a.start))) },
		GotFirstResponseByte: func() { a.first.Store(int64(time.Since(a.start))) },
	}
}

// describe notes the connection and its phases in out.
func (a *attempt) describe(out *delivery.Outcome) {
	if !a.got {
		return
	}
	out.RemoteAddress = a.opened.remote
	out.Phases.Reused = a.reused
	if !a.reused {
		a.opened.describe(out)
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
