package ingest_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"

	"github.com/doorstep-dev/doorstep/pkg/auth"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/publish"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/ingest"
)

// A proxy that is closed while it hands a buffer on leaves that goroutine behind; it is the tests' own.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*NoopToxic).Pipe"))
}

// The keys that every log of these tests knows.
const (
	platformKey = "dsk_platform"
	acmeKey     = "dsk_acme"
	closedKey   = "dsk_closed" // of a tenant whose catalogue holds card.updated only
	readerKey   = "dsk_reader" // without the scope
	expiredKey  = "dsk_expired"
)

// broker is a log with what ingest needs in it. Tests have one of their own and run side by side.
type broker struct {
	t   *testing.T
	cfg kafka.Config
}

// newBroker is the log that the environment names, else an embedded one.
func newBroker(t *testing.T) *broker {
	t.Helper()
	t.Parallel()
	prefix := testkit.Prefix(t)
	b := &broker{t: t, cfg: kafka.Config{
		Brokers: testkit.Broker(t), TopicPrefix: prefix, RetryTiers: "1m", Embedded: !testkit.RealKafka(),
	}}
	b.prepare()
	return b
}

// frailBroker is a log that hangs, is lost and comes back, as it is told: an embedded one always.
type frailBroker struct {
	broker
	port int
	dir  string
	fake *kfake.Cluster
}

func newFrailBroker(t *testing.T) *frailBroker {
	t.Helper()
	b := reserve(t)
	b.start()
	b.prepare()
	return b
}

// reserve is a broker that is not there yet.
func reserve(t *testing.T) *frailBroker {
	t.Helper()
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	b := &frailBroker{port: port, dir: t.TempDir(), broker: broker{t: t, cfg: kafka.Config{
		Brokers: []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}, TopicPrefix: "t.", RetryTiers: "1m", Embedded: true,
	}}}
	t.Cleanup(b.stop)
	return b
}

func (b *frailBroker) start() {
	b.t.Helper()
	var err error
	if b.fake, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(b.port), kfake.DataDir(b.dir)); err != nil {
		b.t.Fatal(err)
	}
}

// It comes back on the same port, with its data.
func (b *frailBroker) stop() {
	if b.fake != nil {
		b.fake.Close()
		b.fake = nil
	}
}

// hold keeps all produce requests waiting until release is called.
func (b *frailBroker) hold() (release func()) {
	gate := make(chan struct{})
	b.fake.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.fake.KeepControl()
		b.fake.SleepControl(func() { <-gate })
		return nil, nil, false
	})
	release = sync.OnceFunc(func() { close(gate) })
	b.t.Cleanup(release)
	return release
}

// prepare makes the topics, the tenants and the keys.
func (b *broker) prepare() {
	b.t.Helper()
	b.with(func(ctx context.Context, c *kgo.Client, topics wire.Topics) error {
		return kafka.Apply(ctx, kadm.NewClient(c), topics, kafka.TopicOptions{Partitions: kafka.EmbeddedPartitions})
	})
	events := []tenant.Scope{tenant.ScopeEvents}
	b.key(tenant.APIKey{ID: "platform", Hash: auth.Hash(platformKey), Scopes: events})
	b.key(tenant.APIKey{ID: "acme", Tenant: "acme", Hash: auth.Hash(acmeKey), Scopes: events})
	b.key(tenant.APIKey{ID: "closed", Tenant: "closed", Hash: auth.Hash(closedKey), Scopes: events})
	b.key(tenant.APIKey{ID: "reader", Hash: auth.Hash(readerKey), Scopes: []tenant.Scope{tenant.ScopeWebhooks}})
	b.key(tenant.APIKey{ID: "expired", Hash: auth.Hash(expiredKey), Scopes: events, ExpiresAt: time.Now().Add(-time.Hour)})
	b.produce(func(t wire.Topics) (*kgo.Record, error) {
		return wire.Tenant(t.Settings, tenant.Tenant{ID: "closed"})
	})
	b.produce(func(t wire.Topics) (*kgo.Record, error) {
		return wire.EventType(t.Settings, tenant.EventType{Tenant: "closed", Type: "card.updated"})
	})
}

func (b *broker) key(k tenant.APIKey) {
	b.t.Helper()
	b.produce(func(t wire.Topics) (*kgo.Record, error) { return wire.APIKey(t.Settings, k) })
}

func (b *broker) produce(record func(wire.Topics) (*kgo.Record, error)) {
	b.t.Helper()
	b.with(func(ctx context.Context, c *kgo.Client, topics wire.Topics) error {
		r, err := record(topics)
		if err != nil {
			return err
		}
		return c.ProduceSync(ctx, r).FirstErr()
	})
}

func (b *broker) with(do func(context.Context, *kgo.Client, wire.Topics) error, opts ...kgo.Opt) {
	b.t.Helper()
	topics, err := b.cfg.Topics()
	if err != nil {
		b.t.Fatal(err)
	}
	client, err := b.cfg.NewClient("test", slog.New(slog.DiscardHandler), opts...)
	if err != nil {
		b.t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	if err := do(ctx, client, topics); err != nil {
		b.t.Fatal(err)
	}
}

// records returns the first n records of a topic.
func (b *broker) records(topic string, n int) []*kgo.Record {
	b.t.Helper()
	var got []*kgo.Record
	b.with(func(ctx context.Context, c *kgo.Client, _ wire.Topics) error {
		for len(got) < n {
			fetches := c.PollFetches(ctx)
			if err := fetches.Err0(); err != nil {
				return err
			}
			got = append(got, fetches.Records()...)
		}
		return nil
	}, kgo.ConsumeTopics(topic))
	return got
}

// events returns n events of the log by their ids.
func (b *broker) events(n int) map[string]event.Record {
	b.t.Helper()
	got := map[string]event.Record{}
	for _, r := range b.records(b.cfg.TopicPrefix+"events", n) {
		e, err := wire.ReadEvent(r)
		if err != nil {
			b.t.Fatal(err)
		}
		got[e.ID] = e
	}
	return got
}

// written is how many events the log has.
func (b *broker) written() (n int64) {
	b.t.Helper()
	b.with(func(ctx context.Context, c *kgo.Client, topics wire.Topics) error {
		ends, err := kadm.NewClient(c).ListEndOffsets(ctx, topics.Events)
		ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
		return err
	})
	return n
}

// service is a running ingest.
type service struct {
	*ingest.Service
	t       *testing.T
	client  pb.IngestServiceClient
	conn    *grpc.ClientConn
	metrics *prometheus.Registry
	stop    func()     // tells it to stop
	ended   chan error // what Run returned
	log     *logBuffer
}

// outage is config with little patience, for a log that goes away.
func (b *broker) outage() ingest.Config {
	cfg := b.config()
	cfg.Publish.Timeout = time.Second
	return cfg
}

func (b *broker) config() ingest.Config {
	return ingest.Config{
		Kafka: b.cfg, Addr: "127.0.0.1:0", StreamInFlight: 64, DrainTimeout: 10 * time.Second,
		Publish: publish.Config{MaxInFlight: 1024, MaxInFlightBytes: 16 << 20, Timeout: 10 * time.Second},
	}
}

// run starts ingest; it is stopped when the test ends.
func run(t *testing.T, cfg ingest.Config) *service {
	t.Helper()
	s := &service{t: t, metrics: prometheus.NewRegistry(), ended: make(chan error, 1), log: &logBuffer{}}
	var err error
	log := slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if s.Service, err = ingest.New(cfg, log, s.metrics); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ended <- s.Run(ctx)
	}()
	s.conn, err = grpc.NewClient(s.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	s.client = pb.NewIngestServiceClient(s.conn)
	t.Cleanup(func() {
		s.stop()
		if err := s.conn.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return s
}

// counted is what a counter says, all its labels together.
func (s *service) counted(name string) (sum float64) {
	s.t.Helper()
	families, err := s.metrics.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// runReady is run, and waits until it is ready.
func runReady(t *testing.T, cfg ingest.Config) *service {
	t.Helper()
	s := run(t, cfg)
	eventually(t, "not ready", func() bool { return s.Ready() == nil })
	return s
}

// as is a context with a key, and perhaps more metadata.
func as(t *testing.T, key string, more ...string) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	if key != "" {
		more = append(more, "authorization", "Bearer "+key)
	}
	return metadata.AppendToOutgoingContext(ctx, more...)
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

// logBuffer is a log that tests read.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

var _ io.Writer = (*logBuffer)(nil)

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
