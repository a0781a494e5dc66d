package console_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/console"
)

// recently is when the first event of these tests is received: an audit looks back a month by itself.
var recently = time.Now().UTC().Truncate(time.Second).Add(-4 * time.Hour)

// audited is what an audit said.
type audited struct {
	status      int
	differences []console.AuditDifference
	progress    int
	summary     *console.AuditSummary
	problem     *console.Problem
}

func (r *rig) audit(key, query string) (a audited) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.svc.Addr()+"/api/v1/audit"+query, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := r.running.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if a.status = resp.StatusCode; err != nil || a.status != http.StatusOK {
		return a
	}
	for line := range strings.Lines(string(body)) {
		var l struct {
			console.AuditDifference
			console.AuditLine
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			r.t.Fatalf("%v in %s", err, line)
		}
		switch {
		case l.Progress != nil:
			a.progress++
		case l.Summary != nil:
			a.summary = l.Summary
		case l.Problem != nil:
			a.problem = l.Problem
		default:
			a.differences = append(a.differences, l.AuditDifference)
		}
	}
	return a
}

// commit is the recorder having read everything that is in the log.
func (r *rig) commit() {
	r.t.Helper()
	adm := kadm.NewClient(r.client)
	ends, err := adm.ListCommittedOffsets(r.t.Context(), r.topics.Events, r.topics.Deliveries, r.topics.Suspended, r.topics.Attempts)
	if err == nil {
		_, err = adm.CommitOffsets(r.t.Context(), r.cfg.Kafka.TopicPrefix+"recorder", ends.Offsets())
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// sql changes the history behind everybody's back.
func (r *rig) sql(statement string, args ...any) {
	r.t.Helper()
	result, err := r.store.Write.ExecContext(r.t.Context(), statement, args...)
	if err != nil {
		r.t.Fatal(err)
	}
	if n, err := result.RowsAffected(); n != 1 || err != nil {
		r.t.Fatalf("%s changed %d rows, %v", statement, n, err)
	}
}

// logged writes attempts to the log and the history.
func (r *rig) logged(all ...delivery.Attempt) {
	r.t.Helper()
	for _, a := range all {
		r.write(wire.Attempt(r.topics.Attempts, a))
	}
	r.attempts(all...)
}

// auditedWorld is a log and a history that agree: events with a delivery each, by number.
const auditedWorld = 40

func (r *rig) agree() []delivery.Delivery {
	r.t.Helper()
	var all []delivery.Delivery
	tx := newClient(r.t, r.cfg.Kafka, kgo.TransactionalID(r.cfg.Kafka.TopicPrefix+"matcher"))
	for i := range auditedWorld {
		e := published(fmt.Sprintf("e%02d", i), recently.Add(time.Duration(i)*time.Second))
		e.Tenant = fmt.Sprint("t", i%3)
		r.event(e)
		d := matched(e, hookA)
		at := r.deliver(r.topics.Deliveries, d)
		first := post(d, at, recently.Add(time.Hour), delivery.Outcome{StatusCode: 500, ErrorCode: "status"}, delivery.Retrying)
		d2 := d
		d2.Attempt, d2.FirstPosition = 2, at
		second := post(d2, at, recently.Add(time.Hour+time.Minute), delivery.Outcome{StatusCode: 200}, delivery.Delivered)
		switch i % 4 {
		case 0: // nothing was sent yet
		case 1:
			r.logged(first)
		case 2:
			r.logged(first, second)
		case 3:
			r.logged(first)
			d2.SuspendReason, d2.SuspendedAt = delivery.SuspendPaused, recently.Add(2*time.Hour)
			r.deliver(r.topics.Suspended, d2)
		}
		if i%10 == 0 { // a transaction of which nothing came, and what the matcher said of the event
			r.aborted(tx, d)
			r.logged(delivery.Attempt{
				Kind: delivery.KindCapped, Tenant: e.Tenant, EventID: e.ID, EventType: e.Type, ReceivedAt: e.ReceivedAt, StartedAt: e.ReceivedAt,
				FinishedAt: e.ReceivedAt, Status: delivery.Capped, Count: 5, Position: eventAt(r, e),
			}, delivery.Attempt{
				Kind: delivery.KindConditionError, Tenant: e.Tenant, WebhookID: hookB, EventID: e.ID, EventType: e.Type,
				ReceivedAt: e.ReceivedAt, StartedAt: e.ReceivedAt, FinishedAt: e.ReceivedAt, Status: delivery.Cancelled, Position: eventAt(r, e),
			})
		}
		all = append(all, d)
	}
	r.commit()
	return all
}

// eventAt is where an event of the history stands.
func eventAt(r *rig, e event.Record) delivery.Position {
	r.t.Helper()
	stored, err := r.store.Event(r.t.Context(), e.Tenant, e.ID)
	if err != nil {
		r.t.Fatal(err)
	}
	return stored.Position
}

func (r *rig) aborted(tx *kgo.Client, d delivery.Delivery) {
	r.t.Helper()
	record, err := wire.Delivery(r.topics.Deliveries, d)
	if err = errors.Join(err, tx.BeginTransaction()); err == nil {
		err = tx.ProduceSync(r.t.Context(), record).FirstErr()
	}
	if err = errors.Join(err, tx.EndTransaction(r.t.Context(), kgo.TryAbort)); err != nil {
		r.t.Fatal(err)
	}
}

// inShort are differences in short.
func inShort(all []console.AuditDifference) []string {
	var out []string
	for _, d := range all {
		out = append(out, d.Kind+" "+d.Of+" "+d.ID)
	}
	slices.Sort(out)
	return out
}

func TestAudit(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, db sqldb.Config) {
		r := rigOn(t, db)
		if a := r.audit(bootKey, ""); a.summary == nil || *a.summary != (console.AuditSummary{}) || a.progress == 0 {
			t.Fatalf("of nothing: %+v", a)
		}
		all := r.agree()
		agreed := console.AuditSummary{Events: 40, Deliveries: 50, Attempts: 48, Rows: 44}
		if a := r.audit(bootKey, ""); a.summary == nil || *a.summary != agreed || len(a.differences) > 0 {
			t.Fatalf("log and history agree: %+v %+v", a, a.summary)
		}
		plantFaults(t, r, all)
	})
}

// plantFaults makes one fault after another, each of another delivery, and sees that all so far are named.
func plantFaults(t *testing.T, r *rig, all []delivery.Delivery) {
	var want []string
	for _, fault := range []struct {
		name  string
		plant func(d delivery.Delivery)
		of    int
		want  string
	}{
		{"an event's row is deleted", func(d delivery.Delivery) {
			r.sql("DELETE FROM events WHERE tenant = $1 AND id = $2", d.Tenant, d.EventID)
		}, 1, "missing event"},
		{"a delivery's row is deleted", func(d delivery.Delivery) { r.sql("DELETE FROM deliveries WHERE id = $1", d.ID) }, 2, "missing delivery"},
		{"a row knows of the first attempt only", func(d delivery.Delivery) {
			r.sql("UPDATE deliveries SET step = 5, status = 'retrying', attempt = 1 WHERE id = $1", d.ID)
		}, 6, "behind delivery"},
		{"a suspension is not in the history", func(d delivery.Delivery) {
			r.sql("UPDATE deliveries SET step = 5, status = 'retrying', attempt = 1, suspend_reason = '' WHERE id = $1", d.ID)
		}, 7, "behind delivery"},
		{"an attempt's row is deleted", func(d delivery.Delivery) { r.sql("DELETE FROM attempts WHERE delivery_id = $1", d.ID) }, 9, "missing attempt"},
		{"a finished row points at another's record", func(d delivery.Delivery) {
			r.sql(`UPDATE deliveries SET (log_partition, log_offset) = (SELECT log_partition, log_offset FROM deliveries WHERE id = $2)
				WHERE id = $1`, d.ID, all[14].ID)
		}, 10, "stranger delivery"},
		{"a row points behind the end", func(d delivery.Delivery) {
			r.sql("UPDATE deliveries SET step = 1099511627781, log_offset = 123456 WHERE id = $1", d.ID)
		}, 18, "stranger delivery"},
		{"a row points at a topic that is none", func(d delivery.Delivery) {
			r.sql("UPDATE deliveries SET step = 1099511627781, log_topic = 'elsewhere' WHERE id = $1", d.ID)
		}, 22, "stranger delivery"},
		{"a row points at an attempt", func(d delivery.Delivery) {
			r.sql("UPDATE deliveries SET step = 1099511627781, log_topic = $2, log_offset = 0 WHERE id = $1", d.ID, r.topics.Attempts)
		}, 26, "stranger delivery"},
	} {
		d := all[fault.of]
		fault.plant(d)
		id := d.ID
		if strings.HasSuffix(fault.want, "event") {
			id = d.EventID
		}
		want = append(want, fault.want+" "+id)
		slices.Sort(want)
		a := r.audit(bootKey, "")
		if diff := cmp.Diff(want, inShort(a.differences)); diff != "" || a.summary == nil || a.summary.Differences != len(want) {
			t.Fatalf("%s: %s\n%+v %+v", fault.name, diff, a.differences, a.summary)
		}
		for _, d := range a.differences {
			if d.Kind != "stranger" && d.Of == "delivery" && (strings.HasPrefix(d.Log, "suspended") != (d.Topic == r.topics.Suspended) ||
				strings.HasPrefix(d.Log, "pending") != (d.Topic == r.topics.Deliveries)) {
				t.Errorf("%s: not where the log says it: %+v", fault.name, d)
			}
			if d.Topic == "" || d.Log == "" || d.History == "" {
				t.Errorf("%s: %+v", fault.name, d)
			}
		}
	}
}

// TestAuditOfWhatIsUnderWay: what the recorder has not read, what retention took and what is older than asked
// for is no difference.
func TestAuditOfWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	all := r.agree()
	e := published("late", recently.Add(time.Hour))
	r.write(wire.Event(r.topics.Events, e))
	r.write(wire.Delivery(r.topics.Deliveries, matched(e, hookB)))
	if a := r.audit(bootKey, ""); a.summary == nil || a.summary.NotRecordedYet != 2 || len(a.differences) > 0 {
		t.Errorf("two records are not recorded yet: %+v %+v", a, a.summary)
	}
	// Older than since, and so not looked for: the first ten events.
	for _, d := range all[:10] {
		r.sql("DELETE FROM deliveries WHERE id = $1", d.ID)
	}
	a := r.audit(bootKey, "?since="+all[10].ReceivedAt.Format(time.RFC3339))
	if a.summary == nil || len(a.differences) > 0 || a.summary.Older == 0 || a.summary.Rows != 30+3 {
		t.Errorf("since the tenth: %+v %+v", a, a.summary)
	}
	if a := r.audit(bootKey, ""); a.summary == nil || len(a.differences) != 10 {
		t.Errorf("of all time: %+v %+v", a, a.summary)
	}
	r.expire(r.topics.Deliveries)
	r.expire(r.topics.Attempts)
	r.record(func(b *history.Batch) { b.AddEvent(e, delivery.Position{Topic: r.topics.Events}) })
	if a := r.audit(bootKey, "?since="+all[10].ReceivedAt.Format(time.RFC3339)); a.summary == nil || len(a.differences) > 0 || a.summary.Rows != 33 {
		t.Errorf("past retention: %+v %+v", a, a.summary)
	}
}

func TestAuditIsForThePlatform(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for body, want := range map[string]int{
		`{"name":"a","scopes":["admin"]}`:                  403,
		`{"name":"b","scopes":["deliveries"]}`:             403,
		`{"name":"c","scopes":["events"],"platform":true}`: 403,
		`{"name":"d","scopes":["admin"],"platform":true}`:  200,
	} {
		if got := r.audit(r.key(body).Key, "").status; got != want {
			t.Errorf("%s: %d, want %d", body, got, want)
		}
	}
	if got := r.audit(bootKey, "?since=yesterday").status; got != 422 {
		t.Errorf("a time that is none: %d", got)
	}
}
