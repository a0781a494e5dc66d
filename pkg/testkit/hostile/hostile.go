// Package hostile is webhook receivers that mistreat who sends to them: kinds of them, each a server
// on loopback, and what a sender is to say of it.
package hostile

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// Kind is one way to mistreat a sender.
type Kind struct {
	Name   string
	Code   string // of the outcome; empty: it is delivered all the same. One of several by commas, where it depends on who is quicker
	Status int    // of the outcome; 0: there was no answer, Any: it depends
	Words  string // some of those on the outcome
	// Waits is what ends the attempt: the time for connecting or for the whole of it.
	Waits Wait

	open open
}

// Any is a Status that depends on who is quicker.
const Any = -1

// Allows reports whether an outcome may have a code.
func (k Kind) Allows(code string) bool {
	return slices.Contains(strings.Split(k.Code, ","), code)
}

// Wait is a limit of time.
type Wait int

// The limits.
const (
	Nothing Wait = iota // the attempt ends by itself
	Connect             // the time to connect passes
	Total               // the time for the whole attempt passes
)

// open is how a kind treats a connection. It returns when it is done with it; then the connection is
// closed.
type open struct {
	scheme string
	serve  func(s *Server, c *net.TCPConn)
}

// Kinds are all kinds, in a steady order.
func Kinds() []Kind {
	return slices.Concat(http1Kinds(), http1BadKinds(), http2Kinds(), tlsKinds())
}

// Named is the kind of a name, which must be one.
func Named(t testing.TB, name string) Kind {
	t.Helper()
	kinds := Kinds()
	i := slices.IndexFunc(kinds, func(k Kind) bool { return k.Name == name })
	if i < 0 {
		t.Fatalf("there is no kind %q", name)
	}
	return kinds[i]
}

// Server is a receiver of one kind.
type Server struct {
	URL string

	authority *Authority
	tls       *tls.Config
	stop      chan struct{} // closed at the end of the test
	accepted  atomic.Int64
}

// Connections is the number of connections so far.
func (s *Server) Connections() int { return int(s.accepted.Load()) }

// Authority issues the receivers' certificates.
type Authority struct {
	*testkit.CA
	config *tls.Config
}

// NewAuthority is an authority, which senders are to trust, for the time of a test.
func NewAuthority(t testing.TB) *Authority {
	ca := testkit.NewCA(t)
	return &Authority{ca, ca.ServerConfig(t)}
}

// Start runs a receiver of a kind until the test ends.
func (a *Authority) Start(t testing.TB, k Kind) *Server {
	t.Helper()
	s := &Server{authority: a, tls: a.config.Clone(), stop: make(chan struct{})}
	address := Listen(t, s.stop, func(c *net.TCPConn) {
		s.accepted.Add(1)
		k.open.serve(s, c)
	})
	s.URL = k.open.scheme + "://" + address + "/"
	return s
}

// HTTP2 runs a receiver that answers each request by f, which is told its stream and its webhook-id,
// and returns its URL. Where f errs, the connection is closed.
func (a *Authority) HTTP2(t testing.TB, f func(p *Peer, stream uint32, id string) error, settings ...http2.Setting) string {
	t.Helper()
	return a.Start(t, Kind{open: open{"https", func(s *Server, c *net.TCPConn) {
		if p, err := s.HTTP2(c, settings...); err == nil {
			p.Serve(func(stream uint32, id string) error { return f(p, stream, id) })
		}
	}}}).URL
}

// Listen serves each connection with f and closes it afterwards, until the test ends; stop is closed
// first then, if it is not nil. It returns the address.
func Listen(t testing.TB, stop chan struct{}, f func(c *net.TCPConn)) string {
	t.Helper()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		conns  = map[*net.TCPConn]bool{}
		closed bool
	)
	serve := func(c *net.TCPConn) {
		mu.Lock()
		over := closed
		conns[c] = true
		mu.Unlock()
		if !over {
			f(c)
		}
		_ = c.Close()
		mu.Lock()
		delete(conns, c)
		mu.Unlock()
	}
	wg.Go(func() {
		for {
			c, err := listener.AcceptTCP()
			if err != nil {
				if errors.Is(err, net.ErrClosed) {
					return
				}
				t.Errorf("accept: %v", err)
				return
			}
			wg.Go(func() { serve(c) })
		}
	})
	t.Cleanup(func() {
		if stop != nil {
			close(stop)
		}
		_ = listener.Close()
		mu.Lock()
		closed = true
		for c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return listener.Addr().String()
}

// secure is the receiver's side of TLS on c, with protocol (ALPN).
func (s *Server) secure(c net.Conn, protocol string) *tls.Conn {
	config := s.tls.Clone()
	config.NextProtos = []string{protocol}
	return tls.Server(c, config)
}

// plain and over1 are answers of HTTP/1: without TLS and over it.
func plain(f func(c net.Conn)) open {
	return open{"http", func(_ *Server, c *net.TCPConn) { f(c) }}
}

func over1(f func(c net.Conn)) open {
	return open{"https", func(s *Server, c *net.TCPConn) {
		secure := s.secure(c, "http/1.1")
		if secure.Handshake() == nil {
			f(secure)
		}
	}}
}

// Request reads one request with its body.
func Request(r *bufio.Reader) (*http.Request, error) {
	request, err := http.ReadRequest(r)
	if err == nil {
		_, err = io.Copy(io.Discard, request.Body)
	}
	return request, err
}

// says reads one request and answers it with text, as it stands.
func says(text string) func(c net.Conn) {
	return func(c net.Conn) {
		if _, err := Request(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, text)
		}
	}
}

// always answers each request with text.
func always(text string) func(c net.Conn) {
	return func(c net.Conn) {
		for r := bufio.NewReader(c); ; {
			if _, err := Request(r); err != nil {
				return
			}
			if _, err := io.WriteString(c, text); err != nil {
				return
			}
		}
	}
}

// then does one after the other.
func then(steps ...func(c net.Conn)) func(c net.Conn) {
	return func(c net.Conn) {
		for _, step := range steps {
			step(c)
		}
	}
}

// hang reads until the sender goes.
func hang(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// reset makes the close of a connection a reset.
func reset(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}

// repeats writes text as fast as it goes until the sender goes.
func repeats(text string) func(c net.Conn) {
	return func(c net.Conn) {
		for {
			if _, err := io.WriteString(c, text); err != nil {
				return
			}
		}
	}
}

// drips writes text every 20 ms until the sender goes.
func drips(text string) func(c net.Conn) {
	return func(c net.Conn) {
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for range ticker.C {
			if _, err := io.WriteString(c, text); err != nil {
				return
			}
		}
	}
}

func soon() time.Time { return time.Now().Add(100 * time.Millisecond) }
