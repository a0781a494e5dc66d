package post

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/egress"
)

// The search domains of this machine's resolv.conf, and whether cgo is in, must not matter.
func TestAbsolute(t *testing.T) {
	for host, want := range map[string]string{
		"db.prod": "db.prod.", "a.example.com": "a.example.com.", "a.example.com.": "a.example.com.", "localhost": "localhost",
		"127.0.0.1": "127.0.0.1", "::1": "::1", "fe80::1%eth0": "fe80::1%eth0",
	} {
		if got := absolute(host); got != want {
			t.Errorf("absolute(%q) = %q, want %q", host, got, want)
		}
	}
	if r := NewResolver(nil); !r.PreferGo {
		t.Error("the resolver of the product may be the C library's")
	}
}

// The guard sees what is dialled, whoever resolves the name: the product asks Go's resolver in every
// build; this asks the C library's as well, where it is linked in.
func TestGuardWithBothResolvers(t *testing.T) {
	const inner = "DOORSTEP_TEST_RESOLVER"
	if os.Getenv(inner) == "" {
		for _, way := range []string{"cgo", "go"} {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestGuardWithBothResolvers$", "-test.v")
			cmd.Env = append(os.Environ(), "GODEBUG=netdns="+way+"+1", inner+"="+way)
			out, err := cmd.CombinedOutput()
			if err != nil || !bytes.Contains(out, []byte("the guard was asked")) {
				t.Errorf("%s: %v\n%s", way, err, out)
			}
			for line := range strings.Lines(string(out)) {
				if strings.HasPrefix(line, "go package net: ") {
					t.Logf("%s: %s", way, strings.TrimSpace(line))
				}
			}
		}
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	for networks, want := range map[string]string{"127.0.0.0/8": "", "10.0.0.0/8": CodeAddress} {
		allowed := netip.MustParsePrefix(networks)
		d := newDialer(Config{Egress: egress.Policy{AllowNetworks: []netip.Prefix{allowed}}, ConnectTimeout: 20 * time.Second})
		d.names.resolver = &net.Resolver{} // whatever GODEBUG says
		c, err := d.dialTCP(context.Background(), origin{host: "localhost", port: port}, &watch{since: time.Now()})
		code := ""
		if err == nil {
			_ = c.Close()
		} else if f, ok := err.(*failure); ok { //nolint:errorlint // nothing wraps it here
			code = f.code
		}
		if code != want {
			t.Errorf("%s is allowed: %q (%v), want %q", networks, code, err, want)
		}
	}
	t.Log("the guard was asked")
}
