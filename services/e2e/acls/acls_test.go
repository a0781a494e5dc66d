package acls

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/doorstep-dev/doorstep/pkg/acls"
	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// hook is a webhook as the test knows it.
type hook struct {
	ID   string
	path string
}

// TestTheListIsTheLeast does with Doorstep all that makes it use the log. Nothing may be denied, and each ACL must have
// allowed what no other allows.
func TestTheListIsTheLeast(t *testing.T) {
	w := newWorld(t, "--hanging")
	r := testkit.NewReceiver(t)
	w.rest(http.MethodPost, "administrators", map[string]any{"email": "admin@example.com", "name": "Administrator"}, http.StatusCreated, nil)
	w.policy(map[string]any{"max_webhooks_per_event": 1, "warn_after": 5, "disable_after": 6})
	done := w.deliver(r)
	w.fail(r)
	w.disable(r)
	w.pause(r)
	w.park(r)
	w.unreadable()
	w.operate(r, done)
	w.expire(r, done)
	w.grow()
	w.endNothing()
	w.look()

	allowed, denied, _, err := readAsked(w.log, 0)
	if err != nil {
		t.Fatal(err)
	}
	for a, n := range denied {
		if a.request == "ListTransactions" {
			continue // by which a matcher finds those of matchers that are gone: brokers leave out, and note, all others
		}
		t.Errorf("denied %d times: %s", n, a)
	}
	used := map[string]bool{} // by principal, operation and resource
	for a := range allowed {
		used[fmt.Sprint(a.principal, " ", a.operation, " ", a.resource)] = true
	}
	for _, n := range w.needs {
		for _, o := range n.Operations {
			if asked := keyOf(n, o); !slices.ContainsFunc(slices.Collect(maps.Keys(used)), func(k string) bool { return strings.HasPrefix(k, asked) }) {
				t.Errorf("not needed: %s may %s %s", n.Service, acls.OperationName(o), n.Resource)
			}
		}
	}
	t.Logf("%d different questions, all allowed, by %d lines of the list", len(allowed), len(w.needs))
}

// keyOf is what the broker notes of a need, or what that begins with.
func keyOf(n acls.Need, o kmsg.ACLOperation) string {
	kind := strings.ReplaceAll(strings.ToLower(n.Resource.Type.String()), "_", "")
	kind = map[string]string{"topic": "Topic", "group": "Group", "cluster": "Cluster", "transactionalid": "TransactionalId"}[kind]
	return fmt.Sprintf("%s %s %s:LITERAL:%s", n.Service, o, kind, n.Resource.Name)
}

// policy sets the tenant's.
func (w *world) policy(p map[string]any) {
	w.t.Helper()
	w.rest(http.MethodPatch, "tenants/default", map[string]any{"policy": p}, http.StatusOK, nil)
}

// register registers a webhook for an event type of its own.
func (w *world) register(r *testkit.Receiver, name string, fields map[string]any) hook {
	w.t.Helper()
	in := map[string]any{"url": r.URL + "/" + name, "event_types": []string{"acl." + name}}
	maps.Copy(in, fields)
	h := hook{path: "/" + name}
	w.rest(http.MethodPost, "webhooks", in, http.StatusCreated, &h)
	return h
}

// requests waits for n requests of a webhook. What is registered takes a moment to be in force.
func (w *world) requests(r *testkit.Receiver, h hook, n int) {
	w.t.Helper()
	w.eventually(func() error {
		if got := len(r.RequestsTo(h.path)); got < n {
			return fmt.Errorf("%d requests to %s, want %d", got, h.path, n)
		}
		return nil
	})
}

// inForce waits until a webhook's test arrives: then matcher and sender know it.
func (w *world) inForce(r *testkit.Receiver, h hook) {
	w.t.Helper()
	w.eventually(func() error {
		return w.tryRest(http.MethodPost, "webhooks/"+h.ID+"/test", map[string]any{}, http.StatusOK, nil)
	})
	w.requests(r, h, 1)
}

// listed waits until the history lists n deliveries of a webhook with a status.
func (w *world) listed(h hook, status string, n int) (ids []string) {
	w.t.Helper()
	w.eventually(func() error {
		var list []struct{ ID string }
		if err := w.tryRest(http.MethodGet, "deliveries?filter[webhook_id]="+h.ID+"&filter[status]="+status, nil, http.StatusOK, &list); err != nil {
			return err
		}
		ids = ids[:0]
		for _, d := range list {
			ids = append(ids, d.ID)
		}
		if len(ids) < n {
			return fmt.Errorf("%d deliveries of %s are %s, want %d", len(ids), h.path, status, n)
		}
		return nil
	})
	return ids
}

// deliver: events over gRPC and REST arrive, and of two webhooks that want one the tenant's limit cuts one.
func (w *world) deliver(r *testkit.Receiver) hook {
	h := w.register(r, "done", nil)
	w.register(r, "cut", map[string]any{"event_types": []string{"acl.done"}})
	w.inForce(r, h)
	w.publish("acl.done", `{"over":"gRPC"}`)
	w.rest(http.MethodPost, "events", map[string]any{"type": "acl.done", "data": map[string]any{"over": "REST"}}, http.StatusAccepted, nil)
	w.requests(r, h, 3)
	w.listed(h, "delivered", 2)
	return h
}

// fail: a delivery goes through all tiers.
func (w *world) fail(r *testkit.Receiver) {
	r.Set("/fail", testkit.Behaviour{Status: http.StatusInternalServerError})
	h := w.register(r, "fail", map[string]any{"retry_count": 2})
	w.inForce(r, h)
	w.publish("acl.fail", `{}`)
	w.listed(h, "exhausted", 1)
}

// disable: a webhook fails until it is disabled, what comes then is suspended, and its administrators read how much it is.
func (w *world) disable(r *testkit.Receiver) {
	r.Set("/dead", testkit.Behaviour{Status: http.StatusInternalServerError})
	h := w.register(r, "dead", map[string]any{"retry_count": 0})
	w.inForce(r, h)
	notifier := w.Of("notifier")[0]
	if err := notifier.Stop(); err != nil {
		w.t.Fatal(err)
	}
	for range 6 {
		w.publish("acl.dead", `{}`)
	}
	w.listed(h, "exhausted", 6)
	w.eventually(func() error {
		w.publish("acl.dead", `{}`)
		var list []any
		err := w.tryRest(http.MethodGet, "deliveries?filter[webhook_id]="+h.ID+"&filter[status]=suspended", nil, http.StatusOK, &list)
		if err == nil && len(list) == 0 {
			err = fmt.Errorf("nothing is suspended")
		}
		return err
	})
	if err := notifier.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.eventually(func() error {
		var list []struct{ Kind string }
		err := w.tryRest(http.MethodGet, "mails?filter[webhook_id]="+h.ID, nil, http.StatusOK, &list)
		if err == nil && len(list) < 2 {
			err = fmt.Errorf("%d mails, want a warning and that it is disabled", len(list))
		}
		return err
	})
}

// pause: what waits for a retry of a webhook that is paused meanwhile is suspended by the sender, and released by a job.
func (w *world) pause(r *testkit.Receiver) {
	r.Set("/later", testkit.Behaviour{FailFirst: 3})
	h := w.register(r, "later", map[string]any{"retry_count": 5})
	w.inForce(r, h)
	w.publish("acl.later", `{}`)
	w.requests(r, h, 2)
	w.rest(http.MethodPost, "webhooks/"+h.ID+"/pause", nil, http.StatusOK, nil)
	w.listed(h, "suspended", 1)
	w.rest(http.MethodPost, "webhooks/"+h.ID+"/resume", nil, http.StatusOK, nil)
	w.listed(h, "delivered", 1)
}

// park: more than a webhook's rate allows is parked, and for longer what has been parked often.
func (w *world) park(r *testkit.Receiver) {
	h := w.register(r, "slow", map[string]any{"rate_limit": 1})
	w.inForce(r, h)
	for i := range 40 {
		d := delivery.Delivery{
			ID: uuid.NewString(), Tenant: "default", EventID: uuid.NewString(), EventType: "acl.slow", WebhookID: h.ID, Cause: delivery.CauseFirst,
			Attempt: 1, ReceivedAt: time.Now(), Body: []byte("{}"), ContentType: "application/json",
		}
		if i%2 == 0 {
			d.TimesParked = wire.ParksBeforeLong
		}
		d.RunID = delivery.FirstRunID(d.ID)
		record, err := wire.Delivery(w.topics.Deliveries, d)
		if err != nil {
			w.t.Fatal(err)
		}
		w.write(record)
	}
	for _, topic := range []string{w.topics.Parked.Topic, w.topics.ParkedLong.Topic} {
		w.eventually(func() error { return w.holds(topic) })
	}
}

// holds errs unless a topic holds a record.
func (w *world) holds(topic string) error {
	ends, err := w.admin.ListEndOffsets(w.t.Context(), topic)
	if err != nil {
		return err
	}
	n := int64(0)
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	if n == 0 {
		return fmt.Errorf("%s is empty", topic)
	}
	return nil
}

// unreadable: each reader quarantines what it cannot read.
func (w *world) unreadable() {
	for _, topic := range []string{w.topics.Settings, w.topics.Notices, w.topics.Events} {
		w.write(&kgo.Record{Topic: topic, Key: []byte("unreadable"), Value: []byte("no record of ours")})
	}
	want := map[string]bool{"ingest": true, "matcher": true, "sender": true, "recorder": true, "notifier": true, "console": true}
	w.allowed(func(a asked) {
		if a.operation == "WRITE" && a.resource == "Topic:LITERAL:"+w.topics.Quarantine {
			delete(want, a.principal)
		}
	}, func() error {
		if len(want) > 0 {
			return fmt.Errorf("nothing quarantined yet by %v", slices.Sorted(maps.Keys(want)))
		}
		return nil
	})
}

// allowed looks through what the broker allowed, again until done.
func (w *world) allowed(each func(asked), done func() error) {
	w.t.Helper()
	at := int64(0)
	w.eventually(func() error {
		allowed, _, size, err := readAsked(w.log, at)
		if err != nil {
			return err
		}
		at = size
		for a := range allowed {
			each(a)
		}
		return done()
	})
}

// operate: payloads are looked at and sent again, one and all; the audit compares the log with the history.
func (w *world) operate(r *testkit.Receiver, h hook) {
	ids := w.listed(h, "delivered", 2)
	w.rest(http.MethodGet, "deliveries/"+ids[0]+"/payload", nil, http.StatusOK, nil)
	before := len(r.RequestsTo(h.path))
	w.rest(http.MethodPost, "deliveries/"+ids[0]+"/resend", nil, http.StatusAccepted, nil)
	w.requests(r, h, before+1)
	since := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	w.rest(http.MethodPost, "webhooks/"+h.ID+"/recover", map[string]any{"since": since}, http.StatusAccepted, nil)
	w.rest(http.MethodGet, "audit", nil, http.StatusOK, nil)
}

// expire: deliveries that were suspended long ago expire soon, which a starting console tells; what is gone from the log
// is said to be gone.
func (w *world) expire(_ *testkit.Receiver, h hook) {
	d := delivery.Delivery{
		ID: uuid.NewString(), Tenant: "default", EventID: uuid.NewString(), EventType: "acl.done", WebhookID: h.ID, Cause: delivery.CauseFirst,
		Attempt: 1, ReceivedAt: time.Now(), Body: []byte("{}"), ContentType: "application/json",
		SuspendReason: delivery.SuspendDisabled, SuspendedAt: time.Now().Add(-25 * 24 * time.Hour),
	}
	d.RunID = delivery.FirstRunID(d.ID)
	record, err := wire.Delivery(w.topics.Suspended, d)
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(record)
	w.listed(h, "suspended", 1)
	w.restart("console")
	told := false
	w.allowed(func(a asked) {
		told = told || a == asked{principal: "console", operation: "WRITE", resource: "Topic:LITERAL:" + w.topics.Notices, request: "Produce"}
	}, func() error {
		if !told {
			return fmt.Errorf("the console has told nobody of what expires")
		}
		return nil
	})
	delivered := w.listed(h, "delivered", 1)
	ends, err := w.admin.ListEndOffsets(w.t.Context(), w.topics.Deliveries, w.topics.Suspended)
	if err != nil {
		w.t.Fatal(err)
	}
	if deleted, err := w.admin.DeleteRecords(w.t.Context(), ends.Offsets()); err != nil || deleted.Error() != nil {
		w.t.Fatal(err, deleted.Error())
	}
	for _, id := range []string{delivered[0], d.ID} {
		w.rest(http.MethodGet, "deliveries/"+id+"/payload", nil, http.StatusGone, nil)
	}
}

// grow: partitions are added, by the user of `topics apply`.
func (w *world) grow() {
	w.t.Helper()
	for _, args := range [][]string{{"topics", "apply", "--partitions=13"}, {"topics", "check"}} {
		if _, err := w.Do(w.t.Context(), "topics", args...); err != nil {
			w.t.Fatal(err)
		}
	}
}

// look waits until the matcher looks for what hangs, which it does every 10 s, if it is not ending a transaction just then.
func (w *world) look() {
	looked := false
	w.allowed(func(a asked) {
		looked = looked || a.principal == acls.Matcher && a.request == "DescribeProducers"
	}, func() error {
		if !looked {
			return fmt.Errorf("the matcher does not look for what hangs")
		}
		return nil
	})
}

// endNothing asks to end a transaction that there is not, as matcher and console do for one that hangs.
func (w *world) endNothing() {
	for _, service := range []string{acls.Matcher, acls.Console} {
		adm := kadm.NewClient(w.clientOf(service))
		if _, err := adm.WriteTxnMarkers(w.t.Context(), kadm.TxnMarkers{ProducerID: 1 << 40, Topics: kadm.TopicsSet{w.topics.Deliveries: {0: {}}}}); err != nil {
			w.t.Logf("%s: %v", service, err)
		}
	}
}
