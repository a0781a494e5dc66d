package post

import (
	"errors"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
)

// attempt is one attempt under way.
type attempt struct {
	target  *target
	fields  []delivery.Header
	body    []byte
	secrets []string
	end     time.Time // when its time is over

	dials     int   // that it caused
	link      *link // the last one; nil: none was got
	reused    bool
	unsent    bool // it failed, and nothing of the request was sent
	firstByte time.Duration
}

// maxDials is how many connections an attempt may open: it needs another as often as a receiver
// takes no request on HTTP/2 (GOAWAY at once, no streams allowed), for as long as there is time.
const maxDials = 16

// maxTurnedTo is how often a request is sent again to a receiver of HTTP/2 that says that it did not look at it.
const maxTurnedTo = 2

var (
	errTurnedAway = errors.New("the receiver takes no request on its connections")
	errTimeUp     = errors.New("the attempt's time is over")
)

// turnedAway reports whether a receiver of HTTP/2 says that it did not look at a request (RFC 9113, section 8.7).
// Its library has no names for that.
func turnedAway(err error) bool {
	text := err.Error()
	return strings.Contains(text, "graceful shutdown GOAWAY") || strings.Contains(text, "REFUSED_STREAM; received from peer")
}

// describe notes the connection and its phases in out.
func (a *attempt) describe(out *delivery.Outcome) {
	if a.link == nil {
		return
	}
	opened := &a.link.conn.opened
	out.RemoteAddress = opened.remote
	out.Phases.Reused = a.reused
	if !a.reused {
		opened.describe(out)
	}
	out.Phases.FirstByte = a.firstByte
}

func (o *opened) describe(out *delivery.Outcome) {
	out.RemoteAddress = o.remote
	out.Phases.DNS, out.Phases.Connect, out.Phases.TLS = o.dns, o.connect, o.tls
}
