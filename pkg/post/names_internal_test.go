package post

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// closing answers and closes, so that each attempt dials.
func closing(t *testing.T) (port string) {
	t.Helper()
	receiver := testkit.NewReceiver(t)
	receiver.Set("", testkit.Behaviour{Header: http.Header{"Connection": {"close"}}})
	_, port, _ = net.SplitHostPort(receiver.URL[len("http://"):])
	return port
}

func TestNamesAreRemembered(t *testing.T) {
	dns := testkit.NewDNS(t)
	port := closing(t)
	c := poolClient(t, func(config *Config) { config.Resolver = dns.Resolver() })
	dns.Set("a.example", testkit.Zone{Addresses: []string{"127.0.0.1"}})
	url := "http://a.example:" + port
	for i := range 5 {
		if out := send(t, c, url); (out.Phases.DNS == 0) != (i > 0) || out.Phases.Reused {
			t.Errorf("attempt %d: %+v", i, out.Phases)
		}
	}
	if asked := dns.Asked(); len(asked) != 2 { // A and AAAA
		t.Errorf("asked for %v, want each once", asked)
	}
	known := c.pool.dialer.names.known["a.example"]
	if left := time.Until(known.until); left > namesLast {
		t.Errorf("remembered for %s", left)
	}
	known.until = time.Now()
	c.pool.dialer.names.known["a.example"] = known
	if out := send(t, c, url); out.Phases.DNS == 0 || len(dns.Asked()) != 2 {
		t.Error("what is old was not asked for again")
	}
	c.Close()
	if send(t, c, url); len(dns.Asked()) != 2 || len(c.pool.dialer.names.known) != 0 {
		t.Error("Close did not forget it")
	}
}

// What cannot be found, and what cannot be reached, is asked for again at once.
func TestNamesThatFailAreNotRemembered(t *testing.T) {
	dns := testkit.NewDNS(t)
	port := closing(t)
	c := poolClient(t, func(config *Config) { config.Resolver = dns.Resolver() })
	url := "http://b.example:" + port
	post := func() string { return c.Post(context.Background(), Request{URL: url, Timeout: long}).ErrorCode }
	for i, step := range []struct {
		zone testkit.Zone
		code string
	}{
		{testkit.Zone{}, CodeDNS}, {testkit.Zone{Addresses: []string{"127.0.0.9"}}, CodeRefused},
		{testkit.Zone{Addresses: []string{"10.0.0.1"}}, CodeAddress}, {testkit.Zone{Addresses: []string{"127.0.0.1"}}, ""},
	} {
		dns.Set("b.example", step.zone)
		if code := post(); code != step.code {
			t.Errorf("step %d: %q, want %q", i, code, step.code)
		}
	}
}

// However an address came to be remembered, it is judged.
func TestRememberedAddressesAreJudged(t *testing.T) {
	c := poolClient(t, func(*Config) {})
	c.pool.dialer.names.remember("c.example", []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("169.254.169.254")})
	if out := c.Post(context.Background(), Request{URL: "http://c.example/", Timeout: long}); out.ErrorCode != CodeAddress || out.RemoteAddress != "" {
		t.Errorf("outcome %q (%s), remote %q", out.ErrorCode, out.Error, out.RemoteAddress)
	}
}

func TestNamesAreBounded(t *testing.T) {
	ns := &names{known: map[string]found{}}
	for i := range 3 * maxNames {
		ns.remember(fmt.Sprint(i), nil)
		if len(ns.known) > maxNames {
			t.Fatalf("%d names are remembered", len(ns.known))
		}
	}
	many := testkit.NewDNS(t)
	var addresses []string
	for i := range 100 {
		addresses = append(addresses, fmt.Sprintf("127.4.0.%d", i), fmt.Sprintf("2001:db8::%x", i+1))
	}
	many.Set("d.example", testkit.Zone{Addresses: addresses})
	ns = &names{resolver: NewResolver(many.Resolver()), known: map[string]found{}}
	addrs, _, err := ns.lookup(t.Context(), "d.example")
	if err != nil || len(addrs) != 2*maxAddresses {
		t.Errorf("%d addresses, %v", len(addrs), err)
	}
}
