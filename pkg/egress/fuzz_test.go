package egress_test

import (
	"context"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/egress"
)

// inetAton is a lenient reader of IPv4 addresses, as the worst of libraries might be: one to any
// number of parts, each decimal, octal or hexadecimal, of any size, empty ones included.
func inetAton(host string) bool {
	for part := range strings.SplitSeq(strings.Trim(host, ". "), ".") {
		if part == "" || part == "0x" {
			continue
		}
		if _, number := new(big.Int).SetString(part, 0); number {
			continue // 0x.., 0o.., 0.., 0b.., with _ between digits
		}
		if _, number := new(big.Int).SetString(part, 10); !number {
			return false // what is no number in base 10 either, e.g. 08 is one
		}
	}
	return true
}

// dialled is what net/http dials for a URL.
func dialled(u string) (address string, err error) {
	seen := errors.New("seen")
	dial := func(_ context.Context, _, to string) (net.Conn, error) {
		address = to
		return nil, seen
	}
	transport := &http.Transport{DialTLSContext: dial, DialContext: dial}
	request, err := http.NewRequest(http.MethodPost, u, nil)
	if err != nil {
		return "", err
	}
	if answer, err := transport.RoundTrip(request); !errors.Is(err, seen) {
		if err == nil {
			_ = answer.Body.Close()
		}
		return "", err
	}
	return address, nil
}

// accepted says what is wrong with a URL that a policy accepted.
func accepted(t *testing.T, policy egress.Policy, raw string, u *url.URL) {
	t.Helper()
	again, err := url.Parse(u.String())
	if err != nil || again.Host != u.Host || again.Scheme != u.Scheme || again.RequestURI() != u.RequestURI() {
		t.Fatalf("%q gives %q, which reads as %v, %v", raw, u, again, err)
	}
	if u.User != nil || u.Fragment != "" || u.Opaque != "" || u.Scheme != "https" && !policy.AllowHTTP || u.Scheme != "https" && u.Scheme != "http" {
		t.Fatalf("%q gives %q", raw, u)
	}
	if twice, err := policy.CheckURL(u.String()); err != nil || *twice != *u && twice.String() != u.String() {
		t.Fatalf("%q gives %q, which gives %v, %v", raw, u, twice, err)
	}
	port := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	if p := u.Port(); p != "" {
		n, ok := new(big.Int).SetString(p, 10)
		if !ok || n.String() != p || n.Int64() > 65535 || n.Int64() < 1024 && p != port && p != "443" {
			t.Fatalf("%q was accepted with port %q", raw, p)
		}
		port = p
	}
	if to, err := dialled(u.String()); err != nil || to != net.JoinHostPort(u.Hostname(), port) {
		t.Fatalf("%q gives %q, for which net/http dials %q, %v", raw, u, to, err)
	}
	if strings.ContainsAny(u.RequestURI(), " \r\n\t\\\x00\x7f") {
		t.Fatalf("%q gives the target %q", raw, u.RequestURI())
	}
	acceptedHost(t, policy, raw, u)
}

func acceptedHost(t *testing.T, policy egress.Policy, raw string, u *url.URL) {
	t.Helper()
	host := u.Hostname()
	if addr, err := netip.ParseAddr(host); err == nil {
		if policy.CheckAddr(addr) != nil || addr.Is6() != strings.HasPrefix(u.Host, "[") || addr.Is4() && addr.String() != host {
			t.Fatalf("%q was accepted and leads to %s", raw, addr)
		}
		return
	}
	if inetAton(host) {
		t.Fatalf("%q was accepted, and %q is an address to somebody", raw, host)
	}
	if len(host) > 254 || strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
		t.Fatalf("%q was accepted with host %q", raw, host)
	}
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	switch last := labels[len(labels)-1]; {
	case last == "localhost":
		if policy.CheckAddr(netip.MustParseAddr("127.0.0.1")) != nil {
			t.Fatalf("%q was accepted with host %q", raw, host)
		}
	case len(labels) < 2, last == "local", last == "internal", last == "localdomain":
		t.Fatalf("%q was accepted with the local name %q", raw, host)
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 {
			t.Fatalf("%q was accepted with host %q", raw, host)
		}
	}
}

// An accepted URL is read the same again, by net/http too, and never leads, by its text alone, to a
// refused address. A refusal has a code and words.
func FuzzCheckURL(f *testing.F) {
	for _, s := range []string{
		"https://example.com/hooks?a=b", "https://2130706433/", "https://0x7f.1/", "https://[::ffff:10.0.0.1]:8443/", "https://１２７.0.0.1/",
		"https://bücher.example/", "https://user@h.example/", "https://a.b:0443/#", "https://127.0.0.1./", "https://[fe80::1%25a]/", "https://a%2eb/",
		"https://xn--bcher-kva.example.", "https://a.b\\c/", "https://example。com/%zz", "https://[::1%25]/", "https://0x.com.0x/", "https://A.B:443?x",
		"https://⑯⑨。②⑤④。⑯⑨｡②⑤④/", "https://4294967297/", "https://017700000001/", "https://[64:ff9b::127.0.0.1]/", "https://xn--127-.0.0.1/",
		"http://localhost:8080/?a b", "http://[::1]:8080", "https://a.b:65979/", "https:///a.b", "https:a.b", "https://a@b@c/", "https://a.b/\t",
		"https://[2606:4700::5efe:7f00:1]", "https://loc\u00adalhost/", "https://a.b//c?//d", "http://127.0.0.1:80/..", "https://[2606:4700:0:0:0:0:0:1111]:443/%2F",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		for _, policy := range []egress.Policy{strict, local} {
			u, err := policy.CheckURL(raw)
			if err == nil {
				accepted(t, policy, raw, u)
				continue
			}
			var refusal *egress.Error
			if !errors.As(err, &refusal) || refusal.Reason == "" || len(refusal.Reason) > 600 || refusal.Code != egress.CodeURL && refusal.Code != egress.CodeAddress {
				t.Fatalf("%q is refused with %v", raw, err)
			}
		}
	})
}
