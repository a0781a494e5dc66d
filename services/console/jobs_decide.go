package console

import (
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

// words say what is in the way; page is where the web console shows the webhook.
func (o obstacle) words(page string) string {
	switch o {
	case obstacleDeleted:
		return "the webhook was deleted, so there is nobody to send to"
	case obstacleInactive:
		return "the webhook is not active, so what is released would be suspended again: activate it, then release"
	case obstacleDisabled:
		return "the webhook is disabled, so what is released would be suspended again: an administrator reactivates it in the web console (" +
			page + "), then release"
	case obstaclePaused:
		return "the webhook is paused, so what is released would be suspended again: resume it, which releases what was suspended " +
			"because of the pause; then release the rest"
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
	skipped  int64            // in this pass
	waiting  time.Time        // since when something is in the way; zero: nothing is
	failing  bool             // the last step erred
}

// seen is what a step is decided by.
type seen struct {
	now      time.Time
	obstacle obstacle // of the webhook; of a release only
	full     bool     // the log has no room
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
	release := t.job.Kind == sqlstore.JobRelease
	switch {
	case release && s.obstacle != "" && t.second:
		return stepFinish, "" // what came late belongs to whatever is in the way now
	case release && s.obstacle != "":
		return stepGiveUp, string(s.obstacle)
	case t.resting(s.now):
		return stepWait, ""
	case t.mark == nil:
		return stepMark, ""
	case !t.recorded && s.behind > 0:
		return stepWait, "waits until the history has what the log holds"
	case release && s.full:
		return stepWait, "waits until the log has room"
	}
	return stepPage, ""
}

// resting reports whether the second pass is not due yet.
func (t *turn) resting(now time.Time) bool {
	return t.second && t.mark == nil && now.Sub(t.began) < lateFor
}

// looked notes a page of rows, of which there may be more, and reports whether it was the last of the job.
func (t *turn) looked(rows []history.Delivery, skipped int64, more bool) (last bool) {
	t.recorded = true
	t.skipped += skipped
	if len(rows) > 0 {
		t.after = rows[len(rows)-1]
	}
	if more {
		return false
	}
	if t.job.Kind == sqlstore.JobDiscard || t.second {
		return true
	}
	t.second, t.mark, t.recorded, t.after, t.skipped = true, nil, false, history.Delivery{}, 0
	return false
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

// filterOf is what the history is asked for.
func filterOf(j sqlstore.Job) sqlhistory.SuspendedFilter {
	s := j.Selection
	return sqlhistory.SuspendedFilter{
		Tenant: j.Tenant, WebhookID: j.WebhookID, From: s.SuspendedFrom, To: s.SuspendedTo,
		Reason: delivery.SuspendReason(s.Reason), IDs: s.DeliveryIDs,
	}
}

// selected are those of the history's rows that a selection is about.
func selected(rows []history.Delivery, s sqlstore.Selection) []history.Delivery {
	return slices.DeleteFunc(slices.Clone(rows), func(d history.Delivery) bool {
		if s.Before != nil && d.Position.Offset >= s.Before[d.Position.Partition] {
			return true
		}
		return len(s.EventTypes) > 0 && !slices.ContainsFunc(s.EventTypes, func(pattern string) bool {
			return webhook.TypeMatches(pattern, d.EventType)
		})
	})
}

// releasedAs is the run that a job releases a suspended delivery as: the same whenever it is worked out.
func releasedAs(j sqlstore.Job, row history.Delivery, d delivery.Delivery) delivery.Delivery {
	sum := sha256.Sum256([]byte(j.ID + "\x00" + row.ID + "\x00" + strconv.FormatInt(row.ReceivedAt.UnixNano(), 10)))
	return d.Again(delivery.NewRunID(row.RunID, j.CreatedAt, [8]byte(sum[:8])), delivery.CauseRelease)
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
