package sqlhistory_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
)

// BenchmarkRecord writes deliveries with one attempt each, 5,000 in a batch: both in the same batch, as a
// recorder that catches up reads them, and the delivery some batches before its attempt, as on a busy day.
func BenchmarkRecord(b *testing.B) {
	for _, tt := range []struct {
		name  string
		apart int
	}{{"together", 0}, {"apart", 2}} {
		b.Run("sqlite/"+tt.name, func(b *testing.B) {
			benchmarkRecord(b, sqldb.Config{SQLitePath: filepath.Join(b.TempDir(), "history.db")}, tt.apart)
		})
		b.Run("postgres/"+tt.name, func(b *testing.B) { benchmarkRecord(b, sqldbtest.PostgresFor(b), tt.apart) })
	}
}

func benchmarkRecord(b *testing.B, cfg sqldb.Config, apart int) {
	const size = 5000
	s, err := sqlhistory.Open(b.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	var spent, cpu time.Duration
	for i := range b.N {
		b.StopTimer()
		var batch history.Batch
		for n := i * size; n < (i+1)*size; n++ {
			d, at := madeDelivery(n)
			batch.AddDelivery(d, at)
			if m := n - apart*size; m >= 0 {
				batch.AddAttempt(madeAttempt(m))
			}
		}
		b.StartTimer()
		start, used := time.Now(), cpuTime()
		if err := s.Record(b.Context(), &batch); err != nil {
			b.Fatal(err)
		}
		spent, cpu = spent+time.Since(start), cpu+cpuTime()-used
	}
	n := float64(b.N * size)
	b.ReportMetric(n/spent.Seconds(), "deliveries/s")
	b.ReportMetric(float64(spent.Microseconds())/n, "µs/delivery")
	b.ReportMetric(float64(cpu.Microseconds())/n, "cpu-µs/delivery")
}

// cpuTime is what this process has used; of PostgreSQL it sees our side only.
func cpuTime() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// madeDelivery is a delivery of 20 tenants with 25 webhooks each, 10,000 in a second.
func madeDelivery(n int) (delivery.Delivery, delivery.Position) {
	tenant := fmt.Sprintf("tenant-%d", n%20)
	received := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).Add(time.Duration(n) * 100 * time.Microsecond)
	webhook := uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "%s %d", tenant, n/20%25)).String()
	event := fmt.Sprintf("%08x-%04x-7000-8000-%012x", received.UnixMilli()>>16, received.UnixMilli()&0xffff, n) // like UUIDv7
	id := delivery.ID(event, webhook)
	return delivery.Delivery{
		ID: id, Tenant: tenant, EventID: event, EventType: fmt.Sprintf("card.updated_%d", n%7),
		ExternalReference: fmt.Sprintf("card-%d", n/5), WebhookID: webhook,
		RunID: delivery.FirstRunID(id), Cause: delivery.CauseFirst, Attempt: 1, ReceivedAt: received,
	}, delivery.Position{Topic: "doorstep.deliveries", Partition: int32(n % 12), Offset: int64(n / 12)} //nolint:gosec // below 12
}

// madeAttempt is its attempt, accepted but for every tenth.
func madeAttempt(n int) delivery.Attempt {
	d, at := madeDelivery(n)
	started := d.ReceivedAt.Add(7 * time.Millisecond)
	a := delivery.Attempt{
		Kind: delivery.KindPost, DeliveryID: d.ID, RunID: d.RunID, Cause: d.Cause, Attempt: 1, Tenant: d.Tenant, WebhookID: d.WebhookID,
		WebhookGeneration: 1, EventID: d.EventID, EventType: d.EventType, Lane: at.Topic, ReceivedAt: d.ReceivedAt,
		StartedAt: started, FinishedAt: started.Add(42 * time.Millisecond), Status: delivery.Delivered, Position: at, Instance: "sender-0",
		Outcome: delivery.Outcome{
			URL: "https://hooks.example.com/doorstep/card-updates", RemoteAddress: "203.0.113.7:443", StatusCode: 200,
			RequestHeaders: []delivery.Header{
				{Name: "Content-Type", Value: "application/json"}, {Name: "User-Agent", Value: "Doorstep/1.0"},
				{Name: "Webhook-Id", Value: d.ID}, {Name: "Webhook-Timestamp", Value: "1795348800"}, {Name: "Webhook-Signature", Value: "***"},
			},
			ResponseHeaders: []delivery.Header{
				{Name: "Content-Type", Value: "application/json; charset=utf-8"}, {Name: "Date", Value: "Sun, 22 Nov 2026 12:00:00 GMT"},
				{Name: "Server", Value: "nginx"}, {Name: "Content-Length", Value: "15"},
			},
			ResponseBody: []byte(`{"status":"ok"}`),
			Phases:       delivery.Phases{FirstByte: 41 * time.Millisecond, Total: 42 * time.Millisecond, Reused: true},
		},
	}
	if n%10 == 9 {
		a.Status, a.NextAttemptAt = delivery.Retrying, a.FinishedAt.Add(time.Minute)
		a.Outcome.StatusCode, a.Outcome.ErrorCode, a.Outcome.Error = 503, "status", "The receiver answered 503 Service Unavailable."
	}
	return a
}
