package console

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/egress"
	"github.com/doorstep-dev/doorstep/pkg/post"
)

// resolveWithin bounds how long a registration waits for DNS. A name that does not resolve in time
// is accepted: it is judged again when it is dialled.
const resolveWithin = time.Second

// target judges the URLs of webhooks at registration.
type target struct {
	policy egress.Policy
	lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

// newTarget judges names by what base answers, nil: the system's resolver, asked as a sender asks.
func newTarget(p egress.Policy, base *net.Resolver) target {
	resolver := post.NewResolver(base)
	return target{policy: p, lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
		return post.Lookup(ctx, resolver, host)
	}}
}

// check says why raw may not be a webhook's URL, in words for its owner.
func (t target) check(ctx context.Context, raw string) error {
	u, err := t.policy.CheckURL(raw)
	if err != nil {
		return err
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return nil // judged already
	}
	ctx, cancel := context.WithTimeout(ctx, resolveWithin)
	defer cancel()
	addrs, err := t.lookup(ctx, u.Hostname())
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		// Which address is not told: it may be one of the operator's own network.
		if t.policy.CheckAddr(a) != nil {
			return errors.New("the host leads to an address that is not public; webhooks are sent to public addresses only")
		}
	}
	return nil
}
