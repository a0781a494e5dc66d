package egress_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/egress"
)

// public4 and public6 read the registries a second time (RFC 6890 and those that followed it; RFC
// 4291 for the address forms), as comparisons of numbers, without a look at the table of the product.

func public4(a uint32) bool {
	b, c := a>>24, a>>16&0xff // the first two bytes
	three := a >> 8           // the first three
	switch {
	case b == 0, b == 10, b == 127, b >= 224: // this network; private; loopback; multicast and reserved
		return false
	case b == 100 && c >= 64 && c <= 127: // shared, RFC 6598
		return false
	case b == 169 && c == 254: // link-local
		return false
	case b == 172 && c >= 16 && c <= 31: // private
		return false
	case b == 192 && c == 168: // private
		return false
	case b == 198 && (c == 18 || c == 19): // benchmarks
		return false
	}
	switch three {
	case 192 << 16, // IETF protocols
		192<<16 | 2, 198<<16 | 51<<8 | 100, 203<<16 | 113, // documentation
		192<<16 | 31<<8 | 196, 192<<16 | 175<<8 | 48, // AS112
		192<<16 | 52<<8 | 193, // AMT
		192<<16 | 88<<8 | 99:  // 6to4 relays
		return false
	}
	return a != 168<<24|63<<16|129<<8|16
}

func public6(high, low uint64) bool {
	if high == 0 && low>>32 == 0xffff {
		return public4(uint32(low)) // mapped: that IPv4 address is what is reached
	}
	first, second, third := high>>48, high>>32&0xffff, high>>16&0xffff
	switch {
	case first < 0x2000 || first > 0x3fff: // not global unicast: mapped forms, NAT64, ULA, link-local, multicast, SRv6
		return false
	case first == 0x2001 && second < 0x200: // Teredo, benchmarks, ORCHID and all of 2001::/23
		return false
	case first == 0x2001 && second == 0xdb8: // documentation
		return false
	case first == 0x2002: // 6to4
		return false
	case first == 0x2620 && second == 0x4f && third == 0x8000: // AS112
		return false
	case first == 0x3ffe: // 6bone
		return false
	case first == 0x3fff && second < 0x1000: // documentation
		return false
	}
	return low>>32 != 0x5efe && low>>32 != 0x02005efe // ISATAP
}

func isPublic(a netip.Addr) bool {
	if a.Is4() {
		b := a.As4()
		return public4(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	return public6(binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:]))
}

func addr4(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n)))
}

func addr6(high, low uint64) netip.Addr {
	return netip.AddrFrom16([16]byte(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, high), low)))
}

func compare(t *testing.T, a netip.Addr) {
	t.Helper()
	if err := strict.CheckAddr(a); (err == nil) != isPublic(a) {
		t.Errorf("CheckAddr(%s) = %v, but by the registries it is public: %v", a, err, isPublic(a))
	}
}

// The edges and a chance address of every /24 (with TEST_SLOW=1; else of those that matter), bare and
// mapped.
func TestRegistry4(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	block := func(n uint32) {
		for _, last := range []uint32{0, 255, chance.Uint32N(256)} {
			compare(t, addr4(n<<8|last))
		}
	}
	for n := range uint32(1 << 16) {
		thirds := []uint32{0, chance.Uint32N(256), 255}
		if first := n >> 8; first == 168 || first == 192 || first == 198 || first == 203 { // that have small blocks
			thirds = []uint32{0, 1, 2, 3, 47, 48, 49, 87, 88, 89, 98, 99, 100, 101, 112, 113, 114, 128, 129, 192, 193, 194, 195, 196, 197, 255}
		}
		for _, third := range thirds {
			block(n<<8 | third)
		}
		compare(t, netip.AddrFrom16(addr4(n<<16|chance.Uint32N(1<<16)).As16()))
	}
	for last := range uint32(256) { // the one block that is smaller
		compare(t, addr4(168<<24|63<<16|129<<8|last))
	}
	if os.Getenv("TEST_SLOW") == "" {
		return
	}
	for n := range uint32(1 << 24) {
		block(n)
	}
}

// Every first half of the first 32 bits, the edges of every block, and chance addresses beside them.
func TestRegistry6(t *testing.T) {
	chance := rand.New(rand.NewPCG(3, 4))
	for first := range uint64(1 << 16) {
		for _, high := range []uint64{first << 48, first<<48 | 1<<48 - 1, first<<48 | chance.Uint64N(1<<48)} {
			for _, low := range []uint64{0, ^uint64(0), chance.Uint64()} {
				compare(t, addr6(high, low))
			}
		}
	}
	for second := range uint64(1 << 16) {
		for _, first := range []uint64{0x64, 0x2001, 0x2620, 0x3fff} {
			compare(t, addr6(first<<48|second<<32, 1))
			compare(t, addr6(first<<48|second<<32|1<<32-1, ^uint64(0)))
		}
		compare(t, addr6(0x2620<<48|0x4f<<32|second<<16, 1))
		compare(t, addr6(0, second<<32|0x7f000001)) // ::x:127.0.0.1
		compare(t, addr6(0, second<<32|0x08080808))
		compare(t, addr6(0x64<<48|0xff9b<<32, second<<32|0x08080808))
		compare(t, addr6(0x2606<<48|0x4700<<32, second<<48|0x5efe<<32|0x7f000001))
		compare(t, addr6(0x2606<<48|0x4700<<32, second<<32|0x7f000001))
	}
}

// anyAddr draws addresses of both families, half of them near an edge of a network.
func anyAddr(networks []netip.Prefix) *rapid.Generator[netip.Addr] {
	return rapid.Custom(func(t *rapid.T) netip.Addr {
		if len(networks) > 0 && rapid.Bool().Draw(t, "near") {
			n := rapid.SampledFrom(networks).Draw(t, "network")
			for _, a := range []netip.Addr{n.Addr(), n.Addr().Prev(), last(n), last(n).Next()} {
				if a.IsValid() && rapid.Bool().Draw(t, "this") {
					return a
				}
			}
		}
		if rapid.Bool().Draw(t, "IPv4") {
			return addr4(rapid.Uint32().Draw(t, "address"))
		}
		return addr6(rapid.Uint64().Draw(t, "high"), rapid.Uint64().Draw(t, "low"))
	})
}

func last(n netip.Prefix) netip.Addr {
	b := n.Addr().AsSlice()
	for bit := n.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// inside reads a network a second time: as the number of leading bits that are alike.
func inside(n netip.Prefix, a netip.Addr) bool {
	if a.Is4In6() {
		a = netip.AddrFrom4([4]byte(a.AsSlice()[12:]))
	}
	want, got := n.Addr().AsSlice(), a.AsSlice()
	if len(want) != len(got) {
		return false
	}
	for bit := range n.Bits() {
		if mask := byte(0x80 >> (bit % 8)); want[bit/8]&mask != got[bit/8]&mask {
			return false
		}
	}
	return true
}

// What the operator allows opens what it says and nothing else, however an address is written.
func TestAllowedNetworksOpenNoMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var policy egress.Policy
		for range rapid.IntRange(0, 3).Draw(t, "networks") {
			a := anyAddr(nil).Draw(t, "network").Unmap()
			n, err := a.Prefix(rapid.IntRange(0, a.BitLen()).Draw(t, "bits"))
			if err != nil {
				t.Fatal(err)
			}
			read, err := egress.ParseNetworks(n.String())
			if n.Addr().Is4In6() {
				if err == nil {
					t.Fatalf("ParseNetworks(%s) = %v, want an error", n, read)
				}
				continue // cannot be configured
			}
			if err != nil || len(read) != 1 || read[0] != n {
				t.Fatalf("ParseNetworks(%s) = %v, %v", n, read, err)
			}
			policy.AllowNetworks = append(policy.AllowNetworks, n)
		}
		for range 8 {
			opensNoMore(t, policy, anyAddr(policy.AllowNetworks).Draw(t, "address"))
		}
	})
}

func opensNoMore(t *rapid.T, policy egress.Policy, a netip.Addr) {
	named := func(a netip.Addr) bool {
		return slices.ContainsFunc(policy.AllowNetworks, func(n netip.Prefix) bool { return inside(n, a) })
	}
	want := isPublic(a) || named(a)
	forms := map[netip.Addr]bool{a: want} // whether they are allowed
	if a.Is4() {
		forms[netip.AddrFrom16(a.As16())] = want // mapped: the same address
		// What leads to an IPv4 address by way of a gateway is open only if it is named itself.
		n := uint64(binary.BigEndian.Uint32(a.AsSlice()))
		for _, form := range []netip.Addr{
			addr6(0, n), addr6(0, 0xffff<<48|n), addr6(0x64<<48|0xff9b<<32, n), addr6(0x64<<48|0xff9b<<32|1<<16, n),
			addr6(0x2002<<48|n<<16, 1), addr6(0x2001<<48, ^n), addr6(0x2606<<48, 0x5efe<<32|n),
		} {
			forms[form] = named(form)
		}
	}
	for form, want := range forms {
		if err := policy.CheckAddr(form); (err == nil) != want {
			t.Fatalf("%v allows: CheckAddr(%s) = %v, want it allowed: %v", policy.AllowNetworks, form, err, want)
		}
		if form.Is6() && policy.CheckAddr(form.WithZone("eth0")) == nil {
			t.Fatalf("%v allows: %s with a zone was accepted", policy.AllowNetworks, form)
		}
	}
}
