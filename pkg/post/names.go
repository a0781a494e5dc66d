package post

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

// How many names' addresses are remembered, and for how long. A resolver's own answer is often older. Failures are
// not remembered. Whatever is remembered, every address is judged when it is dialled.
const (
	maxNames  = 8 << 10
	namesLast = 5 * time.Second
)

// names finds the addresses of names. Lookups of one name at one time are one, by net.Resolver.
type names struct {
	resolver *net.Resolver

	mu     sync.Mutex
	known  map[string]found
	closed bool
}

type found struct {
	addrs []netip.Addr
	until time.Time
}

// lookup returns addresses of a host, at most maxAddresses of each family, and whether they were remembered.
func (ns *names) lookup(ctx context.Context, host string) (addrs []netip.Addr, remembered bool, err error) {
	ns.mu.Lock()
	known, ok := ns.known[host]
	ns.mu.Unlock()
	if ok && time.Now().Before(known.until) {
		return known.addrs, true, nil
	}
	all, err := Lookup(ctx, ns.resolver, host)
	if err != nil {
		return nil, false, err
	}
	v4, v6 := 0, 0
	for _, addr := range all {
		addr = addr.Unmap()
		count := &v6
		if addr.Is4() {
			count = &v4
		}
		if *count++; *count <= maxAddresses {
			addrs = append(addrs, addr)
		}
	}
	ns.remember(host, addrs)
	return addrs, false, nil
}

func (ns *names) remember(host string, addrs []netip.Addr) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.closed {
		return
	}
	if len(ns.known) >= maxNames {
		clear(ns.known)
	}
	ns.known[host] = found{addrs, time.Now().Add(namesLast)}
}

// forget forgets a name: its addresses were of no use.
func (ns *names) forget(host string) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	delete(ns.known, host)
}

// close forgets all, for good.
func (ns *names) close() {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	ns.closed = true
	clear(ns.known)
}
