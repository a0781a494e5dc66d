package post

import (
	"bufio"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"time"
)

// link is an open connection with the HTTP that is spoken over it.
type link struct {
	conn *conn
	wire net.Conn // conn, or TLS over it
	room *room    // in the pool

	// HTTP/1: one attempt at a time.
	reader *bufio.Reader
	limit  limited // beneath the reader

	// HTTP/2: nil, or shared by attempts.
	http2 *http2Conn

	// The pool's, under its lock.
	users      int // attempts under way
	used       bool
	since      time.Time // idle
	prev, next *link     // among the idle
}

// answerBuffer is what is read at once of an answer, in bytes; it bounds a chunked body's trailers too.
const answerBuffer = 4 << 10

func newLink(c *conn, wire net.Conn) *link {
	l := &link{conn: c, wire: wire}
	l.limit.from = wire
	l.reader = bufio.NewReaderSize(&l.limit, answerBuffer)
	return l
}

// quiet reports whether an idle link of HTTP/1 is still open and nothing came that nobody asked for. What came
// would be taken for the answer to the next request. TLS has messages of its own, which it reads here.
func (l *link) quiet() bool {
	if l.reader.Buffered() > 0 {
		return false
	}
	l.conn.nowait.Store(true)
	defer l.conn.nowait.Store(false)
	var b [1]byte
	n, err := l.wire.Read(b[:])
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded)
}

// cut closes a link at once. Attempts that use it fail.
func (l *link) cut() {
	_ = l.conn.Close()
	if l.http2 != nil {
		_ = l.http2.Close()
	}
}

// end closes an idle link, with a last word of TLS if that needs no waiting.
func (l *link) end() {
	l.conn.nowait.Store(true)
	if l.http2 != nil {
		_ = l.http2.Close()
	}
	_ = l.wire.Close()
}

var errHeadTooLarge = errors.New("the answer's headers are too large")

// limited reads no more than left bytes.
type limited struct {
	from io.Reader
	left int64
}

func (r *limited) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, errHeadTooLarge
	}
	n, err := r.from.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	return n, err
}

// unlimited lifts the limit, for a body, which is counted where it is read.
func (r *limited) unlimited() { r.left = math.MaxInt64 }
