package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/registry"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// How jobs are worked. A job of this console is seen at once, of another within the poll.
const (
	jobsLock = "jobs"
	jobsPoll = 500 * time.Millisecond
	// While jobs are open, but all wait: at first, and after a while.
	jobsSoon  = 100 * time.Millisecond
	jobsLater = time.Second
	// jobPage is how many deliveries are selected, read (payloads are all in memory then) and written at once.
	jobPage = 200
	// maxOpenJobs are worked in turns; those beyond wait until some are done.
	maxOpenJobs = 500
	// maxWaiting is how many deliveries of a webhook may be pending when a recover writes a page more.
	maxWaiting = 1000
	// waitTold is how long something is in the way before the job says so.
	waitTold = time.Second
)

// jobs works releases and discards of suspended deliveries, and recovers: what has ended is sent again.
//
// # Nothing twice, nothing left out
//
// One console of all works the open jobs: by a SQL lock, and by a transactional producer with one id for all, which
// fences one that lost the lock without knowing. A page of a job is one transaction: the new runs of a release
// and the decisions that end the suspended ones are in the log together, or not at all.
//
// What is still to be done is not stored anywhere: it is what the history calls suspended. So before the first
// page is selected, each time a job is taken up, the worker
//
//  1. has its producer id, which has ended whatever transaction was open before it, then
//  2. notes the ends of `deliveries.suspended`, `deliveries` and `attempts`, open transactions included, and
//  3. waits until the recorders have committed behind them.
//
// Then the history knows every delivery that was suspended until then, and every one that was released or discarded
// already, by whichever console. Pages are walked by key, so a delivery is selected once in a pass. Wherever a worker
// dies, the next one releases what is left and nothing else. Run ids, and the keys of decisions, are worked out from
// the job and the delivery, so even a record that was repeated would be the same one. A recorder that is away
// only makes jobs wait.
//
// # A recover
//
// What a recover has sent may end as it did before, and is then the same row again with the same status. So the request
// notes the ends of `deliveries` and `deliveries.suspended`, and a row whose latest run was written behind them is
// left alone: whatever the job has sent, and whatever a person, a release or another job has sent since it was asked
// for. Each delivery has so one run of a recover at most, wherever workers die, and two recovers that were asked for
// together send once. Nothing is decided about the run before, which has ended by itself.
//
// Its pace is the webhook's. A page is written once the history has all of the page before and fewer than 1,000 of
// the webhook's deliveries are pending, so no more than 1,200 of them are in the lane that new events come by, behind
// which they wait no longer than that takes. 1,000,000 deliveries are 5,000 pages of a tenth of a second or more: nine
// minutes at the least, or as long as the receiver needs. If it fails, it is disabled as always, and the recover
// ends as failed; what it has not sent stays as it was.
//
// # What a job takes, and clocks
//
// When a delivery was suspended is told by the clock of a matcher or a sender, when a job was asked for by a
// console's. They may differ, so what a job takes does not depend on comparing them.
//
//   - A discard takes what stood in `deliveries.suspended` when it was asked for: the request notes the ends of that
//     topic, and a row whose record stands behind them is left alone. What cannot be brought back is so never more
//     than people could know of.
//   - A release takes what is suspended when its passes begin. There are two: one at once, and one that begins 5 s
//     after the first, by the worker's own clock: matchers and senders may suspend by what they knew before the
//     webhook was resumed or reactivated, for a second; they may even suspend again what the first pass released.
//     More than what was asked for is not taken that way, since a webhook that can be sent to has nothing
//     suspended: if it is paused, deactivated or disabled meanwhile, the first pass fails and the second is left
//     out. What a machine suspends later than that, because it was cut off, stays listed for another release.
//   - A recover takes what had its run before it was asked for, as above, also what ends while it goes on.
//   - Times that a person gives in a selection are compared with the times that the lists show.
//
// # What becomes of it
//
// In the history (see its doc) the suspended run ends with the decision: released, above suspended and below
// whatever an attempt says; or discarded, above all but delivered. A replayed record of its suspension ranks
// below both. A released delivery is a new run, which ranks above the old one, and is suspended again by its sender if
// the webhook was paused meanwhile. A delivery whose payload is gone is skipped and stays as it is; a discard needs
// no payload.
//
// # Turns
//
// Of each webhook the oldest job is worked, one page at a time, then the next webhook's: a long job delays the
// others by its pages only. What is unacknowledged is one page. What sends waits while the embedded log is full.
//
// # Pause and cancel
//
// A person's pause or cancellation is a change of the job's row. A page that is being written then is finished, and
// counted on top. Who resumes a job has it begin anew with what is left.
type jobs struct {
	cfg      kafka.Config
	topics   wire.Topics
	log      *slog.Logger
	states   *registry.States
	reader   *kafka.Reader
	history  func() (*sqlhistory.Store, error)
	room     func() error                  // nil: there is room
	pageOf   func(webhookID string) string // where the web console shows it
	store    *sqlstore.Store
	woken    chan struct{} // receives after a job was made here
	open     prometheus.Gauge
	changed  *prometheus.CounterVec
	failures prometheus.Counter
}

// newJobs works jobs of a console, which gives it topics, clients and store later.
func newJobs(s *Service) jobs {
	return jobs{
		cfg: s.cfg.Kafka, log: s.log, history: s.history, room: s.cfg.Room, pageOf: s.pageOf, woken: make(chan struct{}, 1),
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "doorstep_jobs_open", Help: "Releases, discards and recovers of deliveries that wait or run; every console tells of all.",
		}),
		changed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "doorstep_jobs_deliveries_total", Help: "Deliveries that jobs worked, by kind (release, discard, recover) and result (changed, skipped: its payload is gone).",
		}, []string{"kind", "result"}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "doorstep_jobs_failures_total", Help: "Times that jobs could not be worked and were tried again.",
		}),
	}
}

func (j *jobs) metrics() []prometheus.Collector {
	return []prometheus.Collector{j.open, j.changed, j.failures}
}

// wake lets the worker look at once.
func (j *jobs) wake() {
	select {
	case j.woken <- struct{}{}:
	default:
	}
}

// run works jobs until ctx ends. Whatever fails is tried again, from the lock on.
func (j *jobs) run(ctx context.Context) {
	failing := false
	for {
		err := j.hold(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			j.failures.Inc()
			if !failing {
				j.log.Warn("jobs cannot be worked; trying again", "error", err)
			}
		} else if failing {
			j.log.Info("jobs are worked again")
		}
		failing = err != nil
		if !wait(ctx, jobsPoll, j.woken) {
			return
		}
	}
}

// hold works the open jobs until there are none, if it gets the lock. It returns nil at once if there are none, or
// another has the lock.
func (j *jobs) hold(ctx context.Context) error {
	open, err := j.listed(ctx)
	if err != nil || len(open) == 0 {
		return err
	}
	lock, held, err := j.store.TryLock(ctx, jobsLock)
	if err != nil || !held {
		return err
	}
	defer lock.Release()
	client, err := newSoleProducer(ctx, j.cfg, j.log, "jobs", j.topics.Deliveries, j.topics.Attempts)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := j.begin(ctx, client); err != nil {
		return err
	}
	w := &working{jobs: j, client: client, turns: map[string]*turn{}}
	for pause := jobsSoon; ; pause = min(2*pause, jobsLater) {
		if err := lock.Held(ctx); err != nil {
			return err
		}
		moved, err := w.round(ctx)
		if err != nil || len(w.turns) == 0 {
			return err
		}
		if moved {
			pause = jobsSoon / 2
		} else if !wait(ctx, pause, j.woken) {
			return nil
		}
	}
}

func (j *jobs) listed(ctx context.Context) ([]sqlstore.Job, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	open, err := j.store.OpenJobs(ctx, maxOpenJobs)
	if err == nil {
		j.open.Set(float64(len(open)))
	}
	return open, err
}

// begin ends the transaction that a worker before this one may have left open, and fences it.
func (j *jobs) begin(ctx context.Context, client *kgo.Client) error {
	ctx, cancel := context.WithTimeout(ctx, transactionTimeout)
	defer cancel()
	if _, _, err := client.ProducerID(ctx); err != nil {
		return fmt.Errorf("work jobs: fetch producer id: %w", kafka.Denied(err))
	}
	return nil
}

// working is a worker for as long as it has the lock.
type working struct {
	*jobs
	client *kgo.Client
	turns  map[string]*turn // by job
}

// round gives each job one turn, and reports whether any moved on.
func (w *working) round(ctx context.Context) (moved bool, err error) {
	open, err := w.listed(ctx)
	if err != nil {
		return false, err
	}
	turns := turnsOf(open, w.turns)
	w.turns = make(map[string]*turn, len(turns))
	for _, t := range turns {
		w.turns[t.job.ID] = t
	}
	select {
	case <-w.states.Ready():
	default:
		return false, nil // who is disabled is not known yet
	}
	ends := &asked{w: w, now: time.Now()}
	for _, t := range turns {
		did, err := w.take(ctx, t, ends)
		if errors.Is(err, errWrite) || errors.Is(err, sqlstore.ErrConflict) {
			return moved, err
		}
		if ctx.Err() != nil {
			return moved, nil //nolint:nilerr // stopping is no failure
		}
		if err != nil {
			w.failed(ctx, t, err, ends.now)
		}
		moved = moved || did && err == nil
	}
	return moved, nil
}

// failed has a job begin anew. The others go on.
func (w *working) failed(ctx context.Context, t *turn, err error, now time.Time) {
	w.failures.Inc()
	if !t.failing {
		w.log.Warn("job cannot go on; trying again", "job", t.job.ID, "webhook", t.job.WebhookID, "error", err)
	}
	*t = turn{job: t.job, waiting: t.waiting, failing: true}
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	if err := w.waits(ctx, t, "cannot go on at the moment: the database, the history or the log does not answer; it is tried again", now); err != nil {
		w.log.Debug("job not noted as waiting", "job", t.job.ID, "error", err)
	}
}

// take does one step of a job, and reports whether it moved on.
func (w *working) take(ctx context.Context, t *turn, log *asked) (moved bool, err error) {
	if t.resting(log.now) {
		return false, nil // nothing need be asked
	}
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	s, err := w.look(ctx, t, log)
	if err != nil {
		return false, err
	}
	do, words := t.next(s)
	switch do {
	case stepMark:
		if t.mark, err = log.ends(ctx); err != nil {
			return false, err
		}
		if !t.second {
			t.began = s.now
		}
		return true, nil
	case stepPage:
		return true, w.page(ctx, t)
	case stepFinish:
		return true, w.finish(ctx, t, sqlstore.JobDone, "")
	case stepGiveUp:
		return true, w.finish(ctx, t, sqlstore.JobFailed, obstacle(words).words(t.job.Kind, w.pageOf(t.job.WebhookID)))
	case stepWait:
	}
	return false, w.waits(ctx, t, words, s.now)
}

// look is what the next step is decided by.
func (w *working) look(ctx context.Context, t *turn, log *asked) (seen, error) {
	s := seen{now: log.now, full: w.room != nil && w.room() != nil}
	if t.job.Kind != sqlstore.JobDiscard {
		hook, err := w.store.Webhook(ctx, t.job.Tenant, t.job.WebhookID)
		if err != nil && !errors.Is(err, sqlstore.ErrNotFound) {
			return s, err
		}
		s.obstacle = obstacleOf(hook, err == nil, w.states.Get(t.job.WebhookID, hook.Generation))
	}
	if t.mark != nil && !t.recorded {
		committed, err := log.committed(ctx)
		if err != nil {
			return s, err
		}
		s.behind = t.mark.behind(committed)
	}
	if t.job.Kind == sqlstore.JobRecover && t.mark != nil && s.behind == 0 && s.obstacle == "" {
		return s, w.pace(ctx, t, &s)
	}
	return s, nil
}

// pace adds how much of what a recover wrote the webhook still has to take. All of it is in one partition, so
// once the history has the last, it has all.
func (w *working) pace(ctx context.Context, t *turn, s *seen) error {
	store, err := w.history()
	if err != nil {
		return err
	}
	if t.wrote.ID != "" {
		row, err := store.Stored(ctx, t.wrote)
		if err != nil && !errors.Is(err, sqldb.ErrNotFound) { // it may have grown too old for the history meanwhile
			return err
		}
		if s.unknown = err == nil && row.Run < t.wrote.RunID; s.unknown {
			return nil
		}
	}
	s.waiting, err = store.Waiting(ctx, t.job.WebhookID, maxWaiting)
	return err
}

// waits notes that something is in the way, once that has lasted.
func (w *working) waits(ctx context.Context, t *turn, words string, now time.Time) error {
	if words == "" {
		t.waiting = time.Time{}
		return nil
	}
	if t.waiting.IsZero() {
		t.waiting = now
	}
	if now.Sub(t.waiting) < waitTold || t.job.Status == sqlstore.JobWaiting && t.job.Error == words {
		return nil
	}
	return w.update(ctx, t, sqlstore.JobWaiting, words)
}

func (w *working) finish(ctx context.Context, t *turn, status sqlstore.JobStatus, words string) error {
	t.job.FinishedAt = time.Now().UTC()
	if err := w.update(ctx, t, status, words); err != nil {
		return err
	}
	if t.job.Status != status {
		return nil // a person was faster
	}
	w.log.Info("job finished", "job", t.job.ID, "kind", t.job.Kind, "webhook", t.job.WebhookID, "status", status,
		"changed", t.job.Changed, "skipped", t.job.Skipped.Sum(), "reason", words)
	return nil
}

// update stores how far a job has come. A person may have paused or cancelled it meanwhile: then that holds, and what
// was done is added to it.
func (w *working) update(ctx context.Context, t *turn, status sqlstore.JobStatus, words string) error {
	j := t.job
	j.Status, j.Error, j.UpdatedAt = status, words, time.Now().UTC()
	stored, err := w.store.UpdateJob(ctx, j)
	if errors.Is(err, sqlstore.ErrConflict) {
		stored, err = retried(func() (sqlstore.Job, error) {
			now, err := w.store.Job(ctx, j.Tenant, j.ID)
			if err != nil {
				return now, err
			}
			return w.store.UpdateJob(ctx, addedTo(now, j))
		})
	}
	if err != nil {
		return err
	}
	t.job = stored
	return nil
}

// asked is what the log and the recorders' group say in one round, asked for once.
type asked struct {
	w       *working
	now     time.Time // before anything was asked
	noted   marked
	reached []kafka.Span
}

func (a *asked) topics() []string {
	t := a.w.topics
	return []string{t.Suspended, t.Deliveries, t.Attempts}
}

func (a *asked) ends(ctx context.Context) (_ marked, err error) {
	if a.noted == nil {
		a.noted, err = a.w.reader.Ends(ctx, a.topics()...)
	}
	return a.noted, err
}

func (a *asked) committed(ctx context.Context) (_ []kafka.Span, err error) {
	if a.reached == nil {
		a.reached, _, err = a.w.reader.Committed(ctx, a.w.cfg.TopicPrefix+recorderGroup, a.topics()...)
	}
	return a.reached, err
}
