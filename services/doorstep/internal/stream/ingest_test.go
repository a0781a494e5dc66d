package stream_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/auth"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/publish"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	doorstepv1 "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
	"github.com/doorstep-dev/doorstep/proto/producer"
	"github.com/doorstep-dev/doorstep/services/doorstep/internal/stream"
	"github.com/doorstep-dev/doorstep/services/ingest"
)

const key = "dsk_producer"

// room is an ingest that is cut off and started again at one address.
type room struct {
	t   *testing.T
	cfg ingest.Config
	end func()
}

func newRoom(t *testing.T) *room {
	t.Helper()
	prefix, brokers := testkit.Prefix(t), testkit.Broker(t)
	testkit.Topics(t, brokers, 2, prefix+"events", prefix+"settings")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r := &room{t: t, cfg: ingest.Config{
		Kafka: kafka.Config{Brokers: brokers, TopicPrefix: prefix, RetryTiers: "1m"}, Addr: addr, StreamInFlight: 256, DrainTimeout: time.Millisecond,
		Publish: publish.Config{MaxInFlight: 1024, MaxInFlightBytes: 16 << 20, Timeout: 5 * time.Second},
	}}
	record, err := wire.APIKey(prefix+"settings", tenant.APIKey{ID: "k", Tenant: "acme", Hash: auth.Hash(key), Scopes: []tenant.Scope{tenant.ScopeEvents}})
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(t.Context(), record).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return r
}

// start starts it; end cuts the calls under way.
func (r *room) start() {
	r.t.Helper()
	var s *ingest.Service
	testkit.Eventually(r.t, 20*time.Second, func() (err error) { // the port may still be another's
		s, err = ingest.New(r.cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		return err
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx); err != nil {
			r.t.Error(err)
		}
	})
	r.end = func() { cancel(); running.Wait() }
}

// ids are those of the log's events by reference, each where it came first.
func (r *room) ids() map[string][]string {
	r.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(r.cfg.Kafka.Brokers...), kgo.ConsumeTopics(r.cfg.Kafka.TopicPrefix+"events"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer client.Close()
	by, seen := map[string][]string{}, map[string]bool{}
	for {
		ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Second)
		fetches := client.PollFetches(ctx)
		cancel()
		if fetches.NumRecords() == 0 {
			return by
		}
		fetches.EachRecord(func(record *kgo.Record) {
			e, err := wire.ReadEvent(record)
			if err != nil {
				r.t.Fatal(err)
			}
			if !seen[e.ID] {
				seen[e.ID] = true
				by[e.ExternalReference] = append(by[e.ExternalReference], e.ID)
			}
		})
	}
}

// An ingest that is cut off again and again while events are streamed to it loses none that it has acknowledged, and each
// reference's events stand in the log in the order in which they were sent.
func TestIngestThatIsCutOff(t *testing.T) {
	r := newRoom(t)
	r.start()
	client, err := stream.Dial(stream.Config{Address: r.cfg.Addr}, nil, key, "")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s, err := client.NewStream(producer.StreamOptions{MaxEvents: 16})
	if err != nil {
		t.Fatal(err)
	}
	const events, cuts, references = 4000, 4, 7
	want, outcomes := map[string][]string{}, map[string]int{}
	for i := range events {
		id, ref := fmt.Sprint("e", i), fmt.Sprint("card-", i%references)
		want[ref] = append(want[ref], id)
		err := s.Send(t.Context(), &doorstepv1.Event{Id: id, Type: "card.updated", ExternalReference: ref}, func(got producer.Result) {
			outcomes[got.ID]++
			if got.Err != nil {
				t.Errorf("%s: %v", got.ID, got.Err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if i%(events/cuts) == events/cuts-100 {
			r.end()
			r.start()
		}
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	r.end()
	if len(outcomes) != events {
		t.Errorf("%d outcomes", len(outcomes))
	}
	for id, n := range outcomes {
		if n != 1 {
			t.Errorf("%s has %d outcomes", id, n)
		}
	}
	got := r.ids()
	for ref, ids := range want {
		if !slices.Equal(got[ref], ids) {
			t.Errorf("%s: %d of %d events, or not in order", ref, len(got[ref]), len(ids))
		}
	}
}
