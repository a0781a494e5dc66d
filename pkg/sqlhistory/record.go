package sqlhistory

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/history"
)

// Record adds what a batch says. Rows that are there stay unless the batch's hold over them, so that
// batches may come in any order, again, and from several Stores at once.
//
// It is one transaction. (SQLite has one writer at a time: the history has a file of its own, so nobody
// but another Record or Expire waits for it.)
//
// Rows of a day that Expire has dropped are left out, and counted by Late.
func (s *Store) Record(ctx context.Context, b *history.Batch) error {
	loads, late := s.loads(b)
	s.days.late.Add(uint64(late)) //nolint:gosec // a count
	if len(loads) == 0 {
		return nil
	}
	if s.Postgres() {
		return s.recordPostgres(ctx, loads)
	}
	return s.recordSQLite(ctx, loads)
}

// target is a table that Record writes.
type target struct {
	table   string
	columns string
	key     string // columns of the primary key
	change  string // SET and WHERE for a row that is there; empty: it stays as it is
	byDay   bool   // the first column is received_at
}

// conflict is what becomes of a row that is there.
func (t target) conflict() string {
	if t.change == "" {
		return "ON CONFLICT (" + t.key + ") DO NOTHING"
	}
	return "ON CONFLICT (" + t.key + ") DO UPDATE SET " + t.change
}

// deliveries are merged as history.Delivery's Merge says. What stays the same for a delivery's life is not
// written again, which would touch the indexes.
var deliveries = target{
	table: "deliveries", columns: deliveryColumns, key: "tenant, received_at, id", byDay: true,
	change: choose(deliveryProgress, deliveryHolds) + ", " + deliveryReference + " WHERE " + deliveryHolds +
		" OR (deliveries.external_reference = '' AND excluded.external_reference <> '')",
}

const (
	deliveryProgress = `run, step, run_id, cause, attempt, status, suspend_reason, next_attempt_at, updated_at, ` +
		`log_topic, log_partition, log_offset`
	// deliveryHolds is Merge's order.
	deliveryHolds = `(excluded.run, excluded.step, excluded.updated_at, excluded.log_topic, excluded.log_partition, excluded.log_offset) >
		(deliveries.run, deliveries.step, deliveries.updated_at, deliveries.log_topic, deliveries.log_partition, deliveries.log_offset)`
	deliveryReference = `external_reference = CASE WHEN deliveries.external_reference = '' OR (excluded.external_reference <> '' AND ` +
		deliveryHolds + `) THEN excluded.external_reference ELSE deliveries.external_reference END`
)

// An event never changes. Attempts are merged as history.Attempt's Merge says.
var (
	attempts = target{
		table: "attempts", columns: attemptColumns, key: "received_at, delivery_id, started_at, run_id, attempt, kind", byDay: true,
		change: replace("finished_at, status, status_code, error_code, detail") + " WHERE excluded.finished_at > attempts.finished_at",
	}
	events = target{
		table: "events", columns: eventColumns, key: "tenant, received_at, id, log_topic, log_partition, log_offset", byDay: true,
	}
)

// choose sets columns of deliveries where a condition holds, and leaves them elsewhere.
func choose(list, holds string) string {
	var set []string
	for _, c := range columns(list) {
		set = append(set, c+" = CASE WHEN "+holds+" THEN excluded."+c+" ELSE deliveries."+c+" END")
	}
	return strings.Join(set, ", ")
}

// replace sets columns.
func replace(list string) string {
	var set []string
	for _, c := range columns(list) {
		set = append(set, c+" = excluded."+c)
	}
	return strings.Join(set, ", ")
}

// load is the rows for a table, in the order of its key: so two recorders that write the same rows wait
// for each other, but never in a circle.
type load struct {
	target
	rows [][]any
}

// loads are a batch's rows, and how many are left out because their day is expired. The order of the
// tables is always the same.
func (s *Store) loads(b *history.Batch) (all []load, late int) {
	oldest := s.days.oldest().start()
	for _, l := range []load{
		{events, values(b.Events, byKeyOfEvent, eventValues)},
		{deliveries, values(b.Deliveries, byKeyOfDelivery, deliveryValues)},
		{attempts, values(b.Attempts, byKeyOfAttempt, attemptValues)},
		{activities, values(b.Activities, func(a, b *history.Activity) int { return cmp.Compare(a.WebhookID, b.WebhookID) }, activityValues)},
		{states, values(b.States, func(a, b *failure.State) int { return cmp.Compare(a.WebhookID, b.WebhookID) }, stateValues)},
		{notices, values(b.Notices, func(a, b *failure.Notice) int { return cmp.Compare(a.ID, b.ID) }, noticeValues)},
		{conditionErrors, values(b.ConditionErrors, byKeyOfConditionErrors, conditionErrorsValues)},
		{quarantine, values(b.Quarantined, byKeyOfQuarantined, quarantineValues)},
	} {
		if l.byDay {
			n := len(l.rows)
			l.rows = slices.DeleteFunc(l.rows, func(row []any) bool { return row[0].(int64) < oldest })
			late += n - len(l.rows)
		}
		if len(l.rows) > 0 {
			all = append(all, l)
		}
	}
	return all, late
}

// values are the rows of a map, in order, as put appends them.
func values[K comparable, V any](rows map[K]V, order func(a, b *V) int, put func([]any, *V) []any) [][]any {
	byKey := make([]*V, 0, len(rows)) // pointers: some rows are large, and sorting moves them
	for _, v := range rows {
		byKey = append(byKey, &v)
	}
	slices.SortFunc(byKey, order)
	out := make([][]any, len(byKey))
	var room []any // for the rows that are left: one piece of memory for all
	for i, v := range byKey {
		row := put(room, v)
		if out[i] = slices.Clip(row); room == nil {
			room = make([]any, 0, len(row)*(len(byKey)-1))
			continue
		}
		room = row[len(row):]
	}
	return out
}

func byKeyOfEvent(a, b *history.Event) int {
	return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), a.ReceivedAt.Compare(b.ReceivedAt), cmp.Compare(a.ID, b.ID), byPosition(a.Position, b.Position))
}

func byKeyOfDelivery(a, b *history.Delivery) int {
	return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), a.ReceivedAt.Compare(b.ReceivedAt), cmp.Compare(a.ID, b.ID))
}

func byKeyOfQuarantined(a, b *history.Quarantined) int {
	return cmp.Or(byPosition(a.Position, b.Position), cmp.Compare(a.Reader, b.Reader))
}

func byKeyOfAttempt(a, b *history.Attempt) int {
	return cmp.Or(
		a.ReceivedAt.Compare(b.ReceivedAt), cmp.Compare(a.DeliveryID, b.DeliveryID), a.StartedAt.Compare(b.StartedAt),
		cmp.Compare(a.RunID, b.RunID), cmp.Compare(a.Attempt.Attempt, b.Attempt.Attempt), cmp.Compare(a.Kind, b.Kind),
	)
}
