package sqlhistorytest

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
)

// suspensions are deliveries at random, of which half are suspended, up to some days after they were received.
func (r draw) suspensions(n int) []history.Delivery {
	out := r.deliveries(n)
	for i := range out {
		d := &out[i]
		if r.IntN(2) == 0 {
			d.Status = delivery.Suspended
			d.SuspendReason = oneOf(r, []delivery.SuspendReason{delivery.SuspendDisabled, delivery.SuspendInactive, delivery.SuspendPaused})
		}
		if d.Status != delivery.Pending {
			d.UpdatedAt = d.ReceivedAt.Add(time.Duration(r.IntN(10)) * 24 * time.Hour)
		}
	}
	return out
}

func countSuspended(t *testing.T, s *sqlhistory.Store) {
	deliveries := seeded(10).suspensions(400)
	keep(t, s, deliveries, nil, nil)
	ids := []string{"acme-webhook-0", "acme-webhook-2", "other-webhook-1", "none"}
	for name, notBefore := range map[string]time.Time{
		"ever": {}, "since before all": midnight.Add(-time.Hour), "since the third day": midnight.AddDate(0, 0, 2).Add(2),
		"since midnight": midnight,
	} {
		want, old := map[string]int{}, 0
		for _, d := range deliveries {
			if d.Status != delivery.Suspended || !slices.Contains(ids, d.WebhookID) {
				continue
			}
			if d.UpdatedAt.Before(notBefore) {
				old++
				continue
			}
			want[d.WebhookID]++
		}
		got, err := s.SuspendedCounts(t.Context(), ids, notBefore)
		if diff := gocmp.Diff(want, got); diff != "" || err != nil || len(want) != 3 || (name == "since the third day" && old < 10) {
			t.Errorf("%s: %v, %d are older (-want +got):\n%s", name, err, old, diff)
		}
	}
	if got, err := s.SuspendedCounts(t.Context(), nil, midnight); err != nil || len(got) > 0 {
		t.Errorf("of no webhooks: %v, %v", got, err)
	}
}

func readSuspended(t *testing.T, s *sqlhistory.Store) {
	deliveries := seeded(20).suspensions(1200)
	keep(t, s, deliveries, nil, nil)
	of := sqlhistory.WebhookFilter{Tenant: "acme", WebhookID: "acme-webhook-1", Status: delivery.Suspended}
	from, to := of, of
	from.From, to.To = midnight.AddDate(0, 0, 3), midnight.AddDate(0, 0, 6).Add(1)
	between := from
	between.To, between.Reason = to.To, delivery.SuspendPaused
	some := of
	for _, d := range deliveries[:200] { // of other webhooks and statuses too
		some.IDs = append(some.IDs, d.ID)
	}
	some.IDs = append(some.IDs, "none", "zero\x00byte", "it's")
	exhausted := from
	exhausted.Status = delivery.Exhausted
	stranger, nobody := of, of
	stranger.Tenant, nobody.IDs = "other", []string{"none"}
	for name, tt := range map[string]struct {
		f     sqlhistory.WebhookFilter
		least int
	}{
		"all of a webhook": {of, 50}, "from": {from, 30}, "to": {to, 30}, "between, paused": {between, 5}, "single ones": {some, 10},
		"exhausted, from": {exhausted, 5}, "another tenant's": {stranger, 0}, "none of them": {nobody, 0},
	} {
		want := slices.DeleteFunc(slices.Clone(deliveries), func(d history.Delivery) bool { return !selects(tt.f, d) })
		slices.SortFunc(want, func(a, b history.Delivery) int {
			return cmp.Or(a.ReceivedAt.Compare(b.ReceivedAt), cmp.Compare(a.ID, b.ID))
		})
		var got []history.Delivery
		for after := (history.Delivery{}); ; after = got[len(got)-1] {
			rows, err := s.OfWebhook(t.Context(), tt.f, after, 7)
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, rows...); len(rows) < 7 {
				break
			}
		}
		if len(want) < tt.least || (tt.least == 0) != (len(want) == 0) {
			t.Errorf("%s: %d rows are a weak test", name, len(want))
		}
		sameRows(t, name, append([]history.Delivery(nil), want...), got)
		counted, err := s.TypeCounts(t.Context(), tt.f)
		if name == "another tenant's" { // a webhook's deliveries are of one tenant, so a count need not ask
			continue
		}
		if diff := gocmp.Diff(byType(want), counted); diff != "" || err != nil {
			t.Errorf("%s: %v, by type (-want +got):\n%s", name, err, diff)
		}
	}
}

func byType(rows []history.Delivery) map[string]int64 {
	n := map[string]int64{}
	for _, d := range rows {
		n[d.EventType]++
	}
	return n
}

func countWaiting(t *testing.T, s *sqlhistory.Store) {
	deliveries := seeded(22).suspensions(1200)
	keep(t, s, deliveries, nil, nil)
	want := 0
	for _, d := range deliveries {
		if d.WebhookID == "acme-webhook-1" && d.Status == delivery.Pending {
			want++
		}
	}
	for limit, want := range map[int]int{1000: want, 1: 1} {
		if n, err := s.Waiting(t.Context(), "acme-webhook-1", limit); err != nil || n != want || want < 1 {
			t.Errorf("up to %d: %d, %v, want %d", limit, n, err, want)
		}
	}
}

// selects is what a filter says.
func selects(f sqlhistory.WebhookFilter, d history.Delivery) bool {
	return d.Status == f.Status && d.Tenant == f.Tenant && d.WebhookID == f.WebhookID &&
		(f.From.IsZero() || !d.UpdatedAt.Before(f.From)) && (f.To.IsZero() || d.UpdatedAt.Before(f.To)) &&
		(f.Reason == "" || d.SuspendReason == f.Reason) && (len(f.IDs) == 0 || slices.Contains(f.IDs, d.ID))
}

// countExpiring compares with the same counted one by one.
func countExpiring(t *testing.T, s *sqlhistory.Store) {
	deliveries := seeded(21).suspensions(600)
	keep(t, s, deliveries, nil, nil)
	const retention = 30 * 24 * time.Hour
	from, to := midnight.Add(retention), midnight.Add(retention).AddDate(0, 0, 8)
	want := map[string]sqlhistory.Expiring{}
	outside := 0
	for _, d := range deliveries {
		at := d.UpdatedAt.Add(retention)
		if d.Status != delivery.Suspended {
			continue
		}
		if at.Before(from) || !at.Before(to) {
			outside++
			continue
		}
		key := fmt.Sprint(d.WebhookID, failure.ExpiryWeek(at))
		e, known := want[key]
		if !known || at.Before(e.First) {
			e.First = at
		}
		e.Tenant, e.WebhookID, e.Week = d.Tenant, d.WebhookID, failure.ExpiryWeek(at)
		e.Count++
		want[key] = e
	}
	rows, err := s.Expiring(t.Context(), retention, from, to)
	got := map[string]sqlhistory.Expiring{}
	for _, e := range rows {
		got[fmt.Sprint(e.WebhookID, e.Week)] = e
	}
	if diff := gocmp.Diff(want, got); diff != "" || err != nil || len(rows) != len(want) || len(want) != 2*6 || outside < 20 {
		t.Errorf("%d rows of %d weeks and webhooks, %d deliveries outside, %v (-want +got):\n%s", len(rows), len(want), outside, err, diff)
	}
}
