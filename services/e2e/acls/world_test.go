package acls

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/doorstep-dev/doorstep/pkg/acls"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
	"github.com/doorstep-dev/doorstep/services/e2e/cluster"
)

const (
	patience = time.Minute // for what must come
	apiKey   = "dsk_acls_0123456789abcdef0123456789abcdef"
	tiers    = "1s,2s"
)

// world is a Doorstep on a Kafka with ACLs.
type world struct {
	*cluster.Cluster
	t          *testing.T
	log        string // the broker's
	dir        string // of the services' logs
	restricted string // where ACLs hold
	topics     wire.Topics
	needs      []acls.Need
	client     *kgo.Client // who may do everything
	admin      *kadm.Client
	ingest     pb.IngestServiceClient
}

// newWorld starts a Kafka, and on it all services with the ACLs of `doorstep topics acls` and further flags of it.
func newWorld(t *testing.T, flags ...string) *world {
	t.Helper()
	if os.Getenv("TEST_KAFKA") == "" && os.Getenv("TEST_REQUIRE_REAL") != "1" {
		t.Skip("TEST_KAFKA names no Kafka: embedded servers only, which have no ACLs")
	}
	redis, postgres := testkit.Redis(t), sqldbtest.Postgres(t).PostgresURL
	local, err := cluster.StartLocal("--acls", "kafka")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := local.Down(); err != nil {
			t.Error(err)
		}
	})
	program, err := cluster.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	prefix := testkit.Prefix(t)
	servers := local.Servers()
	servers.Redis, servers.Postgres = redis, postgres
	w := &world{t: t, log: filepath.Join(local.Dir, "kafka-1.log"), dir: t.TempDir(), restricted: servers.ACLs}
	w.connect(servers.Kafka, prefix)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	w.Cluster, err = cluster.Start(ctx, cluster.Config{
		Program: program, Dir: w.dir, Servers: servers, Key: apiKey, ACLs: flags,
		Env: map[string]string{
			"DOORSTEP_TOPIC_PREFIX": prefix, "DOORSTEP_REDIS_PREFIX": prefix, "DOORSTEP_RETRY_TIERS": tiers,
			"DOORSTEP_ALLOW_NETWORKS": "127.0.0.0/8", "DOORSTEP_ALLOW_HTTP": "true",
		},
	})
	t.Cleanup(func() {
		if err := w.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(w.Of("ingest")[0].Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	w.ingest = pb.NewIngestServiceClient(conn)
	return w
}

// connect signs in as nobody, who may do everything.
func (w *world) connect(broker, prefix string) {
	cfg := kafka.Config{Brokers: []string{broker}, TopicPrefix: prefix, RetryTiers: tiers}
	var err, also error
	w.topics, err = cfg.Topics()
	w.needs, also = acls.Needs(cfg)
	if err := errors.Join(err, also); err != nil {
		w.t.Fatal(err)
	}
	if w.client, err = cfg.NewClient("test", slog.New(slog.DiscardHandler), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil))); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.client.Close)
	w.admin = kadm.NewClient(w.client)
}

// publish publishes an event over gRPC.
func (w *world) publish(kind, data string) string {
	w.t.Helper()
	id, err := w.tryPublish(kind, data)
	if err != nil {
		w.t.Fatalf("publish: %v", err)
	}
	return id
}

func (w *world) tryPublish(kind, data string) (eventID string, err error) {
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(w.t.Context(), "authorization", "Bearer "+apiKey), patience)
	defer cancel()
	resp, err := w.ingest.Publish(ctx, &pb.PublishRequest{Event: &pb.Event{Type: kind, Data: []byte(data)}})
	return resp.GetEventId(), err
}

// rest makes a REST call, wants a status, and decodes the answer's data into out, if given.
func (w *world) rest(method, path string, in any, want int, out any) {
	w.t.Helper()
	if err := w.tryRest(method, path, in, want, out); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) tryRest(method, path string, in any, want int, out any) error {
	return w.REST(w.t.Context(), 0, method, path, in, want, out)
}

// eventually is testkit's, with a patience for all.
func (w *world) eventually(check func() error) {
	w.t.Helper()
	testkit.Eventually(w.t, patience, check)
}

// restart ends a service and starts it again; it is ready when this returns.
func (w *world) restart(service string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for _, p := range w.Of(service) {
		if err := errors.Join(p.Stop(), p.Start(), p.Ready(ctx)); err != nil {
			w.t.Fatal(err)
		}
	}
}

// write writes a record as nobody of Doorstep does.
func (w *world) write(r *kgo.Record) {
	w.t.Helper()
	if err := w.client.ProduceSync(w.t.Context(), r).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}

// clientOf signs in as a service.
func (w *world) clientOf(service string) *kgo.Client {
	w.t.Helper()
	cfg := kafka.Config{Brokers: []string{w.restricted}, Security: kafka.Security{SASL: "PLAIN", User: service, Password: service}}
	client, err := cfg.NewClient("test-"+service, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(client.Close)
	return client
}
