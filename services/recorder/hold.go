package recorder

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

const (
	// holdTime is for how long after a delivery its first attempt is waited for, as the log says it: what waits for its
	// receiver is shown that much later.
	holdTime = 250 * time.Millisecond
	// holdMost is that for a recorder which is behind, by the clock: the attempts are in the log, but not read yet.
	holdMost = 2 * time.Second
	// holdRecords is how many are held at most. Each keeps the memory of the records that were fetched with it.
	holdRecords = 20_000
)

// hold keeps what records say of deliveries that were not tried yet: the record of the first attempt is on its way,
// mostly in one of the next batches, for topics are fetched side by side and read one after the other. So a delivery
// that succeeds at once is written once instead of twice, of which the first time costs more than a third of all.
//
// What is held is not written, so it is not committed either: after a crash it is read again. The zero hold is empty.
type hold struct {
	rows map[history.DeliveryKey]heldRow
}

type heldRow struct {
	row    history.Delivery
	record *kgo.Record // that says it
	since  time.Time
}

func (h *hold) empty() bool { return len(h.rows) == 0 }

// records are those of the rows that are held.
func (h *hold) records() []*kgo.Record {
	out := make([]*kgo.Record, 0, len(h.rows))
	for _, held := range h.rows {
		out = append(out, held.record)
	}
	return out
}

// exchange takes out of a batch what is to be held, and adds to it what was held and is to be written now. It returns the
// records of the batch as it is then. Attempts were read up to a time.
func (h *hold) exchange(b *history.Batch, records []*kgo.Record, upTo, now time.Time) []*kgo.Record {
	records = h.take(b, records, now)
	for key, held := range h.rows {
		_, tried := b.Deliveries[key]
		if !tried && upTo.Sub(held.record.Timestamp) < holdTime && now.Sub(held.since) < holdMost {
			continue
		}
		b.AddRow(held.row)
		records = append(records, held.record)
		delete(h.rows, key)
	}
	return records
}

// readUpTo is up to when the attempts of all partitions were read, once these records are, or nearly so: now, if none of
// the records has waited for long, else the time of the oldest attempt, for a batch has those of some partitions alone.
func readUpTo(records []*kgo.Record, attempts string, now time.Time) (at time.Time) {
	if len(records) == 0 || now.Sub(oldest(records)) < holdTime {
		return now
	}
	for _, r := range records {
		if r.Topic == attempts && (at.IsZero() || r.Timestamp.Before(at)) {
			at = r.Timestamp
		}
	}
	return at
}

// take holds those rows of a batch that are not tried yet, as far as there is room, and returns the records of the
// others. Of a delivery that was written to the log twice, one record stays among those: the one that is held says the
// same.
func (h *hold) take(b *history.Batch, records []*kgo.Record, now time.Time) []*kgo.Record {
	untried := map[delivery.Position]history.DeliveryKey{}
	for key, row := range b.Deliveries {
		if _, known := h.rows[key]; row.Untried() && !known && len(h.rows)+len(untried) < holdRecords {
			untried[row.Position] = key
		}
	}
	if len(untried) == 0 {
		return records
	}
	if h.rows == nil {
		h.rows = map[history.DeliveryKey]heldRow{}
	}
	return slices.DeleteFunc(records, func(r *kgo.Record) bool {
		key, is := untried[wire.PositionOf(r)]
		if row, first := b.Deliveries[key]; is && first {
			h.rows[key] = heldRow{row: row, record: r, since: now}
			delete(b.Deliveries, key)
		}
		return is
	})
}
