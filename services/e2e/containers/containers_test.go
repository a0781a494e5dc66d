package containers_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/doorstep-dev/doorstep/pkg/egress"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/signature"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
	"github.com/doorstep-dev/doorstep/services/doorstep/app"
	"github.com/doorstep-dev/doorstep/services/e2e/containers"
)

const (
	patience = 60 * time.Second
	key      = "dsk_containers_0123456789abcdef01234567"
)

// The way of an event, on the servers as their makers publish them: topics are made, a webhook is
// registered, an event fails twice at its receiver and is delivered, its repeat is not, and a second
// Doorstep with nothing but the same servers goes on where the first has stopped.
func TestDeliveryOnContainers(t *testing.T) {
	servers := containers.Start(t)
	cfg := settings(t, servers)
	applyTopics(t, cfg.Kafka)
	r := testkit.NewReceiver(t)
	r.Set("/hook", testkit.Behaviour{FailFirst: 2})

	first := start(t, cfg)
	h := first.register(t, r.URL+"/hook")
	first.awaitKey(t)
	time.Sleep(time.Second) // when the webhook is promised to be in force
	const body = "{ \"b\":1.0,\"a\" : 1e2 }"
	for range 2 { // as a producer that has missed the answer
		first.mustPublish(t, &pb.Event{Id: "event-1", Type: "card.updated", ExternalReference: "card-1", Data: []byte(body)})
	}
	got := r.Wait(t, 3, patience)
	for i, p := range got {
		h.verify(t, p)
		if string(p.Body) != body || p.Header.Get("Webhook-Id") != got[0].Header.Get("Webhook-Id") || p.Header.Get("Doorstep-Event-Id") != "event-1" {
			t.Errorf("attempt %d is another delivery than the first: %v %q", i+1, p.Header, p.Body)
		}
		if tier := time.Duration(i) * time.Second; i > 0 && p.At.Sub(got[i-1].At) < tier {
			t.Errorf("attempt %d came %s after the one before it, want %s or more", i+1, p.At.Sub(got[i-1].At), tier)
		}
	}
	first.mustPublish(t, &pb.Event{Id: "event-2", Type: "card.updated", ExternalReference: "card-1", Data: []byte(body)})
	r.Wait(t, 4, patience)
	first.stop(t) // which ends what is under way: a second delivery of event-1 would be there now
	if n := r.Count(); n != 4 {
		t.Errorf("%d POSTs for two events of which one failed twice, want 4", n)
	}
	holds(t, servers, cfg, h, 4)

	second := start(t, settings(t, servers))
	second.mustPublish(t, &pb.Event{Id: "event-3", Type: "card.updated", Data: []byte(body)})
	got = r.Wait(t, 5, patience)
	h.verify(t, got[4])
	if id := got[4].Header.Get("Doorstep-Event-Id"); id != "event-3" {
		t.Errorf("after the restart came %s, want event-3", id)
	}
	second.stop(t)
}

// What is missing skips a test, and fails one that must have its containers.
func TestWhatIsMissing(t *testing.T) {
	t.Parallel()
	said := deliveryAlone(t, "TEST_CONTAINERS=")
	if !strings.Contains(said, "--- SKIP") || !strings.Contains(said, "no containers: ") {
		t.Errorf("without anything it says %s", said)
	}
	if strings.Contains(said, "nothing is pulled") {
		return // an engine answers at its usual place, whatever the environment says
	}
	said = deliveryAlone(t, "TEST_CONTAINERS=1")
	if !strings.Contains(said, "--- FAIL") || !strings.Contains(said, "TEST_CONTAINERS=1, and there is no container engine") {
		t.Errorf("where containers are required it says %s", said)
	}
}

// deliveryAlone is what the test above says in a process of its own, whose environment names no engine and
// an image that is nowhere.
func deliveryAlone(t *testing.T, setting string) string {
	t.Helper()
	test := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run=^TestDeliveryOnContainers$")
	test.Env = append(os.Environ(), "DOCKER_HOST=unix:///nowhere/docker.sock", "TEST_IMAGE_KAFKA=doorstep.invalid/kafka", setting)
	out, _ := test.CombinedOutput() // its error is that a test has failed
	return string(out)
}

// settings are those of a Doorstep on the servers, that may call receivers of this machine.
func settings(t *testing.T, servers containers.Servers) app.Config {
	t.Helper()
	cfg, err := app.Default(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Kafka.Brokers, cfg.Redis.URL, cfg.SQL.PostgresURL = servers.Kafka, servers.Redis, servers.Postgres
	cfg.Kafka.RetryTiers = "1s,2s,3s"
	cfg.Egress = egress.Policy{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AllowHTTP: true}
	cfg.Console.BootstrapKey = key
	return cfg
}

// applyTopics makes the topics as `doorstep topics apply` does.
func applyTopics(t *testing.T, cfg kafka.Config) {
	t.Helper()
	topics, err := cfg.Topics()
	if err != nil {
		t.Fatal(err)
	}
	adm := admin(t, cfg)
	if err := kafka.Check(t.Context(), adm, topics); err == nil {
		t.Error("a new Kafka has the topics already")
	}
	if err := kafka.Apply(t.Context(), adm, topics, kafka.TopicOptions{}); err != nil {
		t.Fatal(err)
	}
}

func admin(t *testing.T, cfg kafka.Config) *kadm.Client {
	t.Helper()
	client, err := cfg.NewClient("containers", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

// holds checks that the servers, and no embedded ones, hold what the test has made: so many attempts
// in Kafka, the events seen in Redis, the webhook in PostgreSQL.
func holds(t *testing.T, servers containers.Servers, cfg app.Config, h hook, attempts int64) {
	t.Helper()
	topics, err := cfg.Kafka.Topics()
	if err != nil {
		t.Fatal(err)
	}
	ends, err := admin(t, cfg.Kafka).ListEndOffsets(t.Context(), topics.Attempts)
	if err != nil {
		t.Fatal(err)
	}
	var records int64
	ends.Each(func(o kadm.ListedOffset) { records += o.Offset })
	if records != attempts {
		t.Errorf("Kafka holds %d attempts, want %d", records, attempts)
	}

	options, err := redis.ParseURL(servers.Redis)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	keys, err := client.Keys(t.Context(), cfg.Redis.Prefix+"seen:*").Result()
	if err != nil || len(keys) != 2 {
		t.Errorf("Redis holds the keys %v, want those of two events; %v", keys, err)
	}

	db, err := sql.Open("pgx", servers.Postgres)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var url, version string
	if err := db.QueryRowContext(t.Context(), "SELECT url, current_setting('server_version') FROM webhooks WHERE id = $1", h.ID).Scan(&url, &version); err != nil {
		t.Errorf("PostgreSQL does not hold webhook %s: %v", h.ID, err)
	}
	t.Logf("PostgreSQL %s, Redis %s", version, client.InfoMap(t.Context(), "server").Item("Server", "redis_version"))
}

// doorstep is one that runs in this process.
type doorstep struct {
	app    *app.App
	grpc   *grpc.ClientConn
	cancel context.CancelFunc
	ended  chan error
}

func start(t *testing.T, cfg app.Config) *doorstep {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	a, err := app.New(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	d := &doorstep{app: a, cancel: cancel, ended: make(chan error, 1)}
	go func() { d.ended <- a.Run(ctx) }()
	t.Cleanup(func() { d.stop(t) })
	within, done := context.WithTimeout(ctx, patience)
	defer done()
	if err := a.WaitReady(within); err != nil {
		t.Fatal(err)
	}
	if d.grpc, err = grpc.NewClient(a.GRPC(), grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.grpc.Close() })
	return d
}

// stop ends it in good order. It may be called more than once.
func (d *doorstep) stop(t *testing.T) {
	t.Helper()
	d.cancel()
	if d.ended == nil {
		return
	}
	if err := <-d.ended; err != nil {
		t.Errorf("doorstep ended with %v", err)
	}
	d.ended = nil
}

func (d *doorstep) publish(t *testing.T, e *pb.Event) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
	_, err := pb.NewIngestServiceClient(d.grpc).Publish(ctx, &pb.PublishRequest{Event: e})
	return err
}

func (d *doorstep) mustPublish(t *testing.T, e *pb.Event) {
	t.Helper()
	if err := d.publish(t, e); err != nil {
		t.Fatalf("publish %s: %v", e.GetId(), err)
	}
}

// awaitKey waits until events are taken with the key: it comes through the outbox, whose first transaction
// on a new Kafka can end after the services say that they are ready.
func (d *doorstep) awaitKey(t *testing.T) {
	t.Helper()
	began := time.Now()
	testkit.Eventually(t, patience, func() error {
		return d.publish(t, &pb.Event{Type: "nobody.listens"})
	})
	t.Logf("the key was in force after %s", time.Since(began).Round(time.Millisecond))
}

// hook is a registered webhook.
type hook struct{ ID, Secret string }

func (d *doorstep) register(t *testing.T, url string) (h hook) {
	t.Helper()
	body := fmt.Sprintf(`{"url": %q, "event_types": ["card.*"]}`, url)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.app.URL()+"/api/v1/webhooks", bytes.NewBufferString(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	err = json.NewDecoder(resp.Body).Decode(&struct{ Data any }{&h})
	if err != nil || resp.StatusCode != http.StatusCreated || h.Secret == "" {
		t.Fatalf("webhook not registered: status %d, %v", resp.StatusCode, err)
	}
	return h
}

// verify checks a request's signature with the webhook's secret.
func (h hook) verify(t *testing.T, p testkit.Received) {
	t.Helper()
	secret, err := signature.ParseSecret(h.Secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := signature.Verify([]signature.Secret{secret}, signature.HeadersOf(p.Header), p.Body, time.Now(), 5*time.Minute); err != nil {
		t.Errorf("signature: %v", err)
	}
}
