package testkit

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Zone is what a DNS server says of one name. The zero Zone has no address (NODATA). The fields
// apply in their order.
type Zone struct {
	Func      func(network string, query dnsmessage.Message) []byte // answers instead of all below; nil: no answer. network is "udp" or "tcp"
	Silent    bool                                                  // never an answer
	Delay     time.Duration                                         // before the answer
	RCode     dnsmessage.RCode                                      // no answer but this code
	Truncated bool                                                  // says over UDP that the answer did not fit, and gives it over TCP
	CNAMEs    []string                                              // the chain from the name to the one that has the addresses
	Addresses []string                                              // IPv4 for A, IPv6 (also ::ffff:a.b.c.d) for AAAA; in this order
}

// DNS is a name server on loopback, UDP and TCP, that answers as it is told. Like a resolver it
// follows aliases by itself. Names that are not set, by themselves or as "*", do not exist (NXDOMAIN).
type DNS struct {
	udp  net.PacketConn
	tcp  net.Listener
	stop chan struct{}

	mu      sync.Mutex
	clients []net.Conn // of resolvers and of the server itself
	zones   map[string][]Zone
	asked   []string
}

// NewDNS starts a name server and stops it when the test ends.
func NewDNS(t testing.TB) *DNS {
	t.Helper()
	d := &DNS{zones: map[string][]Zone{}, stop: make(chan struct{})}
	var err error
	if d.udp, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
		t.Fatalf("start name server: %v", err)
	}
	if d.tcp, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatalf("start name server: %v", err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { d.serveUDP(&wg) })
	wg.Go(func() { d.serveTCP(&wg) })
	t.Cleanup(func() {
		close(d.stop)
		_, _ = d.udp.Close(), d.tcp.Close()
		d.hangUp()
		wg.Wait()
	})
	return d
}

// Set says what of a name is true from now on, of "*" for all names that are not set. Several zones take turns, one for each question of
// a type (A, AAAA); the last one stays.
func (d *DNS) Set(name string, zones ...Zone) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.zones[key(name, dnsmessage.TypeA)] = zones
	d.zones[key(name, dnsmessage.TypeAAAA)] = zones
}

// Asked are the questions since it was last called, each with its type, e.g. "TypeA a.example.".
func (d *DNS) Asked() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	asked := d.asked
	d.asked = nil
	return asked
}

// Resolver asks this server alone. Questions that it did not answer are given up when the test
// ends: the resolver itself would wait on for seconds.
func (d *DNS) Resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		address := d.udp.LocalAddr().String()
		if strings.HasPrefix(network, "tcp") {
			address = d.tcp.Addr().String()
		}
		var dialer net.Dialer
		c, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		d.keep(c)
		return c, nil
	}}
}

// keep remembers c, to be closed when the test ends.
func (d *DNS) keep(c net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.stop:
		_ = c.Close()
	default:
		d.clients = append(d.clients, c)
	}
}

func (d *DNS) hangUp() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.clients {
		_ = c.Close()
	}
}

const maxUDPAnswer = 1232 // bytes; what Go's resolver says that it takes

func (d *DNS) serveUDP(wg *sync.WaitGroup) {
	query := make([]byte, 1500)
	for {
		n, from, err := d.udp.ReadFrom(query)
		if err != nil {
			return
		}
		asked := append([]byte(nil), query[:n]...)
		wg.Go(func() {
			if answer := d.answer("udp", asked); answer != nil {
				_, _ = d.udp.WriteTo(answer, from) // who asked may be gone
			}
		})
	}
}

func (d *DNS) serveTCP(wg *sync.WaitGroup) {
	for {
		c, err := d.tcp.Accept()
		if err != nil {
			return
		}
		d.keep(c)
		wg.Go(func() {
			defer func() { _ = c.Close() }()
			for {
				var size [2]byte
				if _, err := io.ReadFull(c, size[:]); err != nil {
					return
				}
				query := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(c, query); err != nil {
					return
				}
				answer := d.answer("tcp", query)
				if answer == nil {
					continue // silent, but the connection stays
				}
				_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
			}
		})
	}
}

// answer is what to answer; nil: nothing.
func (d *DNS) answer(network string, query []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	zone, known := d.turn(m.Questions[0])
	if zone.Func != nil {
		return zone.Func(network, m)
	}
	if zone.Silent {
		return nil
	}
	if zone.Delay > 0 {
		timer := time.NewTimer(zone.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-d.stop:
			return nil
		}
	}
	if !known {
		zone.RCode = dnsmessage.RCodeNameError
	}
	whole := Answer(m, zone)
	if network == "udp" && (zone.Truncated || len(whole) > maxUDPAnswer) {
		m.Response, m.Truncated, m.Additionals = true, true, nil
		whole, _ = m.Pack() // a question that was unpacked can be packed
	}
	return whole
}

// turn is the zone to answer a question from.
func (d *DNS) turn(q dnsmessage.Question) (zone Zone, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, q.Type.String()+" "+q.Name.String())
	k := key(q.Name.String(), q.Type)
	if _, set := d.zones[k]; !set {
		k = key("*", q.Type)
	}
	zones, known := d.zones[k]
	if len(zones) == 0 {
		return Zone{}, known
	}
	if len(zones) > 1 {
		d.zones[k] = zones[1:]
	}
	return zones[0], true
}

func key(name string, kind dnsmessage.Type) string {
	return kind.String() + " " + strings.ToLower(strings.TrimSuffix(name, "."))
}

// Answer is what a name server answers to a query from a zone's RCode, CNAMEs and Addresses, for a
// Func to change; nil if that is no DNS message, e.g. for its length.
func Answer(query dnsmessage.Message, zone Zone) []byte {
	m := dnsmessage.Message{Header: query.Header, Questions: query.Questions}
	m.Response, m.Authoritative, m.RecursionAvailable, m.RCode = true, false, true, zone.RCode
	question := query.Questions[0]
	owner := question.Name
	header := func() dnsmessage.ResourceHeader {
		return dnsmessage.ResourceHeader{Name: owner, Type: question.Type, Class: question.Class}
	}
	add := func(h dnsmessage.ResourceHeader, body dnsmessage.ResourceBody) {
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: body})
	}
	if zone.RCode == dnsmessage.RCodeSuccess {
		for _, alias := range zone.CNAMEs {
			to, err := dnsmessage.NewName(strings.TrimSuffix(alias, ".") + ".")
			if err != nil {
				return nil
			}
			h := header()
			h.Type = dnsmessage.TypeCNAME
			add(h, &dnsmessage.CNAMEResource{CNAME: to})
			owner = to
		}
		for _, address := range zone.Addresses {
			addr := netip.MustParseAddr(address)
			switch {
			case addr.Is4() && question.Type == dnsmessage.TypeA:
				add(header(), &dnsmessage.AResource{A: addr.As4()})
			case addr.Is6() && question.Type == dnsmessage.TypeAAAA:
				add(header(), &dnsmessage.AAAAResource{AAAA: addr.As16()})
			}
		}
	}
	packed, err := m.Pack()
	if err != nil || len(packed) > 1<<16-1 {
		return nil
	}
	return packed
}
