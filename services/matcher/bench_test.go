package matcher_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// BenchmarkMatching matches a backlog of events of 200 bytes of data with 100,000 webhooks over 1,000 tenants,
// each event with 10 of them, into an embedded log with its data on disk. Run it with -benchtime 20000x.
func BenchmarkMatching(b *testing.B) {
	w, _ := embeddedWorld(b, kfake.DataDir(b.TempDir()))
	w.cfg.Kafka.Embedded = true
	put := func(r *kgo.Record, err error) {
		if err != nil {
			b.Fatal(err)
		}
		w.client.Produce(b.Context(), r, func(_ *kgo.Record, err error) {
			if err != nil {
				b.Error(err)
			}
		})
	}
	w.client.PauseFetchTopics(w.topics.Deliveries)
	for i := range 100_000 {
		put(wire.Webhook(w.topics.Webhooks, webhook.Webhook{
			ID: fmt.Sprintf("6f1c3f0e-5a76-4c1b-9d53-%012d", i), Tenant: fmt.Sprintf("tenant-%d", i%1000), Active: true,
			EventTypes: []string{fmt.Sprintf("object%d.updated", i/1000%10), "order.*"}, Generation: 1, CreatedAt: epoch.Add(time.Duration(i) * time.Second),
		}))
	}
	data := []byte(`{"id":1104,"text":"` + fmt.Sprintf("%0180d", 1) + `"}`)
	for i := range b.N {
		put(wire.Event(w.topics.Events, event.Record{
			Event: event.Event{
				ID: fmt.Sprintf("0195a1b2-0000-7000-8000-%012d", i), Tenant: fmt.Sprintf("tenant-%d", i%1000),
				Type: fmt.Sprintf("object%d.updated", i%10), OccurredAt: epoch, Data: data,
			},
			ReceivedAt: epoch, IDAssigned: true,
		}))
	}
	if err := w.client.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	began := time.Now()
	m := w.start()
	ready := time.Since(began)
	w.eventually("matched", func() bool { return m.metric(b, "doorstep_events_matched_total") == float64(b.N) })
	b.ReportMetric(m.metric(b, "doorstep_deliveries_matched_total")/(time.Since(began)-ready).Seconds(), "deliveries/s")
	b.ReportMetric(m.metric(b, "doorstep_deliveries_matched_total")/float64(b.N), "deliveries/event")
	b.ReportMetric(ready.Seconds(), "s-to-ready")
}
