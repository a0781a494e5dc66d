package sqlhistorytest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
)

func deliveryOrder(a, b history.Delivery) int {
	return cmp.Or(a.ReceivedAt.Compare(b.ReceivedAt), cmp.Compare(a.ID, b.ID))
}

func eventOrder(a, b history.Event) int {
	return cmp.Or(a.ReceivedAt.Compare(b.ReceivedAt), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Position.Topic, b.Position.Topic),
		cmp.Compare(a.Position.Partition, b.Position.Partition), cmp.Compare(a.Position.Offset, b.Position.Offset))
}

// has is what a filter means.
func hasDelivery(f sqlhistory.DeliveryFilter) func(history.Delivery) bool {
	return func(d history.Delivery) bool {
		return d.Tenant == f.Tenant && (f.WebhookID == "" || d.WebhookID == f.WebhookID) &&
			(f.EventID == "" || d.EventID == f.EventID) && (f.EventType == "" || d.EventType == f.EventType) &&
			(f.ExternalReference == "" || d.ExternalReference == f.ExternalReference) &&
			(len(f.Statuses) == 0 || slices.Contains(f.Statuses, d.Status)) && within(d.ReceivedAt, f.From, f.To)
	}
}

func hasEvent(f sqlhistory.EventFilter) func(history.Event) bool {
	return func(e history.Event) bool {
		return e.Tenant == f.Tenant && (f.ID == "" || e.ID == f.ID) && (f.Type == "" || e.Type == f.Type) &&
			(f.ExternalReference == "" || e.ExternalReference == f.ExternalReference) && within(e.ReceivedAt, f.From, f.To)
	}
}

func within(t, from, to time.Time) bool {
	return (from.IsZero() || !t.Before(from)) && (to.IsZero() || t.Before(to))
}

// deliveryParts are filters by one thing each.
func deliveryParts() map[string]func(*sqlhistory.DeliveryFilter) {
	parts := map[string]func(*sqlhistory.DeliveryFilter){
		"all":                  func(*sqlhistory.DeliveryFilter) {},
		"webhook":              func(f *sqlhistory.DeliveryFilter) { f.WebhookID = "acme-webhook-1" },
		"no: other's webhook":  func(f *sqlhistory.DeliveryFilter) { f.WebhookID = "other-webhook-1" },
		"event":                func(f *sqlhistory.DeliveryFilter) { f.EventID = "event-2" },
		"type":                 func(f *sqlhistory.DeliveryFilter) { f.EventType = "card.closed" },
		"no: type's beginning": func(f *sqlhistory.DeliveryFilter) { f.EventType = "card" },
		"reference":            func(f *sqlhistory.DeliveryFilter) { f.ExternalReference = "card-1" },
		"no: reference":        func(f *sqlhistory.DeliveryFilter) { f.ExternalReference = "a '\x00' \xff" },
		"from":                 func(f *sqlhistory.DeliveryFilter) { f.From = midnight.Add(-2) },
		"to":                   func(f *sqlhistory.DeliveryFilter) { f.To = midnight.Add(2) },
		"nanoseconds":          func(f *sqlhistory.DeliveryFilter) { f.From, f.To = midnight.Add(-1), midnight.Add(1) },
		"no: time":             func(f *sqlhistory.DeliveryFilter) { f.From, f.To = midnight, midnight },
	}
	for name, of := range map[string][]delivery.Status{
		"delivered":              {delivery.Delivered},
		"exhausted":              {delivery.Exhausted},
		"exhausted twice":        {delivery.Exhausted, delivery.Exhausted},
		"unfinished":             {delivery.Pending, delivery.Retrying, delivery.Suspended},
		"delivered or discarded": {delivery.Discarded, delivery.Delivered},
		"any":                    drawStatuses,
		"no: status":             {"lost"},
	} {
		parts[name] = func(f *sqlhistory.DeliveryFilter) { f.Statuses = of }
	}
	return parts
}

func eventParts() map[string]func(*sqlhistory.EventFilter) {
	return map[string]func(*sqlhistory.EventFilter){
		"all":         func(*sqlhistory.EventFilter) {},
		"id":          func(f *sqlhistory.EventFilter) { f.ID = "event-7" },
		"no: id":      func(f *sqlhistory.EventFilter) { f.ID = "none" },
		"type":        func(f *sqlhistory.EventFilter) { f.Type = "board.made" },
		"reference":   func(f *sqlhistory.EventFilter) { f.ExternalReference = "card-2" },
		"from":        func(f *sqlhistory.EventFilter) { f.From = midnight.Add(-2) },
		"to":          func(f *sqlhistory.EventFilter) { f.To = midnight.Add(2) },
		"nanoseconds": func(f *sqlhistory.EventFilter) { f.From, f.To = midnight.Add(-1), midnight.Add(1) },
	}
}

// filterDeliveries reads by each filter alone and by every pair of them, as the rows themselves are filtered.
func filterDeliveries(t *testing.T, s *sqlhistory.Store) {
	all := seeded(1).deliveries(300)
	keep(t, s, all, nil, nil)
	filterPairs(t, deliveryParts(), func(name string, part, other func(*sqlhistory.DeliveryFilter), p sqlhistory.Page) int {
		f := sqlhistory.DeliveryFilter{Tenant: "acme"}
		part(&f)
		other(&f)
		want := expected(all, p, deliveryOrder, hasDelivery(f))
		sameRows(t, name, want, listDeliveries(t, s, f, p, nil))
		total, err := s.DeliveriesTotal(t.Context(), f)
		sameTotal(t, name, len(want), total, err)
		return len(want)
	})
}

func filterEvents(t *testing.T, s *sqlhistory.Store) {
	all := seeded(2).events(0, 300)
	keep(t, s, nil, nil, all)
	filterPairs(t, eventParts(), func(name string, part, other func(*sqlhistory.EventFilter), p sqlhistory.Page) int {
		f := sqlhistory.EventFilter{Tenant: "acme"}
		part(&f)
		other(&f)
		want := expected(all, p, eventOrder, hasEvent(f))
		sameRows(t, name, want, listEvents(t, s, f, p, nil))
		total, err := s.EventsTotal(t.Context(), f)
		sameTotal(t, name, len(want), total, err)
		return len(want)
	})
}

// filterPairs checks each part of a filter alone and every pair of them, in both directions; check says how many rows
// there are, which is none for parts that are named so.
func filterPairs[F any](t *testing.T, parts map[string]func(*F), check func(name string, part, other func(*F), p sqlhistory.Page) int) {
	t.Helper()
	for _, pair := range pairs(parts) {
		for direction, p := range both {
			p.Limit = 11
			n := check(pair[0]+", "+pair[1]+", "+direction, parts[pair[0]], parts[pair[1]], p)
			if pair[0] == pair[1] && (n == 0) != strings.HasPrefix(pair[0], "no: ") {
				t.Errorf("%s meets %d rows", pair[0], n)
			}
		}
	}
}

func sameTotal(t *testing.T, name string, want int, got sqlhistory.Total, err error) {
	t.Helper()
	if err != nil || got != (sqlhistory.Total{Rows: want}) {
		t.Errorf("%s: total %+v, %v, want %d", name, got, err, want)
	}
}

// pairs are all pairs of names, each with itself as well.
func pairs[V any](of map[string]V) [][2]string {
	names := slices.Sorted(maps.Keys(of))
	var out [][2]string
	for i, a := range names {
		for _, b := range names[i:] {
			out = append(out, [2]string{a, b})
		}
	}
	return out
}

// readWhileDeliveriesCome adds rows before and behind where the reader is, and lets others go on.
func readWhileDeliveriesCome(t *testing.T, s *sqlhistory.Store) {
	r := seeded(3)
	for direction, p := range both {
		for name, f := range map[string]sqlhistory.DeliveryFilter{
			"all": {Tenant: "acme"}, "webhook": {Tenant: "acme", WebhookID: "acme-webhook-1"},
			"finished": {Tenant: "acme", Statuses: []delivery.Status{delivery.Delivered, delivery.Exhausted, delivery.Discarded}},
		} {
			before := r.deliveries(60)
			keep(t, s, before, nil, nil)
			before = expected(before, p, deliveryOrder, hasDelivery(f))
			p.Limit = 4
			got := listDeliveries(t, s, f, p, func() { keep(t, s, r.deliveries(5), nil, nil) })
			checkOrder(t, name+", "+direction, before, got, p, deliveryOrder)
		}
	}
}

func readWhileEventsCome(t *testing.T, s *sqlhistory.Store) {
	r, n := seeded(4), 0
	more := func(count int) []history.Event {
		rows := r.events(n, count)
		n += count
		keep(t, s, nil, nil, rows)
		return rows
	}
	for direction, p := range both {
		for name, f := range map[string]sqlhistory.EventFilter{"all": {Tenant: "acme"}, "type": {Tenant: "acme", Type: "card.closed"}} {
			before := expected(more(60), p, eventOrder, hasEvent(f))
			p.Limit = 4
			checkOrder(t, name+", "+direction, before, listEvents(t, s, f, p, func() { more(5) }), p, eventOrder)
		}
	}
}

// checkOrder holds that rows come in order, none twice, and all that were there before.
func checkOrder[T comparable](t *testing.T, name string, before, got []T, p sqlhistory.Page, order func(a, b T) int) {
	t.Helper()
	came := map[T]bool{}
	for i, v := range got {
		came[v] = true
		if i == 0 {
			continue
		}
		if c := order(got[i-1], v); (c < 0) != p.Ascending || c == 0 {
			t.Errorf("%s: row %d is %+v behind %+v", name, i, v, got[i-1])
		}
	}
	for _, v := range before {
		if !came[v] {
			t.Errorf("%s: %+v was skipped", name, v)
		}
	}
}

// oneTime has rows of one nanosecond only, in pages of one.
func oneTime(t *testing.T, s *sqlhistory.Store) {
	r := seeded(5)
	deliveries, events := r.deliveries(30), r.events(0, 30)
	for i := range deliveries {
		deliveries[i].ReceivedAt, deliveries[i].Tenant = midnight, "acme"
		events[i].ReceivedAt, events[i].Tenant, events[i].ID = midnight, "acme", fmt.Sprint("event-", i/10)
	}
	keep(t, s, deliveries, nil, events)
	for direction, p := range both {
		p.Limit = 1
		d, e := sqlhistory.DeliveryFilter{Tenant: "acme"}, sqlhistory.EventFilter{Tenant: "acme"}
		sameRows(t, "deliveries, "+direction, expected(deliveries, p, deliveryOrder, hasDelivery(d)), listDeliveries(t, s, d, p, nil))
		sameRows(t, "events, "+direction, expected(events, p, eventOrder, hasEvent(e)), listEvents(t, s, e, p, nil))
	}
}

// cursors are refused by a list that did not make them, and by the other direction of the one that did.
func cursors(t *testing.T, s *sqlhistory.Store) {
	r := seeded(6)
	keep(t, s, r.deliveries(20), nil, r.events(0, 20))
	_, ofDeliveries, err := s.Deliveries(t.Context(), sqlhistory.DeliveryFilter{Tenant: "acme"}, sqlhistory.Page{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, bound, err := s.Deliveries(t.Context(), sqlhistory.DeliveryFilter{Tenant: "acme"}, sqlhistory.Page{Limit: 1, Bound: "something"})
	if err != nil {
		t.Fatal(err)
	}
	_, ofEvents, err := s.Events(t.Context(), sqlhistory.EventFilter{Tenant: "acme"}, sqlhistory.Page{Limit: 1, Ascending: true})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		after              string
		ascending          bool
		deliveries, events bool // may have it
	}{
		"none":                   {"", false, true, true},
		"of deliveries":          {ofDeliveries, false, true, false},
		"of deliveries, turned":  {ofDeliveries, true, false, false},
		"of events":              {ofEvents, true, false, true},
		"of events, turned":      {ofEvents, false, false, false},
		"cut off":                {ofDeliveries[:len(ofDeliveries)-2], false, false, false},
		"not base64url":          {"a+b/", false, false, false},
		"of a list of webhooks":  {"MTc2OTk5OTk5OSBhYmM", false, false, false},
		"JSON of something else": {"eyJhIjoxfQ", false, false, false},
		"bound to something":     {bound, false, false, false},
		"with a zero byte":       {"eyJsaXN0IjoiZGVsaXZlcmllcyIsImlkIjoiXHUwMDAwIn0", false, false, false},
	} {
		p := sqlhistory.Page{Limit: 1, After: tt.after, Ascending: tt.ascending}
		_, _, ofList := s.Deliveries(t.Context(), sqlhistory.DeliveryFilter{Tenant: "acme"}, p)
		if tt.deliveries && ofList != nil || !tt.deliveries && !errors.Is(ofList, sqlhistory.ErrCursor) {
			t.Errorf("%s: deliveries: %v", name, ofList)
		}
		_, _, ofList = s.Events(t.Context(), sqlhistory.EventFilter{Tenant: "acme"}, p)
		if tt.events && ofList != nil || !tt.events && !errors.Is(ofList, sqlhistory.ErrCursor) {
			t.Errorf("%s: events: %v", name, ofList)
		}
	}
}
