package sqlhistorytest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
)

func eventRecord(id, reference string, at time.Time) event.Record {
	return event.Record{
		Event:      event.Event{ID: id, Tenant: "acme", Type: "card.updated", OccurredAt: at.Add(-time.Second), ExternalReference: reference},
		ReceivedAt: at, APIKeyID: "key",
	}
}

// onDay is an event with its delivery and one attempt, received some days after noon's day.
func onDay(days int) (life, *history.Batch) {
	l := life{event: uuid.NewString(), webhook: uuid.NewString(), received: noon.AddDate(0, 0, days)}
	b := batchOf([]record{
		l.published, l.pending(delivery.FirstRunID(l.id())),
		l.attempt(delivery.FirstRunID(l.id()), delivery.KindPost, 1, delivery.Delivered),
	})
	return l, &b
}

func mustRecord(t *testing.T, s *sqlhistory.Store, b *history.Batch) {
	t.Helper()
	if err := s.Record(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

// has reports whether anything of a life is there; it fails if only a part of it is.
func has(t *testing.T, s *sqlhistory.Store, l life) bool {
	t.Helper()
	d, err := s.Delivery(t.Context(), "acme", l.id())
	if err != nil && !errors.Is(err, sqldb.ErrNotFound) {
		t.Fatal(err)
	}
	there := err == nil
	if _, err := s.Event(t.Context(), "acme", l.event); (err == nil) != there {
		t.Errorf("delivery: %t, but its event: %v", there, err)
	}
	d.ReceivedAt, d.ID = l.received, l.id()
	if made, err := s.Attempts(t.Context(), d); (len(made) == 1) != there || err != nil {
		t.Errorf("delivery: %t, but %d attempts, %v", there, len(made), err)
	}
	return there
}

func emptyBatch(t *testing.T, cfg sqldb.Config) {
	mustRecord(t, openStore(t, cfg), &history.Batch{})
}

func unprepared(t *testing.T, cfg sqldb.Config) {
	s := openStore(t, cfg)
	for _, day := range []int{0, -3, 400, 0} {
		l, b := onDay(day)
		mustRecord(t, s, b)
		if !has(t, s, l) {
			t.Errorf("day %d is not there", day)
		}
	}
}

func prepareTogether(t *testing.T, cfg sqldb.Config) {
	stores := []*sqlhistory.Store{openStore(t, cfg), openStore(t, cfg), openStore(t, cfg)}
	var wg sync.WaitGroup
	for _, s := range stores {
		wg.Go(func() {
			if err := s.Prepare(t.Context(), noon, noon.AddDate(0, 0, 5)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for day := range 6 {
		l, b := onDay(day)
		mustRecord(t, stores[day%3], b)
		if !has(t, stores[0], l) {
			t.Errorf("day %d is not there", day)
		}
	}
}

// smallestPool holds that nothing of the write side needs two connections at once, beside the outbox's lock.
func smallestPool(t *testing.T, cfg sqldb.Config) {
	cfg.MaxConnections = 2
	s := openStore(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 12 {
		_, b := onDay(1 + i/3)
		wg.Go(func() {
			if err := s.Record(ctx, b); err != nil {
				t.Error(err)
			}
			if _, err := s.Expire(ctx, noon); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := rows(t, s, "deliveries"); n != 12 {
		t.Errorf("%d deliveries, want 12", n)
	}
}

// readersGoOn makes days under a reader whose transaction is open, and then has it read on.
func readersGoOn(t *testing.T, cfg sqldb.Config) {
	s := openStore(t, cfg)
	_, b := onDay(0)
	mustRecord(t, s, b)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tx, err := s.Read.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback() //nolint:errcheck // it has written nothing
	count := func() (n int) {
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM deliveries`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := count(); n != 1 {
		t.Fatalf("%d deliveries", n)
	}
	for day := range 3 {
		_, b := onDay(day)
		if err := s.Record(ctx, b); err != nil {
			t.Fatal(err)
		}
	}
	count()
}

func expire(t *testing.T, cfg sqldb.Config) {
	s := openStore(t, cfg)
	var lives []life
	var again []*history.Batch
	for day := range 4 {
		l, b := onDay(day)
		lives, again = append(lives, l), append(again, b)
		mustRecord(t, s, b)
	}
	_, other := onDay(0)
	for _, d := range other.Deliveries { // of another tenant, first in no index
		d.Tenant = "zenith"
		b := history.Batch{Deliveries: map[history.DeliveryKey]history.Delivery{d.Key(): d}}
		mustRecord(t, s, &b)
	}
	var b history.Batch
	for day := range 4 {
		at := noon.AddDate(0, 0, day)
		b.AddNotice(failure.Notice{ID: uuid.NewString(), Kind: failure.NoticeWarning, RaisedAt: at})
		b.AddQuarantined(history.Quarantined{Position: delivery.Position{Topic: "events", Offset: int64(day)}, Reader: "matcher", At: at})
	}
	mustRecord(t, s, &b)

	gone, err := s.Expire(t.Context(), noon.AddDate(0, 0, 2).Add(-time.Hour)) // day 2 has begun
	want := int64(2*3 + 1 + 2*2)                                              // rows
	if s.Postgres() {
		want = 2*3 + 2*2 // partitions, and rows of the tables without
	}
	if gone != want || err != nil {
		t.Errorf("%d are gone, %v, want %d", gone, err, want)
	}
	for day, l := range lives {
		if there := has(t, s, l); there != (day >= 2) {
			t.Errorf("day %d: %t", day, there)
		}
	}
	if left := rows(t, s, "notices") + rows(t, s, "quarantine"); left != 4 {
		t.Errorf("%d notices and quarantined are left, want 4", left)
	}
	for _, b := range again {
		mustRecord(t, s, b)
	}
	if has(t, s, lives[0]) || has(t, s, lives[1]) || !has(t, s, lives[2]) || s.Late() != 2*3 {
		t.Errorf("expired days came back, or %d rows were late, want 6", s.Late())
	}
	if gone, err := s.Expire(t.Context(), noon.AddDate(0, 0, 1)); gone != 0 || err != nil { // a clock that goes back
		t.Errorf("expired again: %d are gone, %v", gone, err)
	}
}

func expireElsewhere(t *testing.T, cfg sqldb.Config) {
	one, other := openStore(t, cfg), openStore(t, cfg)
	first, b := onDay(0)
	mustRecord(t, one, b)
	if gone, err := other.Expire(t.Context(), noon.AddDate(0, 0, 1)); gone != 3 || err != nil {
		t.Fatalf("%d are gone, %v, want 3", gone, err)
	}
	second, b := onDay(0)
	mustRecord(t, one, b)
	if has(t, one, first) || !has(t, one, second) {
		t.Error("what was expired is there, or what came after it is not")
	}
	if gone, err := one.Expire(t.Context(), noon.AddDate(0, 0, 1)); gone != 3 || err != nil {
		t.Errorf("%d are gone, %v, want 3", gone, err)
	}
}

// expireInUse expires a day that a reader is reading.
func expireInUse(t *testing.T, cfg sqldb.Config) {
	s := openStore(t, cfg)
	l, b := onDay(0)
	mustRecord(t, s, b)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tx, err := s.Read.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback() //nolint:errcheck // it has written nothing
	var n int
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM deliveries`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Expire(ctx, noon.AddDate(0, 0, 1)); (err == nil) == s.Postgres() {
		t.Errorf("while it is read: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Expire(ctx, noon.AddDate(0, 0, 1)); err != nil || has(t, s, l) {
		t.Errorf("later: %v", err)
	}
}

func rows(t *testing.T, s *sqlhistory.Store, table string) (n int) {
	t.Helper()
	if err := s.Read.QueryRowContext(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
