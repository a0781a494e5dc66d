package sender_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/egress"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/redisstate"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/sender"
)

const patience = 30 * time.Second

// loopback lets senders reach receivers of tests.
var loopback = egress.Policy{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AllowHTTP: true}

// rig is a log, a Redis and a receiver for senders under test.
type rig struct {
	t      testing.TB
	cfg    sender.Config
	topics wire.Topics
	client *kgo.Client
	hooks  map[string]delivery.Position
}

func newRig(t *testing.T, tiers string) *rig {
	t.Helper()
	return newRigAt(t, tiers, testkit.Broker(t))
}

func newRigAt(t testing.TB, tiers string, brokers []string) *rig {
	t.Helper()
	prefix := testkit.Prefix(t)
	r := &rig{t: t, hooks: map[string]delivery.Position{}}
	r.cfg = sender.Config{
		Kafka:       kafka.Config{Brokers: brokers, TopicPrefix: prefix, RetryTiers: tiers},
		Redis:       redisstate.Config{URL: testkit.Redis(t), Prefix: prefix},
		Egress:      loopback,
		MaxInFlight: 100, MaxQueued: 1000, KeepAnswerBytes: 100, WarnAfter: 3, DisableAfter: 5,
		DrainWithin: time.Minute,
	}
	var err error
	if r.topics, err = r.cfg.Kafka.Topics(); err != nil {
		t.Fatal(err)
	}
	if r.client, err = r.cfg.Kafka.NewClient("test", r.log()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.client.Close)
	o := kafka.TopicOptions{Partitions: kafka.EmbeddedPartitions}
	if err := kafka.Apply(t.Context(), kadm.NewClient(r.client), r.topics, o); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) log() *slog.Logger {
	return slog.New(slog.DiscardHandler)
}

// start runs a sender; the returned stop ends it and waits.
func (r *rig) start(instance string) (stop func()) {
	r.t.Helper()
	return r.startObserved(instance, testkit.Log(r.t).With("sender", instance), prometheus.NewRegistry())
}

// startObserved is start with a log and metrics to look at.
func (r *rig) startObserved(instance string, log *slog.Logger, metrics *prometheus.Registry) (stop func()) {
	r.t.Helper()
	cfg := r.cfg
	cfg.Instance = instance
	s, err := sender.New(cfg, log, metrics)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				r.t.Errorf("sender %s: %v", instance, err)
			}
		})
	}
	r.t.Cleanup(stop)
	return stop
}

func (r *rig) produce(rec *kgo.Record, err error) delivery.Position {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.client.ProduceSync(r.t.Context(), rec).FirstErr(); err != nil {
		r.t.Fatal(err)
	}
	return wire.PositionOf(rec)
}

func (r *rig) webhook(url string, change func(*webhook.Webhook)) webhook.Webhook {
	r.t.Helper()
	w := webhook.Webhook{
		ID: uuid.NewString(), Tenant: "acme", URL: url, Active: true, Generation: 1, Version: 1, EventTypes: []string{"*"},
		SigningKeys: []webhook.SigningKey{{Scheme: webhook.SchemeHMAC, Secret: webhook.Sealed{KeyID: webhook.PlainKeyID, Bytes: make([]byte, 32)}}},
	}
	if change != nil {
		change(&w)
	}
	r.hooks[w.ID] = r.produce(wire.Webhook(r.topics.Webhooks, w))
	return w
}

func (r *rig) deliver(w webhook.Webhook, n int, change ...func(*delivery.Delivery)) delivery.Delivery {
	r.t.Helper()
	event := fmt.Sprintf("event-%d", n)
	id := delivery.ID(event, w.ID)
	d := delivery.Delivery{
		ID: id, Tenant: w.Tenant, EventID: event, EventType: "card.updated", WebhookID: w.ID, WebhookPosition: r.hooks[w.ID],
		RunID: delivery.FirstRunID(id), Cause: delivery.CauseFirst, Attempt: 1, ReceivedAt: time.Now(),
		Body: []byte(fmt.Sprintf(`{"n": %d}`, n)), ContentType: "application/json",
	}
	for _, c := range change {
		c(&d)
	}
	r.produce(wire.Delivery(r.topics.Deliveries, d))
	return d
}

// read returns what a topic holds now, decoded.
func read[T any](r *rig, topic string, decode func(*kgo.Record) (T, error)) []T {
	r.t.Helper()
	client, err := r.cfg.Kafka.NewClient("test-read", r.log(), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(10*time.Millisecond))
	if err != nil {
		r.t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(r.t.Context(), topic)
	if err != nil {
		r.t.Fatal(err)
	}
	left := int64(0)
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset })
	var out []T
	for left > 0 {
		ctx, cancel := context.WithTimeout(r.t.Context(), patience)
		fetches := client.PollFetches(ctx)
		cancel()
		if err := fetches.Err(); err != nil {
			r.t.Fatal(err)
		}
		fetches.EachRecord(func(rec *kgo.Record) {
			left--
			v, err := decode(rec)
			if err != nil {
				r.t.Fatal(err)
			}
			out = append(out, v)
		})
	}
	return out
}

func (r *rig) attempts() []delivery.Attempt { return read(r, r.topics.Attempts, wire.ReadAttempt) }

// eventually polls until check returns nil.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// post is one request that a receiver got.
type posted struct {
	path, body string
	header     http.Header
	at         time.Time
}

// receiver is a webhook receiver that remembers what it got.
type receiver struct {
	*httptest.Server
	mu      sync.Mutex
	got     []posted
	hang    chan struct{}
	release sync.Once
}

// newReceiver answers with answer(path, nth request of that path).
func newReceiver(t *testing.T, answer func(path string, n int) int) *receiver {
	rec := &receiver{hang: make(chan struct{})}
	count := map[string]int{}
	rec.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		rec.mu.Lock()
		count[req.URL.Path]++
		n := count[req.URL.Path]
		rec.got = append(rec.got, posted{req.URL.Path, string(body), req.Header.Clone(), time.Now()})
		rec.mu.Unlock()
		status := answer(req.URL.Path, n)
		if status == 0 {
			<-rec.hang
			return
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(func() {
		rec.letGo()
		rec.Close()
	})
	return rec
}

// letGo ends the requests that hang.
func (rec *receiver) letGo() { rec.release.Do(func() { close(rec.hang) }) }

func (rec *receiver) posts(path string) []posted {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	var out []posted
	for _, p := range rec.got {
		if path == "" || p.path == path {
			out = append(out, p)
		}
	}
	return out
}

func (rec *receiver) wait(t *testing.T, path string, n int) []posted {
	t.Helper()
	eventually(t, func() error {
		if got := len(rec.posts(path)); got < n {
			return fmt.Errorf("%d posts to %s, want %d", got, path, n)
		}
		return nil
	})
	return rec.posts(path)
}
