// Package egress says whether a URL, and an address, may be the target of a webhook.
//
// A webhook's URL is written by a customer and fetched from inside the operator's network, so it
// is judged twice: the URL when it is registered and again before each attempt, and the address
// when it is dialled, after the name was resolved. The second is what stops DNS rebinding.
//
// By default only https to public addresses is allowed. The operator's settings can open more:
// networks by CIDR, and plain http. Where the allowed networks hold a loopback address, the name
// localhost (and names under .localhost) may be used too; no setting opens the other local names.
package egress

import (
	"fmt"
	"net/netip"
	"strings"
)

// Policy is what the operator allows beyond https to public addresses. The zero Policy allows
// nothing beyond. It is read only once in use, and safe for concurrent use.
type Policy struct {
	AllowNetworks []netip.Prefix // addresses allowed although they are not public
	AllowHTTP     bool           // plain http as well as https
}

// Codes of an Error. They are stable.
const (
	CodeURL     = "url_refused"     // the URL may not be a target, wherever it leads
	CodeAddress = "address_refused" // the address may not be a target
)

// Error is a refusal.
type Error struct {
	Code   string // CodeURL or CodeAddress
	Reason string // in words for the webhook's owner
}

// Error is the reason.
func (e *Error) Error() string { return e.Reason }

func refuseURL(format string, args ...any) error {
	return &Error{Code: CodeURL, Reason: fmt.Sprintf(format, args...)}
}

// ParseNetworks reads networks in CIDR notation with commas between them, e.g.
// "127.0.0.0/8, ::1/128". A bare address stands for itself alone.
func ParseNetworks(s string) ([]netip.Prefix, error) {
	var networks []netip.Prefix
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		network, err := parseNetwork(part)
		if err != nil {
			return nil, err
		}
		networks = append(networks, network)
	}
	return networks, nil
}

func parseNetwork(s string) (netip.Prefix, error) {
	network, err := netip.ParsePrefix(s)
	if err != nil {
		addr, addrErr := netip.ParseAddr(s)
		if addrErr != nil || addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("network %q: not in CIDR notation, e.g. 127.0.0.0/8", s)
		}
		network = netip.PrefixFrom(addr, addr.BitLen())
	}
	if network.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("network %q: write it as an IPv4 network", s)
	}
	if network != network.Masked() {
		return netip.Prefix{}, fmt.Errorf("network %q: has bits set beyond its length, meant is perhaps %s", s, network.Masked())
	}
	return network, nil
}
