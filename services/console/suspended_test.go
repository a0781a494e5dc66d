package console_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
)

// A console that starts tells how many deliveries are suspended: not those that went on, nor those whose payloads have expired.
func TestSuspendedDeliveriesAreCounted(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, db sqldb.Config) {
		t.Parallel()
		r := rigOn(t, db)
		w := r.create(minimal)
		now := time.Now().UTC()
		suspended := func(i int, at time.Time) (delivery.Delivery, delivery.Position) {
			d := matched(published(fmt.Sprintf("e%d", i), at), w.ID)
			d.SuspendReason, d.SuspendedAt = delivery.SuspendPaused, at
			return d, r.deliver(r.topics.Suspended, d)
		}
		const kept = 3
		for i := range kept {
			suspended(i, now.Add(-time.Duration(i)*time.Hour))
		}
		sent, at := suspended(kept, now.Add(-time.Hour))
		r.record(func(b *history.Batch) {
			b.AddAttempt(post(sent, at, now, delivery.Outcome{StatusCode: 204}, delivery.Delivered))
		})
		suspended(kept+1, now.Add(-kafka.SuspendedRetention-time.Hour))
		r.stop()
		again := start(t, r.cfg)
		eventually(t, func() error {
			families, err := again.metrics.Gather()
			if err != nil {
				return err
			}
			for _, f := range families {
				if f.GetName() == "doorstep_deliveries_suspended" && f.GetMetric()[0].GetGauge().GetValue() == kept {
					return nil
				}
			}
			return fmt.Errorf("not %d: %v", kept, families)
		})
	})
}
