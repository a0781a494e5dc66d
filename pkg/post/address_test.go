package post_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/egress"
	"github.com/doorstep-dev/doorstep/pkg/post"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// What a URL's text alone says is refused before anything is looked up or dialled.
func TestRefusedURLs(t *testing.T) {
	s := newStreet(t)
	client := s.client(t)
	s.Set("a.example", at("127.0.0.1"))
	port := ":" + s.port + "/"
	for url, code := range map[string]string{
		"http://127.0.0.2" + port:              post.CodeAddress,
		"http://[::1]" + port:                  post.CodeAddress,
		"http://[::ffff:127.0.0.2]" + port:     post.CodeAddress,
		"http://[::127.0.0.1]" + port:          post.CodeAddress,
		"http://[64:ff9b::127.0.0.1]" + port:   post.CodeAddress,
		"http://[2002:7f00:1::]" + port:        post.CodeAddress,
		"http://0.0.0.0" + port:                post.CodeAddress,
		"http://[::]" + port:                   post.CodeAddress,
		"http://１２７.0.0.2" + port:              post.CodeAddress,
		"http://127。0。0。2" + port:              post.CodeAddress,
		"http://2130706433" + port:             post.CodeURL, // though 127.0.0.1 is allowed
		"http://4294967297" + port:             post.CodeURL,
		"http://017700000001" + port:           post.CodeURL,
		"http://0x7f.1" + port:                 post.CodeURL,
		"http://127.1" + port:                  post.CodeURL,
		"http://127.0.0.1." + port:             post.CodeURL,
		"http://[fe80::1%25lo]" + port:         post.CodeURL,
		"http://[::1%25lo]" + port:             post.CodeURL,
		"http://a.example@127.0.0.1" + port:    post.CodeURL,
		"http://127.0.0.1:22/":                 post.CodeURL,
		"http://127.0.0.1:0/":                  post.CodeURL,
		"http://127.0.0.1:0" + s.port + "/":    post.CodeURL,
		"http:///127.0.0.1" + port:             post.CodeURL,
		"http:127.0.0.1" + port:                post.CodeURL,
		`http://a.example\@127.0.0.2` + port:   post.CodeURL,
		"http://a.example\t" + port:            post.CodeURL,
		"http://a.example" + port + "?a b":     post.CodeURL,
		"http://a.example" + port + "#b":       post.CodeURL,
		"http://a.example" + port + "\r\nX: y": post.CodeURL,
	} {
		out := attempt(t, client, post.Request{URL: url})
		wantCode(t, out, code)
		if out.RemoteAddress != "" || out.Phases.DNS != 0 {
			t.Errorf("%q: dialled %q, phases %+v", url, out.RemoteAddress, out.Phases)
		}
	}
	if n := s.receiver.Count(); n != 0 || len(s.Asked()) != 0 {
		t.Errorf("the receiver got %d requests, the name server %v", n, s.Asked())
	}
}

// Redirects lead nowhere, wherever they lead.
func TestRedirectsToHostileAddresses(t *testing.T) {
	s := newStreet(t)
	s.Set("public.example", at("127.0.0.1"))
	s.Set("inner.example", at("127.0.0.2"))
	client := s.client(t)
	port := ":" + s.port + "/"
	for _, location := range []string{
		"http://127.0.0.2" + port, "http://[::1]" + port, "http://[::ffff:127.0.0.2]" + port, "//127.0.0.2" + port, "http://0.0.0.0" + port, "http://0" + port,
		"http://2130706434" + port, "http://0x7f000002" + port, "http://017700000002" + port, "http://127.2" + port, "http://inner.example" + port, "http://localhost" + port,
		"http://user@127.0.0.2" + port, "https://127.0.0.2" + port, "http://169.254.169.254/", "http://１２７.0.0.2" + port, "http://127.0.0.2:22/", "http://[fe80::1%25lo]" + port,
		`http:\\127.0.0.2` + port, "file:///etc/passwd", "gopher://127.0.0.2" + port, "http://127.0.0.1" + port + "elsewhere", "/elsewhere", "", "%", "http://[::1",
	} {
		for _, status := range []int{301, 302, 303, 307, 308, 300, 201} {
			s.receiver.Set("/", testkit.Behaviour{Status: status, Header: http.Header{"Location": {location}, "Refresh": {"0;url=" + location}, "Content-Location": {location}, "Alt-Svc": {`h2="127.0.0.2` + port + `"`}}})
			code := post.CodeRedirect
			if status == 201 {
				code = ""
			}
			wantCode(t, attempt(t, client, post.Request{URL: s.url("public.example")}), code)
		}
	}
	if got := s.receiver.RequestsTo("/elsewhere"); len(got) != 0 {
		t.Errorf("%d redirects were followed", len(got))
	}
}

// A store that is no web server, at an address that the operator allows, gets the first message of
// a TLS handshake and nothing that the webhook's owner wrote but the host's name.
func TestOwnStores(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan []byte, 1)
	go func() {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, "-ERR unknown command\r\n")
		all, _ := io.ReadAll(c)
		got <- all
	}()
	t.Cleanup(func() { _ = listener.Close() })
	names := testkit.NewDNS(t)
	names.Set("store.example", at("127.0.0.1"))
	client := newClient(t, func(c *post.Config) { c.Resolver = names.Resolver() })
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	mark := "FLUSHALL"
	out := attempt(t, client, post.Request{URL: "https://store.example:" + port + "/" + mark, Body: []byte(mark)})
	wantCode(t, out, post.CodeTLS, "does not speak TLS")
	if sent := string(<-got); !strings.HasPrefix(sent, "\x16\x03") || strings.Contains(sent, mark) {
		t.Errorf("the store got %q", sent)
	}
}

// tower is an https server that has a certificate for whatever name it is asked for.
type tower struct {
	*testkit.DNS
	port   string
	client *post.Client

	mu   sync.Mutex
	seen []arrival
}

// arrival is a request as it came over the wire.
type arrival struct{ sni, host, target string }

func newTower(t testing.TB) *tower {
	t.Helper()
	tw := &tower{DNS: testkit.NewDNS(t)}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tw.mu.Lock()
		defer tw.mu.Unlock()
		tw.seen = append(tw.seen, arrival{r.TLS.ServerName, r.Host, r.RequestURI})
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusNoContent)
	}))
	roots, issue := anyCertificate(t)
	// Its own certificate would be taken where a client names no host.
	server.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{GetCertificate: issue, NextProtos: []string{"h2", "http/1.1"}}, nil
	}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	tw.port = strings.TrimPrefix(server.URL, "https://127.0.0.1:")
	tw.client = post.New(post.Config{Egress: local(), Resolver: tw.Resolver(), RootCAs: roots, ConnectTimeout: patience})
	t.Cleanup(tw.client.Close)
	return tw
}

// arrived takes what came so far.
func (tw *tower) arrived() []arrival {
	tw.mu.Lock()
	defer tw.mu.Unlock()
	all := tw.seen
	tw.seen = nil
	return all
}

// anyCertificate makes an authority, and certificates by it for whatever name is asked for.
func anyCertificate(t testing.TB) (*x509.CertPool, func(*tls.ClientHelloInfo) (*tls.Certificate, error)) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tower"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, authority, authority, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if authority, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	roots.AddCert(authority)
	return roots, func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: authority.NotBefore, NotAfter: authority.NotAfter, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
		if hello.ServerName != "" {
			leaf.DNSNames = []string{hello.ServerName}
		}
		der, err := x509.CreateCertificate(rand.Reader, leaf, authority, key.Public(), key)
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
	}
}

// wantJudged attempts a URL, and checks that what came over the wire is what was judged: the names
// asked for, SNI, Host and target. It reports whether the URL was accepted.
func (tw *tower) wantJudged(t *testing.T, raw string) bool {
	t.Helper()
	u, err := local().CheckURL(raw)
	out := attempt(t, tw.client, post.Request{URL: raw})
	tw.client.Close() // the next one looks its name up again
	arrived, questions := tw.arrived(), tw.Asked()
	if err != nil {
		refusal := new(egress.Error)
		if !errors.As(err, &refusal) || out.ErrorCode != refusal.Code || len(arrived) != 0 || len(questions) != 0 {
			t.Fatalf("%q is refused (%v), but: %s %s, arrived %+v, asked %v", raw, err, out.ErrorCode, out.Error, arrived, questions)
		}
		return false
	}
	wantCode(t, out, "")
	host := u.Hostname()
	want := arrival{sni: strings.TrimSuffix(host, "."), host: u.Host, target: u.RequestURI()}
	if _, err := netip.ParseAddr(host); err == nil {
		want.sni = ""
	}
	if len(arrived) != 1 || arrived[0] != want {
		t.Fatalf("%q arrived as %+v, want %+v", raw, arrived, want)
	}
	for _, q := range questions {
		if name := strings.TrimSuffix(host, ".") + "."; q != "TypeA "+name && q != "TypeAAAA "+name {
			t.Fatalf("%q: %s was asked for", raw, q)
		}
	}
	return true
}

// What is judged is what goes over the wire.
func TestOnTheWire(t *testing.T) {
	tw := newTower(t)
	tw.Set("*", at("127.0.0.1"))
	for raw, accepted := range map[string]bool{
		"https://example.com:PORT/a?b=c":                    true,
		"HTTPS://Example.COM:PORT/A":                        true,
		"https://bücher.example:PORT/ä?ä":                   true,
		"https://XN--BCHER-KVA.example:PORT/":               true,
		"https://example。com:PORT/":                         true,
		"https://ｅｘａｍｐｌｅ.com:PORT/":                         true,
		"https://exam\u00adple.com:PORT/":                   true,
		"https://example.com.:PORT/":                        true,
		"https://my_host.example.com:PORT":                  true,
		"https://127.0.0.1:PORT/":                           true,
		"https://１２７.0.0.1:PORT/":                           true,
		"https://example.com:PORT//a/../b?":                 true,
		"https://example.com:PORT/%2f%0d%0a?%0d%0a;a":       true,
		"https://example.com:PORT/" + longPath:              true,
		"https://" + longName + ":PORT/":                    true,
		"https://example.com:PORT/?http://127.0.0.2":        true,
		"https://example.com:PORT?@127.0.0.2":               true,
		"https://example.com:PORT/a b":                      false,
		"https://a@example.com:PORT/":                       false,
		"https://localhost.:PORT/":                          true, // loopback is allowed here
		"https://127.1:PORT/":                               false,
		"https://xn--127-.0.0.1:PORT/":                      false,
		"https://example.com:PORT/\u0085\u2028":             true,
		"https://example.com:PORT/" + "\xff" + "?" + "\xff": true,
	} {
		if got := tw.wantJudged(t, strings.Replace(raw, "PORT", tw.port, 1)); got != accepted {
			t.Errorf("%q was accepted: %v", raw, got)
		}
	}
}

var (
	longPath = strings.Repeat("a/", 400)
	longName = strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("a", 57) + ".com"
)

func FuzzOnTheWire(f *testing.F) {
	for _, s := range [][2]string{
		{"example.com", "/a?b=c"}, {"Example.COM.", ""}, {"bücher.example", "/ä?ä"}, {"ｅｘａｍｐｌｅ。com", "//"}, {"127.0.0.1", "/%zz"}, {"[::1]", "/"},
		{"xn--bcher-kva.example", "?"}, {"exam\u00adple.com", "/;"}, {"a@b.c", "/#"}, {"ⓐ.example", "/?a b"}, {"127.1", "/"}, {"my_host.example", "/\\"},
		{"localhost", "/"}, {"[::ffff:127.0.0.1]", "/\xff"}, {"loca\u212a.example", "/%2F%00"}, {"0x7f.1", "*"}, {"ß.example", "/.."}, {"a%2eb.example", "/"},
	} {
		f.Add(s[0], s[1])
	}
	tw := newTower(f)
	tw.Set("*", at("127.0.0.1"))
	f.Fuzz(func(t *testing.T, host, rest string) {
		if len(rest) > 4<<10 || strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
			return // the receiver refuses longer ones; another port is another receiver
		}
		raw := "https://" + host + ":" + tw.port + rest
		u, err := local().CheckURL(raw)
		if err == nil {
			if addr, notAddr := netip.ParseAddr(u.Hostname()); notAddr == nil && addr.Unmap() != netip.AddrFrom4([4]byte{127, 0, 0, 1}) || u.Port() != tw.port {
				return // somebody else's
			}
		}
		tw.wantJudged(t, raw)
	})
}
