package ingest_test

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

func TestKafkaGoesAndComesBack(t *testing.T) {
	b := newFrailBroker(t)
	s := runReady(t, b.outage())
	publish := func(id string) error {
		_, err := s.client.Publish(as(t, acmeKey), &pb.PublishRequest{Event: card(id)})
		return err
	}
	if err := publish("before"); err != nil {
		t.Fatal(err)
	}
	stream := open(t, s, acmeKey)

	b.stop()
	start := time.Now()
	if err := publish("away"); status.Code(err) != codes.Unavailable {
		t.Fatalf("with Kafka away: %v", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("the answer took %s", took)
	}
	send(t, stream, 1, card("stream-away"))
	ack, err := stream.Recv()
	if err != nil || codes.Code(ack.GetResult().GetError().GetCode()) != codes.Unavailable { //nolint:gosec // 0 to 16
		t.Fatalf("stream with Kafka away: %v, %v", ack, err)
	}
	batch, err := s.client.PublishBatch(as(t, acmeKey), &pb.PublishBatchRequest{Events: []*pb.Event{card("batch-away")}})
	if err != nil || codes.Code(batch.GetResults()[0].GetError().GetCode()) != codes.Unavailable { //nolint:gosec // 0 to 16
		t.Fatalf("batch with Kafka away: %v, %v", batch, err)
	}
	eventually(t, "still ready", func() bool { return s.Ready() != nil })
	if h := healthOf(t, s); h != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health %s", h)
	}
	if n := s.counted("doorstep_store_failures_total"); n < 1 {
		t.Errorf("%v failures of a store counted, with Kafka away", n)
	}

	b.start()
	eventually(t, "not ready again", func() bool { return s.Ready() == nil })
	if err := publish("back"); err != nil {
		t.Fatal(err)
	}
	send(t, stream, 2, card("stream-back"))
	if ack, err := stream.Recv(); err != nil || ack.GetSequence() != 2 || ack.GetResult().GetError() != nil {
		t.Fatalf("stream with Kafka back: %v, %v", ack, err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	in := b.events(3)
	for _, id := range []string{"before", "back", "stream-back"} {
		if in[id].ID == "" {
			t.Errorf("%s was acknowledged and is not in the log", id)
		}
	}
	if n := strings.Count(s.log.String(), "events cannot be written"); n != 1 {
		t.Errorf("the outage was logged %d times", n)
	}
	if strings.Contains(s.log.String(), acmeKey) {
		t.Error("the log holds the key")
	}
}

func healthOf(t *testing.T, s *service) grpc_health_v1.HealthCheckResponse_ServingStatus {
	t.Helper()
	answer, err := grpc_health_v1.NewHealthClient(s.conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return answer.GetStatus()
}

func TestIngestStartsBeforeKafka(t *testing.T) {
	b := reserve(t)
	s := run(t, b.outage())
	_, err := s.client.Publish(as(t, acmeKey), &pb.PublishRequest{Event: card("e1")})
	if status.Code(err) != codes.Unavailable || s.Ready() == nil {
		t.Fatalf("without Kafka: %v, ready: %v", err, s.Ready())
	}
	if h := healthOf(t, s); h != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health %s", h)
	}
	b.start() // no topics yet
	if _, err := s.client.Publish(as(t, acmeKey), &pb.PublishRequest{Event: card("e1")}); status.Code(err) != codes.Unavailable {
		t.Fatalf("without topics: %v", err)
	}
	b.prepare()
	eventually(t, "never ready", func() bool { return s.Ready() == nil })
	eventually(t, "the key does not arrive", func() bool {
		_, err := s.client.Publish(as(t, acmeKey), &pb.PublishRequest{Event: card("e1")})
		return err == nil
	})
	if h := healthOf(t, s); h != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health %s", h)
	}
}

func TestStopFinishesWhatWasTaken(t *testing.T) {
	b := newFrailBroker(t)
	s := runReady(t, b.config())
	idle, busy := open(t, s, acmeKey), open(t, s, acmeKey)
	send(t, idle, 1, card("idle"))
	if _, err := idle.Recv(); err != nil {
		t.Fatal(err)
	}
	release := b.hold()
	const n = 10
	for i := range uint64(n) {
		send(t, busy, i, card(""))
	}
	answered := make(chan error, 1)
	go func() {
		_, err := s.client.Publish(as(t, acmeKey), &pb.PublishRequest{Event: card("unary")})
		answered <- err
	}()
	eventually(t, "not in flight", func() bool { return gauge(t, s.metrics, "doorstep_publish_in_flight") == n+1 })

	s.stop()
	if _, err := drainAcks(idle); status.Code(err) != codes.Unavailable {
		t.Errorf("the idle stream ends with %v", err)
	}
	eventually(t, "still ready", func() bool { return s.Ready() != nil })
	select {
	case err := <-s.ended:
		t.Fatalf("stopped with events in flight: %v", err)
	default:
	}
	release()
	acks, err := drainAcks(busy)
	if status.Code(err) != codes.Unavailable || len(acks) != n {
		t.Errorf("%d of %d acknowledged, then %v", len(acks), n, err)
	}
	for i, r := range acks {
		if r.GetError() != nil {
			t.Errorf("event %d: %v", i, r)
		}
	}
	if err := <-answered; err != nil {
		t.Errorf("the call under way: %v", err)
	}
	if err := <-s.ended; err != nil {
		t.Errorf("Run returned %v", err)
	}
	if got := b.written(); got != n+2 {
		t.Errorf("%d written, want %d", got, n+2)
	}
}

// A stop in the middle of a message acknowledges what of it was taken, and nothing else of it is.
func TestStopWithinAMessage(t *testing.T) {
	b := newFrailBroker(t)
	cfg := b.config()
	cfg.StreamInFlight = 4
	s := runReady(t, cfg)
	release := b.hold()
	stream := open(t, s, acmeKey)
	req := &pb.PublishStreamRequest{Sequence: 1}
	for range 10 {
		req.Events = append(req.Events, card(""))
	}
	if err := stream.Send(req); err != nil {
		t.Fatal(err)
	}
	idle := open(t, s, acmeKey)
	eventually(t, "not in flight", func() bool { return gauge(t, s.metrics, "doorstep_publish_in_flight") == 4 })
	s.stop()
	if _, err := drainAcks(idle); status.Code(err) != codes.Unavailable {
		t.Errorf("the idle stream ends with %v", err)
	}
	release()
	_, acks, _, err := drainAnswers(stream)
	if status.Code(err) != codes.Unavailable || int64(len(acks)) < 4 {
		t.Errorf("%d acknowledged, then %v", len(acks), err)
	}
	if err := <-s.ended; err != nil {
		t.Errorf("Run returned %v", err)
	}
	for i := uint64(1); i <= uint64(len(acks)); i++ {
		if r := acks[i]; r == nil || r.GetError() != nil {
			t.Errorf("event %d: %v", i, r)
		}
	}
	if got := b.written(); got != int64(len(acks)) {
		t.Errorf("%d written, %d acknowledged", got, len(acks))
	}
}

func TestStopIsBounded(t *testing.T) {
	b := newFrailBroker(t)
	cfg := b.config()
	cfg.Publish.Timeout, cfg.DrainTimeout = time.Minute, 200*time.Millisecond
	s := runReady(t, cfg)
	b.hold()
	ctx, cancel := context.WithCancel(as(t, acmeKey))
	defer cancel()
	answered := make(chan error, 1)
	go func() {
		_, err := s.client.Publish(ctx, &pb.PublishRequest{Event: card("e1")})
		answered <- err
	}()
	eventually(t, "not in flight", func() bool { return gauge(t, s.metrics, "doorstep_publish_in_flight") == 1 })
	s.stop()
	if err := <-answered; status.Code(err) != codes.Unavailable {
		t.Errorf("the call that was cut: %v", err)
	}
	select {
	case err := <-s.ended:
		if err != nil {
			t.Errorf("Run returned %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("still running")
	}
}

// TestEveryMethodWhileKafkaHangs: a broker that takes connections and says nothing is answered for like one that is
// gone, in time, by every method that needs it; and the log does not tell of every event.
func TestEveryMethodWhileKafkaHangs(t *testing.T) {
	brokers, network := testkit.BrokerBehind(t)
	b := &broker{t: t, cfg: kafka.Config{Brokers: brokers, TopicPrefix: "t.", RetryTiers: "1m", Embedded: true}}
	b.prepare()
	s := runReady(t, b.outage())
	needsKafka := map[string]func() error{
		"Publish": func() error {
			_, err := s.client.Publish(as(t, acmeKey), &pb.PublishRequest{Event: card("")})
			return err
		},
		"PublishBatch": func() error {
			r, err := s.client.PublishBatch(as(t, acmeKey), &pb.PublishBatchRequest{Events: []*pb.Event{card("")}})
			if e := r.GetResults(); err == nil && e[0].GetError() != nil {
				err = status.Error(codes.Code(e[0].GetError().GetCode()), e[0].GetError().GetMessage()) //nolint:gosec // 0 to 16
			}
			return err
		},
		"PublishStream": func() error {
			stream := open(t, s, acmeKey)
			send(t, stream, 1, card(""))
			ack, err := stream.Recv()
			if e := ack.GetResult().GetError(); err == nil && e != nil {
				err = status.Error(codes.Code(e.GetCode()), e.GetMessage()) //nolint:gosec // 0 to 16
			}
			return err
		},
	}
	var methods []string
	for _, m := range pb.IngestService_ServiceDesc.Methods {
		methods = append(methods, m.MethodName)
	}
	for _, m := range pb.IngestService_ServiceDesc.Streams {
		methods = append(methods, m.StreamName)
	}
	slices.Sort(methods)
	if told := slices.Sorted(maps.Keys(needsKafka)); !slices.Equal(told, methods) {
		t.Fatalf("the service has %v, this test %v", methods, told)
	}
	for name, call := range needsKafka {
		if err := call(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	network.Hang()
	var all sync.WaitGroup
	for name, call := range needsKafka {
		for range 50 {
			all.Go(func() {
				began := time.Now()
				err := call()
				if took := time.Since(began); status.Code(err) != codes.Unavailable || took > 10*time.Second {
					t.Errorf("%s: %v after %s", name, err, took)
				}
				if strings.Contains(fmt.Sprint(err), "127.0.0.1") {
					t.Errorf("%s tells an address: %v", name, err)
				}
			})
		}
	}
	all.Wait()
	eventually(t, "still ready", func() bool { return s.Ready() != nil })
	if h := healthOf(t, s); h != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health %s", h)
	}
	lines := 0
	for line := range strings.Lines(s.log.String()) {
		if !strings.Contains(line, `"level":"DEBUG"`) {
			lines++
		}
	}
	if lines > 20 {
		t.Errorf("%d lines:\n%s", lines, s.log.String())
	}
	network.Heal()
	eventually(t, "not ready again", func() bool { return s.Ready() == nil })
	for name, call := range needsKafka {
		if err := call(); err != nil {
			t.Errorf("%s with Kafka back: %v", name, err)
		}
	}
	network.Hang()
	s.stop()
	select {
	case err := <-s.ended:
		if err != nil {
			t.Errorf("Run returned %v", err)
		}
	case <-time.After(8 * time.Second): // with what is in flight
		stacks := make([]byte, 1<<20)
		t.Errorf("not stopped:\n%s", stacks[:runtime.Stack(stacks, true)])
	}
}
