package console_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/console"
)

// gaveUp are deliveries of n new events to a webhook which ended with a status one second after the other, in the log.
func (r *suspendRig) gaveUp(webhookID string, n int, status delivery.Status) []delivery.Delivery {
	r.t.Helper()
	var (
		all     []delivery.Delivery
		records []*kgo.Record
	)
	for i := r.made[webhookID]; i < r.made[webhookID]+n; i++ {
		at := r.base.Add(time.Duration(i) * time.Second)
		d := matched(published(fmt.Sprintf("%s-%d", webhookID[24:], i), at), webhookID)
		d.Body = fmt.Appendf(nil, `{ "n" : %d.0 }`, i)
		record, err := wire.Delivery(r.topics.Deliveries, d)
		if err != nil {
			r.t.Fatal(err)
		}
		all, records = append(all, d), append(records, record)
	}
	if err := r.client.ProduceSync(r.t.Context(), records...).FirstErr(); err != nil {
		r.t.Fatal(err)
	}
	ends := make([]*kgo.Record, len(all))
	for i, d := range all {
		ends[i] = r.end(d, wire.PositionOf(records[i]), status, d.ReceivedAt)
	}
	if err := r.client.ProduceSync(r.t.Context(), ends...).FirstErr(); err != nil {
		r.t.Fatal(err)
	}
	r.made[webhookID] += n
	return all
}

// end is what a sender says that ends a run.
func (r *suspendRig) end(d delivery.Delivery, at delivery.Position, status delivery.Status, when time.Time) *kgo.Record {
	outcome := delivery.Outcome{StatusCode: 500, ErrorCode: "status"}
	if status == delivery.Delivered {
		outcome = delivery.Outcome{StatusCode: 200}
	}
	a := post(d, at, when, outcome, status)
	a.FinishedAt = when
	record, err := wire.Attempt(r.topics.Attempts, a)
	if err != nil {
		r.t.Fatal(err)
	}
	return record
}

// sends takes what stands in `deliveries` from now on as a sender does: each run ends at once, as end says.
func (r *suspendRig) sends(status delivery.Status) {
	client := newClient(r.t, r.cfg.Kafka, kgo.ConsumeTopics(r.topics.Deliveries), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(50*time.Millisecond))
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			var ends []*kgo.Record
			client.PollFetches(ctx).EachRecord(func(record *kgo.Record) {
				if d, err := wire.ReadDelivery(record); err == nil && d.Cause == delivery.CauseRecover {
					ends = append(ends, r.end(d, wire.PositionOf(record), status, time.Now().UTC()))
				}
			})
			_ = client.ProduceSync(ctx, ends...).FirstErr()
		}
	})
	r.t.Cleanup(func() { cancel(); done.Wait() })
}

// recovered fails unless exactly these deliveries were sent again, each as one run, oldest first, with the bytes and in
// the trace that they had.
func (r *suspendRig) recovered(webhookID string, want []delivery.Delivery) {
	r.t.Helper()
	var order []string
	runs := map[string][]delivery.Delivery{}
	for _, record := range r.committed(r.topics.Deliveries) {
		d, err := wire.ReadDelivery(record)
		if err != nil {
			r.t.Fatal(err)
		}
		if d.WebhookID == webhookID && d.Cause == delivery.CauseRecover {
			runs[d.ID] = append(runs[d.ID], d)
			order = append(order, d.ID)
		}
	}
	for i, d := range want {
		got := runs[d.ID]
		delete(runs, d.ID)
		if len(got) != 1 || string(got[0].Body) != string(d.Body) || got[0].TraceContext != d.TraceContext || got[0].Attempt != 1 || got[0].RunID == d.RunID {
			r.t.Errorf("delivery %s (%s): %d runs", d.ID, d.EventID, len(got))
		}
		if i < len(order) && order[i] != d.ID {
			r.t.Errorf("%d is not the delivery %s", i, d.EventID)
		}
		if r.t.Failed() {
			return
		}
	}
	if len(runs) > 0 {
		r.t.Errorf("%d deliveries were sent again that were not to be", len(runs))
	}
}

func TestRecover(t *testing.T) {
	t.Parallel()
	r := newSuspendRig(t)
	r.sends(delivery.Delivered)
	w, other := r.create(minimal), r.create(minimal)
	early := r.gaveUp(w.ID, 3, delivery.Exhausted)
	r.gaveUp(other.ID, 2, delivery.Exhausted)
	r.gaveUp(w.ID, 2, delivery.Delivered)
	cancelled := r.gaveUp(w.ID, 2, delivery.Cancelled)
	late := r.gaveUp(w.ID, 3, delivery.Exhausted)
	test := matched(published("test", r.base), w.ID)
	test.Cause, test.ReceivedAt = delivery.CauseTest, late[0].ReceivedAt
	at := r.write(wire.Delivery(r.topics.Deliveries, test))
	if err := r.client.ProduceSync(t.Context(), r.end(test, at, delivery.Exhausted, late[0].ReceivedAt)).FirstErr(); err != nil {
		t.Fatal(err)
	}
	r.status(test.ID, delivery.Exhausted)
	body := fmt.Sprintf(`{"since":%q,"until":%q}`, early[1].ReceivedAt.Format(time.RFC3339), late[2].ReceivedAt.Format(time.RFC3339))
	j := r.ask(w.ID, "recover", body)
	if s := j.Selection; s.Since == nil || !s.Since.Equal(early[1].ReceivedAt) || s.Until == nil || len(s.Statuses) != 1 || j.Status != "waiting" || j.Total != nil {
		t.Errorf("%+v", j)
	}
	r.done(j.ID, 4, 0)
	want := append(append([]delivery.Delivery(nil), early[1:]...), late[:2]...)
	r.recovered(w.ID, want)
	if j = r.job(j.ID); j.Total == nil || *j.Total < 4 {
		t.Errorf("total of %+v", j)
	}
	r.recovered(other.ID, nil)
	if d := r.status(want[0].ID, delivery.Delivered); len(d.Attempts) != 2 || d.Attempts[1].Cause != delivery.CauseRecover {
		t.Errorf("%+v", d)
	}
	r.status(early[0].ID, delivery.Exhausted)
	r.status(test.ID, delivery.Exhausted)
	// What was cancelled, as well, and only of one type.
	since := r.base.Format(time.RFC3339)
	r.done(r.ask(w.ID, "recover", `{"since":"`+since+`","statuses":["cancelled"],"event_types":["other.*"]}`).ID, 0, 0)
	r.done(r.ask(w.ID, "recover", `{"since":"`+since+`","statuses":["cancelled","exhausted"],"event_types":["card.*"]}`).ID, 4, 0)
	r.status(cancelled[1].ID, delivery.Delivered)
	r.status(late[2].ID, delivery.Delivered)
}

// What is sent again ends as before at once, while consoles stop and start and the recover is asked for twice: each
// delivery is sent once.
func TestRecoverSurvivesItsConsole(t *testing.T) {
	t.Parallel()
	r := newSuspendRig(t)
	r.sends(delivery.Exhausted)
	w := r.create(minimal)
	const n = 2400
	all := r.gaveUp(w.ID, n, delivery.Exhausted)
	body := `{"since":"` + r.base.Format(time.RFC3339) + `"}`
	first, second := r.ask(w.ID, "recover", body), r.ask(w.ID, "recover", body)
	for at := int64(1); at < n; at += 800 {
		eventually(t, func() error {
			if j := r.job(first.ID); j.Changed < at {
				return fmt.Errorf("%+v", j)
			}
			return nil
		})
		r.stop()
		r.running = start(t, r.cfg)
		r.awaitReady()
	}
	if j := r.ended(first.ID); j.Status != "done" || j.Changed > n || j.Total == nil || *j.Total != n {
		t.Errorf("%+v", j)
	}
	r.done(second.ID, 0, 0)
	r.recovered(w.ID, all)
	r.status(all[n-1].ID, delivery.Exhausted)
	r.done(r.ask(w.ID, "recover", body).ID, n, 0) // what is asked for later is another matter
}

func TestRecoverOfWhatIsGone(t *testing.T) {
	t.Parallel()
	r := newSuspendRig(t)
	w := r.create(minimal)
	gone := r.gaveUp(w.ID, 3, delivery.Exhausted)
	r.status(gone[2].ID, delivery.Exhausted) // recorded
	r.expire(r.topics.Deliveries)
	all := r.gaveUp(w.ID, 2, delivery.Exhausted)
	id := r.ask(w.ID, "recover", `{"since":"`+r.base.Format(time.RFC3339)+`"}`).ID
	r.done(id, 2, 3)
	r.recovered(w.ID, all)
	r.status(gone[0].ID, delivery.Exhausted)
	a := r.do(200, "GET", "/api/v1/jobs/"+id, "")
	if j := data[console.Job](t, a); j.SkippedFor.Gone != 3 || j.SkippedFor.Unreadable != 0 || !strings.Contains(a.text, "3 were skipped: the payload is no longer in the log") {
		t.Errorf("%s", a.text)
	}
}

// A recover keeps the pace of its webhook: nobody takes what it writes.
func TestRecoverKeepsThePace(t *testing.T) {
	t.Parallel()
	r := newSuspendRig(t)
	w, other := r.create(minimal), r.create(minimal)
	r.gaveUp(w.ID, 1500, delivery.Exhausted)
	few := r.gaveUp(other.ID, 2, delivery.Exhausted)
	body := `{"since":"` + r.base.Format(time.RFC3339) + `"}`
	j := r.ask(w.ID, "recover", body)
	eventually(t, func() error {
		if j = r.job(j.ID); j.Status != "waiting" || !strings.Contains(j.Error, "at least 1000 deliveries are pending") {
			return fmt.Errorf("%+v", j)
		}
		return nil
	})
	if j.Changed != 1000 {
		t.Errorf("%+v", j)
	}
	r.done(r.ask(other.ID, "recover", body).ID, 2, 0) // and holds up no other
	r.recovered(other.ID, few)
	r.sends(delivery.Delivered)
	r.done(j.ID, 1500, 0)
}

func TestPauseResumeAndCancelOfJobs(t *testing.T) {
	t.Parallel()
	r := newSuspendRig(t)
	w := r.create(minimal)
	r.gaveUp(w.ID, 1500, delivery.Exhausted)
	body := `{"since":"` + r.base.Format(time.RFC3339) + `"}`
	j := r.ask(w.ID, "recover", body)
	path := "/api/v1/jobs/" + j.ID
	eventually(t, func() error {
		if j = r.job(j.ID); j.Changed < 1000 {
			return fmt.Errorf("%+v", j)
		}
		return nil
	})
	if j = data[console.Job](t, r.do(200, "PATCH", path, `{"status":"paused"}`)); j.Status != "paused" || j.FinishedAt != nil || j.Error != "" {
		t.Errorf("%+v", j)
	}
	r.sends(delivery.Delivered)
	// The job behind it goes on.
	r.done(r.ask(w.ID, "discard", "").ID, 0, 0)
	if j = r.job(j.ID); j.Status != "paused" || j.Changed != 1000 {
		t.Errorf("%+v", j)
	}
	if j = data[console.Job](t, r.do(200, "PATCH", path, `{"status":"running"}`)); j.Status != "waiting" {
		t.Errorf("%+v", j)
	}
	r.done(j.ID, 1500, 0)
	for method, body := range map[string]string{"PATCH": `{"status":"paused"}`, "DELETE": ""} {
		if a := r.do(409, method, path, body); a.Code != "done" || !strings.Contains(a.Detail, "ended") {
			t.Errorf("%s of what is done: %s", method, a.text)
		}
	}
	r.recorder.gate.Lock() // so that the next has to wait
	some := r.gaveUp(w.ID, 5, delivery.Exhausted)
	j = r.ask(w.ID, "recover", body)
	path = "/api/v1/jobs/" + j.ID
	for range 2 {
		r.do(204, "DELETE", path, "")
		if j = r.job(j.ID); j.Status != "cancelled" || j.FinishedAt == nil {
			t.Errorf("%+v", j)
		}
	}
	r.recorder.gate.Unlock()
	// A worker may have had the page in hand when the job was cancelled: it is finished, and what it sent is not sent again.
	next := r.ended(r.ask(w.ID, "recover", body).ID)
	if j = r.job(j.ID); j.Status != "cancelled" || next.Status != "done" || j.Changed+next.Changed != 5 {
		t.Errorf("%+v, and then %+v", j, next)
	}
	for _, d := range some {
		r.status(d.ID, delivery.Delivered)
	}
	for body, field := range map[string]string{
		`{"status":"done"}`: "status", `{}`: "status", `{"status":null}`: "status", `{"changed":1}`: "changed", `[]`: "body", `{"status":7}`: "status",
	} {
		if a := r.do(422, "PATCH", path, body); len(a.Errors) == 0 || a.Errors[0].Field != field {
			t.Errorf("%s: %s", body, a.text)
		}
	}
	reader := r.key(`{"name":"r","scopes":["deliveries:read"]}`)
	for method, body := range map[string]string{"PATCH": `{"status":"paused"}`, "DELETE": ""} {
		if a := r.as(reader.Key, method, path, body); a.status != 403 {
			t.Errorf("%s by who may only read: %d", method, a.status)
		}
	}
}

func TestRecoverOfWhatCannotBeSent(t *testing.T) {
	t.Parallel()
	r := newSuspendRig(t)
	inactive, paused, disabled := r.create(minimal), r.create(minimal), r.create(minimal)
	r.do(200, "PATCH", "/api/v1/webhooks/"+inactive.ID, `{"active":false}`)
	r.do(200, "POST", "/api/v1/webhooks/"+paused.ID+"/pause", "")
	r.disable(disabled)
	body := `{"since":"` + r.base.Format(time.RFC3339) + `"}`
	for code, tt := range map[string]struct{ id, words string }{
		"inactive": {inactive.ID, "activate it, then recover"}, "paused": {paused.ID, "resume it, then recover"}, "disabled": {disabled.ID, "/console/webhooks/" + disabled.ID},
	} {
		if a := r.do(409, "POST", "/api/v1/webhooks/"+tt.id+"/recover", body); a.Code != code || !strings.Contains(a.Detail, tt.words) {
			t.Errorf("%s: %s", code, a.text)
		}
	}
	r.do(404, "POST", "/api/v1/webhooks/0198c9e0-0000-7000-8000-000000000001/recover", body)
	r.do(422, "POST", "/api/v1/webhooks/"+paused.ID+"/recover", "")
	// It is disabled while the recover goes on: that ends it.
	w := r.create(minimal)
	r.recorder.gate.Lock()
	all := r.gaveUp(w.ID, 3, delivery.Exhausted)
	j := r.ask(w.ID, "recover", body)
	r.disable(w)
	r.recorder.gate.Unlock()
	if j = r.ended(j.ID); j.Status != "failed" || !strings.Contains(j.Error, "disabled") || j.Changed != 0 {
		t.Errorf("%+v", j)
	}
	r.status(all[0].ID, delivery.Exhausted)
}
