package post

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/egress"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/testkit/hostile"
)

const long = 30 * time.Second

func poolClient(t *testing.T, change func(*Config)) *Client {
	t.Helper()
	config := Config{Egress: egress.Policy{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AllowHTTP: true}, ConnectTimeout: long, IdleTimeout: long}
	change(&config)
	c := New(config)
	t.Cleanup(c.Close)
	return c
}

func (p *pool) counts() (rooms, idle, dials int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	listed := 0
	for l := p.oldest; l != nil; l = l.next {
		listed++
	}
	for _, r := range p.rooms {
		dials += len(r.dials)
	}
	if listed != p.idle {
		return len(p.rooms), -1, dials
	}
	return len(p.rooms), p.idle, dials
}

// everywhere is a server at all addresses of loopback, and how many connections it has open.
func everywhere(t *testing.T, config func(*httptest.Server)) (port string, open *atomic.Int64) {
	t.Helper()
	open = new(atomic.Int64)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	listener, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = server.Listener.Close()
	server.Listener = listener
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		case http.StateActive, http.StateIdle:
		}
	}
	if config == nil {
		server.Start()
	} else {
		config(server)
	}
	t.Cleanup(server.Close)
	_, port, _ = net.SplitHostPort(listener.Addr().String())
	return port, open
}

func send(t *testing.T, c *Client, url string) delivery.Outcome {
	t.Helper()
	out := c.Post(context.Background(), Request{URL: url, Body: []byte("{}"), Timeout: long})
	if !out.OK() {
		t.Errorf("%s: %s (%s)", url, out.ErrorCode, out.Error)
	}
	return out
}

// Of thousands of hosts only the last ones keep a connection, and nothing else is kept of the others.
func TestIdleLinksAreBounded(t *testing.T) {
	const hosts, limit = 2000, 50
	port, open := everywhere(t, nil)
	c := poolClient(t, func(config *Config) { config.MaxIdle = limit })
	url := func(i int) string { return fmt.Sprintf("http://127.1.%d.%d:%s/", i/250, 1+i%250, port) }
	var wg sync.WaitGroup
	var next atomic.Int64
	for range 8 {
		wg.Go(func() {
			for i := next.Add(1); i <= hosts; i = next.Add(1) {
				send(t, c, url(int(i)))
			}
		})
	}
	wg.Wait()
	if rooms, idle, dials := c.pool.counts(); rooms != limit || idle != limit || dials != 0 {
		t.Errorf("%d hosts, %d idle connections, %d dials are kept, want %d, %d and none", rooms, idle, dials, limit, limit)
	}
	testkit.Eventually(t, long, func() error {
		if n := open.Load(); n != limit {
			return fmt.Errorf("%d connections are open", n)
		}
		return nil
	})
	if n := strings.Count(stacks(), "pkg/post.(*"); n != 0 {
		t.Errorf("%d goroutines' frames are in this package while all is idle:\n%s", n, stacks())
	}
	if out := send(t, c, url(hosts)); !out.Phases.Reused {
		t.Error("the youngest connection was not kept")
	}
	if out := send(t, c, url(1)); out.Phases.Reused {
		t.Error("the oldest connection was kept")
	}
	c.Close()
	if rooms, idle, _ := c.pool.counts(); rooms != 0 || idle != 0 {
		t.Errorf("closed, %d hosts and %d idle connections are kept", rooms, idle)
	}
	if send(t, c, url(7)); send(t, c, url(7)).Phases.Reused {
		t.Error("a connection was kept after Close")
	}
}

// stacks are those of all goroutines but of this test.
func stacks() string {
	all := make([]byte, 16<<20)
	all = all[:runtime.Stack(all, true)]
	_, others, _ := bytes.Cut(all, []byte("\n\n"))
	return string(others)
}

func TestIdleLinksAge(t *testing.T) {
	port, open := everywhere(t, nil)
	secure := hostile.NewAuthority(t)
	over2 := secure.HTTP2(t, func(p *hostile.Peer, stream uint32, _ string) error { return p.Head(stream, true, ":status", "204") })
	c := poolClient(t, func(config *Config) { config.IdleTimeout, config.RootCAs = 100*time.Millisecond, secure.Pool() })
	for i := range 20 {
		send(t, c, fmt.Sprintf("http://127.0.0.%d:%s/", 1+i, port))
	}
	send(t, c, over2)
	testkit.Eventually(t, long, func() error {
		rooms, idle, _ := c.pool.counts()
		if n := open.Load(); rooms+idle > 0 || n > 0 {
			return fmt.Errorf("%d hosts, %d idle connections, %d open ones", rooms, idle, n)
		}
		return nil
	})
}

// together makes attempts at once.
func together(t *testing.T, c *Client, n int, url string) {
	t.Helper()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() { send(t, c, url) })
	}
	wg.Wait()
}

func tlsEverywhere(t *testing.T, over2 bool) (url string, roots *x509.CertPool, open *atomic.Int64) {
	t.Helper()
	roots = x509.NewCertPool()
	port, open := everywhere(t, func(s *httptest.Server) {
		s.EnableHTTP2 = over2
		s.StartTLS()
		roots.AddCert(s.Certificate())
	})
	return "https://127.0.0.1:" + port, roots, open
}

// Attempts that come at once share the dial, and then the connection, where the receiver speaks HTTP/2.
func TestDialsAreShared(t *testing.T) {
	url, roots, open := tlsEverywhere(t, true)
	c := poolClient(t, func(config *Config) { config.RootCAs = roots })
	together(t, c, 64, url)
	if n := open.Load(); n != 1 {
		t.Errorf("64 attempts opened %d connections", n)
	}
}

func TestDialsOverHTTP1AreNot(t *testing.T) {
	url, roots, open := tlsEverywhere(t, false)
	c := poolClient(t, func(config *Config) { config.RootCAs = roots })
	for range 3 {
		together(t, c, 64, url)
	}
	if n := open.Load(); n > 64 {
		t.Errorf("64 attempts at a time opened %d connections", n)
	}
	if rooms, idle, dials := c.pool.counts(); rooms != 1 || int64(idle) != open.Load() || dials != 0 {
		t.Errorf("%d hosts, %d idle connections of %d, %d dials", rooms, idle, open.Load(), dials)
	}
	for _, r := range c.pool.rooms {
		if r.seats != 1 {
			t.Errorf("a dial is shared by %d attempts though it speaks HTTP/1", r.seats)
		}
	}
}

// A receiver that lets few streams in gets as many connections as it takes, and every attempt is made.
func TestFewStreams(t *testing.T) {
	authority := hostile.NewAuthority(t)
	for _, streams := range []uint32{1, 5, 30} {
		t.Run(fmt.Sprint(streams), func(t *testing.T) {
			url := authority.HTTP2(t, func(p *hostile.Peer, stream uint32, _ string) error {
				return p.Head(stream, true, ":status", "204")
			}, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: streams})
			c := poolClient(t, func(config *Config) { config.RootCAs = authority.Pool() })
			for range 3 {
				together(t, c, 64, url)
			}
		})
	}
}

// hangsFirst accepts, never answers the first connection, and answers the others over HTTP/1.
func hangsFirst(t *testing.T, authority *hostile.Authority) (url string, first <-chan struct{}) {
	t.Helper()
	proper := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	proper.TLS = authority.ServerConfig(t)
	proper.StartTLS()
	t.Cleanup(proper.Close)
	var accepted atomic.Int64
	hangs, stop := make(chan struct{}), make(chan struct{})
	address := hostile.Listen(t, stop, func(c *net.TCPConn) {
		if accepted.Add(1) == 1 {
			close(hangs)
			<-stop
			return
		}
		far, err := net.Dial("tcp", proper.Listener.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		go func() { _, _ = far.(*net.TCPConn).ReadFrom(c); _ = far.Close() }()
		_, _ = c.ReadFrom(far)
	})
	return "https://" + address, hangs
}

// Who comes while a dial hangs for long dials anew; who comes at its begin waits for it, also when who began it stops.
func TestHangingDial(t *testing.T) {
	authority := hostile.NewAuthority(t)
	url, hangs := hangsFirst(t, authority)
	c := poolClient(t, func(config *Config) { config.RootCAs, config.ConnectTimeout = authority.Pool(), 4*long })
	outcomes := make(chan delivery.Outcome, 2)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { outcomes <- c.Post(ctx, Request{URL: url, Timeout: long}) }()
	<-hangs
	other, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { outcomes <- c.Post(other, Request{URL: url, Timeout: 4 * long}) }()
	testkit.Eventually(t, long, func() error { return c.pool.waits(2) })
	cancel() // the other one goes on waiting
	if out := <-outcomes; out.ErrorCode != CodeCancelled {
		t.Errorf("outcome %q (%s)", out.ErrorCode, out.Error)
	}
	testkit.Eventually(t, long, func() error {
		if c.pool.joinable() {
			return fmt.Errorf("the dial is young")
		}
		return nil
	})
	send(t, c, url)
	if err := c.pool.waits(1); err != nil {
		t.Error(err)
	}
	stop()
	if out := <-outcomes; out.ErrorCode != CodeCancelled {
		t.Errorf("outcome %q (%s)", out.ErrorCode, out.Error)
	}
	testkit.Eventually(t, long, func() error {
		if rooms, _, dials := c.pool.counts(); rooms != 1 || dials != 0 {
			return fmt.Errorf("%d hosts, %d dials", rooms, dials)
		}
		return nil
	})
}

// Who waits for a dial has all of its own time to connect, and no more.
func TestTimeToConnectIsEachOnes(t *testing.T) {
	stop := make(chan struct{})
	address := hostile.Listen(t, stop, func(*net.TCPConn) { <-stop })
	const limit = 600 * time.Millisecond
	c := poolClient(t, func(config *Config) { config.ConnectTimeout = limit })
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			out := c.Post(context.Background(), Request{URL: "https://" + address, Timeout: long})
			if out.ErrorCode != CodeConnectTimeout || !strings.Contains(out.Error, "TLS handshake") || out.RemoteAddress != address || out.Phases.Total < limit || out.Phases.Total > long/2 {
				t.Errorf("outcome %q after %s from %s (%s)", out.ErrorCode, out.Phases.Total, out.RemoteAddress, out.Error)
			}
		})
	}
	wg.Wait()
}

// waits errs unless so many attempts wait for a dial.
func (p *pool) waits(want int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.rooms {
		for _, d := range r.dials {
			if d.waiting == want {
				return nil
			}
		}
	}
	return fmt.Errorf("no dial for which %d wait", want)
}

func (p *pool) joinable() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.rooms {
		if r.joinable(time.Now()) != nil {
			return true
		}
	}
	return false
}
