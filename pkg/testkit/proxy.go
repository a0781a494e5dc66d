package testkit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"
)

// Proxy is a TCP proxy on loopback before a server, whose network fails when told (toxiproxy in
// this process). Faults hold for connections that are open as well as for new ones.
type Proxy struct {
	Addr string // host:port to connect to instead of the server's own

	t      testing.TB
	proxy  *toxiproxy.Proxy
	faults []string
}

// NewProxy is a healthy network before upstream (host:port), which ends with the test.
func NewProxy(t testing.TB, upstream string) *Proxy {
	t.Helper()
	return NewProxyAt(t, "127.0.0.1:0", upstream)
}

// NewProxyAt is a proxy at an address (host:port), for a server that tells its clients where it is.
func NewProxyAt(t testing.TB, address, upstream string) *Proxy {
	t.Helper()
	toxics.Register("unsteady", new(unsteady))
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := toxiproxy.NewProxy(server, upstream, address, upstream)
	if err := p.Start(); err != nil {
		t.Fatalf("proxy before %s: %v", upstream, err)
	}
	t.Cleanup(p.Stop)
	return &Proxy{Addr: p.Listen, t: t, proxy: p}
}

// Cut closes all connections and refuses new ones, as a server that is down.
func (p *Proxy) Cut() { p.proxy.Stop() }

// Hang lets bytes through no more in either direction and closes nothing, as a firewall that drops.
func (p *Proxy) Hang() {
	p.t.Helper()
	p.fault("timeout", "upstream", map[string]any{"timeout": 0})
	p.fault("timeout", "downstream", map[string]any{"timeout": 0})
}

// Delay holds back what the server answers for that long, to a millisecond.
func (p *Proxy) Delay(d time.Duration) {
	p.t.Helper()
	p.fault("latency", "downstream", map[string]any{"latency": d.Milliseconds()})
}

// Throttle lets at most that many KiB a second through to the server.
func (p *Proxy) Throttle(kib int) {
	p.t.Helper()
	p.fault("bandwidth", "upstream", map[string]any{"rate": kib})
}

// Reset answers the next bytes with a TCP reset.
func (p *Proxy) Reset() {
	p.t.Helper()
	p.fault("reset_peer", "downstream", map[string]any{"timeout": 0})
}

// Unsteady closes a connection at any piece of data, in either direction, with that chance (0 to 1): of calls that
// are one piece each way, some are not made, and some are made without an answer.
func (p *Proxy) Unsteady(chance float64) {
	p.t.Helper()
	p.fault("unsteady", "upstream", map[string]any{"chance": chance})
	p.fault("unsteady", "downstream", map[string]any{"chance": chance})
}

// unsteady is the toxic of that name.
type unsteady struct {
	Chance float64 `json:"chance"`
}

// Pipe passes data on until chance ends it.
func (u *unsteady) Pipe(stub *toxics.ToxicStub) {
	for {
		select {
		case <-stub.Interrupt:
			return
		case data := <-stub.Input:
			if data == nil || rand.Float64() < u.Chance { //nolint:gosec // a network, not a secret
				stub.Close()
				return
			}
			stub.Output <- data
		}
	}
}

// Heal ends all faults. What was held back by Hang is lost, and its connections are closed.
func (p *Proxy) Heal() {
	p.t.Helper()
	for _, name := range p.faults {
		if err := p.proxy.Toxics.RemoveToxic(p.t.Context(), name); err != nil {
			p.t.Fatalf("heal %s: %v", name, err)
		}
	}
	p.faults = nil
	if !p.proxy.Enabled {
		if err := p.proxy.Start(); err != nil {
			p.t.Fatalf("heal: %v", err)
		}
	}
}

func (p *Proxy) fault(kind, stream string, attributes map[string]any) {
	p.t.Helper()
	name := fmt.Sprintf("%s-%s", kind, stream)
	body, err := json.Marshal(map[string]any{"name": name, "type": kind, "stream": stream, "attributes": attributes})
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.proxy.Toxics.AddToxicJson(bytes.NewReader(body)); err != nil {
		p.t.Fatalf("fault %s: %v", name, err)
	}
	p.faults = append(p.faults, name)
}
