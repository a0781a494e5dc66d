package e2e

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/doorstep-dev/doorstep/pkg/credentials"
	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/egress"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/redisstate"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/services/console"
	"github.com/doorstep-dev/doorstep/services/doorstep/app"
	"github.com/doorstep-dev/doorstep/services/matcher"
	"github.com/doorstep-dev/doorstep/services/sender"
)

// TestSealingKeysRotate walks through the order in which operators bring sealing keys in and replace them: new last, then
// first, then the old one away, consoles and senders one after another. At each step, with every sender that may run
// then beside the console, every webhook of every step before is sent to, signed with its secret and with its header.
func TestSealingKeysRotate(t *testing.T) {
	t.Parallel()
	f := newSealedFleet(t)
	for _, step := range []struct {
		console []string
		senders [][]string // each alone
	}{
		{nil, [][]string{nil, {"k1"}}},
		{[]string{"k1"}, [][]string{{"k1"}, {"k1", "k2"}}},
		{[]string{"k1", "k2"}, [][]string{{"k1", "k2"}, {"k2", "k1"}}},
		{[]string{"k2", "k1"}, [][]string{{"k1", "k2"}, {"k2", "k1"}}},
		{[]string{"k2", "k1"}, [][]string{{"k2"}}}, // now that the console has said that k1 may go
		{[]string{"k2"}, [][]string{{"k2"}}},
	} {
		f.openConsole(step.console)
		f.register()
		f.awaitSealed(append(step.console, webhook.PlainKeyID)[0])
		for _, keys := range step.senders {
			f.deliver(fmt.Sprintf("console %v, sender %v", step.console, keys), keys)
		}
	}
	for _, h := range f.hooks {
		for _, a := range f.w.attempts(h.hook) {
			if a.Status != delivery.Delivered || a.Attempt != 1 {
				t.Errorf("%s: attempt %d: %s, %s", h.path, a.Attempt, a.Status, a.Outcome.Error)
			}
		}
	}
}

// sealedFleet is a matcher, and a console and a sender that are started anew with other sealing keys.
type sealedFleet struct {
	t        *testing.T
	w        *world
	cfg      app.Config
	receiver *testkit.Receiver
	stop     func() // the console
	hooks    []sealedHook
	events   int
}

// sealedHook is a webhook with what its receiver expects.
type sealedHook struct {
	hook
	path string
	got  int
}

func newSealedFleet(t *testing.T) *sealedFleet {
	t.Helper()
	cfg, err := app.Default(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	prefix := testkit.Prefix(t)
	log := kafka.Config{Brokers: testkit.Broker(t), TopicPrefix: prefix, RetryTiers: tiers, Embedded: !testkit.RealKafka()}
	redis := redisstate.Config{URL: testkit.Redis(t), Prefix: prefix}
	topics, err := log.Topics()
	if err != nil {
		t.Fatal(err)
	}
	client, err := log.NewClient("e2e", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := kafka.Apply(t.Context(), kadm.NewClient(client), topics, kafka.TopicOptions{Partitions: kafka.EmbeddedPartitions}); err != nil {
		t.Fatal(err)
	}
	policy := egress.Policy{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AllowHTTP: true}
	cfg.Console.Kafka, cfg.Console.SQL, cfg.Console.Egress, cfg.Console.BootstrapKey = log, sqldbtest.Any(t), policy, apiKey()
	cfg.Matcher.Kafka, cfg.Matcher.Redis = log, redis
	cfg.Sender.Kafka, cfg.Sender.Redis, cfg.Sender.Egress = log, redis, policy
	f := &sealedFleet{t: t, w: &world{t: t, kafka: log}, cfg: cfg, receiver: testkit.NewReceiver(t), stop: func() {}}
	m, err := matcher.New(cfg.Matcher, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	f.start(m)
	return f
}

// start runs a service until stop is called or the test ends.
func (f *sealedFleet) start(s interface {
	Run(ctx context.Context) error
	Ready() error
}) (stop func()) {
	f.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			f.t.Errorf("a service ended with %v", err)
		}
	})
	f.t.Cleanup(stop)
	testkit.Eventually(f.t, patience, s.Ready)
	return stop
}

// sealingKeys are settings with keys of those ids, always the same for one id.
func sealingKeys(ids []string) (s credentials.SealingKeys) {
	for _, id := range ids {
		s.Keys += id + ":" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(id, 16))) + ","
	}
	return s
}

func (f *sealedFleet) openConsole(keys []string) {
	f.t.Helper()
	f.stop()
	cfg := f.cfg.Console
	cfg.Sealing = sealingKeys(keys)
	s, err := console.New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		f.t.Fatal(err)
	}
	f.stop = f.start(s)
	f.w.url = "http://" + s.Addr()
}

// awaitSealed waits until every webhook is sealed with the key in force, on the log too: then the console says that other
// keys may go.
func (f *sealedFleet) awaitSealed(key string) {
	f.t.Helper()
	store, err := sqlstore.Open(f.t.Context(), f.cfg.Console.SQL, slog.New(slog.DiscardHandler))
	if err != nil {
		f.t.Fatal(err)
	}
	defer store.Close()
	testkit.Eventually(f.t, patience, func() error {
		all, err := store.WebhooksOfAll(f.t.Context(), "", 100)
		if err != nil {
			return err
		}
		for _, w := range all {
			if w.Headers[0].Value.KeyID != key || w.SigningKeys[0].Secret.KeyID != key {
				return fmt.Errorf("webhook %s is not sealed with %s", w.ID, key)
			}
		}
		waiting, err := store.Changes(f.t.Context(), 1)
		if err == nil && len(waiting) > 0 {
			err = errors.New("changes wait to be written to the log")
		}
		return err
	})
}

// written is how much the matcher has written.
func (f *sealedFleet) written() (n int64) {
	f.t.Helper()
	topics, err := f.w.kafka.Topics()
	if err != nil {
		f.t.Fatal(err)
	}
	client, err := f.w.kafka.NewClient("e2e", slog.New(slog.DiscardHandler))
	if err != nil {
		f.t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(f.t.Context(), topics.Deliveries)
	if err != nil {
		f.t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n
}

func (f *sealedFleet) register() {
	f.t.Helper()
	path := fmt.Sprintf("/%d", len(f.hooks))
	h := f.w.register(f.receiver.URL+path, map[string]any{"headers": map[string]string{"Authorization": "Bearer of " + path}})
	f.hooks = append(f.hooks, sealedHook{hook: h, path: path})
	// No sender runs that could tell when it is in force: the matcher's first delivery for a webhook that is made last does.
	in := map[string]any{"url": f.receiver.URL + "/probe", "event_types": []string{"probe"}, "headers": map[string]string{"Authorization": "Bearer of /probe"}}
	probe := []string{"Doorstep-Tenant", "probe-" + strings.ToLower(rand.Text())}
	if status := f.w.rest(http.MethodPost, "webhooks", in, nil, probe...); status != http.StatusCreated {
		f.t.Fatalf("webhook of a probe: %d", status)
	}
	before := f.written()
	testkit.Eventually(f.t, patience, func() error {
		if status := f.w.rest(http.MethodPost, "events", map[string]any{"type": "probe"}, nil, probe...); status != http.StatusAccepted {
			return fmt.Errorf("publish: %d", status)
		}
		if f.written() == before {
			return errors.New("nothing is matched")
		}
		return nil
	})
}

// deliver publishes an event and waits until a sender with those keys has sent it to every webhook.
func (f *sealedFleet) deliver(step string, keys []string) {
	f.t.Helper()
	cfg := f.cfg.Sender
	cfg.Sealing = sealingKeys(keys)
	s, err := sender.New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		f.t.Fatal(err)
	}
	defer f.start(s)()
	f.events++
	event := map[string]any{"id": fmt.Sprintf("e-%d", f.events), "type": "card.updated", "data": map[string]any{"n": f.events}}
	if status := f.w.rest(http.MethodPost, "events", event, nil); status != http.StatusAccepted {
		f.t.Fatalf("%s: publish answered %d", step, status)
	}
	for i := range f.hooks {
		h := &f.hooks[i]
		h.got++
		last := to(f.t, f.receiver, h.path, h.got)[h.got-1]
		verify(f.t, h.hook, last)
		if got := last.Header.Get("Authorization"); got != "Bearer of "+h.path {
			f.t.Errorf("%s: %s got the header %q", step, h.path, got)
		}
	}
}
