package matcher_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// The benchmarks tell what the matcher costs beside a bare transactional hop (bare) in turns with it, so that what
// else the machine does hits both. The log is in this process, and its CPU in both figures.

const (
	benchTenants  = 1000
	benchWebhooks = 100_000
	benchFanOut   = 10
	benchRounds   = 5
)

// produce writes a record without waiting; flush waits for all.
func (w *world) produce(r *kgo.Record, err error) {
	if err != nil {
		w.t.Fatal(err)
	}
	w.client.Produce(w.t.Context(), r, func(_ *kgo.Record, err error) {
		if err != nil {
			w.t.Error(err)
		}
	})
}

func (w *world) flush() {
	w.t.Helper()
	if err := w.client.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// webhooks registers 100,000 webhooks, of which 10 of a tenant want each of its events.
func (w *world) webhooks() {
	w.t.Helper()
	for i := range benchWebhooks {
		w.produce(wire.Webhook(w.topics.Webhooks, webhook.Webhook{
			ID: fmt.Sprintf("6f1c3f0e-5a76-4c1b-9d53-%012d", i), Tenant: fmt.Sprintf("tenant-%d", i%benchTenants), Active: true,
			URL:        fmt.Sprintf("https://hooks.example.com/receivers/%d", i),
			EventTypes: []string{fmt.Sprintf("object%d.updated", i/benchTenants%10), "order.*"}, Generation: 1,
			CreatedAt: epoch.Add(time.Duration(i) * time.Second),
		}))
	}
	w.flush()
}

// benchEvent is an event of 200 bytes of data that compresses as text does, by about half.
func benchEvent(i int) event.Record {
	random := rand.New(rand.NewPCG(1, uint64(i))) //nolint:gosec // counts up; no secret
	data := []byte(`{"id":1104,"text":"`)
	for range 11 {
		data = fmt.Appendf(data, "%016x", random.Uint64())
	}
	return event.Record{
		Event: event.Event{
			ID: fmt.Sprintf("0195a1b2-0000-7000-8000-%012d", i), Tenant: fmt.Sprintf("tenant-%d", i%benchTenants),
			Type: fmt.Sprintf("object%d.updated", i%10), OccurredAt: epoch, Data: append(data, `"}`...),
		},
		ReceivedAt: epoch, IDAssigned: true,
	}
}

// benchValues are the values of deliveries of such events, of 10 webhooks each.
func (w *world) benchValues() (values [][]byte) {
	for i := range 500 {
		e := benchEvent(i)
		for j := range benchFanOut {
			hook := fmt.Sprintf("6f1c3f0e-5a76-4c1b-9d53-%012d", 1000*i+j)
			id := delivery.ID(e.ID, hook)
			r, err := wire.Delivery(w.topics.Deliveries, delivery.Delivery{
				ID: id, Tenant: e.Tenant, EventID: e.ID, EventType: e.Type, WebhookID: hook,
				WebhookPosition: delivery.Position{Topic: w.topics.Webhooks, Offset: 1001}, EventPosition: delivery.Position{Topic: w.topics.Events, Offset: 1},
				RunID: delivery.FirstRunID(id), Cause: delivery.CauseFirst, Attempt: 1, ReceivedAt: epoch, Body: e.Data, ContentType: "application/json",
			})
			if err != nil {
				w.t.Fatal(err)
			}
			values = append(values, r.Value)
		}
	}
	return values
}

// BenchmarkMatching matches events with 100,000 webhooks over 1,000 tenants, each event with 10 of them, into an
// embedded log with its data on disk. An op is an event. Run it with -benchtime 60000x.
func BenchmarkMatching(b *testing.B) {
	w, _ := embeddedWorld(b, kfake.DataDir(b.TempDir()))
	w.cfg.Kafka.Embedded = true
	w.client.PauseFetchTopics(w.topics.Deliveries)
	w.webhooks()
	m := w.start()
	h := w.newBare(benchFanOut, w.benchValues(), 0)
	next := 0
	ours := func(n int) {
		was := m.metric(b, "doorstep_events_matched_total")
		for range n {
			w.produce(wire.Event(w.topics.Events, benchEvent(next)))
			next++
		}
		w.eventually("matched", func() bool { return m.metric(b, "doorstep_events_matched_total") == was+float64(n) })
	}
	bare := func(n int) {
		was := h.copied.Load()
		for i := range n {
			w.produce(wire.Event(h.in, benchEvent(i)))
		}
		w.eventually("copied", func() bool { return h.copied.Load() == was+int64(n) })
	}
	bare(1000)
	ours(1000)
	var mine, ceiling spent
	b.ResetTimer()
	for range benchRounds {
		ceiling.run(max(1, b.N/benchRounds), bare)
		mine.run(max(1, b.N/benchRounds), ours)
	}
	b.ReportMetric(benchFanOut*median(mine.rates), "deliveries/s")
	b.ReportMetric(benchFanOut*median(ceiling.rates), "bare-deliveries/s")
	b.ReportMetric(median(mine.rates)/median(ceiling.rates), "rate-ratio")
	b.ReportMetric(median(mine.costs)/benchFanOut, "cpu-us/delivery")
	b.ReportMetric(median(ceiling.costs)/benchFanOut, "bare-cpu-us/delivery")
	b.ReportMetric(0, "ns/op")
}

// spent is what rounds took.
type spent struct {
	rates []float64 // a second
	costs []float64 // microseconds of CPU for each
}

func (s *spent) run(n int, work func(n int)) {
	began, used := time.Now(), cpu()
	work(n)
	s.rates = append(s.rates, float64(n)/time.Since(began).Seconds())
	s.costs = append(s.costs, float64((cpu()-used).Microseconds())/float64(n))
}

func median(of []float64) float64 { return slices.Sorted(slices.Values(of))[len(of)/2] }

// BenchmarkHop publishes events at a fixed rate, at random moments, and prints how long until a reader of what is
// committed has each delivery, beside records through a bare hop, in turns. It runs on the log that the environment
// names. An op is an event. Run it with -benchtime 2000x.
func BenchmarkHop(b *testing.B) {
	for _, rate := range []int{50, 200, 1000} {
		b.Run(fmt.Sprintf("rate=%d", rate), func(b *testing.B) { benchHop(b, float64(rate)) })
	}
}

// hopTurn is how long matcher and bare hop take turns.
const hopTurn = time.Second

func benchHop(b *testing.B, rate float64) {
	w := newWorld(b)
	w.cfg.Kafka.Embedded = !testkit.RealKafka()
	w.hook("h")
	w.start()
	pause := 2 * time.Millisecond
	if w.cfg.Kafka.Embedded {
		pause = 0
	}
	h := w.newBare(1, nil, pause)
	var came arrivals
	w.reader(came.note, w.topics.Deliveries, h.out)
	event := func(topic string) func(i int) *kgo.Record {
		return func(i int) *kgo.Record {
			id := fmt.Sprint(topic, i)
			r, err := wire.Event(w.topics.Events, event.Record{
				Event:      event.Event{ID: id, Tenant: "acme", Type: "card.updated", OccurredAt: epoch, Data: []byte(`{"id":1104}`)},
				ReceivedAt: time.Now(), IDAssigned: true, TraceContext: id,
			})
			if err != nil {
				b.Fatal(err)
			}
			r.Topic = topic
			return r
		}
	}
	ours, bare := event(w.topics.Events), event(h.in)
	turn := min(b.N, int(rate*hopTurn.Seconds()))
	came.await(b, w, w.openLoop(rate, turn, -turn, ours)) // both are warm then
	came.await(b, w, w.openLoop(rate, turn, -turn, bare))
	var mine, ceiling []time.Duration
	for done := 0; done < b.N; done += turn {
		mine = append(mine, came.await(b, w, w.openLoop(rate, turn, done, ours))...)
		ceiling = append(ceiling, came.await(b, w, w.openLoop(rate, turn, done, bare))...)
	}
	for _, q := range []int{50, 99} {
		o, c := quantile(mine, q), quantile(ceiling, q)
		b.ReportMetric(o, fmt.Sprintf("p%d-ms", q))
		b.ReportMetric(c, fmt.Sprintf("bare-p%d-ms", q))
		b.ReportMetric(o/c, fmt.Sprintf("p%d-ratio", q))
	}
	b.ReportMetric(0, "ns/op")
}

// openLoop produces n records at random moments, rate a second, and returns when each was due: who is slow is not
// asked less.
func (w *world) openLoop(rate float64, n, first int, record func(i int) *kgo.Record) map[string]time.Time {
	due := make(map[string]time.Time, n)
	at := time.Now()
	for i := range n {
		at = at.Add(time.Duration(rand.ExpFloat64() / rate * float64(time.Second))) //nolint:gosec // no secret
		<-time.After(time.Until(at))
		r := record(first + i)
		due[traceOf(w.t, r)] = at
		w.produce(r, nil)
	}
	return due
}

// arrivals are when records came out, by their trace context, which is the only field that an event, its delivery
// and a copy of it all have.
type arrivals struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (a *arrivals) note(r *kgo.Record) {
	now := time.Now()
	trace := ""
	if e, err := wire.ReadEvent(r); err == nil {
		trace = e.TraceContext
	} else if d, err := wire.ReadDelivery(r); err == nil {
		trace = d.TraceContext
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.at == nil {
		a.at = map[string]time.Time{}
	}
	a.at[trace] = now
}

// await returns how long the records took once all have come.
func (a *arrivals) await(b *testing.B, w *world, due map[string]time.Time) []time.Duration {
	b.Helper()
	var took []time.Duration
	w.eventually("all there", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		took = took[:0]
		for id, at := range due {
			if came, ok := a.at[id]; ok {
				took = append(took, came.Sub(at))
			}
		}
		return len(took) == len(due)
	})
	return took
}

func traceOf(t testing.TB, r *kgo.Record) string {
	e, err := wire.ReadEvent(r)
	if err != nil {
		t.Fatal(err)
	}
	return e.TraceContext
}

// quantile is in milliseconds.
func quantile(of []time.Duration, percent int) float64 {
	of = slices.Sorted(slices.Values(of))
	return float64(of[len(of)*percent/100].Microseconds()) / 1000
}
