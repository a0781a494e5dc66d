package sqlhistory_test

import (
	"log/slog"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory/sqlhistorytest"
)

// A total says that there may be more once it has looked at as many rows as it may, and never more than it has seen.
func TestTotalsEnd(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, cfg sqldb.Config) {
		store, err := sqlhistory.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		load := sqlhistorytest.Load{Start: loadStart, Days: 2, Deliveries: 400, Tenants: 2, Webhooks: 6, Types: 3}
		if err := load.Record(t.Context(), store); err != nil {
			t.Fatal(err)
		}
		for name, f := range map[string]sqlhistory.DeliveryFilter{
			"tenant": {}, "webhook": {WebhookID: load.Webhook(0)}, "webhook, type": {WebhookID: load.Webhook(0), EventType: load.Type(0)},
			"delivered": {Statuses: []delivery.Status{delivery.Delivered}}, "delivered, type": {EventType: load.Type(0), Statuses: []delivery.Status{delivery.Delivered}},
		} {
			f.Tenant = load.Tenant(0)
			all, err := store.DeliveriesTotal(t.Context(), f)
			if err != nil || all.More || all.Rows < 2 {
				t.Fatalf("%s: %+v, %v", name, all, err)
			}
			for _, most := range []int{1, 5, 20} {
				got, err := store.DeliveriesTotalOf(t.Context(), f, most)
				if err != nil || got.Rows > most+1 || got.Rows > all.Rows || !got.More && got.Rows != all.Rows {
					t.Errorf("%s, of %d: %+v, %v; there are %d", name, most, got, err, all.Rows)
				}
				if name == "tenant" && (!got.More || got.Rows != most+1) {
					t.Errorf("%s, of %d: %+v, %v", name, most, got, err)
				}
			}
		}
	})
}
