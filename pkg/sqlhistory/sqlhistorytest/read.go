// Package sqlhistorytest is what a database must do for pkg/sqlhistory: one suite for the reads and one for
// the writes, run on SQLite always and on PostgreSQL where the environment names one; and a history to
// measure with.
package sqlhistorytest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
)

// RunRead runs what a database must do for the read side, on one that is new for every call of open.
func RunRead(t *testing.T, open func(t *testing.T) sqldb.Config) {
	for name, test := range map[string]func(*testing.T, *sqlhistory.Store){
		"filters of deliveries":                    filterDeliveries,
		"filters of events":                        filterEvents,
		"deliveries come in while they are read":   readWhileDeliveriesCome,
		"events come in while they are read":       readWhileEventsCome,
		"one time for all":                         oneTime,
		"a cursor serves its own list":             cursors,
		"a list says how many posts, and the last": lastPosts,
		"one delivery with its attempts":           oneDelivery,
		"one event with its condition errors":      oneEvent,
		"activities":                               readActivities,
		"condition errors":                         readConditionErrors,
		"suspended deliveries are counted":         countSuspended,
		"pending deliveries are counted":           countWaiting,
		"suspended deliveries are read in order":   readSuspended,
		"suspended deliveries expire":              countExpiring,
		"mails":                                    readMails,
		"notices":                                  readNotices,
		"when was mailed of webhooks":              readMailedAt,
		"what is missing":                          missing,
	} {
		t.Run(name, func(t *testing.T) { test(t, openStore(t, open(t))) })
	}
}

// draw makes rows at random, few of whose values differ, so that all filters meet many and many were received
// at one time: in two days, before and behind midnight.
type draw struct{ *rand.Rand }

func seeded(n uint64) draw { return draw{rand.New(rand.NewPCG(n, n))} } //nolint:gosec // test data

var midnight = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

var (
	drawTenants    = []string{"acme", "other"}
	drawTypes      = []string{"card.updated", "card.closed", "board.made"}
	drawReferences = []string{"", "card-1", "card-2"}
	drawStatuses   = []delivery.Status{
		delivery.Delivered, delivery.Delivered, delivery.Pending, delivery.Retrying, delivery.Exhausted, delivery.Suspended,
		delivery.Cancelled, delivery.Discarded, delivery.Capped,
	}
)

func (r draw) time() time.Time { return midnight.Add(time.Duration(r.IntN(12) - 6)) }

// webhook is one of a tenant's.
func (r draw) webhook(tenant string) string { return fmt.Sprintf("%s-webhook-%d", tenant, r.IntN(3)) }

func (r draw) delivery() history.Delivery {
	tenant := oneOf(r, drawTenants)
	d := history.Delivery{
		ReceivedAt: r.time(), ID: uuid.NewString(), Tenant: tenant, WebhookID: r.webhook(tenant),
		EventID: fmt.Sprintf("event-%d", r.IntN(5)), EventType: oneOf(r, drawTypes), ExternalReference: oneOf(r, drawReferences),
		RunID: "run", Cause: delivery.CauseFirst, Attempt: r.IntN(4), Step: int64(r.IntN(9)), Status: oneOf(r, drawStatuses),
		Position: delivery.Position{Topic: "doorstep.deliveries", Partition: 3, Offset: r.Int64N(1000)},
	}
	if d.Status != delivery.Pending {
		d.UpdatedAt = d.ReceivedAt.Add(time.Second)
	}
	return d
}

func (r draw) event(n int) history.Event {
	return history.Event{
		ReceivedAt: r.time(), ID: fmt.Sprintf("event-%d", r.IntN(40)), Tenant: oneOf(r, drawTenants), Type: oneOf(r, drawTypes),
		ExternalReference: oneOf(r, drawReferences), OccurredAt: midnight.Add(-time.Hour), APIKeyID: "key",
		Position: delivery.Position{Topic: "doorstep.events", Partition: int32(n % 3), Offset: int64(n)}, //nolint:gosec // below 3
	}
}

func oneOf[T any](r draw, of []T) T { return of[r.IntN(len(of))] }

func (r draw) deliveries(n int) []history.Delivery {
	out := make([]history.Delivery, n)
	for i := range out {
		out[i] = r.delivery()
	}
	return out
}

func (r draw) events(from, n int) []history.Event {
	out := make([]history.Event, n)
	for i := range out {
		out[i] = r.event(from + i)
	}
	return out
}

// keep writes rows as they are.
func keep(t *testing.T, s *sqlhistory.Store, deliveries []history.Delivery, attempts []history.Attempt, events []history.Event) {
	t.Helper()
	b := history.Batch{
		Deliveries: map[history.DeliveryKey]history.Delivery{}, Attempts: map[history.AttemptKey]history.Attempt{},
		Events: map[delivery.Position]history.Event{},
	}
	for _, d := range deliveries {
		b.Deliveries[d.Key()] = d
	}
	for _, a := range attempts {
		b.Attempts[a.Key()] = a
	}
	for _, e := range events {
		b.Events[e.Position] = e
	}
	if err := s.Record(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
}

// readAll reads a list to its end, page by page, with what happens between the pages.
func readAll[T any](t *testing.T, read func(context.Context, sqlhistory.Page) ([]T, string, error), p sqlhistory.Page, between func()) []T {
	t.Helper()
	var all []T
	for {
		rows, next, err := read(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) > p.Limit || (next != "" && len(rows) < p.Limit) {
			t.Fatalf("a page of %d has %d rows, and %q is next", p.Limit, len(rows), next)
		}
		all = append(all, rows...)
		if next == "" {
			return all
		}
		p.After = next
		if between != nil {
			between()
		}
	}
}

func listDeliveries(t *testing.T, s *sqlhistory.Store, f sqlhistory.DeliveryFilter, p sqlhistory.Page, between func()) []history.Delivery {
	t.Helper()
	var out []history.Delivery
	for _, d := range readAll(t, func(ctx context.Context, p sqlhistory.Page) ([]sqlhistory.ListedDelivery, string, error) {
		return s.Deliveries(ctx, f, p)
	}, p, between) {
		out = append(out, d.Delivery)
	}
	return out
}

func listEvents(t *testing.T, s *sqlhistory.Store, f sqlhistory.EventFilter, p sqlhistory.Page, between func()) []history.Event {
	t.Helper()
	return readAll(t, func(ctx context.Context, p sqlhistory.Page) ([]history.Event, string, error) {
		return s.Events(ctx, f, p)
	}, p, between)
}

// both are the two directions.
var both = map[string]sqlhistory.Page{"newest first": {}, "oldest first": {Ascending: true}}

// expected is what a list without pages would be.
func expected[T any](all []T, p sqlhistory.Page, order func(a, b T) int, has func(T) bool) []T {
	out := slices.Clone(all)
	out = slices.DeleteFunc(out, func(v T) bool { return !has(v) })
	slices.SortFunc(out, order)
	if !p.Ascending {
		slices.Reverse(out)
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func sameRows[T any](t *testing.T, name string, want, got []T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: %d rows, want %d (-want +got):\n%s", name, len(got), len(want), diff)
	}
}
