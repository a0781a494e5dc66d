package publish_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/publish"
)

// A broker that answers nothing at all, new connections included, holds no caller much longer than the timeout.
func TestABrokerThatHangsHoldsNoCaller(t *testing.T) {
	b := newFrailBroker(t)
	p := b.publisher(prometheus.NewRegistry(), func(c *publish.Config) { c.Timeout, c.MaxInFlight = time.Second, 100 })
	if r := p.Publish(t.Context(), acme, event.Event{Type: "a.b"})[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	gate := make(chan struct{})
	b.fake.Control(func(kmsg.Request) (kmsg.Response, error, bool) {
		b.fake.KeepControl()
		b.fake.SleepControl(func() { <-gate })
		return nil, nil, false
	})
	var publishing sync.WaitGroup
	defer publishing.Wait()
	defer close(gate)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	answered := make(chan time.Duration, 50)
	for range cap(answered) {
		<-tick.C
		publishing.Go(func() {
			began := time.Now()
			if r := p.Publish(t.Context(), acme, event.Event{Type: "a.b"})[0]; !errors.Is(r.Err, publish.ErrUnavailable) {
				t.Errorf("published: %v", r.Err)
			}
			answered <- time.Since(began)
		})
	}
	var longest time.Duration
	for range cap(answered) {
		longest = max(longest, <-answered)
	}
	t.Logf("longest answer: %s", longest)
	if longest > 4*time.Second {
		t.Errorf("a caller waited %s", longest)
	}
}
