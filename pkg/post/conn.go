package post

import (
	"cmp"
	"crypto/tls"
	"errors"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// What may be read from a connection, in bytes as they come from the network.
const (
	maxHandshakeBytes = 64 << 10  // of a TLS handshake; a chain of four certificates takes 6 KiB
	http2Bytes        = 64 << 10  // of HTTP/2 beside the attempts: settings, pings
	http2AttemptBytes = 512 << 10 // of HTTP/2 for each attempt under way, frames and TLS included
)

var (
	// errFlood is a receiver that sends more than was asked for.
	errFlood = errors.New("the receiver sends without end")
	// errUnasked is a receiver that sends on an idle connection.
	errUnasked = errors.New("the receiver sent what nobody asked for")
)

// conn is a TCP connection that knows how it was opened, and how much more may be read from it.
//
// HTTP/1 is bounded by what is read of each answer. HTTP/2 has frames that belong to no answer (PING,
// SETTINGS, those of streams that are over), and net/http reads and answers them as fast as they come,
// for as long as the connection lives.
type conn struct {
	net.Conn
	opened opened
	left   atomic.Int64 // bytes
	writes atomic.Bool  // in Write

	mu    sync.Mutex
	users int64 // attempts under way on it, HTTP/2 only
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.left.Add(-int64(n)) < 0 {
		return 0, errFlood
	}
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	c.writes.Store(true)
	defer c.writes.Store(false)
	return c.Conn.Write(p)
}

// unblock gives a write that is under way a last moment: over HTTP/2, who reads an answer may have to
// wait for one that a receiver blocks. Before each write the deadline is set anew.
func (c *conn) unblock() {
	if c.writes.Load() {
		_ = c.SetWriteDeadline(time.Now().Add(250 * time.Millisecond)) // a closed connection blocks nobody
	}
}

// opens says that the handshake is over.
func (c *conn) opens(http2 bool) {
	if http2 {
		c.left.Store(http2Bytes)
		return
	}
	c.left.Store(math.MaxInt64)
}

// begin and end stand around an attempt on a connection of HTTP/2. What an attempt does not use is
// not saved for later.
func (c *conn) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.users++
	c.left.Add(http2AttemptBytes)
}

func (c *conn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.users--
	limit := http2Bytes + c.users*http2AttemptBytes
	for left := c.left.Load(); left > limit && !c.left.CompareAndSwap(left, limit); {
		left = c.left.Load()
	}
}

// http1 is a connection that speaks HTTP/1. It keeps answers to their requests: net/http takes a
// connection for idle while there may be bytes behind the last answer, and reads them as the answer
// to the next request if that is quick enough.
type http1 struct {
	net.Conn // a *conn, or TLS over one

	mu      sync.Mutex
	asked   bool // a request was begun, or the connection is new
	sent    bool // since it was taken, bytes of a request were
	waits   bool // in Read: net/http has nothing left of what came
	closed  bool
	failed  error         // of TLS, in Read
	changed chan struct{} // closed when waits or closed becomes true; nil if nobody listens
}

// Read errs if something comes while nothing is asked.
func (c *http1) Read(p []byte) (int, error) {
	c.mu.Lock()
	c.waits = true
	c.tell()
	c.mu.Unlock()
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	c.waits = false
	asked := c.asked
	if err != nil && tlsFault(err) {
		c.failed = err
	}
	c.mu.Unlock()
	if n > 0 && !asked {
		return 0, errUnasked
	}
	return n, err
}

func (c *http1) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.asked, c.sent = true, true
	c.mu.Unlock()
	return c.Conn.Write(p)
}

// Close closes the connection.
func (c *http1) Close() error {
	c.mu.Lock()
	c.closed = true
	c.tell()
	c.mu.Unlock()
	return c.Conn.Close()
}

// tell wakes who waits in take. The caller holds the lock.
func (c *http1) tell() {
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// take waits, for a connection that was used before, until net/http has nothing left of what came: if
// there is something, net/http closes the connection. done ends the wait.
func (c *http1) take(done <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = false
	for !c.waits && !c.closed {
		if c.changed == nil {
			c.changed = make(chan struct{})
		}
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-done:
			c.mu.Lock()
			return
		}
		c.mu.Lock()
	}
}

// rest says that the answer was read to its end.
func (c *http1) rest() {
	c.mu.Lock()
	c.asked = false
	c.mu.Unlock()
}

// unsent reports whether nothing was sent since the connection was taken.
func (c *http1) unsent() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.sent
}

// reason is err, or what TLS had to say before, which net/http may lose: in TLS 1.3 a receiver judges
// the client only behind the handshake, while the request is being written.
func (c *http1) reason(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return cmp.Or(c.failed, err)
}

// connOf is the connection as the dialer made it, and its HTTP/1 if that is what it speaks.
func connOf(c net.Conn) (*conn, *http1) {
	one, _ := c.(*http1)
	if one != nil {
		c = one.Conn
	}
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	ours, _ := c.(*conn)
	return ours, one
}
