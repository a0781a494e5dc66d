package recorder

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// made and tried are the records of a delivery and of its first attempt, written that long after epoch.
func made(t testing.TB, n int, after time.Duration) *kgo.Record {
	t.Helper()
	id := delivery.ID(fmt.Sprintf("e-%d", n), "hook")
	r, err := wire.Delivery(testTopics(t).Deliveries, delivery.Delivery{
		ID: id, Tenant: "acme", EventID: fmt.Sprintf("e-%d", n), EventType: "card.updated", ExternalReference: "card-1", WebhookID: "hook",
		RunID: delivery.FirstRunID(id), Cause: delivery.CauseFirst, Attempt: 1, ReceivedAt: epoch,
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Offset, r.Timestamp = int64(n), epoch.Add(after)
	return r
}

func tried(t testing.TB, n int, after time.Duration) *kgo.Record {
	t.Helper()
	id := delivery.ID(fmt.Sprintf("e-%d", n), "hook")
	at := epoch.Add(after)
	r, err := wire.Attempt(testTopics(t).Attempts, delivery.Attempt{
		Kind: delivery.KindPost, DeliveryID: id, RunID: delivery.FirstRunID(id), Cause: delivery.CauseFirst, Attempt: 1, Tenant: "acme",
		EventID: fmt.Sprintf("e-%d", n), EventType: "card.updated", WebhookID: "hook", ReceivedAt: epoch, StartedAt: at, FinishedAt: at,
		Status: delivery.Delivered, Position: delivery.Position{Topic: testTopics(t).Deliveries, Offset: int64(n)},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Offset, r.Timestamp = int64(n), at
	return r
}

func TestHold(t *testing.T) {
	const ms = time.Millisecond
	type step struct {
		records     []*kgo.Record
		at          time.Duration // by the clock
		rows, holds int           // deliveries that are written, and that are held then
	}
	for name, steps := range map[string][]step{
		"an attempt in the same batch":  {{[]*kgo.Record{made(t, 1, 0), tried(t, 1, ms)}, 2 * ms, 1, 0}},
		"an attempt before":             {{[]*kgo.Record{tried(t, 1, ms)}, 2 * ms, 1, 0}, {[]*kgo.Record{made(t, 1, 0)}, 3 * ms, 0, 1}, {nil, 300 * ms, 1, 0}},
		"an attempt in the next batch":  {{[]*kgo.Record{made(t, 1, 0)}, 2 * ms, 0, 1}, {[]*kgo.Record{tried(t, 1, ms)}, 3 * ms, 1, 0}},
		"no attempt, nothing more":      {{[]*kgo.Record{made(t, 1, 0)}, 2 * ms, 0, 1}, {nil, 60 * ms, 0, 1}, {nil, 250 * ms, 1, 0}},
		"no attempt, more of others":    {{[]*kgo.Record{made(t, 1, 0)}, 2 * ms, 0, 1}, {[]*kgo.Record{made(t, 2, 245*ms)}, 251 * ms, 1, 1}},
		"behind: attempts are read yet": {{[]*kgo.Record{made(t, 1, 0)}, time.Second, 0, 1}, {[]*kgo.Record{tried(t, 2, 249*ms)}, 1100 * ms, 1, 1}},
		"behind: attempts were read":    {{[]*kgo.Record{made(t, 1, 0)}, time.Second, 0, 1}, {[]*kgo.Record{tried(t, 2, 250*ms)}, 1100 * ms, 2, 0}},
		"behind: the oldest attempt counts": {
			{[]*kgo.Record{made(t, 1, 0)}, time.Second, 0, 1}, {[]*kgo.Record{tried(t, 2, 900*ms), tried(t, 3, 100*ms)}, 1500 * ms, 2, 1},
		},
		"behind: for too long": {{[]*kgo.Record{made(t, 1, 0)}, time.Second, 0, 1}, {[]*kgo.Record{tried(t, 2, 100*ms)}, 3 * time.Second, 2, 0}},
		"the same twice":       {{[]*kgo.Record{made(t, 1, 0), made(t, 1, ms)}, 2 * ms, 0, 1}, {[]*kgo.Record{made(t, 1, 2*ms)}, 3 * ms, 1, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			var held hold
			h := handler{testTopics(t)}
			for i, s := range steps {
				now := epoch.Add(s.at)
				batch, readable, faults := h.rows(s.records)
				if len(faults) > 0 {
					t.Fatal(faults)
				}
				readable = held.exchange(&batch, readable, readUpTo(s.records, h.topics.Attempts, now), now)
				if len(batch.Deliveries) != s.rows || len(held.records()) != s.holds {
					t.Fatalf("batch %d: %d deliveries are written and %d held, want %d and %d", i+1, len(batch.Deliveries), len(held.records()), s.rows, s.holds)
				}
				// What SQL refuses is looked for by the records: they say all that is written.
				again, _, _ := h.rows(readable)
				for key, d := range batch.Deliveries {
					if again.Deliveries[key] != d {
						t.Errorf("batch %d: its records say\n%+v, want\n%+v", i+1, again.Deliveries[key], d)
					}
				}
			}
		})
	}
}

func TestHoldHasRoom(t *testing.T) {
	var held hold
	h := handler{testTopics(t)}
	records := make([]*kgo.Record, holdRecords+10)
	for i := range records {
		records[i] = made(t, i, 0)
	}
	batch, readable, _ := h.rows(records)
	left := held.exchange(&batch, readable, epoch, epoch)
	if len(left) != 10 || len(batch.Deliveries) != 10 || len(held.records()) != holdRecords {
		t.Errorf("%d records and %d rows are written, %d held", len(left), len(batch.Deliveries), len(held.records()))
	}
}

func TestWhatIsHeldIsNotCommitted(t *testing.T) {
	topic := testTopics(t).Deliveries
	at := func(offsets ...int64) (out []*kgo.Record) {
		for _, o := range offsets {
			out = append(out, &kgo.Record{Topic: topic, Offset: o})
		}
		return out
	}
	g := &group{places: map[place]*written{}}
	committed := func() int64 {
		o := g.uncommitted()
		g.committed(o)
		return o[topic][0].Offset
	}
	mine := map[string][]int32{topic: {0}}
	g.assigned(t.Context(), nil, mine)
	for i, s := range []struct {
		read, held []*kgo.Record
		want       int64 // offset that is committed; 0: none is
	}{
		{at(5, 6, 7), at(6), 6},
		{at(8, 9), at(6, 9), 0},
		{nil, at(9), 9},
		{nil, nil, 10},
		{at(10), at(10), 0},
	} {
		g.note(s.read, s.held)
		if got := committed(); got != s.want {
			t.Fatalf("step %d: %d is committed, want %d", i+1, got, s.want)
		}
	}
	// The partition went to another recorder, which has read what is held here, and came back.
	g.lost(t.Context(), nil, mine)
	g.assigned(t.Context(), nil, mine)
	g.note(nil, at(10))
	if got := committed(); got != 0 {
		t.Errorf("nothing is read since the partition came back, and %d is committed", got)
	}
	g.note(at(50, 51), at(10))
	if got := committed(); got != 52 {
		t.Errorf("%d is committed, want 52", got)
	}
}

// A recorder that is killed while it holds rows reads their records again.
func TestKilledWhileHolding(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, cfg sqldb.Config) {
		w := newWorld(t, cfg)
		killed := w.make()
		killed.store.Store(w.store)
		g, err := newGroup(killed.cfg, killed.handler.read(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		records := []*kgo.Record{made(t, 1, 0), made(t, 2, 0), made(t, 3, 0)}
		for _, r := range records {
			r.Topic = w.topics.Deliveries
		}
		w.write(records...)
		var held hold
		for len(held.records()) < len(records) {
			read, _, err := g.follow(t.Context(), 50, time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			if err := killed.take(t.Context(), t.Context(), read, &held); err != nil {
				t.Fatal(err)
			}
			g.finish(t.Context(), read, held.records())
		}
		g.close()
		if rows := dump(t, w.store); len(rows) > 0 {
			t.Fatalf("held, and yet written: %v", rows)
		}
		r := w.start()
		if n := count(w.recorded(), "deliveries"); n != len(records) {
			t.Errorf("%d deliveries, want %d", n, len(records))
		}
		w.committed(r)
	})
}
