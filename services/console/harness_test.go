package console_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/egress"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/publish"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/console"
)

// bootKey is the platform key of consoles under test.
const bootKey = "dsk_test_0123456789abcdef"

// broker is a log for one test, with its topics made: on the cluster that the environment names, else in this process.
func broker(t *testing.T) kafka.Config {
	t.Helper()
	prefix := testkit.Prefix(t)
	return withTopics(t, kafka.Config{Brokers: testkit.Broker(t), TopicPrefix: prefix, Embedded: !testkit.RealKafka()})
}

// ownLog is a log in this process, for tests that are about something else: topics for each of them would be most of what
// a cluster does.
func ownLog(t *testing.T) kafka.Config {
	t.Helper()
	return withTopics(t, kafka.Config{Brokers: testkit.EmbeddedBroker(t), TopicPrefix: "t.", Embedded: true})
}

// logBeside is a log that goes with a database: servers with PostgreSQL, in this process with SQLite.
func logBeside(t *testing.T, db sqldb.Config) kafka.Config {
	t.Helper()
	if db.SQLitePath != "" {
		return ownLog(t)
	}
	return broker(t)
}

func withTopics(t *testing.T, cfg kafka.Config) kafka.Config {
	t.Helper()
	cfg.RetryTiers = "1m,5m,60m"
	if err := kafka.Apply(t.Context(), kadm.NewClient(newClient(t, cfg)), topics(t, cfg), kafka.TopicOptions{Partitions: partitions}); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// partitions of the lanes and all that is like them: the fewest of which there are several.
const partitions = 2

func newClient(t *testing.T, cfg kafka.Config, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := cfg.NewClient("test", slog.New(slog.DiscardHandler), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func topics(t *testing.T, cfg kafka.Config) wire.Topics {
	t.Helper()
	names, err := cfg.Topics()
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// running is a console under test.
type running struct {
	t       *testing.T
	cfg     console.Config
	svc     *console.Service
	log     *lockedBuffer
	metrics *prometheus.Registry
	stop    func()
	client  http.Client
}

// lockedBuffer is the console's log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// historyOf is where the history beside a database is: in the same of PostgreSQL, in a file of its own of SQLite.
func historyOf(db sqldb.Config) sqldb.Config {
	if db.SQLitePath != "" {
		db.SQLitePath = filepath.Join(filepath.Dir(db.SQLitePath), "history.db")
	}
	return db
}

func config(t *testing.T, log kafka.Config, sql sqldb.Config) console.Config {
	return console.Config{
		Kafka: log, SQL: sql, History: historyOf(sql), HTTP: "127.0.0.1:0", BootstrapKey: bootKey, AuditKeep: 24 * time.Hour,
		Publish: publish.Config{MaxInFlight: 1000, MaxInFlightBytes: 16 << 20, Timeout: 10 * time.Second},
		Egress:  egress.Policy{AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	}
}

// start runs a console until the test ends or stop is called. If the test fails, it shows the end of the console's log.
func start(t *testing.T, cfg console.Config) *running {
	t.Helper()
	c := &running{t: t, cfg: cfg, log: &lockedBuffer{}, metrics: prometheus.NewRegistry()}
	t.Cleanup(func() {
		if log := c.log.String(); t.Failed() {
			t.Logf("log:\n%s", log[max(0, len(log)-64<<10):])
		}
	})
	svc, err := console.New(cfg, slog.New(slog.NewJSONHandler(c.log, &slog.HandlerOptions{Level: slog.LevelDebug})), c.metrics)
	if err != nil {
		t.Fatal(err)
	}
	c.svc = svc
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- svc.Run(ctx) }()
	c.stop = sync.OnceFunc(func() {
		c.client.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(c.stop)
	return c
}

// ready is start, and waits until the console is ready. It is for tests of requests and SQL.
func ready(t *testing.T) *running {
	t.Helper()
	return readyOn(t, ownLog(t))
}

// readyOn is ready for tests that look at the log.
func readyOn(t *testing.T, log kafka.Config) *running {
	t.Helper()
	c := start(t, config(t, log, sqldbtest.Any(t)))
	c.awaitReady()
	return c
}

func (c *running) awaitReady() {
	c.t.Helper()
	eventually(c.t, c.svc.Ready)
}

// patience is for what must come about, on however slow a machine; how soon, is no matter of these tests.
const patience = 40 * time.Second

// eventually waits for f to return nil.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-time.After(10 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatalf("not within %s: %v", patience, err)
}

// answer is what a request was answered.
type answer struct {
	status int
	header http.Header
	text   string
	Data   json.RawMessage
	Meta   console.Meta
	console.Problem
}

// data reads the answer's data.
func data[T any](t *testing.T, a answer) (v T) {
	t.Helper()
	if err := json.Unmarshal(a.Data, &v); err != nil {
		t.Fatalf("%v in %s", err, a.text)
	}
	return v
}

// as makes a request with a key, and further headers as name, value pairs.
func (c *running) as(key, method, path, body string, header ...string) answer {
	c.t.Helper()
	r, err := http.NewRequest(method, "http://"+c.svc.Addr()+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := c.client.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, text: string(b)}
	if strings.Contains(resp.Header.Get("Content-Type"), "json") {
		if err := json.Unmarshal(b, &a); err != nil {
			c.t.Fatalf("%s %s: %v in %s", method, path, err, b)
		}
	}
	return a
}

// do makes a request with the platform key and fails the test unless it is answered with status.
func (c *running) do(status int, method, path, body string, header ...string) answer {
	c.t.Helper()
	a := c.as(bootKey, method, path, body, header...)
	if a.status != status {
		c.t.Fatalf("%s %s: %d, want %d: %s", method, path, a.status, status, a.text)
	}
	return a
}

// create registers a webhook.
func (c *running) create(body string, header ...string) console.Webhook {
	c.t.Helper()
	return data[console.Webhook](c.t, c.do(201, "POST", "/api/v1/webhooks", body, header...))
}

// key makes an API key.
func (c *running) key(body string, header ...string) console.Key {
	c.t.Helper()
	return data[console.Key](c.t, c.do(201, "POST", "/api/v1/api-keys", body, header...))
}

// records reads what a topic holds from its start until enough says so.
func records(t *testing.T, cfg kafka.Config, topic string, enough func([]*kgo.Record) bool) []*kgo.Record {
	t.Helper()
	client := newClient(t, cfg, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(50*time.Millisecond))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var got []*kgo.Record
	for !enough(got) {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%s holds only %d records", topic, len(got))
		}
		got = append(got, fetches.Records()...)
	}
	return got
}
