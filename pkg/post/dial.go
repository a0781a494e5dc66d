package post

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/egress"
)

// dialer opens connections: DNS, dial and TLS, every address judged.
type dialer struct {
	policy  egress.Policy
	net     net.Dialer // for addresses, not for names
	names   names
	tls     *tls.Config
	timeout time.Duration
}

func newDialer(c Config) *dialer {
	d := &dialer{
		policy:  c.Egress,
		names:   names{resolver: NewResolver(c.Resolver), known: map[string]found{}},
		tls:     tlsConfig(c),
		timeout: c.ConnectTimeout,
	}
	d.net.Control = d.guard
	return d
}

// maxAddresses is how many addresses of a name are tried in one attempt, refused ones included: a
// name can have hundreds, and a sender is not to knock at them all.
const maxAddresses = 32

// guard is called with each address right before it is connected to.
func (d *dialer) guard(_, address string, _ syscall.RawConn) error {
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

// open opens a connection to o: TCP, and what is spoken over it, with HTTP/2 where both sides can.
func (d *dialer) open(ctx context.Context, o origin, w *watch) (c *conn, wire net.Conn, http2 bool, err error) {
	c, err = d.dialTCP(ctx, o, w)
	if err != nil {
		return nil, nil, false, err
	}
	if !o.secure {
		c.opens(false)
		return c, c, false, nil
	}
	config := d.tls.Clone()
	config.ServerName = o.host
	secure := tls.Client(c, config)
	err = secure.HandshakeContext(ctx)
	c.opened, _, _ = w.result()
	if err != nil {
		_ = c.Close() // what failed is told already
		return nil, nil, false, d.failed(stageTLS, c.opened, err)
	}
	http2 = secure.ConnectionState().NegotiatedProtocol == protocolHTTP2
	c.opens(http2)
	return c, secure, http2, nil
}

func (d *dialer) dialTCP(ctx context.Context, o origin, w *watch) (*conn, error) {
	raw, err := d.dial(ctx, o, w)
	opened, stage, tried := w.result()
	if err != nil {
		d.names.forget(o.host)
		if refusal := new(egress.Error); tried != nil && errors.As(err, &refusal) {
			err = tried // of several addresses one was allowed, and what came of that matters more
		}
		return nil, d.failed(stage, opened, err)
	}
	c, err := newConn(raw, opened)
	if err != nil {
		_ = raw.Close() // which nobody uses
		return nil, d.failed(stage, opened, err)
	}
	c.opened = w.connected(raw.RemoteAddr().String())
	return c, nil
}

func (d *dialer) dial(ctx context.Context, o origin, w *watch) (net.Conn, error) {
	port, err := strconv.ParseUint(o.port, 10, 16)
	if err != nil {
		return nil, err // CheckURL saw to it
	}
	if addr, err := netip.ParseAddr(o.host); err == nil {
		return d.inTurn(ctx, []netip.Addr{addr}, uint16(port), w)
	}
	w.resolving()
	addrs, remembered, err := d.names.lookup(ctx, o.host)
	w.resolved(remembered)
	if err != nil {
		return nil, err
	}
	var first, second []netip.Addr // of the family that is preferred, and of the other
	for _, addr := range addrs {
		if addr.Is4() == addrs[0].Is4() {
			first = append(first, addr)
		} else {
			second = append(second, addr)
		}
	}
	if len(second) == 0 {
		return d.inTurn(ctx, first, uint16(port), w)
	}
	return d.sideBySide(ctx, first, second, uint16(port), w)
}

// headStart is what the preferred family of addresses has before the other (RFC 8305, section 5).
const headStart = 300 * time.Millisecond

// sideBySide dials the addresses of two families, IPv4 and IPv6; who connects first wins.
func (d *dialer) sideBySide(ctx context.Context, first, second []netip.Addr, port uint16, w *watch) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result)
	try := func(addrs []netip.Addr) {
		c, err := d.inTurn(ctx, addrs, port, w)
		select {
		case results <- result{c, err}:
		case <-ctx.Done(): // the other one has won, or nobody waits any more
			if c != nil {
				_ = c.Close()
			}
		}
	}
	go try(first)
	timer := time.NewTimer(headStart)
	defer timer.Stop()
	var failed error // the first failure, of the preferred family if it was quick
	for running, both := 1, false; ; {
		select {
		case r := <-results:
			if r.err == nil {
				return r.conn, nil
			}
			if failed == nil {
				failed = r.err
			}
			if running--; running == 0 && both {
				return nil, failed
			}
		case <-timer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if !both {
			both = true
			running++
			go try(second)
		}
	}
}

// inTurn dials addresses until one connects. Each has its part of the time that is left.
func (d *dialer) inTurn(ctx context.Context, addrs []netip.Addr, port uint16, w *watch) (c net.Conn, err error) {
	for i, addr := range addrs {
		if !w.connecting() {
			return nil, cmp.Or[error](err, &egress.Error{Code: egress.CodeAddress, Reason: "none of the addresses is allowed"})
		}
		if refused := d.policy.CheckAddr(addr); refused != nil { // of which nothing is told; the guard judges again
			err = cmp.Or(err, refused)
			continue
		}
		address := netip.AddrPortFrom(addr, port).String()
		w.trying(address)
		one, cancel := context.WithDeadline(ctx, share(ctx, time.Now(), len(addrs)-i))
		c, failed := d.net.DialContext(one, "tcp", address)
		cancel()
		if failed == nil {
			return c, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		w.failed(failed)
		err = cmp.Or(err, failed)
	}
	return nil, cmp.Or[error](err, &net.DNSError{Err: "no address", IsNotFound: true})
}

// share is until when the first of so many addresses may take, at least 2 s if there are.
func share(ctx context.Context, now time.Time, addresses int) time.Time {
	end, limited := ctx.Deadline()
	if !limited {
		return now.Add(time.Minute)
	}
	part := max(end.Sub(now)/time.Duration(addresses), 2*time.Second)
	if until := now.Add(part); until.Before(end) {
		return until
	}
	return end
}

func (d *dialer) failed(stage stage, o opened, err error) error {
	f := &failure{opened: o}
	switch {
	case stage != stageDNS && errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		f.code, f.words = CodeConnectTimeout, connectTimedOut(stage, o.remote, d.timeout)
	case stage == stageTLS:
		f.code, f.words = CodeTLS, tlsWords(err)
	default:
		f.code, f.words = dialWords(err, o.remote)
	}
	return f
}

// tooLate is the failure of who waits for a dial no longer.
func (d *dialer) tooLate(w *watch) error {
	o, stage, _ := w.result()
	return d.failed(stage, o, context.DeadlineExceeded)
}

// failure is a connection that could not be opened, with the outcome's code and words.
type failure struct {
	code   string
	words  string
	opened opened
}

func (f *failure) Error() string { return f.words }
