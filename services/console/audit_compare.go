package console

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// The kinds of differences.
const (
	auditMissing  = "missing"
	auditBehind   = "behind"
	auditStranger = "stranger"
)

// AuditDifference is one thing of which log and history do not say the same.
type AuditDifference struct {
	Kind      string `json:"kind" enum:"missing,behind,stranger" doc:"missing: the history has no row of it; behind: its row is older than what the log says; stranger: at the position that its row names stands something else"`
	Of        string `json:"of" enum:"event,delivery,attempt"`
	Topic     string `json:"topic" doc:"Where the log says it; of a stranger, where the row points"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	ID        string `json:"id" doc:"Of the event or the delivery"`
	Log       string `json:"log" doc:"What the log says"`
	History   string `json:"history" doc:"What the history says"`
}

func differs(kind, of string, at delivery.Position, id, log, history string) AuditDifference {
	return AuditDifference{kind, of, at.Topic, at.Partition, at.Offset, id, log, history}
}

// logged is what a chunk of the log says, and where.
type logged struct {
	batch      history.Batch
	deliveryAt map[history.DeliveryKey]delivery.Position
	attemptAt  map[history.AttemptKey]delivery.Position
	events     int
	deliveries int
	attempts   int
	unreadable int
	expired    int // things of before since
}

// readLog is what records say of things that were received since then.
func readLog(records []*kgo.Record, topics wire.Topics, since time.Time) logged {
	l := logged{deliveryAt: map[history.DeliveryKey]delivery.Position{}, attemptAt: map[history.AttemptKey]delivery.Position{}}
	for _, r := range records {
		if err := l.add(r, topics, since); err != nil {
			l.unreadable++ // the recorder quarantines it
		}
	}
	return l
}

func (l *logged) add(r *kgo.Record, topics wire.Topics, since time.Time) error {
	at := wire.PositionOf(r)
	switch r.Topic {
	case topics.Events:
		e, err := wire.ReadEvent(r)
		if err != nil {
			return err
		}
		if l.events++; !l.old(e.ReceivedAt, since) {
			l.batch.AddEvent(e, at)
		}
	case topics.Deliveries, topics.Suspended:
		d, err := wire.ReadDelivery(r)
		if err != nil {
			return err
		}
		if l.deliveries++; !l.old(d.ReceivedAt, since) {
			l.batch.AddDelivery(d, at)
			l.says(history.FromDelivery(d, at), at)
		}
	case topics.Attempts:
		a, err := wire.ReadAttempt(r)
		if err != nil {
			return err
		}
		if l.attempts++; !l.old(a.ReceivedAt, since) {
			l.batch.AddAttempt(a)
			row, d, changes := history.FromAttempt(a)
			l.attemptAt[row.Key()] = at
			if changes {
				l.says(d, at)
			}
		}
	}
	return nil
}

// says notes where a delivery's row comes from, if that is what holds of all that the chunk says of it.
func (l *logged) says(row history.Delivery, at delivery.Position) {
	if holds := l.batch.Deliveries[row.Key()]; holds.Run == row.Run && holds.Step == row.Step && holds.UpdatedAt.Equal(row.UpdatedAt) {
		l.deliveryAt[row.Key()] = at
	}
}

// old counts what the history need not have any more.
func (l *logged) old(receivedAt, since time.Time) bool {
	is := receivedAt.Before(since)
	if is {
		l.expired++
	}
	return is
}

// rows are what the history must have of the chunk.
func (l *logged) rows() ([]history.Event, []history.Delivery, []history.Attempt) {
	return slices.Collect(maps.Values(l.batch.Events)), slices.Collect(maps.Values(l.batch.Deliveries)),
		slices.Collect(maps.Values(l.batch.Attempts))
}

// missingEvents are the differences of events without a row.
func (l *logged) missingEvents(rows []history.Event) (out []AuditDifference) {
	for _, e := range rows {
		out = append(out, differs(auditMissing, "event", e.Position, e.ID, "received "+stamp(e.ReceivedAt), "no row"))
	}
	return out
}

// missingAttempts are the differences of attempts without a row.
func (l *logged) missingAttempts(rows []history.Attempt) (out []AuditDifference) {
	for _, a := range rows {
		said := fmt.Sprintf("%s %d of run %s, started %s, then %s", a.Kind, a.Attempt.Attempt, a.RunID, stamp(a.StartedAt), a.Status)
		out = append(out, differs(auditMissing, "attempt", l.attemptAt[a.Key()], a.DeliveryID, said, "no row"))
	}
	return out
}

// missingDelivery is the difference of a delivery whose row is not there (nil) or does not cover what the log says.
func (l *logged) missingDelivery(row history.Delivery, stored *history.Delivery) AuditDifference {
	at := l.deliveryAt[row.Key()]
	if stored == nil {
		return differs(auditMissing, "delivery", at, row.ID, standing(row), "no row")
	}
	return differs(auditBehind, "delivery", at, row.ID, standing(row), standing(*stored))
}

// standing says how far a delivery has come.
func standing(d history.Delivery) string {
	said := fmt.Sprintf("%s after %d attempts of run %s (%s)", d.Status, d.Attempt, d.RunID, d.Cause)
	if !d.UpdatedAt.IsZero() {
		said += " at " + stamp(d.UpdatedAt)
	}
	return said
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// strangers are the differences of rows whose position in the log is not theirs. records are what stands at the
// rows' positions; starts are the first offsets that the log still has, listed after that: what is older is gone,
// as it should be.
func strangers(rows []history.Delivery, records map[delivery.Position]*kgo.Record, starts map[string]map[int32]int64, topics wire.Topics) (out []AuditDifference) {
	for _, d := range rows {
		at := d.Position
		if at == (delivery.Position{}) {
			continue
		}
		log := ""
		if r := records[at]; r != nil {
			log = isOf(d, r, topics)
		} else if start, there := starts[at.Topic][at.Partition]; !there {
			log = "no such partition"
		} else if at.Offset >= start {
			log = "nothing"
		}
		if log != "" {
			out = append(out, differs(auditStranger, "delivery", at, d.ID, log, standing(d)))
		}
	}
	return out
}

// isOf says what a record is that is not the delivery's, empty if it is. A capped delivery has no record of its own:
// its row names the event's.
func isOf(d history.Delivery, r *kgo.Record, topics wire.Topics) string {
	if r.Topic == topics.Events {
		e, err := wire.ReadEvent(r)
		switch {
		case err != nil:
			return "a record that cannot be read"
		case d.Status != delivery.Capped || e.Tenant != d.Tenant || e.ID != d.EventID:
			return "event " + e.ID
		}
		return ""
	}
	got, err := wire.ReadDelivery(r)
	switch {
	case err != nil:
		return "a record that is no delivery or cannot be read"
	case got.ID != d.ID || got.Tenant != d.Tenant:
		return "delivery " + got.ID
	}
	return ""
}
