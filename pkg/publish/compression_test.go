package publish

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// BenchmarkCompression tells what each way of compressing events costs and spares: CPU for an event of who writes it, the
// in-process broker included, and of who reads it; its bytes in the log. Events are cards of about 1 KiB, each with
// values of its own. At once: 64 callers that wait for their event, or as many as the client takes.
func BenchmarkCompression(b *testing.B) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	for _, load := range []string{"64 callers", "full batches"} {
		for name, codec := range codecs {
			b.Run(load+"/"+name, func(b *testing.B) { benchCodec(b, codec, load == "64 callers") })
		}
	}
}

// sizes sums what batches take.
type sizes struct{ records, bytes atomic.Int64 }

func (s *sizes) OnProduceBatchWritten(_ kgo.BrokerMetadata, _ string, _ int32, m kgo.ProduceBatchMetrics) {
	s.records.Add(int64(m.NumRecords))
	s.bytes.Add(int64(m.CompressedBytes))
}

func benchCodec(b *testing.B, codec kgo.CompressionCodec, wait bool) {
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, "t.events"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(fake.Close)
	sum := &sizes{}
	client, err := kgo.NewClient(append(clientOptions(Config{Timeout: 5 * time.Second}), kgo.SeedBrokers(fake.ListenAddrs()...),
		kgo.ProducerBatchMaxBytes(1<<20), kgo.ProducerBatchCompression(codec), kgo.WithHooks(sum))...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(client.Close)
	records := benchRecords(b, 20_000)
	used := used()
	b.ResetTimer()
	produceAll(b, client, records, b.N, wait)
	wrote := used()
	reader, err := kgo.NewClient(kgo.SeedBrokers(fake.ListenAddrs()...), kgo.ConsumeTopics("t.events"))
	if err != nil {
		b.Fatal(err)
	}
	defer reader.Close()
	for n := 0; n < b.N; {
		n += reader.PollFetches(b.Context()).NumRecords()
	}
	read := used() - wrote
	b.ReportMetric(float64(wrote.Microseconds())/float64(b.N), "write-cpu-us/event")
	b.ReportMetric(float64(read.Microseconds())/float64(b.N), "read-cpu-us/event")
	b.ReportMetric(float64(sum.bytes.Load())/float64(sum.records.Load()), "bytes/event")
	b.ReportMetric(0, "ns/op")
}

func produceAll(b *testing.B, client *kgo.Client, records []*kgo.Record, n int, wait bool) {
	ctx := context.Background()
	var left atomic.Int64
	left.Store(int64(n))
	var callers sync.WaitGroup
	for range 64 {
		callers.Go(func() {
			for i := left.Add(-1); i >= 0; i = left.Add(-1) {
				from := records[int(i)%len(records)]
				r := &kgo.Record{Topic: from.Topic, Key: from.Key, Value: from.Value, Headers: from.Headers}
				if !wait {
					client.Produce(ctx, r, nil)
				} else if err := client.ProduceSync(ctx, r).FirstErr(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	callers.Wait()
	if err := client.Flush(ctx); err != nil {
		b.Error(err)
	}
}

// benchRecords are n events of about 1 KiB of data: cards with fields as planning tools send them.
func benchRecords(b *testing.B, n int) []*kgo.Record {
	random := rand.New(rand.NewPCG(1, 2))
	words := []string{"assembly", "order", "frame", "painting", "delivery", "north", "weld", "batch", "late", "check", "the", "of", "press", "line"}
	text := func(n int) (s string) {
		for range n {
			s += words[random.IntN(len(words))] + " "
		}
		return s
	}
	records := make([]*kgo.Record, n)
	for i := range records {
		card := map[string]any{
			"id": uuid.NewString(), "board_id": uuid.NewString(), "name": text(4), "description": text(30), "order": random.IntN(9999),
			"due_date": time.Unix(random.Int64N(1<<31), 0).UTC(), "archived": random.IntN(2) == 0, "quantity": random.Float64() * 1000,
			"checklist": []map[string]any{{"id": uuid.NewString(), "done": true, "name": text(3)}, {"id": uuid.NewString(), "done": false, "name": text(2)}},
			"labels":    []string{uuid.NewString(), uuid.NewString()}, "status": words[random.IntN(len(words))], "created_by": uuid.NewString(),
			"custom": map[string]any{"width": random.Float64(), "height": random.Float64(), "note": text(5)},
		}
		data, err := json.Marshal(card)
		if err != nil {
			b.Fatal(err)
		}
		records[i], err = wire.Event("t.events", event.Record{
			Event:      event.Event{ID: uuid.NewString(), Tenant: "acme", Type: "card.updated", ExternalReference: fmt.Sprint("card-", i), Data: data, OccurredAt: time.Now()},
			ReceivedAt: time.Now(), APIKeyID: "k",
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return records
}

// used starts a count of the CPU that the process uses.
func used() func() time.Duration {
	cpu := func() time.Duration {
		var u syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	began := cpu()
	return func() time.Duration { return cpu() - began }
}
