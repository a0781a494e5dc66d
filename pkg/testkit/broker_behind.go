package testkit

import (
	"net"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

// BrokerBehind is a fresh kfake with one broker behind a Proxy, which ends with the test. It tells its clients that it
// is where the proxy is, so all that is asked of it goes through.
func BrokerBehind(t testing.TB, opts ...kfake.Opt) ([]string, *Proxy) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen for kfake: %v", err)
	}
	network := NewProxy(t, l.Addr().String())
	front, err := net.ResolveTCPAddr("tcp", network.Addr)
	if err != nil {
		t.Fatalf("proxy at %s: %v", network.Addr, err)
	}
	c, err := kfake.NewCluster(append([]kfake.Opt{
		kfake.NumBrokers(1),
		kfake.BrokerConfigs(map[string]string{"default.replication.factor": "1", "group.initial.rebalance.delay.ms": "0"}),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return behind{l, front}, nil }),
	}, opts...)...)
	if err != nil {
		t.Fatalf("start kfake: %v", err)
	}
	t.Cleanup(c.Close)
	t.Logf("kafka: kfake in process at %v, behind a proxy at %s", l.Addr(), front)
	return []string{network.Addr}, network
}

// behind is a listener that says it is elsewhere.
type behind struct {
	net.Listener
	front net.Addr
}

// Addr is net.Listener's.
func (b behind) Addr() net.Addr { return b.front }
