package scale

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/e2e/cluster"
)

const (
	partitions = 12
	retryTier  = 2 * time.Second
	bodySize   = 400             // bytes, about
	patience   = 2 * time.Minute // for what must come
)

// TestMain builds the program once for all tests, and makes the servers of a full run that names none.
func TestMain(m *testing.M) {
	code, err := func() (int, error) {
		dir, err := os.MkdirTemp("", "doorstep-scale-")
		if err != nil {
			return 1, err
		}
		defer os.RemoveAll(dir)
		if os.Getenv("SCALE_PROGRAM") == "" {
			bin, err := cluster.Build(dir)
			if err := errors.Join(err, os.Setenv("SCALE_PROGRAM", bin)); err != nil {
				return 1, err
			}
		}
		if !full() || testkit.RealKafka() {
			return m.Run(), nil
		}
		servers, err := cluster.StartLocal("kafka", "redis")
		if err != nil {
			return 1, err
		}
		at := servers.Servers()
		if err := errors.Join(os.Setenv("TEST_KAFKA", at.Kafka), os.Setenv("TEST_REDIS", at.Redis)); err != nil {
			return 1, errors.Join(err, servers.Down())
		}
		return m.Run(), servers.Down()
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

func full() bool { return os.Getenv("SCALE_TIME") == "full" }

// pick is the value for a full run, a short one on real servers, and one on embedded ones.
func pick[T any](whole, servers, embedded T) T {
	switch {
	case full():
		return whole
	case testkit.RealKafka():
		return servers
	}
	return embedded
}

// records is how many deliveries SCALE_RECORDS asks for, else as many as the run is long.
func records(t *testing.T, whole, servers, embedded int) int {
	t.Helper()
	s := os.Getenv("SCALE_RECORDS")
	if s == "" {
		return pick(whole, servers, embedded)
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("SCALE_RECORDS: %v", err)
	}
	return n
}

// beside runs a test beside others: in a short run they mostly wait, a full one measures.
func beside(t *testing.T) {
	if !full() {
		t.Parallel()
	}
}

// world is a log with webhooks and deliveries, a receiver of them all, and senders.
type world struct {
	t        *testing.T
	cfg      kafka.Config
	topics   wire.Topics
	client   *kgo.Client
	admin    *kadm.Client
	cluster  *cluster.Cluster
	receiver *receiver
	text     string       // that bodies are cut from
	made     atomic.Int64 // deliveries

	mu      sync.Mutex
	hooks   []hook
	written map[int]written // by number of the delivery
}

// hook is a webhook, known by its number.
type hook struct {
	webhook  webhook.Webhook
	position delivery.Position
}

// written is what is known of a delivery in the log.
type written struct {
	hook   int
	at     time.Time         // when it was handed to the client
	record delivery.Position // of its first record
}

// newWorld makes topics of 12 partitions and no sender yet. env are settings of every sender.
func newWorld(t *testing.T, env map[string]string) *world {
	t.Helper()
	beside(t)
	brokers, redis := testkit.Broker(t), testkit.Redis(t)
	prefix := testkit.Prefix(t)
	w := &world{
		t: t, written: map[int]written{}, receiver: newReceiver(t), text: randomText(),
		cfg: kafka.Config{Brokers: brokers, TopicPrefix: prefix, RetryTiers: cmp.Or(env["DOORSTEP_RETRY_TIERS"], retryTier.String())},
	}
	var err error
	if w.topics, err = w.cfg.Topics(); err != nil {
		t.Fatal(err)
	}
	if w.client, err = w.cfg.NewClient("scale", slog.New(slog.DiscardHandler), kgo.ProducerLinger(5*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	w.admin = kadm.NewClient(w.client)
	settings := map[string]string{
		"DOORSTEP_TOPIC_PREFIX": prefix, "DOORSTEP_REDIS_PREFIX": prefix, "DOORSTEP_RETRY_TIERS": w.cfg.RetryTiers,
		"DOORSTEP_ALLOW_NETWORKS": "127.0.0.0/8", "DOORSTEP_ALLOW_HTTP": "true",
		"DOORSTEP_WARN_AFTER": "999999", "DOORSTEP_DISABLE_AFTER": "1000000",
	}
	logs := t.TempDir()
	if dir := os.Getenv("SCALE_LOGS"); dir != "" {
		logs = filepath.Join(dir, t.Name())
		if err := os.MkdirAll(logs, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w.cluster, err = cluster.Start(ctx, cluster.Config{
		Program: os.Getenv("SCALE_PROGRAM"), Dir: logs, Services: []string{},
		Servers: cluster.Servers{Kafka: strings.Join(brokers, ","), Redis: redis}, Env: settings,
		EnvOf: func(string) map[string]string { return env },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.cluster.Kill)
	return w
}

// randomText is 26 KB that do not compress well.
func randomText() string {
	var b strings.Builder
	for range 1000 {
		b.WriteString(rand.Text())
	}
	return b.String()
}

// sender starts one more sender.
func (w *world) sender() *cluster.Process {
	w.t.Helper()
	p, err := w.cluster.Add("sender")
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// allow takes the rate limit off a webhook.
func (w *world) allow(hook int) {
	w.t.Helper()
	w.mu.Lock()
	wh := w.hooks[hook].webhook
	w.mu.Unlock()
	wh.RateLimit, wh.Version = 0, wh.Version+1
	r, err := wire.Webhook(w.topics.Webhooks, wh)
	if err == nil {
		err = w.client.ProduceSync(w.t.Context(), r).FirstErr()
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// hook makes a webhook whose deliveries stand in a partition, and returns its number; it is known once the log is
// flushed. change may be nil.
func (w *world) hook(partition int, b behaviour, change func(*webhook.Webhook)) int {
	w.t.Helper()
	wh := webhook.Webhook{
		Tenant: "acme", Active: true, Generation: 1, Version: 1, EventTypes: []string{"*"},
		SigningKeys: []webhook.SigningKey{{Scheme: webhook.SchemeHMAC, Secret: webhook.Plain(make([]byte, 32))}},
		URL:         w.receiver.add(b), RetryCount: new(webhook.MaxRetryCount),
	}
	for wh.ID == "" || partitionOf(wh.ID) != partition {
		wh.ID = uuid.NewString()
	}
	if change != nil {
		change(&wh)
	}
	r, err := wire.Webhook(w.topics.Webhooks, wh)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	n := len(w.hooks)
	w.hooks = append(w.hooks, hook{webhook: wh})
	w.mu.Unlock()
	w.client.Produce(w.t.Context(), r, func(r *kgo.Record, err error) {
		if err != nil {
			w.t.Errorf("webhook %d is not in the log: %v", n, err)
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.hooks[n].position = wire.PositionOf(r)
	})
	return n
}

// partitionOf is where the clients put a key.
func partitionOf(key string) int {
	return kgo.StickyKeyPartitioner(nil).ForTopic("").Partition(&kgo.Record{Key: []byte(key)}, partitions)
}

// deliver writes a delivery for a webhook without waiting, and returns its number.
func (w *world) deliver(hook int) int { return w.deliverTo(w.topics.Deliveries, hook, time.Time{}) }

// deliverTo writes a delivery onto a lane.
func (w *world) deliverTo(lane string, hook int, due time.Time) int {
	n := int(w.made.Add(1)) - 1
	w.mu.Lock()
	h := w.hooks[hook]
	w.mu.Unlock()
	now, event := time.Now(), fmt.Sprint("event-", n)
	id := delivery.ID(event, h.webhook.ID)
	r, err := wire.Delivery(lane, delivery.Delivery{
		ID: id, Tenant: "acme", EventID: event, EventType: "card.updated", WebhookID: h.webhook.ID, WebhookPosition: h.position,
		RunID: delivery.FirstRunID(id), Cause: delivery.CauseFirst, Attempt: 1, ReceivedAt: now, DueAt: due,
		Body: fmt.Appendf(nil, `{"n":%d,"text":%q}`, n, w.text[n*397%25_000:][:bodySize]), ContentType: "application/json",
	})
	if err != nil {
		w.t.Error(err)
		return n
	}
	w.client.Produce(context.Background(), r, func(r *kgo.Record, err error) {
		if err != nil {
			w.t.Errorf("delivery %d is not in the log: %v", n, err)
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.written[n] = written{hook, now, wire.PositionOf(r)}
	})
	return n
}

// flush returns once the log has all that was delivered.
func (w *world) flush() {
	w.t.Helper()
	if err := w.client.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// allWritten is what is in the log so far.
func (w *world) allWritten() map[int]written {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.written)
}

// allAccepted errs while the receiver has not accepted all deliveries.
func (w *world) allAccepted() error { return w.receiver.hasAccepted(int(w.made.Load())) }

func (w *world) group() string { return w.cfg.TopicPrefix + "sender" }
