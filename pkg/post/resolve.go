package post

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
)

// maxDNSAnswer bounds a name server's answer over TCP, in bytes: some 250 addresses. One of 64 KiB
// holds thousands, and each costs the standard library a socket to put them in order: a tenth of
// a second of CPU in all.
const maxDNSAnswer = 4 << 10

var errDNSAnswer = errors.New("the DNS answer is too long")

// NewResolver is how names of targets are looked up: by Go's own resolver, with cgo and without,
// so that every build does the same and a lookup that hangs holds no thread; and with answers of
// bounded length. It asks as base does; nil: the servers of /etc/resolv.conf.
func NewResolver(base *net.Resolver) *net.Resolver {
	if base == nil {
		base = &net.Resolver{}
	}
	dial := base.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return &net.Resolver{
		PreferGo:     true,
		StrictErrors: base.StrictErrors,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			if err != nil || !strings.HasPrefix(network, "tcp") {
				return c, err // an answer over UDP is a packet at most
			}
			return &bounded{Conn: c, left: maxDNSAnswer}, nil
		},
	}
}

// Lookup returns the addresses of host, a name that egress.Policy.CheckURL accepted, as an attempt
// finds them. It errs if r finds none, and when ctx ends.
func Lookup(ctx context.Context, r *net.Resolver, host string) ([]netip.Addr, error) {
	return r.LookupNetIP(ctx, "ip", absolute(host))
}

// absolute is host with the dot that ends a full name, so that no search domain of resolv.conf is
// tried: in Kubernetes db.prod would be db.prod.svc.cluster.local, a name that nobody judged. Only
// localhost has no dot, and without one it is found in /etc/hosts.
func absolute(host string) string {
	if _, err := netip.ParseAddr(host); err == nil || strings.HasSuffix(host, ".") || !strings.Contains(host, ".") {
		return host
	}
	return host + "."
}

// bounded is a connection from which no more than left bytes are read.
type bounded struct {
	net.Conn
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errDNSAnswer
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
