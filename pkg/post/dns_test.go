package post_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/doorstep-dev/doorstep/pkg/egress"
	"github.com/doorstep-dev/doorstep/pkg/post"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// nameServer is a DNS server on loopback.
type nameServer struct {
	mu      sync.Mutex
	queries []net.Conn
	names   map[string][]string // addresses by name; "fail" and "silent" stand for what they say
}

func newNameServer(t *testing.T) (*nameServer, *net.Resolver) {
	t.Helper()
	s := &nameServer{names: map[string][]string{}}
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		query := make([]byte, 1500)
		for {
			n, from, err := socket.ReadFrom(query)
			if err != nil {
				return
			}
			if answer := s.answer(query[:n]); answer != nil {
				_, _ = socket.WriteTo(answer, from)
			}
		}
	})
	t.Cleanup(func() { _ = socket.Close(); wg.Wait(); s.hangUp() })
	return s, &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, "udp", socket.LocalAddr().String())
		s.mu.Lock()
		defer s.mu.Unlock()
		if err == nil {
			s.queries = append(s.queries, c)
		}
		return c, err
	}}
}

// hangUp ends the queries that were not answered: the resolver itself would wait on for seconds.
func (s *nameServer) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.queries {
		_ = c.Close()
	}
}

func (s *nameServer) set(name string, addresses ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[name] = addresses
}

func (s *nameServer) answer(query []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	question := m.Questions[0]
	s.mu.Lock()
	addresses, known := s.names[strings.TrimSuffix(question.Name.String(), ".")]
	s.mu.Unlock()
	m.Response, m.Authoritative, m.Additionals = true, true, nil
	if !known {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, address := range addresses {
		header := dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: question.Class, TTL: 0}
		switch addr, err := netip.ParseAddr(address); {
		case address == "silent":
			return nil
		case err != nil:
			m.RCode = dnsmessage.RCodeServerFailure
		case addr.Is4() && question.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: addr.As4()}})
		case addr.Is6() && question.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}})
		}
	}
	packed, err := m.Pack()
	if err != nil {
		return nil
	}
	return packed
}

func TestNames(t *testing.T) {
	names, resolver := newNameServer(t)
	receiver := testkit.NewReceiver(t)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(receiver.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	client := newClient(t, func(c *post.Config) { c.Resolver = resolver })
	for name, tt := range map[string]struct {
		addresses []string
		code      string
		words     string
	}{
		"allowed":                     {[]string{"127.0.0.1"}, "", ""},
		"private":                     {[]string{"10.0.0.1"}, post.CodeAddress, "not public"},
		"metadata":                    {[]string{"169.254.169.254"}, post.CodeAddress, "not public"},
		"mapped":                      {[]string{"::ffff:10.0.0.1"}, post.CodeAddress, ""},
		"IPv6 private":                {[]string{"fd00::1"}, post.CodeAddress, "not public"},
		"all refused":                 {[]string{"10.0.0.1", "192.168.0.1", "::1"}, post.CodeAddress, ""},
		"the allowed one of several":  {[]string{"10.0.0.1", "192.168.0.1", "127.0.0.1", "fd00::1"}, "", ""},
		"the next one, if one is out": {[]string{"127.0.0.99", "127.0.0.1"}, "", ""},
		"none is up":                  {[]string{"10.0.0.1", "127.0.0.99"}, post.CodeRefused, "127.0.0.99"},
		"no address":                  {[]string{}, post.CodeDNS, "no address"},
		"servers fail":                {[]string{"fail"}, post.CodeDNS, "looked up"},
		"servers are silent":          {[]string{"silent"}, post.CodeConnectTimeout, "looking up its name"},
	} {
		t.Run(name, func(t *testing.T) {
			host := strings.NewReplacer(" ", "-", ",", "").Replace(strings.ToLower(name)) + ".hooks.example"
			names.set(host, tt.addresses...)
			client := client
			if tt.code == post.CodeConnectTimeout {
				client = newClient(t, hasty, func(c *post.Config) { c.Resolver = resolver })
			}
			before := receiver.Count()
			out := attempt(t, client, post.Request{URL: "http://" + net.JoinHostPort(host, port) + "/"})
			wantCode(t, out, tt.code, tt.words)
			if got := receiver.Count() - before; (got == 1) != (tt.code == "") {
				t.Errorf("the receiver got %d requests", got)
			}
			if out.Phases.DNS <= 0 {
				t.Errorf("phases %+v", out.Phases)
			}
		})
	}
	t.Run("unknown", func(t *testing.T) {
		out := attempt(t, client, post.Request{URL: "http://nowhere.hooks.example:" + port})
		wantCode(t, out, post.CodeDNS, "nowhere.hooks.example")
	})
}

// A name that was public when it was registered leads elsewhere afterwards.
func TestRebinding(t *testing.T) {
	names, resolver := newNameServer(t)
	receiver := testkit.NewReceiver(t)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(receiver.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	networks, err := egress.ParseNetworks("127.0.0.1/32")
	if err != nil {
		t.Fatal(err)
	}
	client := newClient(t, func(c *post.Config) {
		c.Resolver, c.Egress = resolver, egress.Policy{AllowNetworks: networks, AllowHTTP: true}
	})
	url := "http://rebind.example:" + port
	names.set("rebind.example", "127.0.0.1")
	wantCode(t, attempt(t, client, post.Request{URL: url}), "")
	client.Close() // the connection to the first address, which may go on being used
	names.set("rebind.example", "127.0.0.2")
	wantCode(t, attempt(t, client, post.Request{URL: url}), post.CodeAddress, "not public")
	if receiver.Count() != 1 {
		t.Errorf("the receiver got %d requests, want 1", receiver.Count())
	}
}
