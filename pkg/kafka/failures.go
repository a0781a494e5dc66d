package kafka

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// failures tells of brokers that do not answer. A request that its caller gave up, or that ended with its client, is none.
type failures struct{ failed func() }

var (
	_ kgo.HookBrokerConnect = failures{}
	_ kgo.HookBrokerE2E     = failures{}
)

// OnBrokerConnect is called for each try to connect.
func (f failures) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	f.note(err)
}

// OnBrokerE2E is called for each request.
func (f failures) OnBrokerE2E(_ kgo.BrokerMetadata, _ int16, e2e kgo.BrokerE2E) { f.note(e2e.Err()) }

func (f failures) note(err error) {
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, kgo.ErrClientClosed) && !errors.Is(err, net.ErrClosed) {
		f.failed()
	}
}
