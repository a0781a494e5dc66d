package sqlhistory_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
)

func TestWalk(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, cfg sqldb.Config) {
		store, err := sqlhistory.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		day := time.Date(2026, 3, 1, 23, 59, 0, 0, time.UTC) // rows of two days, five at each time, of two tenants
		at := func(i int) time.Time { return day.Add(time.Duration(i/5) * 10 * time.Second) }
		var batch history.Batch
		var all []history.Delivery
		for i := range 100 {
			batch.AddDelivery(delivery.Delivery{
				ID: fmt.Sprintf("id-%02d", i), Tenant: fmt.Sprint("t", i/50), WebhookID: "w", EventID: "e", EventType: "a.b",
				RunID: "r", Cause: delivery.CauseFirst, Attempt: 1, ReceivedAt: at(i),
			}, delivery.Position{Topic: "d", Offset: int64(i)})
		}
		for _, d := range batch.Deliveries {
			all = append(all, d)
		}
		slices.SortFunc(all, func(a, b history.Delivery) int { return strings.Compare(a.ID, b.ID) })
		if err := store.Record(t.Context(), &batch); err != nil {
			t.Fatal(err)
		}
		for name, tt := range map[string]struct {
			since time.Time
			want  []history.Delivery
		}{
			"all of them":          {time.Time{}, all},
			"since the 20th":       {at(20), all[20:]},
			"since after the last": {at(200), nil},
		} {
			if diff := cmp.Diff(tt.want, walk(t, store, tt.since)); diff != "" {
				t.Error(name, diff)
			}
		}
		for _, d := range all {
			if stored, err := store.Stored(t.Context(), d); err != nil || stored != d {
				t.Errorf("%+v, %v", stored, err)
			}
			d.Tenant = "another"
			if _, err := store.Stored(t.Context(), d); !errors.Is(err, sqldb.ErrNotFound) {
				t.Errorf("a key that no row has: %v", err)
			}
		}
	})
}

// walk reads seven at a time.
func walk(t *testing.T, store *sqlhistory.Store, since time.Time) (all []history.Delivery) {
	t.Helper()
	for after := (history.Delivery{}); ; after = all[len(all)-1] {
		rows, err := store.Walk(t.Context(), since, after, 7)
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) == 0 {
			return all
		}
		all = append(all, rows...)
	}
}
