package post_test

import (
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/post"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/testkit/hostile"
)

// slow skips a test that waits for real limits, unless TEST_SLOW=1.
func slow(t *testing.T) {
	t.Helper()
	if os.Getenv("TEST_SLOW") != "1" {
		t.Skip("waits for real limits: TEST_SLOW=1")
	}
}

// A name server, a host and a handshake that are each slow, together have the time to connect and no more.
func TestOneDeadlineToConnect(t *testing.T) {
	for name, tt := range map[string]struct {
		limit, dns time.Duration
		config     func(*post.Config)
	}{
		"short": {1500 * time.Millisecond, time.Second, func(c *post.Config) { c.ConnectTimeout = 1500 * time.Millisecond }},
		"real":  {5 * time.Second, 2 * time.Second, func(c *post.Config) { c.ConnectTimeout = 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "real" {
				slow(t)
			}
			t.Parallel()
			dns := testkit.NewDNS(t)
			dns.Set("hooks.example", testkit.Zone{Delay: tt.dns, Addresses: []string{"127.0.0.1"}})
			address := hostile.Listen(t, nil, func(c *net.TCPConn) { hang(c) })
			client := newClient(t, tt.config, func(c *post.Config) { c.Resolver = dns.Resolver() })
			_, port, _ := net.SplitHostPort(address)
			out := attempt(t, client, post.Request{URL: "https://hooks.example:" + port})
			wantCode(t, out, post.CodeConnectTimeout, "TLS handshake")
			if total := out.Phases.Total; total < tt.limit || total > tt.limit+tt.dns {
				t.Errorf("cut after %s, want %s", total, tt.limit)
			}
			if out.Phases.DNS < tt.dns {
				t.Errorf("phases %+v", out.Phases)
			}
		})
	}
}

func TestBacklogRealLimit(t *testing.T) {
	slow(t)
	t.Parallel()
	address, ok := testkit.Blackhole(t)
	if !ok {
		t.Skip("this kernel answers although a listener's queue is full")
	}
	out := attempt(t, newClient(t, func(c *post.Config) { c.ConnectTimeout = 0 }), post.Request{URL: "http://" + address})
	wantCode(t, out, post.CodeConnectTimeout, "within 5s")
	if total := out.Phases.Total; total < 5*time.Second || total > 7*time.Second {
		t.Errorf("cut after %s", total)
	}
}

// network is one before upstream whose connections can be frozen: from then on nothing passes on those
// that are open, and nobody is told.
func network(t *testing.T, upstream string) (address string, freeze func()) {
	t.Helper()
	stop := make(chan struct{})
	var frozen atomic.Int64 // times
	address = hostile.Listen(t, stop, func(c *net.TCPConn) {
		far, err := net.Dial("tcp", upstream)
		if err != nil {
			t.Error(err)
			return
		}
		opened := frozen.Load()
		pass := func(to, from net.Conn) {
			defer to.Close()
			buffer := make([]byte, 4096)
			for {
				n, err := from.Read(buffer)
				if frozen.Load() != opened {
					<-stop
				}
				if err != nil {
					return
				}
				if _, err := to.Write(buffer[:n]); err != nil {
					return
				}
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() { pass(far, c) })
		pass(c, far)
		wg.Wait()
	})
	return address, func() { frozen.Add(1) }
}

// A connection of HTTP/2 that goes dead without a word is found out before the attempts on it have
// run out of their time, and not used again.
func TestBlackHoledHTTP2(t *testing.T) {
	t.Parallel()
	server, roots := tlsServer(t, true)
	address, freeze := network(t, strings.TrimPrefix(server.URL, "https://"))
	client := newClient(t, func(c *post.Config) { c.RootCAs = roots })
	wantCode(t, attempt(t, client, post.Request{URL: "https://" + address}), "")
	freeze()
	outcomes := make([]delivery.Outcome, 8)
	var wg sync.WaitGroup
	for i := range outcomes {
		wg.Go(func() {
			outcomes[i] = attempt(t, client, post.Request{URL: "https://" + address, Timeout: 30 * time.Second})
		})
	}
	wg.Wait()
	for i, out := range outcomes {
		wantCode(t, out, post.CodeReset)
		if !out.Phases.Reused || out.Phases.Total > 20*time.Second { // 3 s of silence, 5 s for the ping
			t.Errorf("attempt %d: %+v", i, out.Phases)
		}
	}
	out := attempt(t, client, post.Request{URL: "https://" + address})
	wantCode(t, out, "")
	if out.Phases.Reused {
		t.Error("the dead connection was used again")
	}
}

// A receiver of HTTP/2 that takes bodies without limit and then reads no more blocks whoever writes;
// attempts end all the same.
func TestHTTP2ThatDoesNotRead(t *testing.T) {
	t.Parallel()
	authority := hostile.NewAuthority(t)
	url := authority.Start(t, hostile.Named(t, "HTTP/2: reads no more and drips")).URL
	client := newClient(t, func(c *post.Config) { c.RootCAs = authority.Pool() })
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			out := attempt(t, client, post.Request{URL: url, Body: make([]byte, 4<<20), Timeout: 2 * time.Second})
			wantCode(t, out, post.CodeTimeout)
			if out.Phases.Total > 4500*time.Millisecond { // 5 s is how long writes that go nowhere are waited for
				t.Errorf("it ended after %s", out.Phases.Total)
			}
		})
	}
	wg.Wait()
}

// An attempt that gives a connection up takes the others on it with it: they say why, and not that the receiver closed it.
func TestHTTP2ThatIsGivenUp(t *testing.T) {
	t.Parallel()
	authority := hostile.NewAuthority(t)
	server := authority.Start(t, hostile.Named(t, "HTTP/2: reads no more and drips"))
	client := newClient(t, func(c *post.Config) { c.RootCAs = authority.Pool() })
	send := func(timeout time.Duration) delivery.Outcome {
		return attempt(t, client, post.Request{URL: server.URL, Body: make([]byte, 4<<20), Timeout: timeout})
	}
	var wg sync.WaitGroup
	wg.Go(func() { send(2 * time.Second) }) // the one that is answered, and given up
	testkit.Eventually(t, 2*time.Second, func() error {
		if server.Connections() == 0 {
			return errors.New("no connection")
		}
		return nil
	})
	for range 4 {
		wg.Go(func() {
			wantCode(t, send(4*time.Second), post.CodeTimeout)
		})
	}
	wg.Wait()
}
