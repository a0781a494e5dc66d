package console

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// page selects a page of deliveries, writes what becomes of them, and notes it.
func (w *working) page(ctx context.Context, t *turn) error {
	store, err := w.history()
	if err != nil {
		return err
	}
	rows, err := store.Suspended(ctx, filterOf(t.job), t.after, jobPage)
	if err != nil {
		return err
	}
	records, changed, skipped, err := w.records(ctx, t.job, selected(rows, t.job.Selection))
	if err != nil {
		return err
	}
	// What is begun is ended, although the console stops: everybody who reads committed records stands still behind
	// a transaction that is left open.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), transactionTimeout)
	defer cancel()
	if err := inTransaction(ctx, w.client, records); err != nil {
		return fmt.Errorf("%w: %w", errWrite, err)
	}
	j := t.job
	kind := string(j.Kind)
	w.changed.WithLabelValues(kind, "changed").Add(float64(changed))
	w.changed.WithLabelValues(kind, "skipped").Add(float64(skipped))
	t.failing = false
	last := t.looked(rows, skipped, len(rows) == jobPage)
	t.job.Changed += changed
	t.job.Skipped = max(t.job.Skipped, t.skipped) // each pass meets the same ones
	if last {
		return w.finish(ctx, t, sqlstore.JobDone, "")
	}
	if j.Changed == t.job.Changed && j.Skipped == t.job.Skipped && j.Status == sqlstore.JobRunning && j.Error == "" {
		return nil
	}
	t.waiting = time.Time{}
	return w.update(ctx, t, sqlstore.JobRunning, "")
}

// records are what a job writes about some suspended deliveries.
func (w *working) records(ctx context.Context, j sqlstore.Job, rows []history.Delivery) (records []*kgo.Record, changed, skipped int64, err error) {
	var kept map[delivery.Position]*kgo.Record
	if j.Kind == sqlstore.JobRelease {
		at := make([]delivery.Position, len(rows))
		for i, row := range rows {
			at[i] = row.Position
		}
		if kept, err = w.reader.ReadAt(ctx, at); err != nil {
			return nil, 0, 0, err
		}
	}
	for _, row := range rows {
		of, err := w.recordsOf(j, row, kept[row.Position])
		if err != nil {
			if !errors.Is(err, errGone) {
				w.log.Error("suspended delivery left as it is", "job", j.ID, "delivery", row.ID, "error", err)
			}
			skipped++
			continue
		}
		changed++
		records = append(records, of...)
	}
	return records, changed, skipped, nil
}

// recordsOf are what a job writes about one. It errs with errGone if the log does not hold the payload.
func (w *working) recordsOf(j sqlstore.Job, row history.Delivery, kept *kgo.Record) ([]*kgo.Record, error) {
	decision, err := wire.Attempt(w.topics.Attempts, decided(j, row))
	if err != nil || j.Kind == sqlstore.JobDiscard {
		return []*kgo.Record{decision}, err
	}
	if kept == nil {
		return nil, errGone
	}
	d, err := wire.ReadDelivery(kept)
	if err != nil {
		return nil, fmt.Errorf("delivery %s at its position in %s: %w", row.ID, row.Position.Topic, err)
	}
	if d.ID != row.ID || d.Tenant != row.Tenant {
		return nil, errGone // the topic was made anew, and another record has its place
	}
	run, err := wire.Delivery(w.topics.Deliveries, releasedAs(j, row, d))
	return []*kgo.Record{run, decision}, err
}

// errWrite says that the transaction failed, and the producer with it.
var errWrite = errors.New("write a page of a job")
