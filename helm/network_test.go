package helm

import (
	"net/netip"
	"slices"
	"testing"
)

// private are addresses that no webhook may lead to. Mapped IPv4 addresses (::ffff:0:0/96) go by the rules of IPv4, and an API server refuses them.
var private = []string{"10.1.2.3", "172.20.0.1", "192.168.1.1", "100.64.1.1", "169.254.169.254", "127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255",
	"::1", "64:ff9b::a01:203", "2002:a01:203::1", "fd00::1", "fe80::1", "ff02::1"}

// reaches tells whether a block of a NetworkPolicy has an address.
func reaches(t *testing.T, block any, addr netip.Addr) bool {
	t.Helper()
	has := func(cidr any) bool { return netip.MustParsePrefix(cidr.(string)).Contains(addr) }
	if !has(get(block, "cidr")) {
		return false
	}
	except, _ := get(block, "except").([]any)
	return !slices.ContainsFunc(except, has)
}

// By default nobody but who sends reaches the internet, and who does reaches nothing of the cluster there.
func TestOnlySendersReachTheInternet(t *testing.T) {
	public := netip.MustParseAddr("93.184.216.34")
	for _, name := range []string{"default", "embedded"} {
		senders := 0
		for _, o := range objects(t, goldens(t)[name]) {
			if o.Kind != "NetworkPolicy" {
				continue
			}
			rules, _ := get(o.Spec, "egress").([]any)
			for _, rule := range rules {
				to, _ := get(rule, "to").([]any)
				if len(to) == 0 {
					t.Errorf("%s: %s reaches everything by a rule without `to`", name, o.Metadata.Name)
				}
				for _, peer := range to {
					block := get(peer, "ipBlock")
					if block == nil {
						continue
					}
					if reaches(t, block, public) {
						senders++
						if c := o.Metadata.Labels["app.kubernetes.io/component"]; c != "sender" && c != "up" {
							t.Errorf("%s: %s reaches the internet", name, o.Metadata.Name)
						}
					}
					for _, p := range private {
						if get(block, "except") != nil && reaches(t, block, netip.MustParseAddr(p)) {
							t.Errorf("%s: %s reaches %s as if it were the internet", name, o.Metadata.Name, p)
						}
					}
				}
			}
		}
		if senders == 0 {
			t.Errorf("%s: nobody reaches the internet", name)
		}
	}
}
