package console

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// recovering is a world whose deliveries end exhausted and are sent again.
type recovering struct {
	*world
	sent map[string]bool // by job and delivery
	ends map[string]int  // of `deliveries` when a job was asked for
}

func (w *recovering) publish() {
	i := len(w.runs)
	id := delivery.ID(fmt.Sprint(i), "hook")
	w.runs = append(w.runs, delivery.Delivery{
		ID: id, EventID: fmt.Sprint(i), WebhookID: "hook", RunID: delivery.FirstRunID(id), Cause: delivery.CauseFirst, Attempt: 1,
		ReceivedAt: time.Unix(rapid.Int64Range(1, 5).Draw(w.t, "received"), 0),
	})
}

// exhaust is a sender that gives a run up, maybe one that it has given up before.
func (w *recovering) exhaust() {
	if len(w.runs) > 0 {
		w.exhaustAt(rapid.IntRange(0, len(w.runs)-1).Draw(w.t, "run"))
	}
}

func (w *recovering) exhaustAt(i int) {
	d := w.runs[i]
	w.said = append(w.said, delivery.Attempt{
		Kind: delivery.KindPost, DeliveryID: d.ID, RunID: d.RunID, Cause: d.Cause, Attempt: 1, WebhookID: "hook", EventID: d.EventID,
		ReceivedAt: d.ReceivedAt, StartedAt: w.anyTime(), FinishedAt: w.anyTime(), Status: delivery.Exhausted,
		Position: delivery.Position{Topic: "d", Offset: int64(i)},
	})
}

// resend is a person who sends a delivery again.
func (w *recovering) resend() {
	if len(w.runs) > 0 {
		d := rapid.SampledFrom(w.runs).Draw(w.t, "resent")
		w.runs = append(w.runs, d.Again(delivery.NewRunID(d.RunID, w.anyTime(), [8]byte{byte(len(w.runs))}), delivery.CauseResend))
	}
}

func (w *recovering) ask() {
	w.jobs++
	j := sqlstore.Job{ID: fmt.Sprint("job ", w.jobs), WebhookID: "hook", Kind: sqlstore.JobRecover, CreatedAt: w.anyTime(), Status: sqlstore.JobWaiting}
	j.Selection.Statuses = []delivery.Status{delivery.Exhausted}
	j.Selection.Before, j.Selection.RunsBefore = map[int32]int64{0: int64(len(w.suspends))}, map[int32]int64{0: int64(len(w.runs))}
	w.ends[j.ID] = len(w.runs)
	w.open = append(w.open, j)
}

func (w *recovering) work(dies, commits bool) {
	turns := turnsOf(w.open, w.turns)
	w.turns = map[string]*turn{}
	if len(turns) == 0 {
		return
	}
	t := turns[0]
	w.turns[t.job.ID] = t
	switch do, _ := t.next(seen{now: w.now, behind: t.mark.behind(w.committed())}); do {
	case stepMark:
		t.mark = w.mark()
	case stepPage:
		const limit = 2
		rows, more := firstOf(w.rows(delivery.Exhausted, t.after, limit), limit)
		if !dies || commits {
			for _, row := range selected(rows, t.job.Selection, wire.Topics{Suspended: "s", Deliveries: "d"}) {
				w.send(t.job, row)
			}
		}
		if !dies && t.looked(rows, sqlstore.Skips{}, more) {
			w.open = w.open[1:]
		}
	case stepWait, stepFinish, stepGiveUp:
	}
	if dies {
		w.turns = nil
	}
}

func (w *recovering) send(j sqlstore.Job, row history.Delivery) {
	key := j.ID + " " + row.ID
	if w.sent[key] {
		w.t.Fatalf("%s is sent again twice", key)
	}
	w.sent[key] = true
	kept := w.runs[row.Position.Offset]
	run := sentAs(j, row, kept)
	if kept.ID != row.ID || run.Cause != delivery.CauseRecover || run.RunID <= row.RunID && row.Run != "" {
		w.t.Fatalf("run %s after %s", run.RunID, row.RunID)
	}
	for _, d := range w.runs[w.ends[j.ID]:] {
		if d.ID == row.ID && d.RunID == row.RunID {
			w.t.Fatalf("%s: its latest run is younger than the request", key)
		}
	}
	w.runs = append(w.runs, run)
}

func (w *recovering) recordAll() {
	for topic := range 3 {
		w.record(topic, 1000)
	}
}

// However ends, resends, recorder and dying workers come in between: a recover sends a delivery at most once, and all
// that had ended when it was asked for.
func TestRecoversOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := &recovering{
			world: &world{t: t, now: time.Unix(1_700_000_000, 0), history: map[history.DeliveryKey]history.Delivery{}},
			sent:  map[string]bool{}, ends: map[string]int{},
		}
		for range rapid.IntRange(1, 120).Draw(t, "moments") {
			w.now = w.now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0, 1:
				w.publish()
			case 2, 3:
				w.exhaust()
			case 4:
				w.resend()
			case 5:
				w.ask()
			case 6:
				w.record(rapid.IntRange(0, 2).Draw(t, "topic"), rapid.IntRange(1, 5).Draw(t, "n"))
			case 7:
				w.work(true, rapid.Bool().Draw(t, "commits"))
			default:
				w.work(false, false)
			}
		}
		for i := range w.runs {
			w.exhaustAt(i)
		}
		w.ask()
		for len(w.open) > 0 {
			w.recordAll()
			w.work(false, false)
		}
		w.recordAll()
		if left := w.rows(delivery.Exhausted, history.Delivery{}, 1); len(left) > 0 {
			t.Fatalf("not sent again: %+v", left)
		}
	})
}

func TestRecoveriesThatAreRefused(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	for body, want := range map[string]string{
		`{}`:                               "since: is required",
		`[]`:                               "object",
		`{"since":"yesterday"}`:            "since: must be an RFC 3339 time",
		`{"since":"2026-03-05T00:00:00Z"}`: "future",
		`{"since":"2026-03-04T10:00:00Z","until":"2026-03-04T10:00:00Z"}`: "until: must be later",
		`{"since":"2026-03-04T10:00:00Z","statuses":[]}`:                  "at least one status",
		`{"since":"2026-03-04T10:00:00Z","statuses":["delivered"]}`:       `"delivered" cannot be recovered`,
		`{"since":"2026-03-04T10:00:00Z","event_types":[]}`:               "at least one type",
		`{"since":"2026-03-04T10:00:00Z","reason":"paused"}`:              "reason: is not a field",
	} {
		if _, err := decodeRecovery([]byte(body), now); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", body, err, want)
		}
	}
	got, err := decodeRecovery([]byte(`{"since":"2026-03-04T10:00:00+01:00","statuses":["exhausted","cancelled","exhausted"]}`), now)
	if err != nil || !got.Since.Equal(now.Add(-3*time.Hour)) || len(got.Statuses) != 2 || !got.Until.IsZero() {
		t.Errorf("%+v, %v", got, err)
	}
}

// What a person says of a job.
func TestTurnedByHand(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	for name, tt := range map[string]struct {
		was, to, want sqlstore.JobStatus // want is empty: a conflict
	}{
		"pause what waits":       {sqlstore.JobWaiting, sqlstore.JobPaused, sqlstore.JobPaused},
		"pause what runs":        {sqlstore.JobRunning, sqlstore.JobPaused, sqlstore.JobPaused},
		"pause twice":            {sqlstore.JobPaused, sqlstore.JobPaused, sqlstore.JobPaused},
		"pause what is done":     {sqlstore.JobDone, sqlstore.JobPaused, ""},
		"resume":                 {sqlstore.JobPaused, sqlstore.JobRunning, sqlstore.JobWaiting},
		"resume what runs":       {sqlstore.JobRunning, sqlstore.JobRunning, sqlstore.JobRunning},
		"resume what waits":      {sqlstore.JobWaiting, sqlstore.JobRunning, sqlstore.JobWaiting},
		"resume what is gone":    {sqlstore.JobCancelled, sqlstore.JobRunning, ""},
		"cancel what waits":      {sqlstore.JobWaiting, sqlstore.JobCancelled, sqlstore.JobCancelled},
		"cancel what is paused":  {sqlstore.JobPaused, sqlstore.JobCancelled, sqlstore.JobCancelled},
		"cancel twice":           {sqlstore.JobCancelled, sqlstore.JobCancelled, sqlstore.JobCancelled},
		"cancel what has failed": {sqlstore.JobFailed, sqlstore.JobCancelled, ""},
	} {
		got, err := turned(sqlstore.Job{Status: tt.was, Error: "waits"}, tt.to, now)
		if (err != nil) != (tt.want == "") || err == nil && got.Status != tt.want {
			t.Errorf("%s: %s, %v", name, got.Status, err)
		}
		if err == nil && got.Status != tt.was && got.Status.Ended() == got.FinishedAt.IsZero() {
			t.Errorf("%s: finished at %s", name, got.FinishedAt)
		}
	}
}

// What a worker has done is added to what a person has said meanwhile.
func TestWorkedMeanwhile(t *testing.T) {
	t.Parallel()
	paused := sqlstore.Job{Status: sqlstore.JobPaused, Changed: 5, Total: sqlstore.JobUncounted}
	got := addedTo(paused, sqlstore.Job{Status: sqlstore.JobRunning, Changed: 9, Skipped: sqlstore.Skips{Gone: 2}, Total: 20})
	if got.Status != sqlstore.JobPaused || got.Changed != 9 || got.Skipped.Gone != 2 || got.Total != 20 {
		t.Errorf("%+v", got)
	}
	// The worker's last word was stored already, and the answer to that lost.
	stored := sqlstore.Job{Status: sqlstore.JobRunning, Changed: 9, Total: 20}
	if got = addedTo(stored, stored); got.Changed != 9 {
		t.Errorf("%+v", got)
	}
}
