package publish_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/doorstep-dev/doorstep/pkg/auth"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/publish"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open takes every type.
type open struct{}

func (open) Tenant(id string) tenant.Tenant                    { return tenant.Tenant{ID: id, Open: true} }
func (open) EventType(string, string) (tenant.EventType, bool) { return tenant.EventType{}, false }

// broker is a log with the topic of events.
type broker struct {
	t   *testing.T
	cfg kafka.Config
}

// newBroker is the log that the environment names, else an embedded one.
func newBroker(t *testing.T) broker {
	t.Helper()
	prefix, brokers := testkit.Prefix(t), testkit.Broker(t)
	testkit.Topics(t, brokers, 2, prefix+"events")
	return broker{t, kafka.Config{Brokers: brokers, TopicPrefix: prefix, RetryTiers: "1m"}}
}

// frailBroker is a log that hangs when it is told to: an embedded one always.
type frailBroker struct {
	broker
	fake *kfake.Cluster
}

func newFrailBroker(t *testing.T) frailBroker {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "t.events"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return frailBroker{broker{t, kafka.Config{Brokers: c.ListenAddrs(), TopicPrefix: "t.", RetryTiers: "1m"}}, c}
}

// hold keeps all produce requests waiting until release is called.
func (b frailBroker) hold() (release func()) {
	gate := make(chan struct{})
	b.fake.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.fake.KeepControl()
		b.fake.SleepControl(func() { <-gate })
		return nil, nil, false
	})
	var released bool
	release = func() {
		if !released {
			released = true
			close(gate)
		}
	}
	b.t.Cleanup(release)
	return release
}

// read returns n events of the log by their ids.
func (b broker) read(n int) map[string]event.Record {
	b.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.cfg.Brokers...), kgo.ConsumeTopics(b.cfg.TopicPrefix+"events"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(b.t.Context(), 10*time.Second)
	defer cancel()
	got := map[string]event.Record{}
	for len(got) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			b.t.Fatalf("read %d of %d events: %v", len(got), n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			e, err := wire.ReadEvent(r)
			if err != nil {
				b.t.Fatal(err)
			}
			if string(r.Key) != e.Key() {
				b.t.Errorf("key %q of %q", r.Key, e.Key())
			}
			got[e.ID] = e
		})
	}
	return got
}

func (b broker) publisher(reg prometheus.Registerer, change func(*publish.Config)) *publish.Publisher {
	b.t.Helper()
	cfg := publish.Config{MaxInFlight: 16, MaxInFlightBytes: 1 << 20, Timeout: 5 * time.Second}
	if change != nil {
		change(&cfg)
	}
	p, err := publish.New(cfg, b.cfg, "test", open{}, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(p.Close)
	return p
}

var acme = publish.Caller{Principal: auth.Principal{Key: tenant.APIKey{ID: "k", Tenant: "acme"}}, Tenant: "acme"}

func outcomes(t *testing.T, reg prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "doorstep_events_received_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			if v := m.GetCounter().GetValue(); v > 0 {
				got[m.GetLabel()[0].GetValue()] = v
			}
		}
	}
	return got
}

func TestPublish(t *testing.T) {
	b, reg := newBroker(t), prometheus.NewRegistry()
	p := b.publisher(reg, nil)
	results := p.Publish(t.Context(), acme,
		event.Event{ID: "e1", Type: "card.updated", ExternalReference: "card-1", Data: []byte(`{"a" : 1}`)},
		event.Event{Type: "card.updated"},
		event.Event{ID: "e3", Type: "Card"},
		event.Event{ID: "e4", Type: "card.updated", Tenant: "globex"},
	)
	var fields invalid.Fields
	if results[0].EventID != "e1" || results[0].Err != nil || results[1].Err != nil || len(results[1].EventID) != 36 ||
		!errors.As(results[2].Err, &fields) || results[2].EventID != "e3" || !errors.Is(results[3].Err, auth.ErrOtherTenant) {
		t.Fatalf("results: %+v", results)
	}
	got := b.read(2)
	if e := got["e1"]; e.Tenant != "acme" || string(e.Data) != `{"a" : 1}` || e.APIKeyID != "k" || e.IDAssigned {
		t.Errorf("in the log: %+v", e)
	}
	if e, ok := got[results[1].EventID]; !ok || !e.IDAssigned || string(e.Data) != "null" {
		t.Errorf("in the log: %+v", e)
	}
	if o := outcomes(t, reg); o["accepted"] != 2 || o["invalid"] != 1 || o["forbidden"] != 1 {
		t.Errorf("counted %v", o)
	}
	if results := p.Publish(t.Context(), acme); len(results) != 0 {
		t.Errorf("results of nothing: %v", results)
	}
}

func TestInFlightIsBounded(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*publish.Config)
		data   int // bytes of each event
		fit    int
	}{
		"in events": {func(c *publish.Config) { c.MaxInFlight = 3 }, 10, 3},
		"in bytes":  {nil, 200 << 10, 5}, // of 1 MiB
	} {
		t.Run(name, func(t *testing.T) {
			b, reg := newFrailBroker(t), prometheus.NewRegistry()
			p := b.publisher(reg, tt.change)
			release := b.hold()
			data := fmt.Appendf(nil, "%0*d", tt.data, 1)
			data[0] = '1'
			answers := make(chan publish.Result, tt.fit)
			for range tt.fit {
				p.Submit(acme, event.Event{Type: "a", Data: data}, func(r publish.Result) { answers <- r })
			}
			if r := p.Publish(t.Context(), acme, event.Event{Type: "a", Data: data})[0]; !errors.Is(r.Err, publish.ErrBusy) {
				t.Fatalf("one too many: %+v", r)
			}
			if len(answers) != 0 {
				t.Fatal("answered before the log has it")
			}
			// One that waits comes in when there is room.
			waited := make(chan publish.Result, 1)
			go p.SubmitWait(t.Context(), acme, event.Event{Type: "a", Data: data}, func(r publish.Result) { waited <- r })
			// One whose caller does not wait any longer does not.
			ended, end := context.WithCancel(t.Context())
			end()
			gone := make(chan publish.Result, 1)
			p.SubmitWait(ended, acme, event.Event{Type: "a", Data: data}, func(r publish.Result) { gone <- r })
			if r := <-gone; !errors.Is(r.Err, publish.ErrUnavailable) {
				t.Fatalf("the caller ended: %+v", r)
			}
			release()
			for range tt.fit {
				if r := <-answers; r.Err != nil {
					t.Fatal(r.Err)
				}
			}
			if r := <-waited; r.Err != nil {
				t.Fatal(r.Err)
			}
			if o := outcomes(t, reg); o["accepted"] != float64(tt.fit+1) || o["busy"] != 1 || o["unavailable"] != 1 {
				t.Errorf("counted %v", o)
			}
		})
	}
}

func TestNoRoom(t *testing.T) {
	b, reg := newBroker(t), prometheus.NewRegistry()
	var full error
	p := b.publisher(reg, func(c *publish.Config) { c.Room = func() error { return full } })
	full = errors.New("the disk is full")
	if r := p.Publish(t.Context(), acme, event.Event{Type: "a"})[0]; !errors.Is(r.Err, publish.ErrNoRoom) || !errors.Is(r.Err, full) {
		t.Fatalf("got %+v", r)
	}
	full = nil
	if r := p.Publish(t.Context(), acme, event.Event{Type: "a"})[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	if o := outcomes(t, reg); o["no_room"] != 1 || o["accepted"] != 1 {
		t.Errorf("counted %v", o)
	}
}

func TestTimeouts(t *testing.T) {
	for name, prepare := range map[string]func(*testing.T, frailBroker) kafka.Config{
		"a broker that hangs": func(_ *testing.T, b frailBroker) kafka.Config { b.hold(); return b.cfg },
		"no broker": func(_ *testing.T, b frailBroker) kafka.Config {
			b.cfg.Brokers = []string{"127.0.0.1:1"}
			return b.cfg
		},
		"no topic": func(_ *testing.T, b frailBroker) kafka.Config { b.cfg.TopicPrefix = "other."; return b.cfg },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, reg := newFrailBroker(t), prometheus.NewRegistry()
			b.cfg = prepare(t, b)
			const timeout = time.Second
			p := b.publisher(reg, func(c *publish.Config) { c.Timeout = timeout })
			start := time.Now()
			r := p.Publish(t.Context(), acme, event.Event{ID: "e1", Type: "a"})[0]
			took := time.Since(start)
			if !errors.Is(r.Err, publish.ErrUnavailable) || r.EventID != "e1" {
				t.Fatalf("got %+v", r)
			}
			if took > timeout+4*time.Second {
				t.Fatalf("took %s", took)
			}
			t.Logf("took %s", took)
			testkit.Eventually(t, 20*time.Second, func() error { // once the client gives it up, too
				if o := outcomes(t, reg); o["unavailable"] != 1 {
					return fmt.Errorf("counted %v", o)
				}
				return nil
			})
			if n, err := testutil.GatherAndCount(reg, "doorstep_publish_in_flight"); n != 1 || err != nil {
				t.Errorf("gauge: %d, %v", n, err)
			}
		})
	}
}

func TestCallerThatGoesTakesNoOneAlong(t *testing.T) {
	b := newFrailBroker(t)
	p := b.publisher(prometheus.NewRegistry(), nil)
	release := b.hold()
	answer := make(chan publish.Result, 1)
	p.Submit(acme, event.Event{ID: "stays", Type: "a", ExternalReference: "r"}, func(r publish.Result) { answer <- r })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if r := p.Publish(ctx, acme, event.Event{ID: "goes", Type: "a", ExternalReference: "r"})[0]; !errors.Is(r.Err, publish.ErrUnavailable) {
		t.Fatalf("its context ended: %+v", r)
	}
	release()
	if r := <-answer; r.Err != nil {
		t.Fatalf("the other of its partition: %v", r.Err)
	}
	b.read(2) // what was given up may still arrive
}

func TestPublishersShareMetrics(t *testing.T) {
	b, reg := newBroker(t), prometheus.NewRegistry()
	for range 2 {
		p := b.publisher(reg, nil)
		if r := p.Publish(t.Context(), acme, event.Event{Type: "a"})[0]; r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	if o := outcomes(t, reg); o["accepted"] != 2 {
		t.Errorf("counted %v", o)
	}
}

func TestValidate(t *testing.T) {
	good := publish.Config{MaxInFlight: 1, MaxInFlightBytes: 1 << 20, Timeout: time.Second}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*publish.Config){
		"none in flight":      func(c *publish.Config) { c.MaxInFlight = 0 },
		"too many in flight":  func(c *publish.Config) { c.MaxInFlight = 1<<20 + 1 },
		"no event would fit":  func(c *publish.Config) { c.MaxInFlightBytes = 1<<20 - 1 },
		"no time":             func(c *publish.Config) { c.Timeout = 0 },
		"seconds for minutes": func(c *publish.Config) { c.Timeout = 5 },
	} {
		c := good
		change(&c)
		if c.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
