package console

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// page selects a page of deliveries, writes what becomes of them, and notes it.
func (w *working) page(ctx context.Context, t *turn) error {
	store, err := w.history()
	if err != nil {
		return err
	}
	rows, more, err := rowsOf(ctx, store, t)
	if err != nil {
		return err
	}
	total := t.job.Total
	if total == sqlstore.JobUncounted {
		if total, err = countOf(ctx, store, t.job); err != nil {
			return err
		}
	}
	p, err := w.prepare(ctx, t.job, selected(rows, t.job.Selection, w.topics))
	if err != nil {
		return err
	}
	// What is begun is ended, although the console stops: everybody who reads committed records stands still behind
	// a transaction that is left open.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), transactionTimeout)
	defer cancel()
	if err := inTransaction(ctx, w.client, p.records); err != nil {
		return fmt.Errorf("%w: %w", errWrite, err)
	}
	j := t.job
	kind := string(j.Kind)
	w.changed.WithLabelValues(kind, "changed").Add(float64(p.changed))
	w.changed.WithLabelValues(kind, "skipped").Add(float64(p.skipped.Sum()))
	t.failing = false
	last := t.looked(rows, p.skipped, more)
	if p.last.ID != "" {
		t.wrote = p.last
	}
	t.job.Total = total
	t.job.Changed += p.changed
	t.job.Skipped = t.job.Skipped.Max(t.skipped) // each pass meets the same ones
	if last {
		return w.finish(ctx, t, sqlstore.JobDone, "")
	}
	if j.Total == t.job.Total && j.Changed == t.job.Changed && j.Skipped == t.job.Skipped && j.Status == sqlstore.JobRunning && j.Error == "" {
		return nil
	}
	t.waiting = time.Time{}
	return w.update(ctx, t, sqlstore.JobRunning, "")
}

// rowsOf are the next page of rows that a job may be about.
func rowsOf(ctx context.Context, store *sqlhistory.Store, t *turn) (page []history.Delivery, more bool, err error) {
	var all []history.Delivery
	for _, f := range filtersOf(t.job) {
		rows, err := store.OfWebhook(ctx, f, t.after, jobPage)
		if err != nil {
			return nil, false, err
		}
		all = append(all, rows...)
	}
	page, more = firstOf(all, jobPage)
	return page, more, nil
}

// countOf is how many deliveries a job that begins is about.
func countOf(ctx context.Context, store *sqlhistory.Store, j sqlstore.Job) (total int64, err error) {
	for _, f := range filtersOf(j) {
		counts, err := store.TypeCounts(ctx, f)
		if err != nil {
			return 0, err
		}
		for eventType, n := range counts {
			if ofTypes(j.Selection, eventType) {
				total += n
			}
		}
	}
	return total, nil
}

// prepared is a page as it is written.
type prepared struct {
	records []*kgo.Record
	changed int64
	skipped sqlstore.Skips
	last    history.Delivery // of what is sent, with its new run
}

// prepare works out what a job writes about some deliveries.
func (w *working) prepare(ctx context.Context, j sqlstore.Job, rows []history.Delivery) (p prepared, err error) {
	var kept map[delivery.Position]*kgo.Record
	if j.Kind != sqlstore.JobDiscard {
		at := make([]delivery.Position, len(rows))
		for i, row := range rows {
			at[i] = row.Position
		}
		if kept, err = w.reader.ReadAt(ctx, at); err != nil {
			return p, err
		}
	}
	for _, row := range rows {
		of, run, err := w.recordsOf(j, row, kept[row.Position])
		switch {
		case errors.Is(err, errGone):
			p.skipped.Gone++
		case err != nil:
			w.log.Error("delivery left as it is", "job", j.ID, "delivery", row.ID, "error", err)
			p.skipped.Unreadable++
		default:
			p.changed++
			p.records = append(p.records, of...)
			p.last, p.last.RunID = row, run
		}
	}
	return p, nil
}

// recordsOf are what a job writes about one delivery, and the id of its new run if it is sent. It errs with errGone if
// the log does not hold the payload.
func (w *working) recordsOf(j sqlstore.Job, row history.Delivery, kept *kgo.Record) (records []*kgo.Record, runID string, err error) {
	if j.Kind != sqlstore.JobRecover { // what a recover sends again has ended already
		decision, err := wire.Attempt(w.topics.Attempts, decided(j, row))
		if err != nil || j.Kind == sqlstore.JobDiscard {
			return []*kgo.Record{decision}, "", err
		}
		records = append(records, decision)
	}
	if kept == nil {
		return nil, "", errGone
	}
	d, err := wire.ReadDelivery(kept)
	if err != nil {
		return nil, "", fmt.Errorf("delivery %s at its position in %s: %w", row.ID, row.Position.Topic, err)
	}
	if d.ID != row.ID || d.Tenant != row.Tenant {
		return nil, "", errGone // the topic was made anew, and another record has its place
	}
	d = sentAs(j, row, d)
	run, err := wire.Delivery(w.topics.Deliveries, d)
	return append(records, run), d.RunID, err
}

// errWrite says that the transaction failed, and the producer with it.
var errWrite = errors.New("write a page of a job")
