package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/egress"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/signature"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
	"github.com/doorstep-dev/doorstep/services/doorstep/app"
	"github.com/doorstep-dev/doorstep/services/e2e/cluster"
)

// patience bounds every wait for something to happen.
const patience = 45 * time.Second

// world is a Doorstep under test, wherever it runs.
type world struct {
	t          *testing.T
	url        string
	kafka      kafka.Config // of the log
	grpc       *grpc.ClientConn
	restart    func()                              // stops the whole and starts it again on the same data; nil: it is not ours
	kill       func(service string) (start func()) // ends the processes of a service with SIGKILL; nothing where it has none
	emptyRedis func()                              // nil: it is not ours
	smtp       bool                                // administrators are mailed by the server of TEST_SMTP, into the mailboxes under TEST_MAIL
}

// tiers are the retry delays of a Doorstep under test.
const tiers = "1s,2s,3s"

// start is a Doorstep for one test, with settings that let it call receivers of this machine. Where it
// runs is said by E2E_RUNNER:
//
//	(empty)    in this process, on embedded servers
//	processes  a process for each service, on the servers that TEST_KAFKA, TEST_REDIS and TEST_POSTGRES name
//	addresses  at E2E_URL and E2E_GRPC, with the platform key E2E_KEY, the tiers above, loopback allowed,
//	           and its log at TEST_KAFKA under the default prefix
func start(t *testing.T) *world {
	t.Helper()
	switch runner := os.Getenv("E2E_RUNNER"); runner {
	case "":
		return inProcess(t)
	case "processes":
		return processes(t)
	case "addresses":
		t.Log("servers: those given")
		w := connect(t, os.Getenv("E2E_URL"), os.Getenv("E2E_GRPC"), logAt(os.Getenv("TEST_KAFKA"), "doorstep."))
		return w
	default:
		t.Fatalf("E2E_RUNNER=%s: want nothing, processes or addresses", runner)
		return nil
	}
}

// apiKey is the platform key of a Doorstep under test.
func apiKey() string {
	if key := os.Getenv("E2E_KEY"); key != "" {
		return key
	}
	return "dsk_e2e_0123456789abcdef0123456789abcdef"
}

func logAt(brokers, prefix string) kafka.Config {
	return kafka.Config{Brokers: strings.Split(brokers, ","), TopicPrefix: prefix, RetryTiers: tiers}
}

// inProcess runs Doorstep in this process, on embedded servers, until the test ends.
func inProcess(t *testing.T) *world {
	t.Helper()
	cfg, err := app.Default(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Egress = egress.Policy{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AllowHTTP: true}
	cfg.Console.BootstrapKey = apiKey()
	cfg.Kafka.RetryTiers = tiers
	a, stop := run(t, cfg)
	t.Log("servers: embedded, in process")
	w := connect(t, a.URL(), a.GRPC(), a.Kafka())
	w.restart = func() {
		stop()
		again, _ := run(t, cfg)
		*w = world{t: t, url: again.URL(), kafka: again.Kafka(), grpc: dial(t, again.GRPC()), restart: w.restart, kill: w.kill}
	}
	return w
}

// run runs an app until stop is called or the test ends.
func run(t *testing.T, cfg app.Config) (a *app.App, stop func()) {
	t.Helper()
	return runLogged(t, cfg, slog.New(slog.DiscardHandler))
}

// runLogged is run with a log.
func runLogged(t *testing.T, cfg app.Config, log *slog.Logger) (a *app.App, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	a, err := app.New(ctx, cfg, log)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("doorstep ended with %v", err)
		}
	})
	t.Cleanup(stop)
	ready, done := context.WithTimeout(ctx, patience)
	defer done()
	if err := a.WaitReady(ready); err != nil {
		t.Fatal(err)
	}
	return a, stop
}

// built is the program, built once for all tests.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "doorstep-e2e-")
	if err != nil {
		return "", err
	}
	return cluster.Build(dir)
})

// processes runs a process for each service on real servers, under a topic prefix, Redis prefix and
// SQL schema of its own.
func processes(t *testing.T) *world {
	t.Helper()
	servers, ok := cluster.FromEnv()
	if !ok {
		t.Fatal("E2E_RUNNER=processes: TEST_KAFKA, TEST_REDIS and TEST_POSTGRES must name servers")
	}
	servers.Postgres = sqldbtest.Postgres(t).PostgresURL
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	prefix := testkit.Prefix(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	env := map[string]string{
		"DOORSTEP_TOPIC_PREFIX": prefix, "DOORSTEP_REDIS_PREFIX": prefix, "DOORSTEP_RETRY_TIERS": tiers,
		"DOORSTEP_ALLOW_NETWORKS": "127.0.0.0/8", "DOORSTEP_ALLOW_HTTP": "true",
		"DOORSTEP_SMTP_URL": os.Getenv("TEST_SMTP"), "DOORSTEP_SMTP_CA_FILE": os.Getenv("TEST_SMTP_CA"),
	}
	c, err := cluster.Start(ctx, cluster.Config{Program: bin, Dir: t.TempDir(), Servers: servers, Key: apiKey(), Env: env})
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Log("servers: Kafka, Redis and PostgreSQL as given; a process for each service")
	w := connect(t, "http://"+c.Of("console")[0].Addr, c.Of("ingest")[0].Addr, logAt(servers.Kafka, prefix))
	w.smtp = env["DOORSTEP_SMTP_URL"] != ""
	w.emptyRedis = func() { testkit.DeleteKeys(t, servers.Redis, prefix) }
	w.kill = func(service string) func() {
		for _, p := range c.Of(service) {
			p.Kill()
		}
		return func() {
			for _, p := range c.Of(service) {
				if err := p.Start(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	w.restart = func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
		for _, p := range c.Processes {
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := c.Ready(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// connect is a world at addresses.
func connect(t *testing.T, url, grpcAddr string, log kafka.Config) *world {
	t.Helper()
	return &world{t: t, url: url, kafka: log, grpc: dial(t, grpcAddr), kill: func(string) func() { return func() {} }}
}

func dial(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// publish publishes an event over gRPC and returns its id.
func (w *world) publish(e *pb.Event) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+apiKey())
	resp, err := pb.NewIngestServiceClient(w.grpc).Publish(ctx, &pb.PublishRequest{Event: e})
	return resp.GetEventId(), err
}

func (w *world) mustPublish(e *pb.Event) string {
	w.t.Helper()
	id, err := w.publish(e)
	if err != nil {
		w.t.Fatalf("publish: %v", err)
	}
	return id
}

// rest makes a REST call, with further headers as name, value pairs, and decodes the answer's data into out, if given.
func (w *world) rest(method, path string, in, out any, header ...string) int {
	w.t.Helper()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			w.t.Fatal(err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, w.url+"/api/v1/"+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+apiKey())
	req.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if out != nil && resp.StatusCode < 300 {
		if err := json.Unmarshal(b, &struct{ Data any }{out}); err != nil {
			w.t.Fatalf("%s %s: %v in %s", method, path, err, b)
		}
	}
	if resp.StatusCode >= 400 {
		w.t.Logf("%s %s: %d %s", method, path, resp.StatusCode, b)
	}
	return resp.StatusCode
}

// hook is a registered webhook.
type hook struct {
	ID     string `json:"id"`
	Secret string `json:"secret"`
}

// register registers a webhook for url; fields add to or replace what it sends.
func (w *world) register(url string, fields map[string]any) hook {
	w.t.Helper()
	in := map[string]any{"url": url, "event_types": []string{"*"}}
	maps.Copy(in, fields)
	var h hook
	if status := w.rest(http.MethodPost, "webhooks", in, &h); status != http.StatusCreated {
		w.t.Fatalf("webhook not registered: status %d", status)
	}
	return h
}

// inForce returns when every change of a tenant or webhook made before it is in force, which is promised within a second
// on a machine that has time: a tenant and a webhook that are made last, and have nothing to do with the others, are.
func (w *world) inForce() (took time.Duration) {
	w.t.Helper()
	began := time.Now()
	of, r := "probe-"+strings.ToLower(rand.Text()), testkit.NewReceiver(w.t)
	in := map[string]any{"id": of, "payload": map[string]any{"format": "standard"}}
	if status := w.rest(http.MethodPost, "tenants", in, nil); status != http.StatusCreated {
		w.t.Fatalf("tenant of a probe: %d", status)
	}
	in = map[string]any{"url": r.URL + "/", "event_types": []string{"probe"}}
	if status := w.rest(http.MethodPost, "webhooks", in, nil, "Doorstep-Tenant", of); status != http.StatusCreated {
		w.t.Fatalf("webhook of a probe: %d", status)
	}
	testkit.Eventually(w.t, patience, func() error {
		if _, err := w.publish(&pb.Event{Tenant: of, Type: "probe", Data: []byte(`{}`)}); err != nil {
			return err
		}
		for _, got := range r.Requests() {
			if strings.HasPrefix(string(got.Body), `{"type":"probe"`) { // in the tenant's format
				return nil
			}
		}
		return errors.New("what was changed is not in force")
	})
	return time.Since(began)
}

// attempts are the attempts that stand in the log, of one webhook.
func (w *world) attempts(h hook) []delivery.Attempt {
	w.t.Helper()
	topics, err := w.kafka.Topics()
	if err != nil {
		w.t.Fatal(err)
	}
	client, err := w.kafka.NewClient("e2e", slog.New(slog.DiscardHandler), kgo.ConsumeTopics(topics.Attempts),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(20*time.Millisecond))
	if err != nil {
		w.t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topics.Attempts)
	if err != nil {
		w.t.Fatal(err)
	}
	left := map[int32]bool{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = true
		}
	})
	var out []delivery.Attempt
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			w.t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			a, err := wire.ReadAttempt(r)
			if err != nil {
				w.t.Fatal(err)
			}
			if a.WebhookID == h.ID {
				out = append(out, a)
			}
			if end, _ := ends.Lookup(r.Topic, r.Partition); r.Offset+1 >= end.Offset {
				delete(left, r.Partition)
			}
		})
	}
	return out
}

// settled waits until the last of n attempts of a webhook has the given status.
func (w *world) settled(h hook, n int, status delivery.Status) []delivery.Attempt {
	w.t.Helper()
	var got []delivery.Attempt
	testkit.Eventually(w.t, patience, func() error {
		got = w.attempts(h)
		if len(got) != n || got[n-1].Status != status {
			return fmt.Errorf("%d attempts of %d, the last not %s: %+v", len(got), n, status, got)
		}
		return nil
	})
	return got
}

// to waits for n requests to a path of a receiver.
func to(t *testing.T, r *testkit.Receiver, path string, n int) []testkit.Received {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		if got := len(r.RequestsTo(path)); got < n {
			return fmt.Errorf("%d requests to %s, want %d", got, path, n)
		}
		return nil
	})
	return r.RequestsTo(path)
}

// verify checks a request's signature with the webhook's secret.
func verify(t *testing.T, h hook, r testkit.Received) {
	t.Helper()
	secret, err := signature.ParseSecret(h.Secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := signature.Verify([]signature.Secret{secret}, signature.HeadersOf(r.Header), r.Body, time.Now(), 5*time.Minute); err != nil {
		t.Errorf("signature: %v", err)
	}
}
