package console

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// obstacle is why a webhook is not sent to until a person decides otherwise; empty: it is. A receiver that asked
// for a wait is none: what is released waits in the lanes.
type obstacle string

// The obstacles, which are the codes of problems too.
const (
	obstacleDeleted  obstacle = "webhook_deleted"
	obstacleInactive obstacle = "inactive"
	obstacleDisabled obstacle = "disabled"
	obstaclePaused   obstacle = "paused"
)

// obstacleOf judges as senders do.
func obstacleOf(w webhook.Webhook, exists bool, s failure.State) obstacle {
	switch {
	case !exists:
		return obstacleDeleted
	case s.Disabled:
		return obstacleDisabled
	case !w.Active:
		return obstacleInactive
	case w.Paused:
		return obstaclePaused
	}
	return ""
}

// words say what is in the way of a job that sends; page is where the web console shows the webhook.
func (o obstacle) words(kind sqlstore.JobKind, page string) string {
	would, then := "so what is released would be suspended again: ", "then release"
	if kind == sqlstore.JobRecover {
		would, then = "so what is sent again would be suspended: ", "then recover"
	}
	switch o {
	case obstacleDeleted:
		return "the webhook was deleted, so there is nobody to send to"
	case obstacleInactive:
		return "the webhook is not active, " + would + "activate it, " + then
	case obstacleDisabled:
		return "the webhook is disabled, " + would + "an administrator reactivates it in the web console (" + page + "), " + then
	case obstaclePaused:
		if kind == sqlstore.JobRecover {
			return "the webhook is paused, " + would + "resume it, " + then
		}
		return "the webhook is paused, " + would + "resume it, which releases what was suspended because of the pause; then release the rest"
	}
	return ""
}

// lateFor is how long after the first pass of a release the second begins. A change of a webhook takes effect
// within a second; the rest is for what was being written meanwhile.
const lateFor = 5 * time.Second

// marked are end offsets, by topic and partition.
type marked map[string]map[int32]int64

// behind is how many records lie between what a group has committed and the mark.
func (m marked) behind(committed []kafka.Span) (n int64) {
	for topic, ends := range m {
		for partition, end := range ends {
			var to int64
			for _, s := range committed {
				if s.Topic == topic && s.Partition == partition {
					to = s.To
				}
			}
			n += max(0, end-to)
		}
	}
	return n
}

// turn is how far a job has come since this console took it up. None of it is stored: who takes a job up begins
// anew, and finds only what is still suspended.
type turn struct {
	job      sqlstore.Job
	second   bool             // the second pass of a release
	mark     marked           // of this pass; nil: to be noted
	recorded bool             // the history knows everything up to the mark
	began    time.Time        // when the first pass noted its mark
	after    history.Delivery // the last row that was looked at
	wrote    history.Delivery // the last row of a recover that was written, with its new run
	skipped  sqlstore.Skips   // in this pass
	waiting  time.Time        // since when something is in the way; zero: nothing is
	failing  bool             // the last step erred
}

// seen is what a step is decided by.
type seen struct {
	now      time.Time
	obstacle obstacle // of the webhook; of what sends only
	full     bool     // the log has no room
	unknown  bool     // the history does not have what a recover wrote last
	waiting  int      // deliveries of a recover's webhook that are pending, up to maxWaiting
	behind   int64    // records up to the mark that the history does not have yet
}

// step is what is to be done for a job next.
type step int

const (
	stepWait   step = iota // look again soon
	stepMark               // note the ends of the log
	stepPage               // select a page and write it
	stepFinish             // it is done
	stepGiveUp             // it has failed
)

// next decides. words say why a job waits or has failed; a wait without words is part of the work.
func (t *turn) next(s seen) (do step, words string) {
	sends := t.job.Kind != sqlstore.JobDiscard
	switch {
	case sends && s.obstacle != "" && t.second:
		return stepFinish, "" // what came late belongs to whatever is in the way now
	case sends && s.obstacle != "":
		return stepGiveUp, string(s.obstacle)
	case t.resting(s.now):
		return stepWait, ""
	case t.mark == nil:
		return stepMark, ""
	case !t.recorded && s.behind > 0, s.unknown:
		return stepWait, "waits until the history has what the log holds"
	case sends && s.full:
		return stepWait, "waits until the log has room"
	case s.waiting >= maxWaiting:
		return stepWait, fmt.Sprintf("goes on as the webhook takes what waits for it: at least %d deliveries are pending", maxWaiting)
	}
	return stepPage, ""
}

// resting reports whether the second pass is not due yet.
func (t *turn) resting(now time.Time) bool {
	return t.second && t.mark == nil && now.Sub(t.began) < lateFor
}

// looked notes a page of rows, of which there may be more, and reports whether it was the last of the job.
func (t *turn) looked(rows []history.Delivery, skipped sqlstore.Skips, more bool) (last bool) {
	t.recorded = true
	t.skipped.Gone += skipped.Gone
	t.skipped.Unreadable += skipped.Unreadable
	if len(rows) > 0 {
		t.after = rows[len(rows)-1]
	}
	if more {
		return false
	}
	if t.job.Kind != sqlstore.JobRelease || t.second {
		return true
	}
	t.second, t.mark, t.recorded, t.after, t.skipped = true, nil, false, history.Delivery{}, sqlstore.Skips{}
	return false
}

// addedTo is a job as it is now, changed by a person, with what its worker did. Nobody else counts what was changed, so the
// larger number is right, also if the worker's last word was stored and the answer to that was lost.
func addedTo(now, worked sqlstore.Job) sqlstore.Job {
	now.Changed = max(now.Changed, worked.Changed)
	now.Skipped = now.Skipped.Max(worked.Skipped)
	if now.Total == sqlstore.JobUncounted {
		now.Total = worked.Total
	}
	now.UpdatedAt = worked.UpdatedAt
	return now
}

// turnsOf are the jobs to be worked, given all that are open, oldest first: of each webhook the oldest. What is
// known of them from before is kept.
func turnsOf(open []sqlstore.Job, before map[string]*turn) []*turn {
	var turns []*turn
	busy := map[string]bool{}
	for _, j := range open {
		if busy[j.WebhookID] {
			continue
		}
		busy[j.WebhookID] = true
		t := before[j.ID]
		if t == nil || t.job.Version != j.Version {
			t = &turn{job: j}
		}
		turns = append(turns, t)
	}
	return turns
}

// filtersOf is what the history is asked for: the rows of any of these.
func filtersOf(j sqlstore.Job) []sqlhistory.WebhookFilter {
	s := j.Selection
	f := sqlhistory.WebhookFilter{
		Tenant: j.Tenant, WebhookID: j.WebhookID, Status: delivery.Suspended, From: s.SuspendedFrom, To: s.SuspendedTo,
		Reason: delivery.SuspendReason(s.Reason), IDs: s.DeliveryIDs,
	}
	if j.Kind != sqlstore.JobRecover {
		return []sqlhistory.WebhookFilter{f}
	}
	f.From, f.To = s.Since, s.Until
	var all []sqlhistory.WebhookFilter
	for _, f.Status = range s.Statuses {
		all = append(all, f)
	}
	return all
}

// firstOf are the first rows, oldest first, of what several filters hold, of each up to limit; more says that the page
// is full.
func firstOf(rows []history.Delivery, limit int) (page []history.Delivery, more bool) {
	slices.SortFunc(rows, func(a, b history.Delivery) int {
		return cmp.Or(a.ReceivedAt.Compare(b.ReceivedAt), cmp.Compare(a.ID, b.ID))
	})
	// What came to another status between two statements is in both.
	rows = slices.CompactFunc(rows, func(a, b history.Delivery) bool { return a.ReceivedAt.Equal(b.ReceivedAt) && a.ID == b.ID })
	return rows[:min(len(rows), limit)], len(rows) >= limit
}

// selected are those of the history's rows that a selection is about.
func selected(rows []history.Delivery, s sqlstore.Selection, topics wire.Topics) []history.Delivery {
	before := map[string]map[int32]int64{topics.Suspended: s.Before, topics.Deliveries: s.RunsBefore}
	return slices.DeleteFunc(slices.Clone(rows), func(d history.Delivery) bool {
		if ends := before[d.Position.Topic]; ends != nil && d.Position.Offset >= ends[d.Position.Partition] {
			return true
		}
		return !ofTypes(s, d.EventType) || d.Cause == delivery.CauseTest // which nobody misses
	})
}

func ofTypes(s sqlstore.Selection, eventType string) bool {
	return len(s.EventTypes) == 0 || slices.ContainsFunc(s.EventTypes, func(pattern string) bool {
		return webhook.TypeMatches(pattern, eventType)
	})
}

// sentAs is the run that a job sends a delivery as: the same whenever it is worked out.
func sentAs(j sqlstore.Job, row history.Delivery, d delivery.Delivery) delivery.Delivery {
	cause := delivery.CauseRelease
	if j.Kind == sqlstore.JobRecover {
		cause = delivery.CauseRecover
	}
	sum := sha256.Sum256([]byte(j.ID + "\x00" + row.ID + "\x00" + strconv.FormatInt(row.ReceivedAt.UnixNano(), 10)))
	return d.Again(delivery.NewRunID(row.RunID, j.CreatedAt, [8]byte(sum[:8])), cause)
}

// decided is what a job says of a suspended delivery: that its run ends here, because it was released into a new
// one or discarded. It is the same whenever it is worked out, so that the history has it once.
func decided(j sqlstore.Job, row history.Delivery) delivery.Attempt {
	code, words, status := "released", "sent anew as another run", delivery.Pending
	if j.Kind == sqlstore.JobDiscard {
		code, words, status = "discarded", "not to be sent", delivery.Discarded
	}
	return delivery.Attempt{
		Kind: delivery.KindDecision, DeliveryID: row.ID, RunID: row.RunID, Cause: row.Cause, Attempt: row.Attempt + 1,
		Tenant: row.Tenant, WebhookID: row.WebhookID, EventID: row.EventID, EventType: row.EventType, ReceivedAt: row.ReceivedAt,
		StartedAt: j.CreatedAt, FinishedAt: j.CreatedAt, Status: status, Position: row.Position,
		Outcome: delivery.Outcome{ErrorCode: code, Error: fmt.Sprintf("%s by %s: %s", code, decider(j), words)},
	}
}

// decider says by whom, and with which job.
func decider(j sqlstore.Job) string {
	if j.RequestedBy == "" {
		return "hand (job " + j.ID + ")"
	}
	return "the holder of API key " + j.RequestedBy + " (job " + j.ID + ")"
}
