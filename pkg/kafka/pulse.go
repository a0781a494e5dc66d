package kafka

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// sureFor is how long after a heartbeat that was answered the group surely still counts us in. The rest
// of the session timeout is for work that begins at its end, and for clocks.
const sureFor = SessionTimeout - 3*time.Second

// Pulse is a hook that listens to the client for when the group last heard of us. The client itself gives
// partitions up only once a heartbeat has failed with all its retries: on a network that hangs, up to three
// times the session timeout, while others work on them already. The zero Pulse has heard nothing.
type Pulse struct {
	mu    sync.Mutex
	last  time.Time // when the last request that was answered was sent
	doubt bool      // the last answer came late, and may say that we are out

	denied   error // what ACLs last did not allow
	deniedAt time.Time
}

var _ kgo.HookBrokerE2E = (*Pulse)(nil)

// OnBrokerE2E notes that the group answers. What it says cannot be seen here: if it puts us out, the client
// gives the partitions up a moment later, and sends no second heartbeat.
func (p *Pulse) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	sent := time.Now().Add(-e2e.DurationE2E())
	p.mu.Lock()
	defer p.mu.Unlock()
	switch kmsg.Key(key) {
	case kmsg.JoinGroup:
		// The session begins with the answer. Whoever waits long for it, while the group waits for others,
		// is not put out, but cannot know that the request ever arrived.
		sent = time.Now()
	case kmsg.SyncGroup, kmsg.Heartbeat:
	default:
		return
	}
	if e2e.Err() == nil && !sent.Before(p.last) {
		p.doubt = kmsg.Key(key) == kmsg.Heartbeat && sent.Sub(p.last) >= sureFor
		p.last = sent
	}
}

func (p *Pulse) sure(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.doubt && now.Sub(p.last) < sureFor
}

// Heard notes an error of the client if it says that ACLs do not allow what was asked.
func (p *Pulse) Heard(err error, now time.Time) {
	if !errors.Is(err, ErrDenied) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.denied, p.deniedAt = err, now
}

// Silent errs when the group has not answered for as long as it counts a member in: what this process read, another
// may read by now, or nobody can. Of a group that has never answered it says nothing. It also errs for as long after ACLs
// have denied something, which clients ask for again and again.
func (p *Pulse) Silent(now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.denied != nil && now.Sub(p.deniedAt) < SessionTimeout {
		return p.denied
	}
	if silent := now.Sub(p.last); !p.last.IsZero() && silent >= SessionTimeout {
		return fmt.Errorf("kafka has not answered for %s", silent.Round(time.Second))
	}
	return nil
}
