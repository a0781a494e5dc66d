package kafka

import (
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// sureFor is how long after a heartbeat that was answered the group surely still counts us in. The rest
// of the session timeout is for work that begins at its end, and for clocks.
const sureFor = SessionTimeout - 3*time.Second

// pulse listens to the client for when the group last heard of us. The client itself gives partitions up
// only once a heartbeat has failed with all its retries: on a network that hangs, up to three times the
// session timeout, while others work on them already.
type pulse struct {
	mu      sync.Mutex
	last    time.Time // when the last request that was answered was sent
	joining bool      // the group waits for us or for others, and expires nobody who waits
}

var (
	_ kgo.HookBrokerWrite = (*pulse)(nil)
	_ kgo.HookBrokerE2E   = (*pulse)(nil)
)

// OnBrokerWrite notes that we join.
func (p *pulse) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if key == int16(kmsg.JoinGroup) && err == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.joining = true
	}
}

// OnBrokerE2E notes what the group answers. An answer that refuses us is the client's to act on.
func (p *pulse) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch kmsg.Key(key) {
	case kmsg.JoinGroup:
		p.joining = false // and the session begins with the answer
	case kmsg.SyncGroup, kmsg.Heartbeat:
		now = now.Add(-e2e.DurationE2E())
	default:
		return
	}
	if e2e.Err() == nil && now.After(p.last) {
		p.last = now
	}
}

func (p *pulse) sure(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.joining || now.Sub(p.last) < sureFor
}
