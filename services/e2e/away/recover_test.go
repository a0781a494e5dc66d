package away

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/doorstep-dev/doorstep/services/e2e/fault"
)

// recovery is how long after a fault was healed what it had held up was done.
type recovery struct {
	posts, dead, mails, records, outbox, ready time.Duration
}

func (r recovery) all() time.Duration {
	return max(r.posts, r.dead, r.mails, r.records, r.outbox, r.ready)
}

// recover waits until everything has caught up with what there was when the fault was healed, and errs with what
// has not within patience.
func (w *world) recover(s scenario, from, healed time.Time, d *dead, patience time.Duration) (r recovery, err error) {
	mails := w.mailsAreRight
	if s.refused {
		mails = w.mailsHaveFailed
	}
	checks := map[string]struct {
		took *time.Duration
		done func() error
	}{
		"first POSTs": {&r.posts, func() error { return w.allPosted(from, healed) }},
		"states":      {&r.dead, func() error { return w.deadIsRight(d, !s.refused) }},
		"mails":       {&r.mails, func() error { return mails(d) }},
		"recorders":   {&r.records, w.recordersAreThere},
		"outbox":      {&r.outbox, w.outboxIsEmpty},
		"readiness":   {&r.ready, w.allReady},
	}
	for {
		var failed []string
		for what, check := range checks {
			if *check.took > 0 {
				continue
			}
			if err := check.done(); err != nil {
				failed = append(failed, fmt.Sprintf("%s: %v", what, err))
				continue
			}
			*check.took = max(1, time.Since(healed))
		}
		if len(failed) == 0 {
			return r, nil
		}
		if time.Since(healed) > patience {
			return r, fmt.Errorf("not within %s: %s", patience, strings.Join(failed, "; "))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// allPosted errs until what was acknowledged between two times was POSTed.
func (w *world) allPosted(from, to time.Time) error {
	if n := w.unposted(from, to); n > 0 {
		return fmt.Errorf("%d have not come", n)
	}
	return nil
}

// unposted counts the deliveries of what was acknowledged between two times that no receiver has seen.
func (w *world) unposted(from, to time.Time) (missing int) {
	all := hooks()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range slices.Backward(w.acked) {
		if a.at.Before(from) {
			break
		}
		for i, h := range all {
			if _, there := w.posted[delivered{a.event, i}]; !there && a.at.Before(to) && slices.Contains(h.Types, typeOf(a.event)) {
				missing++
			}
		}
	}
	return missing
}

// deadIsRight errs until the API says of a webhook that always failed what its receiver saw: each POST is counted once.
func (w *world) deadIsRight(d *dead, mailed bool) error {
	var view struct {
		CanSend          bool       `json:"can_send"`
		FailStreak       int        `json:"fail_streak"`
		FailureCount     int        `json:"failure_count"`
		MailedWarningAt  *time.Time `json:"mailed_warning_at"`
		MailedDisabledAt *time.Time `json:"mailed_disabled_at"`
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	if status, body := w.rest(ctx, http.MethodGet, "webhooks/"+d.id, nil, &view); status != http.StatusOK {
		return fmt.Errorf("the webhook's view: %d %s", status, body)
	}
	w.mu.Lock()
	posts := d.posts
	w.mu.Unlock()
	if view.CanSend || view.FailureCount != posts || view.FailStreak != posts || (view.MailedWarningAt != nil) != mailed || (view.MailedDisabledAt != nil) != mailed {
		return fmt.Errorf("its receiver saw %d POSTs, the API says %+v", posts, view)
	}
	return nil
}

// mailsAreRight errs until each administrator has one warning and one that tells of the disable.
func (w *world) mailsAreRight(d *dead) error {
	got := w.mailsOf(d)
	for _, a := range administrators() {
		for _, kind := range []string{"warning", "disabled"} {
			if got[a+" "+kind] != 1 {
				return fmt.Errorf("%v", got)
			}
		}
	}
	return nil
}

// mailsHaveFailed errs until the API says so of each.
func (w *world) mailsHaveFailed(d *dead) error {
	var list []struct{ Result string }
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	status, body := w.rest(ctx, http.MethodGet, "mails?filter[webhook_id]="+d.id, nil, &list)
	list = slices.DeleteFunc(list, func(m struct{ Result string }) bool { return m.Result != "failed" })
	if n := 2 * len(administrators()); status != http.StatusOK || len(list) != n || len(w.mailsOf(d)) > 0 {
		return fmt.Errorf("want %d that failed: %d %s; %v came", n, status, body, w.mailsOf(d))
	}
	return nil
}

// recordersAreThere errs until the recorders have read all but what just came.
func (w *world) recordersAreThere() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	lags, err := w.admin.Lag(ctx, w.log.TopicPrefix+"recorder")
	if err != nil {
		return err
	}
	var total int64
	for _, l := range lags {
		if err := l.Error(); err != nil {
			return err
		}
		total += l.Lag.Total()
	}
	if most := int64(rate * 15); total > most { // about two seconds of the load
		return fmt.Errorf("%d records behind", total)
	}
	return nil
}

func (w *world) outboxIsEmpty() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, w.servers.Servers().Postgres)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var n int
	if err := conn.QueryRow(ctx, "SELECT count(*) FROM outbox").Scan(&n); err != nil {
		return err
	}
	if n > 0 {
		return fmt.Errorf("%d changes wait", n)
	}
	return nil
}

func (w *world) allReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	for _, p := range w.cluster.Processes {
		if status, body, err := p.Readiness(ctx); err != nil || status != http.StatusOK {
			return fmt.Errorf("%s: %d %s %w", p.Name, status, body, err)
		}
	}
	return nil
}

// check holds what came of the events acknowledged between two times against the promises.
func (w *world) check(ctx context.Context, from, to time.Time) (fault.Report, error) {
	records, err := w.commits.Records(ctx, w.hookOf)
	if err != nil {
		return fault.Report{}, err
	}
	return fault.Check(w.history.Between(from, to, records), fault.Rules{
		Hooks: hooks(), Tiers: []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second}, TypeOf: typeOf, Slack: 50 * time.Millisecond,
	}), nil
}
