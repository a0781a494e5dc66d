package post

import (
	"errors"
	"io"
	"math"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
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
	// errBlocked is a receiver that reads no more of a connection, which was therefore given up with all attempts on it.
	errBlocked = errors.New("the receiver reads no more")
)

// conn is a TCP connection that knows how it was opened, and how much more may be read from it.
//
// HTTP/1 is bounded by what is read of each answer. HTTP/2 has frames that belong to no answer (PING,
// SETTINGS, those of streams that are over), and its library reads and answers them as fast as they come,
// for as long as the connection lives.
type conn struct {
	net.Conn
	raw    syscall.RawConn
	opened opened
	left   atomic.Int64 // bytes that may be read
	nowait atomic.Bool  // reads and writes do what can be done at once
	writes atomic.Bool  // in Write
	blocks atomic.Bool  // a Write ran out of time: nothing can be written any more
	sent   atomic.Bool  // a byte was written since this was last set to false

	mu    sync.Mutex
	users int64 // attempts under way on it, HTTP/2 only
}

func newConn(c net.Conn, o opened) (*conn, error) {
	tcp, ok := c.(syscall.Conn)
	if !ok {
		return nil, errors.New("the connection is not one of the system's")
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	ours := &conn{Conn: c, raw: raw, opened: o}
	ours.left.Store(maxHandshakeBytes)
	return ours, nil
}

func (c *conn) Read(p []byte) (int, error) {
	read := c.Conn.Read
	if c.nowait.Load() {
		read = c.readNow
	}
	n, err := read(p)
	if c.left.Add(-int64(n)) < 0 {
		return 0, errFlood
	}
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	if c.nowait.Load() {
		return c.writeNow(p)
	}
	c.writes.Store(true)
	defer c.writes.Store(false)
	n, err := c.Conn.Write(p)
	if n > 0 {
		c.sent.Store(true)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.blocks.Store(true)
	}
	return n, err
}

// readNow and writeNow err with os.ErrDeadlineExceeded, which leaves TLS as it is, where they would have to wait.
func (c *conn) readNow(p []byte) (n int, err error) {
	if failed := c.raw.Control(func(fd uintptr) { n, err = readFD(fd, p) }); failed != nil {
		return 0, failed
	}
	if n == 0 && err == nil {
		err = io.EOF
	}
	return done(n, err)
}

func (c *conn) writeNow(p []byte) (n int, err error) {
	if failed := c.raw.Control(func(fd uintptr) { n, err = writeFD(fd, p) }); failed != nil {
		return 0, failed
	}
	if n < len(p) && err == nil {
		err = io.ErrShortWrite
	}
	return done(n, err)
}

// done is what a system call returned, as Read and Write return it.
func done(n int, err error) (int, error) {
	if errors.Is(err, syscall.EAGAIN) {
		err = os.ErrDeadlineExceeded
	}
	return max(n, 0), err
}

// unblock gives a write that is under way a last moment: over HTTP/2, who reads an answer may have to
// wait for one that a receiver blocks. Before each write the deadline is set anew.
func (c *conn) unblock() {
	if c.writes.Load() {
		_ = c.SetWriteDeadline(time.Now().Add(250 * time.Millisecond)) // a closed connection blocks nobody
	}
}

// cause is why an attempt on the connection failed with err: once the connection was given up for one attempt, the
// others on it fail as if the receiver had closed it.
func (c *conn) cause(err error) error {
	if err != nil && c.blocks.Load() && !errors.Is(err, errTooLarge) {
		return errBlocked
	}
	return err
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
