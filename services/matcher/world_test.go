package matcher_test

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/redisstate"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/matcher"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// world is a log and a Redis around a matcher, with all that the matcher has written.
type world struct {
	t      testing.TB
	cfg    matcher.Config
	topics wire.Topics
	client *kgo.Client
	wrote  map[string][]*kgo.Record // by topic, what is committed
}

// newWorld is on the servers that the environment names, else on embedded ones.
func newWorld(t testing.TB) *world {
	t.Helper()
	prefix := testkit.Prefix(t) // first, so that what is under it goes last
	return worldOn(t, testkit.Broker(t), testkit.Redis(t), prefix)
}

// embeddedWorld is on embedded servers always, for tests that are about these or interfere with them.
func embeddedWorld(t testing.TB, opts ...kfake.Opt) (*world, *kfake.Cluster) {
	t.Helper()
	broker, err := kfake.NewCluster(append(opts, kfake.NumBrokers(1),
		kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	return worldOn(t, broker.ListenAddrs(), "redis://"+miniredis.RunT(t).Addr(), "t."), broker
}

func worldOn(t testing.TB, brokers []string, redisURL, prefix string) *world {
	t.Helper()
	w := &world{t: t, wrote: map[string][]*kgo.Record{}}
	w.cfg = matcher.Config{
		Kafka:               kafka.Config{Brokers: brokers, TopicPrefix: prefix, RetryTiers: "1m"},
		Redis:               redisstate.Config{URL: redisURL, Prefix: prefix, Timeout: 10 * time.Second},
		Instance:            "one",
		MaxWebhooksPerEvent: 10_000,
	}
	var err error
	if w.topics, err = w.cfg.Kafka.Topics(); err != nil {
		t.Fatal(err)
	}
	w.client, err = w.cfg.Kafka.NewClient("test", slog.New(slog.DiscardHandler), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeTopics(w.topics.Deliveries, w.topics.Suspended, w.topics.Attempts, w.topics.Quarantine),
		kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	if err := kafka.Apply(t.Context(), kadm.NewClient(w.client), w.topics, kafka.TopicOptions{Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	return w
}

// redisClient looks at the world's Redis.
func (w *world) redisClient() *redis.Client {
	w.t.Helper()
	options, err := redis.ParseURL(w.cfg.Redis.URL)
	if err != nil {
		w.t.Fatal("the address of the test's Redis cannot be read")
	}
	client := redis.NewClient(options)
	w.t.Cleanup(func() { _ = client.Close() })
	return client
}

// run is a matcher under way.
type run struct {
	*matcher.Service
	metrics *prometheus.Registry
	stop    func() error
}

func (w *world) start() *run {
	w.t.Helper()
	r := &run{metrics: prometheus.NewRegistry()}
	log := io.Discard
	if testing.Verbose() {
		log = w.t.Output()
	}
	var err error
	if r.Service, err = matcher.New(w.cfg, slog.New(slog.NewTextHandler(log, nil)), r.metrics); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var ended error
	done := make(chan struct{})
	go func() {
		defer close(done)
		ended = r.Run(ctx)
	}()
	r.stop = func() error {
		cancel()
		<-done
		return ended
	}
	w.t.Cleanup(func() {
		if err := r.stop(); err != nil {
			w.t.Error(err)
		}
	})
	w.eventually("ready", func() bool { return r.Ready() == nil })
	return r
}

func (r *run) metric(t testing.TB, name string) float64 {
	t.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			w.t.Fatalf("not %s in 20 s", what)
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-w.t.Context().Done():
			w.t.Fatal("test ended")
		}
	}
}

// put writes a record and returns where it stands.
func (w *world) put(r *kgo.Record, err error) delivery.Position {
	w.t.Helper()
	if err == nil {
		err = w.client.ProduceSync(w.t.Context(), r).FirstErr()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return wire.PositionOf(r)
}

func (w *world) hook(id string, change ...func(*webhook.Webhook)) delivery.Position {
	w.t.Helper()
	h := webhook.Webhook{
		ID: id, Tenant: "acme", URL: "https://example.com", Active: true, EventTypes: []string{"card.*"},
		Generation: 1, Version: 1, CreatedAt: epoch,
	}
	for _, c := range change {
		c(&h)
	}
	return w.put(wire.Webhook(w.topics.Webhooks, h))
}

func (w *world) publish(id string, change ...func(*event.Record)) delivery.Position {
	w.t.Helper()
	e := event.Record{Event: event.Event{
		ID: id, Tenant: "acme", Type: "card.updated", OccurredAt: epoch, Data: []byte(`{"id": 1}`),
	}, ReceivedAt: epoch.Add(time.Second)}
	for _, c := range change {
		c(&e)
	}
	return w.put(wire.Event(w.topics.Events, e))
}

// read waits until a topic holds n records, and a moment longer for one too many.
func (w *world) read(topic string, n int) []*kgo.Record {
	w.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		ctx, cancel := context.WithTimeout(w.t.Context(), 200*time.Millisecond)
		fetches := w.client.PollFetches(ctx)
		cancel()
		fetches.EachRecord(func(r *kgo.Record) { w.wrote[r.Topic] = append(w.wrote[r.Topic], r) })
		if got := len(w.wrote[topic]); fetches.Empty() && got >= n {
			if got > n {
				w.t.Fatalf("%s holds %d records, want %d", topic, got, n)
			}
			return w.wrote[topic]
		}
	}
	w.t.Fatalf("%s holds %d records, want %d", topic, len(w.wrote[topic]), n)
	return nil
}

func (w *world) deliveries(topic string, n int) []delivery.Delivery {
	w.t.Helper()
	var all []delivery.Delivery
	for _, r := range w.read(topic, n) {
		d, err := wire.ReadDelivery(r)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

// want says which "event>webhook" pairs must have been delivered, no more and no less.
func (w *world) want(topic string, pairs ...string) []delivery.Delivery {
	w.t.Helper()
	all := w.deliveries(topic, len(pairs))
	var got []string
	for _, d := range all {
		got = append(got, d.EventID+">"+d.WebhookID)
	}
	slices.Sort(got)
	slices.Sort(pairs)
	if !slices.Equal(got, pairs) {
		w.t.Fatalf("%s holds %s, want %s", topic, strings.Join(got, " "), strings.Join(pairs, " "))
	}
	return all
}

func (w *world) attempt() delivery.Attempt {
	w.t.Helper()
	a, err := wire.ReadAttempt(w.read(w.topics.Attempts, 1)[0])
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// counters are the last records of each counter of condition errors, of what is there now.
func (w *world) counters() map[string]delivery.Attempt {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 200*time.Millisecond)
	defer cancel()
	w.client.PollFetches(ctx).EachRecord(func(r *kgo.Record) { w.wrote[r.Topic] = append(w.wrote[r.Topic], r) })
	last := map[string]delivery.Attempt{}
	for _, r := range w.wrote[w.topics.Attempts] {
		a, err := wire.ReadAttempt(r)
		if err != nil {
			w.t.Fatal(err)
		}
		key := a.WebhookID + " " + a.Counter
		if was := last[key]; a.Count < was.Count {
			w.t.Errorf("%s counts %d after %d", a.Counter, a.Count, was.Count)
		}
		last[key] = a
	}
	return last
}
