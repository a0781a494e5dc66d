package egress

import (
	"fmt"
	"net/netip"
)

// CheckAddr says why a may not be dialled, as an *Error with CodeAddress, or nil. Public unicast
// addresses may, and those of AllowNetworks. An IPv4-mapped IPv6 address is judged as the IPv4
// address that it reaches; addresses that a gateway translates to another one (NAT64, 6to4,
// Teredo, ISATAP) are refused, since what they reach is not known here.
func (p Policy) CheckAddr(a netip.Addr) error {
	if !a.IsValid() {
		return &Error{Code: CodeAddress, Reason: "the address is not valid; write it as 203.0.113.7 or [2001:db8::7] is written"}
	}
	if a.Zone() != "" {
		return &Error{Code: CodeAddress, Reason: fmt.Sprintf("the address %s names a network interface; leave out the part behind %%", a)}
	}
	a = a.Unmap()
	for _, network := range p.AllowNetworks {
		if network.Contains(a) {
			return nil
		}
	}
	kind := special(a)
	if kind == "" {
		return nil
	}
	return &Error{
		Code:   CodeAddress,
		Reason: fmt.Sprintf("the address %s is not public (%s); webhooks are sent to public addresses only, so use one", a, kind),
	}
}

// allowsLoopback reports whether a loopback address may be dialled.
func (p Policy) allowsLoopback() bool {
	for _, network := range p.AllowNetworks {
		if network.Overlaps(loopback4) || network.Overlaps(loopback6) {
			return true
		}
	}
	return false
}

var (
	loopback4     = netip.MustParsePrefix("127.0.0.0/8")
	loopback6     = netip.MustParsePrefix("::1/128")
	globalUnicast = netip.MustParsePrefix("2000::/3")
)

type block struct {
	network netip.Prefix
	kind    string
}

func blockOf(cidr, kind string) block { return block{netip.MustParsePrefix(cidr), kind} }

// specialBlocks are the networks that are no webhook's address: the IANA IPv4 and IPv6
// Special-Purpose Address Registries (RFC 6890 and its successors), the multicast and reserved
// ranges, and addresses at which clouds serve metadata. Of IPv6, all outside 2000::/3 is refused
// anyway; its blocks stand here for their names.
var specialBlocks = []block{
	blockOf("0.0.0.0/8", "this network, RFC 791"),
	blockOf("10.0.0.0/8", "private, RFC 1918"),
	blockOf("100.64.0.0/10", "shared by a provider's customers, RFC 6598"),
	blockOf("127.0.0.0/8", "loopback, RFC 1122"),
	blockOf("168.63.129.16/32", "platform service of a cloud"),
	blockOf("169.254.0.0/16", "link-local, where clouds serve metadata, RFC 3927"),
	blockOf("172.16.0.0/12", "private, RFC 1918"),
	blockOf("192.0.0.0/24", "protocol assignments, RFC 6890"),
	blockOf("192.0.2.0/24", "documentation, RFC 5737"),
	blockOf("192.31.196.0/24", "AS112, RFC 7535"),
	blockOf("192.52.193.0/24", "AMT, RFC 7450"),
	blockOf("192.88.99.0/24", "6to4 relay, RFC 7526"),
	blockOf("192.168.0.0/16", "private, RFC 1918"),
	blockOf("192.175.48.0/24", "AS112, RFC 7534"),
	blockOf("198.18.0.0/15", "benchmarking, RFC 2544"),
	blockOf("198.51.100.0/24", "documentation, RFC 5737"),
	blockOf("203.0.113.0/24", "documentation, RFC 5737"),
	blockOf("224.0.0.0/4", "multicast, RFC 5771"),
	blockOf("240.0.0.0/4", "reserved, RFC 1112"),

	blockOf("::/128", "unspecified, RFC 4291"),
	blockOf("::1/128", "loopback, RFC 4291"),
	blockOf("::/96", "IPv4-compatible, RFC 4291"),
	blockOf("64:ff9b::/96", "translated to IPv4, RFC 6052"),
	blockOf("64:ff9b:1::/48", "translated to IPv4, RFC 8215"),
	blockOf("100::/64", "discarded, RFC 6666"),
	blockOf("2001::/32", "Teredo, RFC 4380"),
	blockOf("2001:2::/48", "benchmarking, RFC 5180"),
	blockOf("2001:db8::/32", "documentation, RFC 3849"),
	blockOf("2001::/23", "protocol assignments, RFC 2928"),
	blockOf("2002::/16", "6to4, RFC 3056"),
	blockOf("2620:4f:8000::/48", "AS112, RFC 7534"),
	blockOf("3ffe::/16", "the former 6bone, RFC 3701"),
	blockOf("3fff::/20", "documentation, RFC 9637"),
	blockOf("5f00::/16", "segment routing, RFC 9602"),
	blockOf("fc00::/7", "private, RFC 4193"),
	blockOf("fe80::/10", "link-local, RFC 4291"),
	blockOf("fec0::/10", "site-local, RFC 3879"),
	blockOf("ff00::/8", "multicast, RFC 4291"),
}

// special names what a, unmapped, is set apart for; empty if it is public.
func special(a netip.Addr) string {
	for _, b := range specialBlocks {
		if b.network.Contains(a) {
			return b.kind
		}
	}
	if a.Is6() && !globalUnicast.Contains(a) {
		return "outside 2000::/3, the IPv6 addresses in public use"
	}
	if a.Is6() && isatap(a) {
		return "ISATAP, RFC 5214"
	}
	return ""
}

// isatap reports whether the last eight bytes of an IPv6 address, in whatever network, are those by
// which a tunnel reaches an IPv4 address: 0:5efe:a.b.c.d, or 200:5efe:a.b.c.d.
func isatap(a netip.Addr) bool {
	b := a.As16()
	return b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
}
