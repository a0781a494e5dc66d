package post_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/doorstep-dev/doorstep/pkg/egress"
	"github.com/doorstep-dev/doorstep/pkg/post"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// street is a receiver at 127.0.0.1, which its client may reach, with neighbours at the same port
// of addresses that it may not: they must never see a connection. The names are the DNS server's.
type street struct {
	*testkit.DNS
	receiver *testkit.Receiver
	port     string
	seen     atomic.Int32 // connections to the neighbours
	ipv6     bool         // ::1 is one of them
}

// neighbours are addresses of this machine that are not allowed.
var neighbours = []string{"127.0.0.2", "127.0.0.3", "::1"}

func newStreet(t *testing.T) *street {
	t.Helper()
	s := &street{DNS: testkit.NewDNS(t), receiver: testkit.NewReceiver(t)}
	var err error
	if _, s.port, err = net.SplitHostPort(strings.TrimPrefix(s.receiver.URL, "http://")); err != nil {
		t.Fatal(err)
	}
	for _, address := range neighbours {
		listener, err := net.Listen("tcp", net.JoinHostPort(address, s.port))
		if err != nil {
			t.Logf("no neighbour at %s: %v", address, err) // the address may not exist here
			continue
		}
		s.ipv6 = s.ipv6 || address == "::1"
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				c, err := listener.Accept()
				if err != nil {
					return
				}
				s.seen.Add(1)
				_ = c.Close()
			}
		}()
		t.Cleanup(func() {
			_ = listener.Close()
			<-ended
			if n := s.seen.Load(); n != 0 {
				t.Errorf("addresses that are not allowed saw %d connections", n)
			}
		})
	}
	return s
}

// url is an http URL of host at the port of the street.
func (s *street) url(host string) string { return "http://" + net.JoinHostPort(host, s.port) + "/" }

// client may reach 127.0.0.1 and nothing else.
func (s *street) client(t *testing.T, change ...func(*post.Config)) *post.Client {
	t.Helper()
	networks, err := egress.ParseNetworks("127.0.0.1/32")
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, append([]func(*post.Config){func(c *post.Config) {
		c.Resolver, c.Egress = s.Resolver(), egress.Policy{AllowNetworks: networks, AllowHTTP: true}
	}}, change...)...)
}

func at(addresses ...string) testkit.Zone { return testkit.Zone{Addresses: addresses} }

func alias(to ...string) testkit.Zone { return testkit.Zone{CNAMEs: to} }

// private and loopback are n addresses each; those of loopback exist, and refuse the connection.
func private(n int) []string  { return addresses("10.0.%d.%d", n) }
func loopback(n int) []string { return addresses("127.3.%d.%d", n) }

func addresses(format string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf(format, i/256, i%256))
	}
	return all
}

func TestNames(t *testing.T) {
	s := newStreet(t)
	client := s.client(t)
	for name, tt := range map[string]struct {
		zone  testkit.Zone
		code  string
		words string
	}{
		"allowed":                       {at("127.0.0.1"), "", ""},
		"private":                       {at("10.0.0.1"), post.CodeAddress, "not public"},
		"a neighbour":                   {at("127.0.0.2"), post.CodeAddress, "not public"},
		"metadata":                      {at("169.254.169.254"), post.CodeAddress, "not public"},
		"metadata of AWS, IPv6":         {at("fd00:ec2::254"), post.CodeAddress, "not public"},
		"metadata of Alibaba":           {at("100.100.100.200"), post.CodeAddress, "not public"},
		"platform of Azure":             {at("168.63.129.16"), post.CodeAddress, "not public"},
		"CGNAT":                         {at("100.64.0.1"), post.CodeAddress, "not public"},
		"this network":                  {at("0.0.0.0"), post.CodeAddress, "not public"},
		"this network, IPv6":            {at("::"), post.CodeAddress, "not public"},
		"broadcast":                     {at("255.255.255.255"), post.CodeAddress, "not public"},
		"multicast":                     {at("224.0.0.1"), post.CodeAddress, "not public"},
		"multicast, IPv6":               {at("ff02::1"), post.CodeAddress, "not public"},
		"documentation":                 {at("192.0.2.1"), post.CodeAddress, "not public"},
		"documentation, IPv6":           {at("2001:db8::1"), post.CodeAddress, "not public"},
		"mapped":                        {at("::ffff:10.0.0.1"), post.CodeAddress, "not public"},
		"a mapped neighbour":            {at("::ffff:127.0.0.2"), post.CodeAddress, "not public"},
		"mapped, allowed":               {at("::ffff:127.0.0.1"), "", ""},
		"compatible":                    {at("::127.0.0.1"), post.CodeAddress, "not public"},
		"NAT64":                         {at("64:ff9b::7f00:1"), post.CodeAddress, "not public"},
		"NAT64, local":                  {at("64:ff9b:1::7f00:1"), post.CodeAddress, "not public"},
		"6to4":                          {at("2002:7f00:1::1"), post.CodeAddress, "not public"},
		"Teredo":                        {at("2001:0:7f00:1::1"), post.CodeAddress, "not public"},
		"ISATAP":                        {at("2606:4700::5efe:7f00:1"), post.CodeAddress, "not public"},
		"ISATAP, public bit":            {at("2606:4700::200:5efe:7f00:1"), post.CodeAddress, "not public"},
		"link-local, of no interface":   {at("fe80::1"), post.CodeAddress, "not public"},
		"unique local":                  {at("fd00::1"), post.CodeAddress, "not public"},
		"loopback, IPv6":                {at("::1"), post.CodeAddress, "not public"},
		"all refused":                   {at("10.0.0.1", "192.168.0.1", "::1"), post.CodeAddress, "not public"},
		"the allowed one of several":    {at("10.0.0.1", "127.0.0.2", "127.0.0.1", "fd00::1"), "", ""},
		"the allowed one is IPv4":       {at("::1", "fd00::1", "127.0.0.1"), "", ""},
		"the next one, if one is out":   {at("127.0.0.2", "127.0.0.1", "127.0.0.3"), "", ""},
		"an alias":                      {testkit.Zone{CNAMEs: []string{"a.example", "b.example"}, Addresses: []string{"127.0.0.1"}}, "", ""},
		"an alias of a private name":    {testkit.Zone{CNAMEs: []string{"db.internal"}, Addresses: []string{"10.0.0.1"}}, post.CodeAddress, "not public"},
		"aliases to a neighbour":        {testkit.Zone{CNAMEs: []string{"a.example", "localhost"}, Addresses: []string{"127.0.0.2"}}, post.CodeAddress, "not public"},
		"an alias of nothing":           {alias("a.example"), post.CodeDNS, "no address"},
		"aliases in a ring":             {alias("a.example", "b.example", "a.example", "b.example", "a.example"), post.CodeDNS, "no address"},
		"an alias of an address's text": {alias("127.0.0.1"), post.CodeDNS, "no address"},
		"no address":                    {at(), post.CodeDNS, "no address"},
		"it does not exist":             {testkit.Zone{RCode: dnsmessage.RCodeNameError}, post.CodeDNS, "no address"},
		"servers fail":                  {testkit.Zone{RCode: dnsmessage.RCodeServerFailure}, post.CodeDNS, "looked up"},
		"servers refuse":                {testkit.Zone{RCode: dnsmessage.RCodeRefused}, post.CodeDNS, "looked up"},
		"servers find it malformed":     {testkit.Zone{RCode: dnsmessage.RCodeFormatError}, post.CodeDNS, "looked up"},
		"truncated, whole over TCP":     {testkit.Zone{Truncated: true, Addresses: []string{"127.0.0.2", "127.0.0.1"}}, "", ""},
		"truncated, private over TCP":   {testkit.Zone{Truncated: true, Addresses: []string{"127.0.0.2"}}, post.CodeAddress, "not public"},
		"slow, but in time":             {testkit.Zone{Delay: 100 * time.Millisecond, Addresses: []string{"127.0.0.1"}}, "", ""},
		"200 refused":                   {at(private(200)...), post.CodeAddress, "not public"},
		"allowed behind 31 refused":     {at(append(loopback(31), "127.0.0.1")...), "", ""},
		"allowed behind 32 refused":     {at(append(loopback(32), "127.0.0.1")...), post.CodeAddress, "not public"},
		"4000 refused":                  {at(private(4000)...), post.CodeDNS, ""},
		"another name's address":        {testkit.Zone{Func: ownedBy("evil.example.", "127.0.0.2")}, post.CodeAddress, "not public"},
	} {
		t.Run(name, func(t *testing.T) {
			host := strings.NewReplacer(" ", "-", ",", "", "'", "").Replace(strings.ToLower(name)) + ".hooks.example"
			s.Set(host, tt.zone)
			before := s.receiver.Count()
			out := attempt(t, client, post.Request{URL: s.url(host)})
			wantCode(t, out, tt.code, tt.words)
			if got := s.receiver.Count() - before; (got == 1) != (tt.code == "") {
				t.Errorf("the receiver got %d requests", got)
			}
			if out.Phases.DNS <= 0 {
				t.Errorf("phases %+v", out.Phases)
			}
		})
	}
	t.Run("unknown", func(t *testing.T) {
		out := attempt(t, client, post.Request{URL: s.url("nowhere.hooks.example")})
		wantCode(t, out, post.CodeDNS, "the host nowhere.hooks.example has")
	})
	t.Run("none is up", func(t *testing.T) {
		s.Set("out.hooks.example", at("10.0.0.1", "127.0.0.1", "127.0.0.2"))
		out := attempt(t, client, post.Request{URL: "http://out.hooks.example:" + freePort(t)})
		wantCode(t, out, post.CodeRefused, "127.0.0.1")
	})
}

// ownedBy answers with an address of another name than the one that was asked for.
func ownedBy(owner, address string) func(string, dnsmessage.Message) []byte {
	return func(_ string, query dnsmessage.Message) []byte {
		asked := query.Questions[0].Name
		query.Questions[0].Name = dnsmessage.MustNewName(owner)
		var m dnsmessage.Message
		if m.Unpack(testkit.Answer(query, at(address))) != nil {
			return nil
		}
		m.Questions[0].Name = asked
		answer, err := m.Pack()
		if err != nil {
			return nil
		}
		return answer
	}
}

// freePort is one where nothing listens.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

// What never ends by itself is cut by ConnectTimeout.
func TestResolversThatHang(t *testing.T) {
	s := newStreet(t)
	client := s.client(t, hasty)
	for name, zone := range map[string]testkit.Zone{
		"silent":            {Silent: true},
		"slow":              {Delay: time.Hour, Addresses: []string{"127.0.0.1"}},
		"silent over TCP":   {Func: truncated},
		"garbage":           {Func: func(string, dnsmessage.Message) []byte { return []byte("\x00garbage") }},
		"another's answer":  {Func: changed(func(m *dnsmessage.Message) { m.ID++ })},
		"another question":  {Func: changed(func(m *dnsmessage.Message) { m.Questions[0].Name = dnsmessage.MustNewName("other.example.") })},
		"no answer but ask": {Func: changed(func(m *dnsmessage.Message) { m.Response = false })},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := strings.NewReplacer(" ", "-", "'", "").Replace(name) + ".hooks.example"
			s.Set(host, zone)
			out := attempt(t, client, post.Request{URL: s.url(host)})
			wantCode(t, out, post.CodeConnectTimeout, "looking up its name")
			if out.Phases.Total < connectTimeout || out.Phases.Total > patience/2 {
				t.Errorf("ended after %s", out.Phases.Total)
			}
		})
	}
}

// truncated says over UDP that there is more over TCP, and then is silent.
func truncated(network string, m dnsmessage.Message) []byte {
	if network != "udp" {
		return nil
	}
	m.Response, m.Truncated, m.Additionals = true, true, nil
	answer, err := m.Pack()
	if err != nil {
		return nil
	}
	return answer
}

// changed is the right answer but for what change does.
func changed(change func(*dnsmessage.Message)) func(string, dnsmessage.Message) []byte {
	return func(_ string, query dnsmessage.Message) []byte {
		var m dnsmessage.Message
		if m.Unpack(testkit.Answer(query, at("127.0.0.1"))) != nil {
			return nil
		}
		change(&m)
		answer, err := m.Pack()
		if err != nil {
			return nil
		}
		return answer
	}
}

func TestResolverAway(t *testing.T) {
	s := newStreet(t)
	port := freePort(t)
	away := &net.Resolver{Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, "127.0.0.1:"+port)
	}}
	client := s.client(t, func(c *post.Config) { c.Resolver = away })
	out := attempt(t, client, post.Request{URL: s.url("a.hooks.example")})
	wantCode(t, out, post.CodeDNS, "a.hooks.example could not be looked up")
}

// A name that was public when it was registered leads elsewhere afterwards.
func TestRebinding(t *testing.T) {
	s := newStreet(t)
	client := s.client(t)
	for name, tt := range map[string]struct {
		then testkit.Zone
		code string
	}{
		"another address":      {at("127.0.0.2"), post.CodeAddress},
		"another family":       {at("::1"), post.CodeAddress},
		"a mapped address":     {at("::ffff:127.0.0.2"), post.CodeAddress},
		"through an alias":     {testkit.Zone{CNAMEs: []string{"localhost"}, Addresses: []string{"127.0.0.2"}}, post.CodeAddress},
		"nothing":              {at(), post.CodeDNS},
		"one more beside it":   {at("127.0.0.2", "127.0.0.1", "::1"), ""},
		"the zero address":     {at("0.0.0.0"), post.CodeAddress},
		"the zero, IPv6":       {at("::"), post.CodeAddress},
		"the zero, mapped":     {at("::ffff:0.0.0.0"), post.CodeAddress},
		"the same in disguise": {at("64:ff9b::127.0.0.1", "2002:7f00:1::"), post.CodeAddress},
	} {
		t.Run(name, func(t *testing.T) {
			host := strings.NewReplacer(" ", "-", ",", "").Replace(name) + ".rebind.example"
			s.Set(host, at("127.0.0.1"), tt.then)
			wantCode(t, attempt(t, client, post.Request{URL: s.url(host)}), "")
			client.Close() // the connection to the first address, which may go on being used
			wantCode(t, attempt(t, client, post.Request{URL: s.url(host)}), tt.code)
		})
	}
}

// Search domains would make another name of a webhook's than the one that was judged.
func TestNamesAreAskedAsTheyAre(t *testing.T) {
	s := newStreet(t)
	client := s.client(t)
	for _, host := range []string{"kubernetes.default", "a.b.c.example", "dot.example."} {
		attempt(t, client, post.Request{URL: s.url(host)})
		want := strings.TrimSuffix(host, ".") + "."
		questions := s.Asked()
		if len(questions) == 0 {
			t.Errorf("%s was not asked for", want)
		}
		for _, question := range questions {
			if question != "TypeA "+want && question != "TypeAAAA "+want {
				t.Errorf("%s was asked for, want %s alone", question, want)
			}
		}
	}
}

// A name with very many addresses costs an attempt one ConnectTimeout, little memory and few of them
// tried.
func TestManyAddresses(t *testing.T) {
	names := testkit.NewDNS(t)
	client := newClient(t, func(c *post.Config) { c.ConnectTimeout, c.Resolver = time.Second, names.Resolver() })
	hole, holds := testkit.Blackhole(t)
	_, holePort, _ := net.SplitHostPort(hole)
	for name, tt := range map[string]struct {
		addresses []string
		port      string
		code      string
		words     string // the last address that is tried
	}{
		"200 refuse":        {loopback(200), freePort(t), post.CodeRefused, "127.3.0.31:"},
		"4000 refuse":       {loopback(4000), freePort(t), post.CodeDNS, ""}, // too long an answer
		"200 black holes":   {loopback(200), holePort, post.CodeConnectTimeout, "the TCP connection"},
		"4000 black holes":  {loopback(4000), holePort, post.CodeDNS, ""},
		"250 private":       {private(250), freePort(t), post.CodeAddress, "not public"},
		"250 private, hole": {append(private(250), "127.0.0.1"), holePort, post.CodeConnectTimeout, "the TCP connection"}, // loopback is sorted first
	} {
		t.Run(name, func(t *testing.T) {
			if tt.port == "" && !holds {
				t.Skip("this kernel answers although the listener's queue is full")
			}
			host := strings.NewReplacer(" ", "-", ",", "").Replace(name) + ".example"
			names.Set(host, packed(t, host, tt.addresses))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			out := attempt(t, client, post.Request{URL: "http://" + net.JoinHostPort(host, tt.port)})
			runtime.ReadMemStats(&after)
			wantCode(t, out, tt.code, tt.words)
			if out.Phases.Total > patience/2 {
				t.Errorf("ended after %s, want at most 1 s", out.Phases.Total)
			}
			if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 2<<20 {
				t.Errorf("allocated %d KiB, want under 2 MiB", allocated>>10)
			}
		})
	}
}

// packed has its answers ready, so that it takes no memory of its own to give them.
func packed(t *testing.T, host string, addresses []string) testkit.Zone {
	t.Helper()
	answers := map[dnsmessage.Type][]byte{}
	for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA} {
		query := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(host + "."), Type: kind, Class: dnsmessage.ClassINET}}}
		if answers[kind] = testkit.Answer(query, at(addresses...)); answers[kind] == nil {
			t.Fatalf("%d addresses make no message", len(addresses))
		}
	}
	return testkit.Zone{Func: func(network string, query dnsmessage.Message) []byte {
		answer := answers[query.Questions[0].Type]
		if network == "udp" && len(answer) > 512 {
			return truncated(network, query)
		}
		return append(binary.BigEndian.AppendUint16(make([]byte, 0, len(answer)), query.ID), answer[2:]...)
	}}
}
