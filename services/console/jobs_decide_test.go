package console

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

func TestObstacles(t *testing.T) {
	t.Parallel()
	active := webhook.Webhook{Active: true}
	waiting := failure.State{DisabledUntil: time.Now().Add(time.Hour), FailStreak: 3}
	for name, tt := range map[string]struct {
		w      webhook.Webhook
		exists bool
		s      failure.State
		want   obstacle
	}{
		"none":                       {active, true, failure.State{}, ""},
		"its receiver wants a wait":  {active, true, waiting, ""},
		"deleted":                    {webhook.Webhook{}, false, failure.State{}, obstacleDeleted},
		"inactive":                   {webhook.Webhook{}, true, failure.State{}, obstacleInactive},
		"inactive, disabled, paused": {webhook.Webhook{Paused: true}, true, failure.State{Disabled: true}, obstacleDisabled},
		"disabled and paused":        {webhook.Webhook{Active: true, Paused: true}, true, failure.State{Disabled: true}, obstacleDisabled},
		"paused":                     {webhook.Webhook{Active: true, Paused: true}, true, failure.State{}, obstaclePaused},
	} {
		got := obstacleOf(tt.w, tt.exists, tt.s)
		if got != tt.want || (got == "") != (got.words(sqlstore.JobRelease, "here") == "") || (got == "") != (got.words(sqlstore.JobRecover, "here") == "") {
			t.Errorf("%s: %q %q, want %q", name, got, got.words(sqlstore.JobRelease, "here"), tt.want)
		}
	}
}

func TestNextStep(t *testing.T) {
	t.Parallel()
	at := time.Unix(1000, 0)
	mark := marked{"t": {0: 5}}
	release, discard, again := sqlstore.Job{Kind: sqlstore.JobRelease}, sqlstore.Job{Kind: sqlstore.JobDiscard}, sqlstore.Job{Kind: sqlstore.JobRecover}
	for name, tt := range map[string]struct {
		t     turn
		s     seen
		want  step
		words bool
	}{
		"a release begins":                    {turn{job: release}, seen{}, stepMark, false},
		"a discard begins":                    {turn{job: discard}, seen{}, stepMark, false},
		"a recover begins":                    {turn{job: again}, seen{}, stepMark, false},
		"a recover, while it is paused":       {turn{job: again, mark: mark}, seen{obstacle: obstaclePaused}, stepGiveUp, true},
		"a recover has no room":               {turn{job: again, mark: mark}, seen{full: true}, stepWait, true},
		"what it wrote is not known":          {turn{job: again, mark: mark, recorded: true}, seen{unknown: true}, stepWait, true},
		"the webhook has enough":              {turn{job: again, mark: mark, recorded: true}, seen{waiting: maxWaiting}, stepWait, true},
		"the webhook takes more":              {turn{job: again, mark: mark, recorded: true}, seen{waiting: maxWaiting - 1}, stepPage, false},
		"the history is behind":               {turn{job: release, mark: mark}, seen{behind: 1}, stepWait, true},
		"the history knows":                   {turn{job: release, mark: mark}, seen{}, stepPage, false},
		"it is behind again, which is well":   {turn{job: release, mark: mark, recorded: true}, seen{behind: 1}, stepPage, false},
		"no room for a release":               {turn{job: release, mark: mark}, seen{full: true}, stepWait, true},
		"a discard needs little":              {turn{job: discard, mark: mark}, seen{full: true}, stepPage, false},
		"paused in the first pass":            {turn{job: release, mark: mark, recorded: true}, seen{obstacle: obstaclePaused}, stepGiveUp, true},
		"paused after it":                     {turn{job: release, second: true, began: at}, seen{obstacle: obstaclePaused, now: at}, stepFinish, false},
		"a discard while paused":              {turn{job: discard, mark: mark}, seen{}, stepPage, false},
		"the second pass is not due":          {turn{job: release, second: true, began: at}, seen{now: at.Add(lateFor - 1)}, stepWait, false},
		"the second pass is due":              {turn{job: release, second: true, began: at}, seen{now: at.Add(lateFor)}, stepMark, false},
		"the second pass waits for the rest":  {turn{job: release, second: true, began: at, mark: mark}, seen{now: at.Add(lateFor), behind: 1}, stepWait, true},
		"the second pass, once that is known": {turn{job: release, second: true, began: at, mark: mark}, seen{now: at.Add(lateFor)}, stepPage, false},
	} {
		if got, words := tt.t.next(tt.s); got != tt.want || (words != "") != tt.words {
			t.Errorf("%s: %v %q, want %v", name, got, words, tt.want)
		}
	}
}

func TestBehindAMark(t *testing.T) {
	t.Parallel()
	span := func(topic string, p int32, to int64) kafka.Span {
		return kafka.Span{Topic: topic, Partition: p, To: to}
	}
	for name, tt := range map[string]struct {
		mark      marked
		committed []kafka.Span
		want      int64
	}{
		"nothing is there":          {marked{"a": {0: 0}}, nil, 0},
		"nothing is committed":      {marked{"a": {0: 3, 1: 2}}, nil, 5},
		"all of it":                 {marked{"a": {0: 3}}, []kafka.Span{span("a", 0, 3)}, 0},
		"more came meanwhile":       {marked{"a": {0: 3}}, []kafka.Span{span("a", 0, 9)}, 0},
		"ahead here, behind there":  {marked{"a": {0: 3, 1: 4}}, []kafka.Span{span("a", 0, 9), span("a", 1, 3)}, 1},
		"another topic of the name": {marked{"a": {0: 3}}, []kafka.Span{span("b", 0, 3)}, 3},
	} {
		if got := tt.mark.behind(tt.committed); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}

func TestTurns(t *testing.T) {
	t.Parallel()
	job := func(id, hook string, version uint64) sqlstore.Job {
		return sqlstore.Job{ID: id, WebhookID: hook, Version: version}
	}
	open := []sqlstore.Job{job("1", "a", 3), job("2", "a", 1), job("3", "b", 7), job("4", "c", 1)}
	known := map[string]*turn{"1": {job: job("1", "a", 3), skipped: sqlstore.Skips{Gone: 9}}, "3": {job: job("3", "b", 6), skipped: sqlstore.Skips{Gone: 9}}, "0": {}}
	var got []string
	for _, t := range turnsOf(open, known) {
		got = append(got, fmt.Sprint(t.job.ID, t.skipped.Gone))
	}
	// Of a job that another has worked meanwhile nothing is known.
	if want := "[19 30 40]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}

// world is a log with a webhook's deliveries, a recorder, and one worker after the other.
type world struct {
	t        *rapid.T
	now      time.Time
	suspends []delivery.Delivery // `deliveries.suspended`
	runs     []delivery.Delivery // `deliveries`
	said     []delivery.Attempt  // `attempts`
	recorded [3]int              // of each of them
	history  map[history.DeliveryKey]history.Delivery
	open     []sqlstore.Job
	turns    map[string]*turn
	jobs     int
	paused   bool
	settled  map[string]sqlstore.JobKind // by delivery and run that was suspended
	bound    map[string]int              // by discard: how much was suspended when it was asked for
}

func (w *world) mark() marked {
	return marked{"s": {0: int64(len(w.suspends))}, "d": {0: int64(len(w.runs))}, "a": {0: int64(len(w.said))}}
}

func (w *world) committed() []kafka.Span {
	return []kafka.Span{{Topic: "s", To: int64(w.recorded[0])}, {Topic: "d", To: int64(w.recorded[1])}, {Topic: "a", To: int64(w.recorded[2])}}
}

// record is a recorder that reads some of a topic.
func (w *world) record(topic, n int) {
	var b history.Batch
	for range n {
		i := w.recorded[topic]
		switch {
		case topic == 0 && i < len(w.suspends):
			b.AddDelivery(w.suspends[i], delivery.Position{Topic: "s", Offset: int64(i)})
		case topic == 1 && i < len(w.runs):
			b.AddDelivery(w.runs[i], delivery.Position{Topic: "d", Offset: int64(i)})
		case topic == 2 && i < len(w.said):
			b.AddAttempt(w.said[i])
		default:
			continue
		}
		w.recorded[topic]++
	}
	for key, d := range b.Deliveries {
		if was, known := w.history[key]; known {
			d = d.Merge(was)
		}
		w.history[key] = d
	}
}

// rows are what the history says has a status, behind a row.
func (w *world) rows(status delivery.Status, after history.Delivery, limit int) []history.Delivery {
	var rows []history.Delivery
	order := func(a, b history.Delivery) int {
		return cmp.Or(a.ReceivedAt.Compare(b.ReceivedAt), cmp.Compare(a.ID, b.ID))
	}
	for _, d := range w.history {
		if d.Status == status && (after.ID == "" || order(d, after) > 0) {
			rows = append(rows, d)
		}
	}
	slices.SortFunc(rows, order)
	return rows[:min(len(rows), limit)]
}

func (w *world) suspend() {
	i := len(w.suspends)
	id := delivery.ID(fmt.Sprint(i), "hook")
	w.suspends = append(w.suspends, delivery.Delivery{
		ID: id, EventID: fmt.Sprint(i), WebhookID: "hook", RunID: delivery.FirstRunID(id), Cause: delivery.CauseFirst,
		Attempt: rapid.IntRange(1, 4).Draw(w.t, "attempt"), ReceivedAt: time.Unix(rapid.Int64Range(1, 5).Draw(w.t, "received"), 0),
		SuspendReason: delivery.SuspendPaused, SuspendedAt: w.anyTime(),
	})
}

// anyTime is what the clock of another machine says.
func (w *world) anyTime() time.Time {
	return w.now.Add(time.Duration(rapid.IntRange(-3600, 3600).Draw(w.t, "clock")) * time.Second)
}

// again is a sender that suspends once more: what it suspended before a crash, or what was released too early.
func (w *world) again(released bool) {
	of := w.suspends
	if released {
		of = w.runs
	}
	if len(of) == 0 {
		return
	}
	d := rapid.SampledFrom(of).Draw(w.t, "again")
	d.SuspendReason, d.SuspendedAt = delivery.SuspendPaused, w.anyTime()
	w.suspends = append(w.suspends, d)
}

func (w *world) ask(kind sqlstore.JobKind) {
	if kind == sqlstore.JobRelease && w.paused {
		return
	}
	w.jobs++
	j := sqlstore.Job{ID: fmt.Sprint("job ", w.jobs), WebhookID: "hook", Kind: kind, CreatedAt: w.now, Status: sqlstore.JobWaiting}
	if kind == sqlstore.JobDiscard {
		j.Selection.Before = map[int32]int64{0: int64(len(w.suspends))}
		w.bound[j.ID] = len(w.suspends)
	}
	w.open = append(w.open, j)
}

// work is one step of the worker. It dies in the middle of a page if it is to, and its transaction is there or not.
func (w *world) work(dies, commits bool) {
	turns := turnsOf(w.open, w.turns)
	w.turns = map[string]*turn{}
	if len(turns) == 0 {
		return
	}
	t := turns[0]
	w.turns[t.job.ID] = t
	s := seen{now: w.now, behind: t.mark.behind(w.committed())}
	if w.paused && t.job.Kind == sqlstore.JobRelease {
		s.obstacle = obstaclePaused
	}
	do, _ := t.next(s)
	switch do {
	case stepMark:
		t.mark = w.mark()
		if !t.second {
			t.began = w.now
		}
	case stepPage:
		const limit = 2
		rows := w.rows(delivery.Suspended, t.after, limit)
		if !dies || commits {
			for _, row := range selected(rows, t.job.Selection, wire.Topics{Suspended: "s", Deliveries: "d"}) {
				w.settle(t.job, row)
			}
		}
		if !dies && t.looked(rows, sqlstore.Skips{}, len(rows) == limit) {
			w.open = w.open[1:]
		}
	case stepFinish, stepGiveUp:
		w.open = w.open[1:]
	case stepWait:
	}
	if dies {
		w.turns = nil
	}
}

// settle is what a page writes about one delivery.
func (w *world) settle(j sqlstore.Job, row history.Delivery) {
	key := row.ID + " " + row.RunID
	if by, twice := w.settled[key]; twice {
		w.t.Fatalf("%s of %s, which was settled before by a %s", j.Kind, key, by)
	}
	w.settled[key] = j.Kind
	if n, bounded := w.bound[j.ID]; bounded && !slices.ContainsFunc(w.suspends[:n], func(d delivery.Delivery) bool { return d.ID == row.ID && d.RunID == row.RunID }) {
		w.t.Fatalf("%s was discarded, and suspended after that was asked for", key)
	}
	if once, again := decided(j, row), decided(j, row); !reflect.DeepEqual(once, again) {
		w.t.Fatalf("another decision the second time: %+v, %+v", once, again)
	}
	w.said = append(w.said, decided(j, row))
	if j.Kind == sqlstore.JobRelease {
		kept := w.suspends[row.Position.Offset]
		run := sentAs(j, row, kept)
		if run.RunID != sentAs(j, row, kept).RunID || run.RunID <= row.RunID && row.Run != "" || kept.ID != row.ID {
			w.t.Fatalf("run %s after %s", run.RunID, row.RunID)
		}
		w.runs = append(w.runs, run)
	}
}

// However requests, suspensions, recorder and dying workers come in between: what is suspended is released or discarded
// once, a discard takes nothing that was suspended after it, and in the end nothing is left.
func TestNothingIsLostOrDoubled(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := &world{
			t: t, now: time.Unix(1_700_000_000, 0), history: map[history.DeliveryKey]history.Delivery{},
			settled: map[string]sqlstore.JobKind{}, bound: map[string]int{},
		}
		for range rapid.IntRange(1, 120).Draw(t, "moments") {
			w.now = w.now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0, 1:
				w.suspend()
			case 2:
				w.again(rapid.Bool().Draw(t, "released"))
			case 3:
				w.ask(sqlstore.JobRelease)
			case 4:
				w.ask(sqlstore.JobDiscard)
			case 5:
				w.paused = !w.paused
			case 6:
				w.record(rapid.IntRange(0, 2).Draw(t, "topic"), rapid.IntRange(1, 5).Draw(t, "n"))
			case 7:
				w.work(true, rapid.Bool().Draw(t, "commits"))
			default:
				w.work(false, false)
			}
		}
		w.paused = false
		w.ask(sqlstore.JobRelease)
		for len(w.open) > 0 {
			w.now = w.now.Add(time.Second)
			for topic := range 3 {
				w.record(topic, 1000)
			}
			w.work(false, false)
		}
		for topic := range 3 {
			w.record(topic, 1000)
		}
		if left := w.rows(delivery.Suspended, history.Delivery{}, 1); len(left) > 0 {
			t.Fatalf("still suspended: %+v", left)
		}
		for _, d := range w.suspends {
			if _, is := w.settled[d.ID+" "+d.RunID]; !is && w.latest(d.ID) == d.RunID {
				t.Fatalf("lost: %+v", d)
			}
		}
	})
}

// latest is the run of a delivery that the history shows.
func (w *world) latest(id string) string {
	for _, d := range w.history {
		if d.ID == id {
			return d.RunID
		}
	}
	return ""
}
