package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"

	"github.com/doorstep-dev/doorstep/pkg/auth"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/publish"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/ingest"
)

// The benchmarks tell what ingest costs beside a handler that only produces: the same event (1 KiB),
// the same callers, the same in-process log. Compare their events/s in one run.

const (
	benchCallers = 64
	benchRounds  = 5
)

func benchEvent() *pb.Event {
	return &pb.Event{Id: "", Type: "card.updated", ExternalReference: "card-1", Attributes: map[string]string{"eventUser": "545"}, Data: text(1 << 10)}
}

// benchLog is an in-memory log with the topics that ingest needs, and a key.
func benchLog(b *testing.B) kafka.Config {
	b.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, "t.events"), kfake.SeedTopics(1, "t.settings"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	cfg := kafka.Config{Brokers: c.ListenAddrs(), TopicPrefix: "t.", RetryTiers: "1m"}
	client := benchClient(b, cfg)
	key, err := wire.APIKey("t.settings", tenant.APIKey{ID: "k", Tenant: "acme", Hash: auth.Hash(acmeKey), Scopes: []tenant.Scope{tenant.ScopeEvents}})
	if err != nil {
		b.Fatal(err)
	}
	if err := client.ProduceSync(b.Context(), key).FirstErr(); err != nil {
		b.Fatal(err)
	}
	return cfg
}

func benchClient(b *testing.B, cfg kafka.Config) *kgo.Client {
	b.Helper()
	client, err := cfg.NewClient("bench", slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(client.Close)
	return client
}

// benchIngest runs ingest and returns its address.
func benchIngest(b *testing.B) string {
	b.Helper()
	s, err := ingest.New(ingest.Config{
		Kafka: benchLog(b), Addr: "127.0.0.1:0", StreamInFlight: 1024, DrainTimeout: 10 * time.Second,
		Publish: publish.Config{MaxInFlight: 16384, MaxInFlightBytes: 64 << 20, Timeout: 5 * time.Second},
	}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx); err != nil {
			b.Error(err)
		}
	})
	b.Cleanup(func() { cancel(); running.Wait() })
	eventually(b, "not ready", func() bool { return s.Ready() == nil })
	return s.Addr()
}

func benchDial(b *testing.B, addr string) pb.IngestServiceClient {
	b.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	return pb.NewIngestServiceClient(conn)
}

// bare only produces the event as it comes.
type bare struct {
	pb.UnimplementedIngestServiceServer
	client *kgo.Client
}

func (s bare) Publish(ctx context.Context, req *pb.PublishRequest) (*pb.PublishResponse, error) {
	r := &kgo.Record{Topic: "t.events", Key: []byte(req.GetEvent().GetExternalReference()), Value: req.GetEvent().GetData()}
	return &pb.PublishResponse{}, s.client.ProduceSync(ctx, r).FirstErr()
}

// benchBare serves bare and returns its address.
func benchBare(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterIngestServiceServer(server, bare{client: benchClient(b, benchLog(b))})
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	b.Cleanup(func() { server.Stop(); serving.Wait() })
	return l.Addr().String()
}

// BenchmarkUnary publishes events from 64 callers, to ingest and to bare in turns. Callers, server and log are one
// process, so its CPU for an event is that of all three.
func BenchmarkUnary(b *testing.B) {
	ours, theirs := benchDial(b, benchIngest(b)), benchDial(b, benchBare(b))
	var mine, ceiling spent
	unary(b, theirs, benchCallers)
	unary(b, ours, benchCallers)
	b.ResetTimer()
	for range benchRounds {
		n := max(benchCallers, b.N/benchRounds)
		ceiling.run(n, func() { unary(b, theirs, n) })
		mine.run(n, func() { unary(b, ours, n) })
	}
	mine.report(b, &ceiling)
}

// unary publishes n events from benchCallers callers.
func unary(b *testing.B, client pb.IngestServiceClient, n int) {
	b.Helper()
	ctx := metadata.AppendToOutgoingContext(b.Context(), "authorization", "Bearer "+acmeKey)
	var left atomic.Int64
	left.Store(int64(n))
	var callers sync.WaitGroup
	for range benchCallers {
		callers.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := client.Publish(ctx, &pb.PublishRequest{Event: benchEvent()}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	callers.Wait()
}

// spent is what rounds took.
type spent struct {
	rates []float64 // events a second
	costs []float64 // microseconds of CPU for each
}

func (s *spent) run(n int, work func()) {
	began, used := time.Now(), cpu()
	work()
	s.rates = append(s.rates, float64(n)/time.Since(began).Seconds())
	s.costs = append(s.costs, float64((cpu()-used).Microseconds())/float64(n))
}

// report prints medians, and their ratios to a ceiling of the same run.
func (s *spent) report(b *testing.B, ceiling *spent) {
	b.ReportMetric(median(s.rates), "events/s")
	b.ReportMetric(median(s.costs), "cpu-us/event")
	b.ReportMetric(0, "ns/op")
	if ceiling == nil {
		return
	}
	b.ReportMetric(median(s.rates)/median(ceiling.rates), "rate-ratio")
	b.ReportMetric(median(ceiling.costs), "bare-cpu-us/event")
	b.ReportMetric(median(ceiling.costs)/median(s.costs), "cpu-ratio")
}

func median(of []float64) float64 { return slices.Sorted(slices.Values(of))[len(of)/2] }

// cpu is what the process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkStream(b *testing.B) {
	for _, streams := range []int{1, 4} {
		for _, events := range []int{1, 4, 14, 28, 64, 256} { // a message
			b.Run(fmt.Sprintf("streams=%d/events=%d", streams, events), func(b *testing.B) { benchStreams(b, streams, events) })
		}
	}
}

func benchStreams(b *testing.B, streams, events int) {
	client := benchDial(b, benchIngest(b))
	var mine spent
	each := max(1, b.N/benchRounds/streams/events) * events
	b.ResetTimer()
	for range benchRounds {
		mine.run(each*streams, func() {
			var all sync.WaitGroup
			for range streams {
				all.Go(func() { stream(b, client, each, events) })
			}
			all.Wait()
		})
	}
	mine.report(b, nil)
}

// stream publishes n events on a stream, so many a message, and reads their acknowledgements.
func stream(b *testing.B, client pb.IngestServiceClient, n, events int) {
	ctx := metadata.AppendToOutgoingContext(b.Context(), "authorization", "Bearer "+acmeKey)
	call, err := client.PublishStream(ctx)
	if err != nil {
		b.Error(err)
		return
	}
	var sending sync.WaitGroup
	sending.Go(func() {
		for i := 0; i < n; i += events {
			req := &pb.PublishStreamRequest{Sequence: uint64(i)} //nolint:gosec // counts up
			for range events {
				req.Events = append(req.Events, benchEvent())
			}
			if events == 1 {
				req.Event, req.Events = req.Events[0], nil
			}
			if err := call.Send(req); err != nil {
				b.Error(err)
				return
			}
		}
		if err := call.CloseSend(); err != nil {
			b.Error(err)
		}
	})
	got, answers, err := countAcks(call)
	if err != nil || got != n {
		b.Errorf("%d of %d acknowledged, %v", got, n, err)
	}
	b.ReportMetric(float64(n)/float64(max(1, answers)), "acks/answer")
	sending.Wait()
}

// countAcks reads to the end of the stream.
func countAcks(stream publishStream) (n, answers int, err error) {
	for {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return n, answers, nil
		}
		if err != nil {
			return n, answers, err
		}
		answers++
		results := []*pb.PublishResult{answer.GetResult()}
		if acks := answer.GetAcknowledgements(); len(acks) > 0 {
			results = results[:0]
			for _, a := range acks {
				results = append(results, a.GetResult())
			}
		}
		for _, r := range results {
			if e := r.GetError(); e != nil {
				return n, answers, errors.New(e.GetMessage())
			}
			n++
		}
	}
}
