package sqlhistorytest

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
)

// RunRecord runs what a database must do for the write side, on one that is new for every call of open.
func RunRecord(t *testing.T, open func(t *testing.T) sqldb.Config) {
	for name, test := range map[string]func(*testing.T, sqldb.Config){
		"in any order, and again":           anyOrder,
		"by two at once":                    twoAtOnce,
		"the same rows by two, never stuck": neverStuck,
		"with the smallest pool":            smallestPool,
		"a row comes back whole":            whole,
		"texts that no database takes":      texts,
		"what holds of webhooks":            ofWebhooks,
		"notices and quarantined are kept":  kept,
		"an empty batch":                    emptyBatch,
		"days that nobody prepared":         unprepared,
		"two prepare the same days":         prepareTogether,
		"readers go on while days are made": readersGoOn,
		"old days go":                       expire,
		"one expires, another writes":       expireElsewhere,
		"a day in use is kept for later":    expireInUse,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// openStore opens one of several Stores of a database, for one test.
func openStore(t *testing.T, cfg sqldb.Config) *sqlhistory.Store {
	t.Helper()
	s, err := sqlhistory.Open(context.Background(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// anyOrder records what was drawn twice, in some order and in batches of some sizes: the tables must hold
// what one batch of all makes of it, which is the fold of Merge.
func anyOrder(t *testing.T, cfg sqldb.Config) {
	s := openStore(t, cfg)
	rapid.Check(t, func(rt *rapid.T) {
		all := records(rt)
		for _, b := range batches(rt, append(all, all...)) {
			if err := s.Record(context.Background(), b); err != nil {
				rt.Fatal(err)
			}
		}
		for _, fault := range faults(s, batchOf(all)) {
			rt.Error(fault)
		}
	})
}

// twoAtOnce records the same by two Stores at the same time, each in an order of its own.
func twoAtOnce(t *testing.T, cfg sqldb.Config) {
	stores := []*sqlhistory.Store{openStore(t, cfg), openStore(t, cfg)}
	rapid.Check(t, func(rt *rapid.T) {
		var all []record
		for range 5 {
			all = append(all, records(rt)...)
		}
		errs := make([]error, len(stores))
		var wg sync.WaitGroup
		for i, s := range stores {
			mine := batches(rt, all)
			wg.Go(func() {
				for _, b := range mine {
					if err := s.Record(context.Background(), b); err != nil {
						errs[i] = err
						return
					}
				}
			})
		}
		wg.Wait()
		for _, err := range errs {
			if err != nil {
				rt.Fatal(err)
			}
		}
		for _, fault := range faults(stores[0], batchOf(all)) {
			rt.Error(fault)
		}
	})
}

// neverStuck records batches of many rows that overlap: whoever waits for the other's rows must not hold
// rows that the other waits for.
func neverStuck(t *testing.T, cfg sqldb.Config) {
	var all []record
	for i := range 600 {
		l := life{event: fmt.Sprint("event ", i), webhook: fmt.Sprint("webhook ", i%50), received: noon.Add(time.Duration(i%7) * time.Second)}
		run := delivery.FirstRunID(l.id())
		all = append(all, l.published, l.pending(run), l.attempt(run, delivery.KindPost, 1, delivery.Delivered), l.suspended(run, 1))
	}
	stores := []*sqlhistory.Store{openStore(t, cfg), openStore(t, cfg)}
	var wg sync.WaitGroup
	for i, s := range stores {
		wg.Go(func() {
			order := rand.New(rand.NewPCG(7, uint64(i))) //nolint:gosec // an order, the same each time
			for range 20 {
				mine := slices.Clone(all)
				order.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
				b := batchOf(mine[:len(mine)/2])
				if err := s.Record(context.Background(), &b); err != nil {
					t.Error(err)
				}
			}
			b := batchOf(all)
			if err := s.Record(context.Background(), &b); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, fault := range faults(stores[0], batchOf(all)) {
		t.Error(fault)
	}
}

// faults are the differences between the tables and what a batch says of deliveries, attempts, events,
// activities and states.
func faults(s *sqlhistory.Store, want history.Batch) (faults []string) {
	ctx := context.Background()
	add := func(what string, err error, want, got any) {
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			faults = append(faults, fmt.Sprintf("%s: %v (-want +got) %s", what, err, diff))
		}
	}
	attempts := map[string][]history.Attempt{}
	for _, a := range want.Attempts {
		attempts[a.DeliveryID] = append(attempts[a.DeliveryID], a)
	}
	for _, d := range want.Deliveries {
		got, err := s.Delivery(ctx, d.Tenant, d.ID)
		add("delivery "+d.ID, err, d, got)
		made, err := s.Attempts(ctx, d)
		add("attempts of "+d.ID, err, keyed(attempts[d.ID]), keyed(made))
	}
	for at, e := range want.Events {
		got, err := s.Event(ctx, e.Tenant, e.ID)
		add(fmt.Sprint("event at ", at), err, e, got)
	}
	for id, a := range want.Activities {
		got, err := s.Activities(ctx, []string{id})
		add("activity of "+id, err, map[string]history.Activity{id: a}, got)
	}
	for key, c := range want.ConditionErrors {
		var count int
		err := s.Read.QueryRowContext(ctx, `SELECT failures FROM webhook_condition_errors WHERE webhook_id = $1 AND counter = $2`, key.WebhookID, key.Counter).
			Scan(&count)
		add("condition errors of "+key.WebhookID, err, c.Count, count)
	}
	for id, state := range want.States {
		var got [3]int64
		err := s.Read.QueryRowContext(ctx, `SELECT generation, version, fail_streak FROM webhook_states WHERE webhook_id = $1`, id).
			Scan(&got[0], &got[1], &got[2])
		add("state of "+id, err, [3]int64{int64(state.Generation), int64(state.Version), int64(state.FailStreak)}, got) //nolint:gosec // small
	}
	return faults
}

func keyed(list []history.Attempt) map[history.AttemptKey]history.Attempt {
	m := map[history.AttemptKey]history.Attempt{}
	for _, a := range list {
		m[a.Key()] = a
	}
	return m
}

// record is one record of the log.
type record func(*history.Batch)

func batchOf(list []record) (b history.Batch) {
	for _, add := range list {
		add(&b)
	}
	return b
}

// batches are records in some order, in batches of some sizes.
func batches(t *rapid.T, of []record) (all []*history.Batch) {
	places := make([]int, len(of))
	for i := range places {
		places[i] = i
	}
	places = rapid.Permutation(places).Draw(t, "order")
	for len(places) > 0 {
		var b history.Batch
		n := rapid.IntRange(1, len(places)).Draw(t, "batch")
		for _, i := range places[:n] {
			of[i](&b)
		}
		all, places = append(all, &b), places[n:]
	}
	return all
}

// records are what the log may hold of a few events of a webhook that no other call has.
func records(t *rapid.T) (all []record) {
	webhook := uuid.NewString()
	for range rapid.IntRange(1, 3).Draw(t, "events") {
		of := life{
			event: uuid.NewString(), webhook: webhook,
			received:  noon.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "day")) * 8 * time.Hour),
			reference: rapid.SampledFrom([]string{"", "card-7"}).Draw(t, "reference"),
		}
		all = append(all, of.published)
		for range rapid.IntRange(0, 12).Draw(t, "records") {
			all = append(all, of.draw(t))
		}
	}
	for range rapid.IntRange(0, 4).Draw(t, "states") {
		g, v := rapid.Uint64Range(1, 2).Draw(t, "generation"), rapid.Uint64Range(1, 3).Draw(t, "version")
		all = append(all, func(b *history.Batch) {
			b.AddState(failure.State{WebhookID: webhook, Tenant: "acme", Generation: g, Version: v, FailStreak: int(10*g + v)}) //nolint:gosec // small
		})
	}
	return all
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 7, time.UTC)

// life is what one delivery's records share.
type life struct {
	event, webhook, reference string
	received                  time.Time
}

func (l life) id() string { return delivery.ID(l.event, l.webhook) }

func (l life) published(b *history.Batch) {
	b.AddEvent(eventRecord(l.event, l.reference, l.received), delivery.Position{Topic: "events of " + l.event, Offset: 4})
}

// draw is one of the records that a delivery may have. Records of the same key are the same.
func (l life) draw(t *rapid.T) record {
	run := rapid.SampledFrom([]string{
		delivery.FirstRunID(l.id()), "01970000-0000-7000-8000-000000000001", "01970000-0000-7000-8000-000000000002",
	}).Draw(t, "run")
	n := rapid.IntRange(1, 4).Draw(t, "attempt")
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0:
		return l.pending(run)
	case 1:
		return l.suspended(run, n)
	case 2:
		return l.attempt(run, delivery.KindDecision, n, rapid.SampledFrom([]delivery.Status{
			delivery.Pending, delivery.Cancelled, delivery.Discarded,
		}).Draw(t, "status"))
	case 3:
		return l.conditionError(time.Duration(n) * time.Second)
	default:
		return l.attempt(run, delivery.KindPost, n, rapid.SampledFrom([]delivery.Status{
			delivery.Retrying, delivery.Delivered, delivery.Exhausted,
		}).Draw(t, "status"))
	}
}

func (l life) delivery(run string, next int) delivery.Delivery {
	return delivery.Delivery{
		ID: l.id(), RunID: run, Attempt: next, ReceivedAt: l.received, Tenant: "acme", WebhookID: l.webhook,
		EventID: l.event, EventType: "card.updated", ExternalReference: l.reference, Cause: delivery.CauseRelease,
	}
}

func (l life) pending(run string) record {
	return func(b *history.Batch) {
		b.AddDelivery(l.delivery(run, 1), delivery.Position{Topic: "deliveries", Partition: 2, Offset: 3})
	}
}

func (l life) suspended(run string, next int) record {
	d := l.delivery(run, next)
	d.SuspendReason, d.SuspendedAt = delivery.SuspendDisabled, l.received.Add(time.Minute)
	return func(b *history.Batch) {
		b.AddDelivery(d, delivery.Position{Topic: "deliveries.suspended", Partition: 2, Offset: int64(next)})
	}
}

func (l life) attempt(run string, kind delivery.Kind, n int, status delivery.Status) record {
	start := l.received.Add(time.Duration(n)*time.Minute + time.Duration(status[0])*time.Second)
	a := delivery.Attempt{
		Kind: kind, DeliveryID: l.id(), RunID: run, Attempt: n, ReceivedAt: l.received, Tenant: "acme", WebhookID: l.webhook,
		EventID: l.event, EventType: "card.updated", Cause: delivery.CauseRelease, Status: status, StartedAt: start,
		FinishedAt: l.received.Add(time.Duration(n) * time.Hour), Position: delivery.Position{Topic: "deliveries", Partition: 2, Offset: 3},
	}
	if status == delivery.Delivered {
		a.Outcome.StatusCode = 204
	}
	if status == delivery.Retrying {
		a.NextAttemptAt = a.FinishedAt.Add(time.Minute)
	}
	return func(b *history.Batch) { b.AddAttempt(a) }
}

// conditionError is what the matcher says of a delivery that it did not make; after a crash it says it
// again, later.
func (l life) conditionError(after time.Duration) record {
	a := delivery.Attempt{
		Kind: delivery.KindConditionError, EventID: l.event, WebhookID: l.webhook, Tenant: "acme", EventType: "card.updated",
		ReceivedAt: l.received, StartedAt: l.received, FinishedAt: l.received.Add(after),
		Outcome: delivery.Outcome{ErrorCode: "condition", Error: after.String()},
	}
	return func(b *history.Batch) { b.AddAttempt(a) }
}
