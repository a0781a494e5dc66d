package recorder

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// handler turns records into rows.
type handler struct{ topics wire.Topics }

// read is the topics that it knows.
func (h handler) read() []string {
	t := h.topics
	return []string{t.Events, t.Deliveries, t.Suspended, t.Attempts, t.Notices, t.States, t.Quarantine}
}

// fault is a record without rows, and why.
type fault struct {
	record *kgo.Record
	reason error
}

// rows is what records say, the records that say it, and those that cannot be read.
func (h handler) rows(records []*kgo.Record) (history.Batch, []*kgo.Record, []fault) {
	var batch history.Batch
	var faults []fault
	readable := make([]*kgo.Record, 0, len(records))
	for _, r := range records {
		if r.Attrs.IsControl() {
			continue // the end of a transaction: read for its offset alone
		}
		if err := h.add(&batch, r); err != nil {
			faults = append(faults, fault{r, err})
			continue
		}
		readable = append(readable, r)
	}
	return batch, readable, faults
}

// add adds what a record says. It errs if the record cannot be read.
func (h handler) add(b *history.Batch, r *kgo.Record) error {
	switch t := h.topics; r.Topic {
	case t.Deliveries, t.Suspended:
		d, err := wire.ReadDelivery(r)
		if err != nil {
			return err
		}
		b.AddDelivery(d, wire.PositionOf(r))
	case t.Attempts:
		a, err := wire.ReadAttempt(r)
		if err != nil {
			return err
		}
		b.AddAttempt(a)
	case t.Events:
		e, err := wire.ReadEvent(r)
		if err != nil {
			return err
		}
		b.AddEvent(e, wire.PositionOf(r))
	default:
		return h.addRare(b, r)
	}
	return nil
}

// addRare is add for the topics that few records come on.
func (h handler) addRare(b *history.Batch, r *kgo.Record) error {
	switch t := h.topics; r.Topic {
	case t.States:
		if r.Value == nil {
			return nil // its webhook is gone; the row speaks of the past
		}
		s, err := wire.ReadState(r)
		if err != nil {
			return err
		}
		b.AddState(s)
	case t.Notices:
		n, err := wire.ReadNotice(r)
		if err != nil {
			return err
		}
		b.AddNotice(n)
	case t.Quarantine:
		q, err := wire.ReadQuarantine(r)
		if err != nil {
			return err
		}
		b.AddQuarantined(history.Quarantined{Position: q.Position, Reader: q.Reader, Reason: q.Reason, At: q.QuarantinedAt})
	default:
		return fmt.Errorf("topic %s is not read", r.Topic)
	}
	return nil
}
