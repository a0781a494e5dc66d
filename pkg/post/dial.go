package post

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptrace"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/egress"
)

// dialer opens connections: DNS, dial and TLS under one deadline, every address judged.
type dialer struct {
	policy  egress.Policy
	net     net.Dialer
	tls     *tls.Config
	timeout time.Duration
}

func newDialer(c Config) *dialer {
	d := &dialer{policy: c.Egress, tls: tlsConfig(c), timeout: c.ConnectTimeout}
	d.net = net.Dialer{Resolver: NewResolver(c.Resolver), ControlContext: d.guard}
	return d
}

// maxAddresses is how many addresses of a name are tried in one attempt, refused ones included: a
// name can have hundreds, and a sender is not to knock at them all.
const maxAddresses = 32

// guard is called with each address right before it is connected to. The dialer passes over an
// address that is refused and tries the next, IPv4 and IPv6 side by side.
func (d *dialer) guard(ctx context.Context, _, address string, _ syscall.RawConn) error {
	if w, watched := ctx.Value(watchKey{}).(*watch); !watched || !w.next() {
		return &egress.Error{Code: egress.CodeAddress, Reason: "too many addresses were tried already"}
	}
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return &egress.Error{Code: egress.CodeAddress, Reason: "the address cannot be read"}
	}
	return d.policy.CheckAddr(addr.Addr())
}

// opened is how a connection came to be, or how far it came.
type opened struct {
	remote            string // address and port that was dialled last; empty if none was
	dns, connect, tls time.Duration
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	c, err := d.dialTCP(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c.opens(false)
	return &http1{Conn: c, asked: true}, nil
}

// dialTLS opens a connection for HTTP/2, which net/http knows by its type, or for HTTP/1.
func (d *dialer) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	c, err := d.dialTCP(ctx, network, address)
	if err != nil {
		return nil, err
	}
	config := d.tls.Clone()
	config.ServerName, _, _ = net.SplitHostPort(address) // which net/http made of a host and a port
	start := time.Now()
	secure := tls.Client(c, config)
	err = secure.HandshakeContext(ctx)
	c.opened.tls = time.Since(start)
	if err != nil {
		_ = c.Close() // what failed is told already
		return nil, d.failed(ctx, stageTLS, c.opened, err)
	}
	http2 := secure.ConnectionState().NegotiatedProtocol == protocolHTTP2
	c.opens(http2)
	if http2 {
		return secure, nil
	}
	return &http1{Conn: secure, asked: true}, nil
}

func (d *dialer) dialTCP(ctx context.Context, network, address string) (*conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err // net/http made the address
	}
	watched, giveUp := context.WithCancel(ctx)
	defer giveUp()
	w := &watch{start: time.Now(), giveUp: giveUp}
	watched = context.WithValue(httptrace.WithClientTrace(watched, w.trace()), watchKey{}, w)
	raw, err := d.net.DialContext(watched, network, net.JoinHostPort(absolute(host), port))
	o, stage, tried := w.result()
	if err != nil {
		if refusal := new(egress.Error); tried != nil && (errors.As(err, &refusal) || w.over()) {
			err = tried // of several addresses one was allowed, and what came of that matters more
		} else if w.over() {
			err = &egress.Error{Code: egress.CodeAddress, Reason: "none of the addresses is allowed"}
		}
		return nil, d.failed(ctx, stage, o, err)
	}
	o.remote = raw.RemoteAddr().String()
	c := &conn{Conn: raw, opened: o}
	c.left.Store(maxHandshakeBytes)
	return c, nil
}

func (d *dialer) failed(ctx context.Context, stage stage, o opened, err error) error {
	f := &failure{opened: o}
	// The dialer's own timer may fire a moment before the context's.
	timedOut := stage != stageDNS && errors.Is(err, os.ErrDeadlineExceeded)
	if ctx.Err() != nil || timedOut || errors.Is(err, syscall.ETIMEDOUT) {
		f.code, f.words = CodeConnectTimeout, connectTimedOut(stage, o.remote, d.timeout)
		return f
	}
	if stage == stageTLS {
		f.code, f.words = CodeTLS, tlsWords(err)
		return f
	}
	f.code, f.words = dialWords(err, o.remote)
	return f
}

// failure is a connection that could not be opened, with the outcome's code and words.
type failure struct {
	code   string
	words  string
	opened opened
}

func (f *failure) Error() string { return f.words }

// stage is a part of opening a connection.
type stage string

const (
	stageDNS     stage = "looking up its name"
	stageConnect stage = "the TCP connection"
	stageTLS     stage = "the TLS handshake"
)

// watch sees the parts of a dial. Several addresses are dialled side by side, and the hooks of
// those that lose may be called after the dial is over.
type watch struct {
	start  time.Time
	giveUp context.CancelFunc // ends the dial

	mu     sync.Mutex
	judged int // addresses so far
	stage  stage
	dnsEnd time.Time // zero: no name was looked up
	remote string    // the last address that failed though it is allowed
	tried  error     // what came of it
}

// watchKey is the watch's place in the context of its dial.
type watchKey struct{}

// next reports whether one more address may be tried. If not, the dial is ended.
func (w *watch) next() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.judged++
	if w.judged > maxAddresses {
		w.giveUp()
		return false
	}
	return true
}

// over reports whether the dial was ended for the number of addresses.
func (w *watch) over() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.judged > maxAddresses
}

func (w *watch) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		DNSStart: func(httptrace.DNSStartInfo) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.stage = stageDNS
		},
		DNSDone: func(httptrace.DNSDoneInfo) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.dnsEnd = time.Now()
		},
		ConnectStart: func(string, string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.stage = stageConnect
		},
		ConnectDone: func(_, address string, err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			// A dial that was given up tells nothing of the address.
			if refusal := new(egress.Error); err != nil && !errors.As(err, &refusal) && !errors.Is(err, context.Canceled) {
				w.tried, w.remote = err, address
			}
		},
	}
}

func (w *watch) result() (o opened, last stage, tried error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o.remote = w.remote
	connecting := w.start
	switch {
	case !w.dnsEnd.IsZero():
		o.dns, connecting = w.dnsEnd.Sub(w.start), w.dnsEnd
	case w.stage == stageDNS:
		o.dns = time.Since(w.start)
	}
	if w.stage == stageConnect {
		o.connect = time.Since(connecting)
	}
	return o, w.stage, w.tried
}
