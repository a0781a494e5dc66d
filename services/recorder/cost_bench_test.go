package recorder

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// BenchmarkDelivery is what an event with one delivery and one attempt costs from the records as they are fetched
// to the rows, 10,000 events in a second of which each has 1 KiB: CPU time of this process, and the parts that
// decoding, with merging in memory, and SQL have in it.
func BenchmarkDelivery(b *testing.B) {
	for _, load := range []traffic{
		{name: "one tenant", tenants: 1, webhooks: 50, behind: 20 * time.Millisecond},
		{name: "tenants and references", tenants: 20, webhooks: 500, references: true, behind: 20 * time.Millisecond},
		{name: "attempts late", tenants: 1, webhooks: 50, behind: 300 * time.Millisecond},
		{name: "attempts late, nothing held", tenants: 1, webhooks: 50, behind: 300 * time.Millisecond, unheld: true},
	} {
		b.Run("sqlite/"+load.name, func(b *testing.B) {
			load.record(b, sqldb.Config{SQLitePath: filepath.Join(b.TempDir(), "history.db")})
		})
		b.Run("postgres/"+load.name, func(b *testing.B) { load.record(b, sqldbtest.PostgresFor(b)) })
	}
}

// traffic is 10,000 events a second, each with a delivery and an attempt that is accepted.
type traffic struct {
	name       string
	tenants    int
	webhooks   int // of all tenants in turn, each with an event type of its own
	references bool
	behind     time.Duration // of an attempt's record, measured from its delivery's
	unheld     bool          // no delivery waits for its attempt
}

const (
	between = 100 * time.Microsecond // two events
	inBatch = 1600                   // deliveries, with their events and attempts about as many records as a batch has
)

func (l traffic) record(b *testing.B, cfg sqldb.Config) {
	store, h := openHistory(b, cfg), handler{testTopics(b)}
	var decode, write time.Duration
	var rows int
	var held hold
	b.ReportAllocs()
	for i := range b.N {
		b.StopTimer()
		records := l.batch(b, h.topics, i*inBatch)
		b.StartTimer()
		began := cpuTime()
		batch, readable, faults := h.rows(records)
		if !l.unheld {
			now := l.event((i + 1) * inBatch).ReceivedAt
			held.exchange(&batch, readable, readUpTo(records, h.topics.Attempts, now), now)
		}
		decoded := cpuTime()
		if err := store.Record(b.Context(), &batch); err != nil || len(faults) > 0 {
			b.Fatal(err, faults)
		}
		decode, write = decode+decoded-began, write+cpuTime()-decoded
		rows += len(batch.Deliveries)
	}
	n := float64(b.N * inBatch)
	b.ReportMetric(float64((decode+write).Nanoseconds())/1e3/n, "cpu-µs/delivery")
	b.ReportMetric(float64(decode.Nanoseconds())/1e3/n, "decode-µs")
	b.ReportMetric(float64(write.Nanoseconds())/1e3/n, "sql-µs")
	b.ReportMetric(float64(rows)/n, "rows/delivery")
}

// cpuTime is what this process has used; of PostgreSQL it sees our side only.
func cpuTime() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// batch is the records of the events from n on and of their deliveries, and of the attempts that come meanwhile.
func (l traffic) batch(b *testing.B, topics wire.Topics, n int) []*kgo.Record {
	b.Helper()
	var records []*kgo.Record
	add := func(topic string, n int, r *kgo.Record, err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
		r.Topic, r.Partition, r.Offset = topic, int32(n%12), int64(n/12) //nolint:gosec // below 12
		r.Timestamp = l.event(n).ReceivedAt
		records = append(records, r)
	}
	for i := n; i < n+inBatch; i++ {
		e := l.event(i)
		r, err := wire.Event(topics.Events, e)
		add(topics.Events, i, r, err)
	}
	for i := n; i < n+inBatch; i++ {
		r, err := wire.Delivery(topics.Deliveries, l.delivery(i))
		add(topics.Deliveries, i, r, err)
	}
	late := int(l.behind / between)
	for i := max(0, n-late); i < n+inBatch-late; i++ {
		r, err := wire.Attempt(topics.Attempts, l.attempt(i, topics.Deliveries))
		add(topics.Attempts, i, r, err)
	}
	return records
}

func (l traffic) event(n int) event.Record {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).Add(time.Duration(n) * between)
	e := event.Record{
		Event: event.Event{
			ID:     delivery.NewRunID("", at, [8]byte{byte(n), byte(n >> 8), byte(n >> 16)}), //nolint:gosec // a UUIDv7
			Tenant: fmt.Sprintf("tenant-%d", n%l.tenants), Type: fmt.Sprintf("bench.set1.type%d", n%l.webhooks),
			Data: []byte(`{"text":"` + strings.Repeat("x", 1<<10) + `"}`),
		},
		ReceivedAt: at, IDAssigned: true, APIKeyID: "8491cf7b-8f5f-564b-ac9e-d233e3cc88d9",
	}
	if l.references {
		e.ExternalReference = fmt.Sprintf("card-%d", n/5)
	}
	return e
}

func (l traffic) delivery(n int) delivery.Delivery {
	e := l.event(n)
	webhook := uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "webhook %d", n%l.webhooks)).String()
	id := delivery.ID(e.ID, webhook)
	return delivery.Delivery{
		ID: id, Tenant: e.Tenant, EventID: e.ID, EventType: e.Type, ExternalReference: e.ExternalReference, WebhookID: webhook,
		RunID: delivery.FirstRunID(id), Cause: delivery.CauseFirst, Attempt: 1, ReceivedAt: e.ReceivedAt, Body: e.Data,
		ContentType: "application/json",
	}
}

func (l traffic) attempt(n int, lane string) delivery.Attempt {
	d := l.delivery(n)
	started := d.ReceivedAt.Add(7 * time.Millisecond)
	return delivery.Attempt{
		Kind: delivery.KindPost, DeliveryID: d.ID, RunID: d.RunID, Cause: d.Cause, Attempt: 1, Tenant: d.Tenant, WebhookID: d.WebhookID,
		WebhookGeneration: 1, EventID: d.EventID, EventType: d.EventType, Lane: lane, ReceivedAt: d.ReceivedAt,
		StartedAt: started, FinishedAt: started.Add(3 * time.Millisecond), Status: delivery.Delivered,
		Position: delivery.Position{Topic: lane, Partition: int32(n % 12), Offset: int64(n / 12)}, Instance: "sender-0", //nolint:gosec // below 12
		Outcome: delivery.Outcome{
			URL: "http://127.0.0.1:34567/fast/7", RemoteAddress: "127.0.0.1:34567", StatusCode: 200,
			RequestHeaders: []delivery.Header{
				{Name: "Content-Type", Value: "application/json"}, {Name: "User-Agent", Value: "Doorstep/1.0"},
				{Name: "Webhook-Id", Value: d.ID}, {Name: "Webhook-Timestamp", Value: "1795348800"}, {Name: "Webhook-Signature", Value: "***"},
			},
			ResponseHeaders: []delivery.Header{
				{Name: "Date", Value: "Sun, 22 Nov 2026 12:00:00 GMT"}, {Name: "Content-Length", Value: "0"},
			},
			Phases: delivery.Phases{FirstByte: 2 * time.Millisecond, Total: 3 * time.Millisecond, Reused: true},
		},
	}
}
