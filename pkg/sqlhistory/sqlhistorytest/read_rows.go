package sqlhistorytest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
)

// attemptsOf are posts and decisions of a delivery in several runs, in the order of time.
func (r draw) attemptsOf(d history.Delivery) []history.Attempt {
	var out []history.Attempt
	at := d.ReceivedAt
	for range r.IntN(5) {
		at = at.Add(time.Duration(1 + r.IntN(1000)))
		a := delivery.Attempt{
			Kind: delivery.KindPost, DeliveryID: d.ID, RunID: oneOf(r, []string{"run-1", "run-2"}), Cause: delivery.CauseFirst, Attempt: r.IntN(4) + 1,
			Tenant: d.Tenant, WebhookID: d.WebhookID, EventID: d.EventID, EventType: d.EventType, Lane: "doorstep.deliveries",
			ReceivedAt: d.ReceivedAt, StartedAt: at, FinishedAt: at.Add(time.Second), Status: oneOf(r, drawStatuses), Instance: "sender-0",
			Outcome: delivery.Outcome{URL: "https://example.com", StatusCode: 503, ErrorCode: "status", Error: "It answered 503."},
		}
		if r.IntN(4) == 0 {
			a.Kind, a.Outcome = delivery.KindDecision, delivery.Outcome{}
		}
		out = append(out, history.Attempt{Attempt: a})
	}
	return out
}

func lastPosts(t *testing.T, s *sqlhistory.Store) {
	r := seeded(7)
	deliveries := r.deliveries(100)
	of := map[string][]history.Attempt{}
	for _, d := range deliveries {
		of[d.ID] = r.attemptsOf(d)
		keep(t, s, nil, of[d.ID], nil)
	}
	keep(t, s, deliveries, nil, nil)
	counts := map[int]bool{}
	for _, got := range readAllListed(t, s, sqlhistory.DeliveryFilter{Tenant: "acme"}) {
		posts := slices.DeleteFunc(slices.Clone(of[got.ID]), func(a history.Attempt) bool { return a.Kind != delivery.KindPost })
		var want sqlhistory.ListedDelivery
		if want.Attempts = len(posts); len(posts) > 0 {
			want.LastAttempt = posts[len(posts)-1]
		}
		want.Delivery = got.Delivery
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("delivery %s (-want +got):\n%s", got.ID, diff)
		}
		counts[len(posts)] = true
	}
	if len(counts) < 4 {
		t.Errorf("deliveries had %v posts only", counts)
	}
}

func readAllListed(t *testing.T, s *sqlhistory.Store, f sqlhistory.DeliveryFilter) []sqlhistory.ListedDelivery {
	t.Helper()
	rows, _, err := s.Deliveries(t.Context(), f, sqlhistory.Page{Limit: 500})
	if err != nil || len(rows) == 0 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	return rows
}

func oneDelivery(t *testing.T, s *sqlhistory.Store) {
	r := seeded(8)
	deliveries := r.deliveries(40)
	for _, d := range deliveries {
		attempts := r.attemptsOf(d)
		keep(t, s, []history.Delivery{d}, attempts, nil)
		got, err := s.Delivery(t.Context(), d.Tenant, d.ID)
		if err != nil || got != d {
			t.Errorf("%+v, %v, want %+v", got, err, d)
		}
		rows, err := s.Attempts(t.Context(), got)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(attempts, rows); diff != "" {
			t.Errorf("attempts (-want +got):\n%s", diff)
		}
	}
	d := deliveries[0]
	d.ReceivedAt = d.ReceivedAt.AddDate(0, 0, 2) // its event came again, and was matched again
	keep(t, s, []history.Delivery{d}, r.attemptsOf(d), nil)
	if got, err := s.Delivery(t.Context(), d.Tenant, d.ID); err != nil || got != d {
		t.Errorf("the later row is not given: %+v, %v", got, err)
	}
	for name, of := range map[string][2]string{
		"another tenant's": {"nobody", d.ID}, "unknown": {d.Tenant, "none"}, "empty": {d.Tenant, ""}, "no text": {d.Tenant, "\x00\xff"},
	} {
		if got, err := s.Delivery(t.Context(), of[0], of[1]); !errors.Is(err, sqldb.ErrNotFound) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if rows, err := s.Attempts(t.Context(), history.Delivery{ReceivedAt: midnight, ID: "none"}); err != nil || len(rows) > 0 {
		t.Errorf("attempts of none: %v, %v", rows, err)
	}
}

func oneEvent(t *testing.T, s *sqlhistory.Store) {
	event := seeded(9).event(1)
	event.ID, event.Tenant = "twice", "acme"
	again, others := event, event
	again.ReceivedAt, again.Position.Offset = event.ReceivedAt.AddDate(0, 0, 1), 0
	others.Tenant, others.ReceivedAt, others.Position.Offset = "other", event.ReceivedAt.AddDate(0, 0, -1), 77
	d := history.Delivery{ReceivedAt: event.ReceivedAt, ID: "d", Tenant: "acme", EventID: "twice", WebhookID: "w", Status: delivery.Delivered}
	var failed []history.Attempt
	for i := range 3 {
		a, _, _ := history.FromAttempt(delivery.Attempt{
			Kind: delivery.KindConditionError, Tenant: []string{"acme", "acme", "other"}[i], EventID: "twice", WebhookID: fmt.Sprint("webhook-", i),
			ReceivedAt: event.ReceivedAt, StartedAt: event.ReceivedAt, Outcome: delivery.Outcome{ErrorCode: "condition_error", Error: "no such key"},
		})
		failed = append(failed, a)
	}
	post := history.Attempt{Attempt: delivery.Attempt{
		Kind: delivery.KindPost, DeliveryID: "d", Tenant: "acme", EventID: "twice", ReceivedAt: event.ReceivedAt, StartedAt: event.ReceivedAt,
	}}
	keep(t, s, []history.Delivery{d}, append(slices.Clone(failed), post), []history.Event{again, event, others})
	if got, err := s.Event(t.Context(), "acme", "twice"); err != nil || got != event {
		t.Errorf("%+v, %v, want %+v", got, err, event)
	}
	for _, of := range [][2]string{{"nobody", "twice"}, {"acme", "once"}, {"acme", ""}} {
		if got, err := s.Event(t.Context(), of[0], of[1]); !errors.Is(err, sqldb.ErrNotFound) {
			t.Errorf("%v: %+v, %v", of, got, err)
		}
	}
	got, err := s.ConditionErrors(t.Context(), "acme", "twice")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(failed[:2], got); diff != "" {
		t.Errorf("condition errors (-want +got):\n%s", diff)
	}
	if got, err := s.ConditionErrors(t.Context(), "acme", "once"); err != nil || len(got) > 0 {
		t.Errorf("condition errors of no event: %v, %v", got, err)
	}
}

func readActivities(t *testing.T, s *sqlhistory.Store) {
	b := history.Batch{Activities: map[string]history.Activity{
		"a":   {WebhookID: "a", Tenant: "acme", LastTriggeredAt: midnight, LastSuccessAt: midnight.Add(1)},
		"b'c": {WebhookID: "b'c", Tenant: "acme", LastTriggeredAt: midnight},
		"d":   {WebhookID: "d", Tenant: "other", LastTriggeredAt: midnight},
	}}
	if err := s.Record(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	for _, ids := range [][]string{{"a", "b'c", "none"}, {"none"}, {}, {"\x00"}} {
		want := map[string]history.Activity{}
		for _, id := range ids {
			if a, is := b.Activities[id]; is {
				want[id] = a
			}
		}
		got, err := s.Activities(t.Context(), ids)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v: %v (-want +got):\n%s", ids, err, diff)
		}
	}
}

// Counters only grow, whatever the order of their records; what they count of a webhook's condition as it is now is all.
func readConditionErrors(t *testing.T, s *sqlhistory.Store) {
	counted := func(webhook, condition, counter string, count int) history.ConditionErrors {
		return history.ConditionErrors{
			WebhookID: webhook, Condition: condition, Counter: counter, Tenant: "acme", Count: count,
			LastError: fmt.Sprintf("%s at %d", counter, count), LastAt: midnight.Add(time.Duration(count) * time.Second),
		}
	}
	for _, rows := range [][]history.ConditionErrors{
		{counted("a", "now", "one", 7), counted("a", "before", "one", 100), counted("b'c", "x", "one", 1)},
		{counted("a", "now", "one", 5), counted("a", "now", "two", 3)}, // five come late
		{counted("a", "now", "two", 4), counted("d", "y", "one", 1)},
		{counted("a", "now", "two", 4), counted("a", "now", "one", 7)},
	} {
		b := history.Batch{ConditionErrors: map[history.ConditionErrorsKey]history.ConditionErrors{}}
		for _, c := range rows {
			b.ConditionErrors[c.Key()] = c
		}
		if err := s.Record(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.ConditionErrorsOf(t.Context(), map[string]string{"a": "now", "b'c": "x", "d": "z", "none": "x"})
	if err != nil || len(got) != 2 {
		t.Fatalf("%v, %v", got, err)
	}
	if a := got["a"]; a.Count != 11 || a.LastError != "one at 7" || !a.LastAt.Equal(midnight.Add(7*time.Second)) {
		t.Errorf("of a: %+v", a)
	}
	if b := got["b'c"]; b.Count != 1 {
		t.Errorf("of b'c: %+v", b)
	}
	if _, err := s.Expire(t.Context(), midnight.Add(5*time.Second)); err != nil {
		t.Fatal(err)
	}
	if got, err = s.ConditionErrorsOf(t.Context(), map[string]string{"a": "now", "b'c": "x"}); err != nil || len(got) != 1 || got["a"].Count != 7 {
		t.Errorf("after what is old has expired: %v, %v", got, err)
	}
	if got, err = s.ConditionErrorsOf(t.Context(), nil); err != nil || len(got) != 0 {
		t.Errorf("of no webhooks: %v, %v", got, err)
	}
}

// missing asks for rows that are there, as they are, behind and ahead of what is asked for, and for some
// that differ from those in one part of their key.
func missing(t *testing.T, s *sqlhistory.Store) {
	missingDeliveries(t, s)
	r := seeded(12)
	var attempts, lost []history.Attempt
	for _, d := range r.deliveries(200) {
		attempts = append(attempts, r.attemptsOf(d)...)
	}
	for i, a := range attempts {
		switch i % 12 {
		case 0:
			a.StartedAt = a.StartedAt.Add(time.Hour)
		case 1:
			a.RunID = "another"
		case 2:
			a.Attempt.Attempt += 100
		case 3:
			a.Kind = delivery.KindCapped
		case 4:
			a.ReceivedAt = a.ReceivedAt.AddDate(1, 0, 0) // a day that no row has
		case 5:
			a.DeliveryID = "zero\x00byte"
		default:
			continue
		}
		lost = append(lost, a)
	}
	keep(t, s, nil, attempts, nil)
	asked := mixed(r, attempts, lost)
	got, err := s.MissingAttempts(t.Context(), asked)
	if err != nil {
		t.Fatal(err)
	}
	sameRows(t, "attempts", slices.DeleteFunc(slices.Clone(asked), func(a history.Attempt) bool {
		return !slices.ContainsFunc(lost, func(l history.Attempt) bool { return l.Key() == a.Key() && l.ReceivedAt.Equal(a.ReceivedAt) })
	}), got)
	missingEvents(t, s)
}

func missingDeliveries(t *testing.T, s *sqlhistory.Store) {
	r := seeded(11)
	stored := r.deliveries(300)
	var covered, behind []history.Delivery
	for i, d := range stored {
		switch i % 6 {
		case 0:
			d.Step++
			behind = append(behind, d)
		case 1:
			d.Run = "a later one"
			behind = append(behind, d)
		case 2:
			d.ID = "none" + d.ID
			behind = append(behind, d)
		case 3:
			d.Step--
			covered = append(covered, d)
		default:
			covered = append(covered, d)
		}
	}
	keep(t, s, stored, nil, nil)
	asked := mixed(r, covered, behind)
	got, err := s.MissingDeliveries(t.Context(), asked)
	if err != nil {
		t.Fatal(err)
	}
	sameRows(t, "deliveries", slices.DeleteFunc(slices.Clone(asked), func(d history.Delivery) bool { return slices.Contains(covered, d) }), got)
	if got, err := s.MissingDeliveries(t.Context(), nil); err != nil || len(got) > 0 {
		t.Errorf("none: %v, %v", got, err)
	}
}

func missingEvents(t *testing.T, s *sqlhistory.Store) {
	r := seeded(13)
	events := r.events(0, 200)
	var lost []history.Event
	for i, e := range events {
		switch i % 8 {
		case 0:
			e.Position.Offset += 1000
		case 1:
			e.Position.Topic = "another"
		case 2:
			e.ReceivedAt = e.ReceivedAt.AddDate(0, 0, -9)
		case 3:
			e.Tenant = "nobody"
		default:
			continue
		}
		lost = append(lost, e)
	}
	keep(t, s, nil, nil, events)
	asked := mixed(r, events, lost)
	got, err := s.MissingEvents(t.Context(), asked)
	if err != nil {
		t.Fatal(err)
	}
	sameRows(t, "events", slices.DeleteFunc(slices.Clone(asked), func(e history.Event) bool { return !slices.Contains(lost, e) }), got)
}

// mixed are the rows of both in some order.
func mixed[T any](r draw, a, b []T) []T {
	all := slices.Concat(a, b)
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}
