package console_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/console"
)

func TestReleaseOfAll(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, db sqldb.Config) {
		t.Parallel()
		r := suspending(rigOn(t, db))
		w, other := r.create(minimal), r.create(minimal)
		all := r.suspended(w.ID, 450, func(i int, d *delivery.Delivery) {
			if i%3 == 0 { // one that failed before, or is a resend
				d.Attempt, d.RunID, d.Cause = 3, delivery.NewRunID("", r.base, [8]byte{byte(i)}), delivery.CauseResend
			}
		})
		kept := r.suspended(other.ID, 3, nil)
		j := r.ask(w.ID, "release", "")
		if j.Status != "waiting" || j.Selection.DeliveryIDs != nil || j.FinishedAt != nil {
			t.Errorf("%+v", j)
		}
		r.done(j.ID, 450, 0)
		r.releasedOnce(w.ID, all)
		r.releasedOnce(other.ID, nil)
		decisions := r.decisions(w.ID)
		for _, i := range []int{0, 1, 449} {
			d := r.status(all[i].ID, delivery.Pending)
			run := r.released(w.ID)[all[i].ID][0].RunID
			told := decisions[all[i].ID]
			if len(told) != 1 || told[0].RunID != all[i].RunID || told[0].Attempt != all[i].Attempt || told[0].Status != delivery.Pending ||
				told[0].Outcome.ErrorCode != "released" || !strings.Contains(told[0].Outcome.Error, j.ID) || !told[0].StartedAt.Equal(j.CreatedAt) {
				t.Errorf("decision: %+v", told)
			}
			if d.RunID != run || d.Cause != delivery.CauseRelease || d.ExpiresAt != nil || d.AttemptCount != 0 {
				t.Errorf("delivery: %+v, want run %s", d.Delivery, run)
			}
			// The sender that suspended it crashed, and says so again.
			again := all[i]
			again.SuspendedAt = time.Now().UTC()
			r.write(wire.Delivery(r.topics.Suspended, again))
		}
		// A job that comes behind finds nothing of it.
		r.done(r.ask(w.ID, "release", "{}").ID, 0, 0)
		r.releasedOnce(w.ID, all)
		if d := r.status(kept[0].ID, delivery.Suspended); d.ExpiresAt == nil || !d.ExpiresAt.Equal(kept[0].SuspendedAt.Add(30*24*time.Hour)) || d.Expired {
			t.Errorf("of another webhook: %+v", d.Delivery)
		}
	})
}

func TestSelections(t *testing.T) {
	t.Parallel()
	r := newSuspendRig(t)
	types := []string{"card.updated", "card.moved", "board.created"}
	reasons := []delivery.SuspendReason{delivery.SuspendPaused, delivery.SuspendDisabled, delivery.SuspendInactive}
	at := func(i int) string { return r.base.Add(time.Duration(i) * time.Second).Format(time.RFC3339Nano) }
	type asked struct {
		name, kind, webhookID, want string
		all                         []delivery.Delivery
		job                         console.Job
	}
	var jobs []*asked
	for name, tt := range map[string]struct {
		body string // %[1]s: ids of 2 and 5
		want string
	}{
		"a type":             {`{"event_types":["card.moved"]}`, "1 4"},
		"a prefix":           {`{"event_types":["card.*"]}`, "0 1 3 4"},
		"types":              {`{"event_types":["board.*","card.moved"]}`, "1 2 4 5"},
		"any type":           {`{"event_types":["*"]}`, "0 1 2 3 4 5"},
		"ids":                {`{"delivery_ids":[%[1]s]}`, "2 5"},
		"a reason":           {`{"reason":"disabled"}`, "2 3"},
		"from":               {fmt.Sprintf(`{"suspended_at":{"gte":%q}}`, at(4)), "4 5"},
		"behind":             {fmt.Sprintf(`{"suspended_at":{"gt":%q}}`, at(4)), "5"},
		"before, and to":     {fmt.Sprintf(`{"suspended_at":{"lt":%q,"gte":%q}}`, at(4), at(2)), "2 3"},
		"up to":              {fmt.Sprintf(`{"suspended_at":{"lte":%q}}`, at(1)), "0 1"},
		"all that is named":  {fmt.Sprintf(`{"event_types":["card.*"],"reason":"disabled","delivery_ids":[%%[1]s],"suspended_at":{"gt":%q}}`, at(0)), ""},
		"null is as nothing": {`{"event_types":null,"suspended_at":null}`, "0 1 2 3 4 5"},
	} {
		for _, kind := range []string{"release", "discard"} {
			w := r.create(minimal)
			all := r.suspended(w.ID, 6, func(i int, d *delivery.Delivery) { d.EventType, d.SuspendReason = types[i%3], reasons[i/2] })
			body := strings.ReplaceAll(tt.body, "%[1]s", fmt.Sprintf("%q,%q", strings.ToUpper(all[5].ID), all[2].ID))
			jobs = append(jobs, &asked{name, kind, w.ID, tt.want, all, r.ask(w.ID, kind, body)})
		}
	}
	for _, a := range jobs {
		n := int64(len(strings.Fields(a.want)))
		r.done(a.job.ID, n, 0)
		var took []delivery.Delivery
		decisions := r.decisions(a.webhookID)
		for _, d := range a.all {
			if len(decisions[d.ID]) > 0 {
				took = append(took, d)
			}
		}
		if got := eventIDs(took); got != a.want {
			t.Errorf("%s of %s: took %q, want %q", a.kind, a.name, got, a.want)
		}
		if a.kind == "release" {
			r.releasedOnce(a.webhookID, took)
		} else {
			r.releasedOnce(a.webhookID, nil)
		}
		for _, d := range a.all {
			want := delivery.Suspended
			if slices.ContainsFunc(took, func(x delivery.Delivery) bool { return x.ID == d.ID }) {
				want = map[string]delivery.Status{"release": delivery.Pending, "discard": delivery.Discarded}[a.kind]
			}
			r.status(d.ID, want)
		}
	}
}

func TestWhatSelectsNothingIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.create(minimal)
	ids := make([]string, 501)
	for i := range ids {
		ids[i] = w.ID
	}
	many, err := json.Marshal(map[string]any{"delivery_ids": ids})
	if err != nil {
		t.Fatal(err)
	}
	for body, field := range map[string]string{
		`{"event_types":[]}`: "event_types", `{"event_types":["Card"]}`: "event_types", `{"delivery_ids":[]}`: "delivery_ids",
		`{"delivery_ids":["x"]}`: "delivery_ids[0]", string(many): "delivery_ids", `{"reason":"old"}`: "reason",
		`{"suspended_at":{"gte":"yesterday"}}`: "suspended_at.gte", `{"suspended_at":{"since":"x"}}`: "suspended_at.since",
		`{"before":{"0":1}}`: "before", `[]`: "body", `null`: "body", `{`: "body", `{"event_types":"card.moved"}`: "event_types",
	} {
		for _, kind := range []string{"release", "discard"} {
			a := r.do(422, "POST", "/api/v1/webhooks/"+w.ID+"/"+kind, body)
			if len(a.Errors) != 1 || a.Errors[0].Field != field {
				t.Errorf("%.60s: %+v", body, a.Errors)
			}
		}
	}
	if jobs := data[[]console.Job](t, r.do(200, "GET", "/api/v1/jobs", "")); len(jobs) != 0 {
		t.Errorf("jobs: %+v", jobs)
	}
}

func TestReleaseOfWhatCannotBeSent(t *testing.T) {
	t.Parallel()
	r := newSuspendRig(t)
	inactive, paused, disabled := r.create(minimal), r.create(minimal), r.create(minimal)
	r.do(200, "PATCH", "/api/v1/webhooks/"+inactive.ID, `{"active":false}`)
	r.do(200, "POST", "/api/v1/webhooks/"+paused.ID+"/pause", "")
	r.disable(disabled)
	for code, tt := range map[string]struct{ id, words string }{
		"inactive": {inactive.ID, "activate it"}, "paused": {paused.ID, "resume it"}, "disabled": {disabled.ID, "/console/webhooks/" + disabled.ID},
	} {
		kept := r.suspended(tt.id, 2, nil)
		path := "/api/v1/webhooks/" + tt.id
		if a := r.do(409, "POST", path+"/release", ""); a.Code != code || !strings.Contains(a.Detail, tt.words) {
			t.Errorf("%s: %s", code, a.text)
		}
		r.done(r.ask(tt.id, "discard", fmt.Sprintf(`{"delivery_ids":[%q]}`, kept[0].ID)).ID, 1, 0)
		r.status(kept[0].ID, delivery.Discarded)
		r.status(kept[1].ID, delivery.Suspended)
	}
}

func TestJobsAreATenantsOwn(t *testing.T) {
	t.Parallel()
	r := newSuspendRig(t)
	w := r.create(minimal)
	j := r.ask(w.ID, "discard", "")
	acme := []string{"Doorstep-Tenant", "acme"}
	r.create(minimal, acme...)
	for _, call := range []string{
		"GET /api/v1/jobs/" + j.ID, "POST /api/v1/webhooks/" + w.ID + "/release", "POST /api/v1/webhooks/" + w.ID + "/discard",
		"POST /api/v1/webhooks/" + w.ID + "/pause", "POST /api/v1/webhooks/" + w.ID + "/resume",
	} {
		method, path, _ := strings.Cut(call, " ")
		r.do(404, method, path, "", acme...)
	}
	r.do(404, "POST", "/api/v1/webhooks/"+w.ID+"/recover", `{"since":"2026-01-02T03:04:05Z"}`, acme...)
	r.do(404, "PATCH", "/api/v1/jobs/"+j.ID, `{"status":"paused"}`, acme...)
	r.do(404, "DELETE", "/api/v1/jobs/"+j.ID, "", acme...)
	for _, id := range []string{"x", "00000000-0000-0000-0000-000000000000"} {
		r.do(404, "GET", "/api/v1/jobs/"+id, "")
		r.do(404, "POST", "/api/v1/webhooks/"+id+"/release", "")
		r.do(404, "POST", "/api/v1/webhooks/"+id+"/pause", "")
	}
	if got := data[[]console.Job](t, r.do(200, "GET", "/api/v1/jobs", "", acme...)); len(got) != 0 {
		t.Errorf("another tenant's: %+v", got)
	}
	if got := data[[]console.Job](t, r.do(200, "GET", "/api/v1/jobs", "")); len(got) != 1 || got[0].ID != j.ID {
		t.Errorf("its own: %+v", got)
	}
	for scope, want := range map[string]map[string]int{
		"deliveries":      {"release": 202, "discard": 202, "pause": 403, "resume": 403, "jobs": 200},
		"deliveries:read": {"release": 403, "discard": 403, "pause": 403, "resume": 403, "jobs": 200},
		"webhooks":        {"release": 403, "discard": 403, "pause": 200, "resume": 200, "jobs": 403},
	} {
		key := r.key(`{"name":"k","scopes":["` + scope + `"]}`).Key
		for _, what := range slices.Sorted(maps.Keys(want)) {
			method, path := "POST", "/api/v1/webhooks/"+w.ID+"/"+what
			if what == "jobs" {
				method, path = "GET", "/api/v1/jobs/"+j.ID
			}
			if a := r.as(key, method, path, ""); a.status != want[what] {
				t.Errorf("%s %s: %d, want %d", scope, what, a.status, want[what])
			}
		}
	}
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	r := newSuspendRig(t)
	w := r.create(minimal)
	path := "/api/v1/webhooks/" + w.ID
	for range 2 {
		if v := data[console.Webhook](t, r.do(200, "POST", path+"/pause", "")); !v.Paused || v.CanSend || !v.Active {
			t.Errorf("paused: %+v", v)
		}
	}
	all := r.suspended(w.ID, 5, func(i int, d *delivery.Delivery) {
		if i == 4 {
			d.SuspendReason = delivery.SuspendDisabled
		}
	})
	a := r.do(200, "POST", path+"/resume", "")
	if v := data[console.Webhook](t, a); v.Paused || !v.CanSend || a.Meta.Notice != "" {
		t.Errorf("resumed: %s", a.text)
	}
	r.done(strings.TrimPrefix(a.header.Get("Location"), "/api/v1/jobs/"), 4, 0)
	r.releasedOnce(w.ID, all[:4])
	r.status(all[4].ID, delivery.Suspended)

	// It is resumed, but cannot be sent to for another reason.
	r.do(200, "POST", path+"/pause", "")
	more := r.suspended(w.ID, 2, nil)
	r.do(200, "PATCH", path, `{"active":false}`)
	a = r.do(200, "POST", path+"/resume", "")
	if v := data[console.Webhook](t, a); v.Paused || a.header.Get("Location") != "" || !strings.Contains(a.Meta.Notice, "activate it") {
		t.Errorf("resumed while inactive: %s", a.text)
	}
	// Activating it releases nothing by itself; resuming it again does.
	r.do(200, "PATCH", path, `{"active":true}`)
	if jobs := data[[]console.Job](t, r.do(200, "GET", "/api/v1/jobs", "")); len(jobs) != 1 {
		t.Errorf("jobs: %+v", jobs)
	}
	r.status(more[0].ID, delivery.Suspended)
	a = r.do(200, "POST", path+"/resume", "")
	r.done(strings.TrimPrefix(a.header.Get("Location"), "/api/v1/jobs/"), 2, 0)
}

// The recorder is away: nobody knows what is suspended, so nothing is done, and then everything.
func TestJobsWaitForTheRecorder(t *testing.T) {
	t.Parallel()
	r := newSuspendRig(t)
	r.recorder.gate.Lock()
	open := true
	defer func() {
		if open {
			r.recorder.gate.Unlock()
		}
	}()
	w, x := r.create(minimal), r.create(minimal)
	all, gone := r.suspended(w.ID, 30, nil), r.suspended(x.ID, 30, nil)
	release, discard := r.ask(w.ID, "release", ""), r.ask(x.ID, "discard", "")
	for _, j := range []console.Job{release, discard} {
		eventually(t, func() error {
			if j = r.job(j.ID); j.Status != "waiting" || !strings.Contains(j.Error, "history") {
				return fmt.Errorf("%+v", j)
			}
			return nil
		})
	}
	// Suspended after the discard was asked for, which waits.
	newer := r.suspended(x.ID, 2, nil)
	r.recorder.gate.Unlock()
	open = false
	r.done(release.ID, 30, 0)
	r.done(discard.ID, 30, 0)
	r.releasedOnce(w.ID, all)
	if got := r.decisions(x.ID); len(got) != len(gone) {
		t.Errorf("discarded %d", len(got))
	}
	for _, d := range newer {
		r.status(d.ID, delivery.Suspended)
	}
}

// A matcher does not know of the resume yet, and a sender suspends again what was released: the second pass takes both along.
func TestLateSuspensions(t *testing.T) {
	t.Parallel()
	r := newSuspendRig(t)
	w := r.create(minimal)
	all := r.suspended(w.ID, 10, nil)
	j := r.ask(w.ID, "release", "")
	eventually(t, func() error {
		if n := r.job(j.ID).Changed; n != 10 {
			return fmt.Errorf("%d released", n)
		}
		return nil
	})
	ahead := time.Now().UTC().Add(time.Hour) // the clock of who suspends
	late := r.suspended(w.ID, 2, func(_ int, d *delivery.Delivery) { d.SuspendedAt = ahead })
	back := r.released(w.ID)[all[0].ID][0]
	first := back.RunID
	back.SuspendReason, back.SuspendedAt = delivery.SuspendPaused, ahead
	r.write(wire.Delivery(r.topics.Suspended, back))
	r.done(j.ID, 13, 0)
	runs := r.released(w.ID)
	for _, d := range slices.Concat(late, all) {
		want := 1
		if d.ID == back.ID {
			want = 2
		}
		if len(runs[d.ID]) != want {
			t.Errorf("%s: %d runs, want %d", d.EventID, len(runs[d.ID]), want)
		}
	}
	if again := runs[back.ID]; again[len(again)-1].RunID <= first {
		t.Errorf("suspended again: %+v", again)
	}
	r.status(all[0].ID, delivery.Pending)
}

func TestPayloadsThatAreGone(t *testing.T) {
	t.Parallel()
	r := newSuspendRig(t)
	w := r.create(minimal)
	gone := r.suspended(w.ID, 3, nil)
	r.status(gone[2].ID, delivery.Suspended) // recorded
	r.expire(r.topics.Suspended)
	all := r.suspended(w.ID, 2, nil)
	r.done(r.ask(w.ID, "release", "").ID, 2, 3)
	r.releasedOnce(w.ID, all)
	r.status(gone[0].ID, delivery.Suspended)
	r.done(r.ask(w.ID, "discard", "").ID, 3, 0) // that needs none
	r.status(gone[0].ID, delivery.Discarded)
	r.write(wire.Delivery(r.topics.Suspended, gone[0])) // and a replay does not bring it back
	r.done(r.ask(w.ID, "release", "").ID, 0, 0)
	r.status(gone[0].ID, delivery.Discarded)
}

// The webhook is paused while its release goes on.
func TestReleaseStopsAtAPause(t *testing.T) {
	t.Parallel()
	r := newSuspendRig(t)
	w := r.create(minimal)
	r.recorder.gate.Lock() // so that the job has to wait
	all := r.suspended(w.ID, 20, nil)
	j := r.ask(w.ID, "release", "")
	r.do(200, "POST", "/api/v1/webhooks/"+w.ID+"/pause", "")
	r.recorder.gate.Unlock()
	if j = r.ended(j.ID); j.Status != "failed" || !strings.Contains(j.Error, "paused") || j.Changed != 0 {
		t.Errorf("%+v", j)
	}
	r.status(all[0].ID, delivery.Suspended)
	r.releasedOnce(w.ID, nil)
	// A pause after the first pass ends it: what comes late belongs to the pause.
	r.do(200, "POST", "/api/v1/webhooks/"+w.ID+"/resume", "")
	eventually(t, func() error {
		jobs := data[[]console.Job](t, r.do(200, "GET", "/api/v1/jobs", ""))
		if j = jobs[len(jobs)-1]; j.Changed != 20 {
			return fmt.Errorf("%+v", j)
		}
		return nil
	})
	r.do(200, "POST", "/api/v1/webhooks/"+w.ID+"/pause", "")
	late := r.suspended(w.ID, 1, nil)
	r.done(j.ID, 20, 0)
	r.status(late[0].ID, delivery.Suspended)
}

func TestReleaseWaitsForRoom(t *testing.T) {
	t.Parallel()
	r := newSuspendRig(t)
	w := r.create(minimal)
	all := r.suspended(w.ID, 3, nil)
	r.stop()
	full := make(chan struct{})
	cfg := r.cfg
	cfg.Room = func() error {
		select {
		case <-full:
			return nil
		default:
			return fmt.Errorf("full")
		}
	}
	r.running = start(t, cfg)
	r.awaitReady()
	j := r.ask(w.ID, "release", "")
	eventually(t, func() error {
		if j = r.job(j.ID); j.Status != "waiting" || !strings.Contains(j.Error, "room") {
			return fmt.Errorf("%+v", j)
		}
		return nil
	})
	r.releasedOnce(w.ID, nil)
	close(full)
	r.done(j.ID, 3, 0)
	r.releasedOnce(w.ID, all)
}

// A long job does not hold up the one of another webhook that was asked for later.
func TestJobsTakeTurns(t *testing.T) {
	t.Parallel()
	r := newSuspendRig(t)
	long, short := r.create(minimal), r.create(minimal)
	r.suspended(long.ID, 6000, nil)
	few := r.suspended(short.ID, 2, nil)
	j := r.ask(long.ID, "discard", "")
	behind := r.ask(long.ID, "release", "")
	k := r.ask(short.ID, "discard", "")
	r.done(k.ID, 2, 0)
	r.status(few[0].ID, delivery.Discarded)
	r.done(j.ID, 6000, 0)
	r.done(behind.ID, 0, 0)
	ended := func(id string) time.Time { return *r.job(id).FinishedAt }
	if !ended(k.ID).Before(ended(j.ID)) {
		t.Errorf("the short job ended at %s, the long one at %s", ended(k.ID), ended(j.ID))
	}
	if ended(behind.ID).Before(ended(j.ID)) {
		t.Errorf("two jobs of one webhook at once: the second ended at %s, the first at %s", ended(behind.ID), ended(j.ID))
	}
}

// Whenever a console stops and another goes on, each delivery is released once.
func TestJobsSurviveTheirConsole(t *testing.T) {
	t.Parallel()
	r := newSuspendRig(t)
	w := r.create(minimal)
	all := r.suspended(w.ID, 4000, nil)
	j := r.ask(w.ID, "release", "")
	for n := int64(1); n < 4000; n += 1300 {
		eventually(t, func() error {
			if j = r.job(j.ID); j.Changed < n {
				return fmt.Errorf("%+v", j)
			}
			return nil
		})
		r.stop()
		r.running = start(t, r.cfg)
		r.awaitReady()
	}
	r.done(j.ID, 4000, 0)
	r.releasedOnce(w.ID, all)
	if got := r.decisions(w.ID); len(got) != 4000 {
		t.Errorf("%d decisions", len(got))
	}
}

// A console that is cut off from SQL in the middle of a job loses its lock to another.
func TestConsoleWithoutItsLock(t *testing.T) {
	t.Parallel()
	db := sqldbtest.Postgres(t)
	r := suspending(rigOn(t, db))
	w := r.create(minimal)
	r.stop()
	server, err := url.Parse(db.PostgresURL)
	if err != nil {
		t.Fatal(err)
	}
	network := testkit.NewProxy(t, server.Host)
	server.Host = network.Addr
	direct, cut := r.cfg, r.cfg
	cut.SQL.PostgresURL, cut.History.PostgresURL = server.String(), server.String()
	all := r.suspended(w.ID, 3000, nil)
	first := start(t, cut)
	first.awaitReady()
	second := start(t, direct)
	second.awaitReady()
	r.running = second
	for n := int64(1); n < 3000; n += 1000 {
		j := r.ask(w.ID, "release", "")
		eventually(t, func() error {
			if j = r.job(j.ID); j.Changed == 0 && j.FinishedAt == nil {
				return fmt.Errorf("%+v", j)
			}
			return nil
		})
		network.Cut()
		r.ended(j.ID)
		network.Heal()
		eventually(t, first.svc.Ready)
	}
	r.releasedOnce(w.ID, all)
	decisions := r.decisions(w.ID)
	for _, d := range all {
		if n := len(decisions[d.ID]); n != 1 {
			t.Errorf("%s: %d decisions", d.EventID, n)
		}
	}
}

// Two consoles share the work by a lock: the second goes on where the first died.
func TestSecondConsoleGoesOn(t *testing.T) {
	t.Parallel()
	db := sqldbtest.Postgres(t)
	r := suspending(rigOn(t, db))
	second := start(t, r.cfg)
	second.awaitReady()
	w := r.create(minimal)
	all := r.suspended(w.ID, 2000, nil)
	j := r.ask(w.ID, "release", "")
	eventually(t, func() error {
		if j = r.job(j.ID); j.Changed == 0 {
			return fmt.Errorf("%+v", j)
		}
		return nil
	})
	r.stop()
	r.running = second
	r.done(j.ID, 2000, 0)
	r.releasedOnce(w.ID, all)
}
