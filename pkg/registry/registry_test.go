package registry_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/doorstep-dev/doorstep/pkg/auth"
	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/registry"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// topic is one topic on a broker, and a producer for it.
type topic struct {
	t      *testing.T
	cfg    kafka.Config
	name   string
	client *kgo.Client
}

func newTopic(t *testing.T, name string) topic {
	t.Helper()
	prefix := testkit.Prefix(t)
	cfg := kafka.Config{Brokers: testkit.Broker(t), TopicPrefix: prefix, RetryTiers: "1m"}
	testkit.Topics(t, cfg.Brokers, 1, prefix+name)
	client, err := cfg.NewClient("test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return topic{t, cfg, prefix + name, client}
}

// put writes a record and returns where it stands.
func (p topic) put(r *kgo.Record, err error) delivery.Position {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.client.ProduceSync(p.t.Context(), r).FirstErr(); err != nil {
		p.t.Fatal(err)
	}
	return wire.PositionOf(r)
}

func (p topic) gone(key string) delivery.Position { return p.put(wire.Gone(p.name, key), nil) }

// run follows in the background until the test ends, and returns once it is ready.
func run(t *testing.T, follow func(context.Context) error, ready <-chan struct{}) {
	t.Helper()
	start(t, follow)
	await(t, ready)
}

func start(t *testing.T, follow func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- follow(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

func await(t *testing.T, ready <-chan struct{}) {
	t.Helper()
	select {
	case <-ready:
	case <-time.After(20 * time.Second):
		t.Fatal("not ready after 20 s")
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

func TestWebhooks(t *testing.T) {
	topic := newTopic(t, "webhooks")
	hook := func(id, url string, version uint64) delivery.Position {
		return topic.put(wire.Webhook(topic.name, webhook.Webhook{ID: id, Tenant: "acme", URL: url, Active: true, Version: version}))
	}
	hook("a", "https://a.example", 1)
	hook("b", "https://b.example", 1)
	hook("c", "https://c.example", 1)
	topic.gone("c")
	before := hook("a", "https://a2.example", 2)

	type change struct {
		ID   string
		Gone bool
		At   delivery.Position
	}
	var mu sync.Mutex
	var changes []change
	var hooks *registry.Webhooks
	hooks, err := registry.NewWebhooks(topic.cfg, "test", slog.New(slog.DiscardHandler),
		registry.OnChange(func(w webhook.Webhook, gone bool, at delivery.Position) {
			if _, there := hooks.Get(w.ID); there == gone {
				t.Errorf("change of %s at %v comes before Get shows it", w.ID, at)
			}
			mu.Lock()
			defer mu.Unlock()
			changes = append(changes, change{w.ID, gone, at})
		}))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := hooks.Get("a"); ok {
		t.Error("a webhook before anything was read")
	}
	run(t, hooks.Run, hooks.Ready())

	if w, ok := hooks.Get("a"); !ok || w.URL != "https://a2.example" || w.Version != 2 {
		t.Errorf("the last record must win: %+v", w)
	}
	if _, ok := hooks.Get("c"); ok {
		t.Error("a webhook that is gone is still there")
	}
	if !hooks.Applied(before) || hooks.Len() != 2 {
		t.Errorf("ready, but applied %v of %d webhooks", hooks.Applied(before), hooks.Len())
	}

	next := delivery.Position{Topic: before.Topic, Offset: before.Offset + 1}
	waited := make(chan error, 1)
	go func() { waited <- hooks.Wait(t.Context(), next) }()
	if hooks.Applied(next) {
		t.Error("applied what is not written yet")
	}
	if at := topic.gone("b"); at != next {
		t.Fatalf("written at %v, want %v", at, next)
	}
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	if _, ok := hooks.Get("b"); ok {
		t.Error("waited for the deletion, and it is still there")
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := hooks.Wait(ended, delivery.Position{Topic: before.Topic, Offset: 1 << 40}); !errors.Is(err, context.Canceled) {
		t.Errorf("wait after the context ended: %v", err)
	}

	mu.Lock()
	defer mu.Unlock()
	at := func(offset int64) delivery.Position { return delivery.Position{Topic: topic.name, Offset: offset} }
	want := []change{{"a", false, at(0)}, {"b", false, at(1)}, {"c", false, at(2)}, {"c", true, at(3)}, {"a", false, at(4)}, {"b", true, at(5)}}
	if d := cmp.Diff(want, changes); d != "" {
		t.Errorf("changes (-want +got):\n%s", d)
	}
}

func TestSettings(t *testing.T) {
	topic := newTopic(t, "settings")
	settings, err := registry.NewSettings(topic.cfg, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	h1, h2 := auth.Hash("dsk_1"), auth.Hash("dsk_2")
	key := func(id string, hash [32]byte) { topic.put(wire.APIKey(topic.name, tenant.APIKey{ID: id, Hash: hash})) }
	admin := func(id, tenantID string) {
		topic.put(wire.Administrator(topic.name, tenant.Administrator{ID: id, Tenant: tenantID, Email: id + "@example.com"}))
	}
	topic.put(wire.Tenant(topic.name, tenant.Tenant{ID: "acme", Name: "Acme"}))
	topic.put(wire.EventType(topic.name, tenant.EventType{Tenant: "acme", Type: "card.updated", Schema: []byte(`{"a":1}`)}))
	for _, of := range []string{"initech", "hooli"} {
		topic.put(wire.EventType(topic.name, tenant.EventType{Tenant: of, Type: "card.updated", Schema: []byte(`{}`), Example: []byte(`{}`)}))
	}
	key("k1", h1)
	admin("z", "acme")
	admin("a", "acme")
	run(t, settings.Run, settings.Ready())

	has := func(h [32]byte) string { k, _ := settings.Key(h); return k.ID }
	if got := settings.Tenant("acme"); got.Name != "Acme" || got.Open {
		t.Errorf("tenant: %+v", got)
	}
	if got := settings.Tenant("new"); got.ID != "new" || !got.Open {
		t.Errorf("a tenant that is not known: %+v", got)
	}
	if got, ok := settings.EventType("acme", "card.updated"); !ok || string(got.Schema) != `{"a":1}` || got.Example != nil {
		t.Errorf("the event type: %+v, %t", got, ok)
	}
	one, _ := settings.EventType("initech", "card.updated")
	if other, ok := settings.EventType("hooli", "card.updated"); !ok || &one.Schema[0] != &other.Schema[0] || &one.Schema[0] != &other.Example[0] {
		t.Error("equal schemas and examples are kept more than once")
	}
	if _, ok := settings.EventType("globex", "card.updated"); ok {
		t.Error("another tenant has the event type")
	}
	if has(h1) != "k1" || has(h2) != "" {
		t.Errorf("keys: %q, %q", has(h1), has(h2))
	}
	if got := settings.Administrators("acme"); len(got) != 2 || got[0].ID != "a" || got[1].ID != "z" {
		t.Errorf("administrators: %+v", got)
	}

	// A key with another hash, and an administrator with another tenant: the former ones are gone.
	key("k1", h2)
	admin("z", "globex")
	eventually(t, "the changes did not arrive", func() bool { return len(settings.Administrators("globex")) == 1 })
	if has(h1) != "" || has(h2) != "k1" || len(settings.Administrators("acme")) != 1 {
		t.Errorf("keys %q, %q; %d administrators", has(h1), has(h2), len(settings.Administrators("acme")))
	}
	// The same key under another id outlives the former one.
	key("k2", h2)
	topic.gone(wire.APIKeyKey("k1"))
	topic.gone(wire.EventTypeKey("acme", "card.updated"))
	topic.gone(wire.AdministratorKey("z"))
	topic.gone(wire.AdministratorKey("never"))
	topic.gone(wire.TenantKey("acme"))
	eventually(t, "the deletions did not arrive", func() bool { return settings.Tenant("acme").Open })
	if has(h2) != "k2" {
		t.Errorf("key %q, want k2", has(h2))
	}
	if _, ok := settings.EventType("acme", "card.updated"); ok || len(settings.Administrators("globex")) != 0 {
		t.Error("an event type or administrator that is gone is still there")
	}
}

func TestUnreadableRecordsArePassedOver(t *testing.T) {
	topic := newTopic(t, "webhooks")
	topic.put(wire.Webhook(topic.name, webhook.Webhook{ID: "a", Version: 1}))
	bad := topic.put(&kgo.Record{Topic: topic.name, Key: []byte("a"), Value: []byte("nonsense")}, nil)
	topic.put(wire.Webhook(topic.name, webhook.Webhook{ID: "b", Version: 1}))

	var got []delivery.Position
	hooks, err := registry.NewWebhooks(topic.cfg, "test", slog.New(slog.DiscardHandler),
		registry.Quarantine(func(r *kgo.Record, err error) {
			if err == nil {
				t.Error("no reason given")
			}
			got = append(got, wire.PositionOf(r))
		}))
	if err != nil {
		t.Fatal(err)
	}
	run(t, hooks.Run, hooks.Ready())
	if d := cmp.Diff([]delivery.Position{bad}, got); d != "" {
		t.Errorf("quarantined (-want +got):\n%s", d)
	}
	if w, ok := hooks.Get("a"); !ok || w.Version != 1 || hooks.Len() != 2 {
		t.Errorf("after an unreadable record: %+v, %d webhooks", w, hooks.Len())
	}
}

func TestRunWaitsForTheTopic(t *testing.T) {
	prefix := testkit.Prefix(t)
	cfg := kafka.Config{Brokers: testkit.Broker(t), TopicPrefix: prefix, RetryTiers: "1m"}
	settings, err := registry.NewSettings(cfg, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	start(t, settings.Run)
	select {
	case <-settings.Ready():
		t.Fatal("ready without the topic")
	case <-time.After(300 * time.Millisecond):
	}
	testkit.Topics(t, cfg.Brokers, 1, prefix+"settings")
	await(t, settings.Ready())
}

func TestRunEndsWhileItWaits(t *testing.T) {
	cfg := kafka.Config{Brokers: []string{"127.0.0.1:1"}, TopicPrefix: "t.", RetryTiers: "1m"}
	settings, err := registry.NewSettings(cfg, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := settings.Run(ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case <-settings.Ready():
		t.Fatal("ready without a broker")
	default:
	}
}

func BenchmarkGet(b *testing.B) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t.webhooks"))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	cfg := kafka.Config{Brokers: c.ListenAddrs(), TopicPrefix: "t.", RetryTiers: "1m"}
	hooks, err := registry.NewWebhooks(cfg, "bench", slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- hooks.Run(ctx) }()
	<-hooks.Ready()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			hooks.Get("a")
		}
	})
	cancel()
	<-ended
}
