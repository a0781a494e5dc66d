package console_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/console"
)

func TestPayload(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := published("e", t0)
	html := matched(e, uuid.NewString())
	html.Body, html.ContentType = []byte("<script>alert(1)</script>\x00\xff"), "text/html"
	r.deliver(r.topics.Deliveries, html)
	plain := matched(e, uuid.NewString())
	plain.ContentType = ""
	r.deliver(r.topics.Deliveries, plain)
	for d, media := range map[*delivery.Delivery]string{&html: "text/html", &plain: "application/octet-stream"} {
		a := r.do(200, "GET", deliveriesPath+"/"+d.ID+"/payload", "")
		if a.text != string(d.Body) {
			t.Errorf("%q, want %q", a.text, d.Body)
		}
		for name, want := range map[string]string{
			"Content-Type": media, "Content-Disposition": "inline", "X-Content-Type-Options": "nosniff",
			"Content-Security-Policy": "sandbox; default-src 'none'",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
	}
	capped := delivery.Attempt{
		Kind: delivery.KindCapped, Cause: delivery.CauseFirst, Tenant: "default", EventID: "e", EventType: e.Type, ReceivedAt: t0, FinishedAt: t0,
		Status: delivery.Capped, Count: 3, Position: r.write(wire.Event(r.topics.Events, e)),
	}
	r.attempts(capped)
	cut := deliveriesPath + "/" + delivery.ID("e", "")
	if a := r.do(404, "GET", cut+"/payload", ""); !strings.Contains(a.Detail, "cut") {
		t.Errorf("of webhooks that were cut: %s", a.text)
	}
	if a := r.do(409, "POST", cut+"/resend", ""); a.Code != "capped" {
		t.Errorf("resend to webhooks that were cut: %s", a.text)
	}
	if got := data[console.DeliveryDetail](t, r.do(200, "GET", cut, "")); got.Status != delivery.Capped || got.WebhookID != "" || got.AttemptCount != 0 || got.Attempts[0].Count != 3 || got.Attempts[0].Phases != nil {
		t.Errorf("what stands for those that were cut: %+v", got)
	}
}

func TestPayloadPastRetention(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.create(minimal)
	d := matched(published("e", t0), w.ID)
	r.deliver(r.topics.Deliveries, d)
	one := deliveriesPath + "/" + d.ID
	r.do(200, "GET", one+"/payload", "")
	r.expire(r.topics.Deliveries)
	for _, a := range []answer{r.do(410, "GET", one+"/payload", ""), r.do(410, "POST", one+"/resend", "")} {
		if !strings.Contains(a.Detail, r.topics.Deliveries+" for 7 days") || a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s", a.text)
		}
	}
	if got := data[console.DeliveryDetail](t, r.do(200, "GET", one, "")); got.Status != delivery.Pending {
		t.Errorf("the row: %+v", got)
	}
	// The topic was made anew: what has the place now is not the delivery.
	other := matched(published("other", t0), w.ID)
	at := r.deliver(r.topics.Deliveries, other)
	lost := matched(published("lost", t0), w.ID)
	r.record(func(b *history.Batch) { b.AddDelivery(lost, at) })
	r.do(410, "GET", deliveriesPath+"/"+lost.ID+"/payload", "")
	r.do(200, "GET", deliveriesPath+"/"+other.ID+"/payload", "")
}

func TestResend(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.create(minimal)
	d := matched(published("e", t0), w.ID)
	d.WebhookPosition, d.EventPosition = delivery.Position{Topic: r.topics.Webhooks, Offset: 1}, delivery.Position{Topic: r.topics.Events, Offset: 2}
	d.Attempt, d.TimesParked, d.PutOffs = 4, 2, 3 // where a suspended one stopped
	d.PutOffSince, d.DueAt, d.FirstPosition = t0.Add(time.Second), t0.Add(time.Hour), delivery.Position{Topic: r.topics.Deliveries, Offset: 3}
	d.SuspendReason, d.SuspendedAt = delivery.SuspendDisabled, t0.Add(time.Minute)
	r.deliver(r.topics.Suspended, d)
	one := deliveriesPath + "/" + d.ID
	var runs []string
	for range 3 { // before the history knows of any
		resent := data[console.Resent](t, r.do(202, "POST", one+"/resend", ""))
		if resent.ID != d.ID {
			t.Errorf("resent: %+v", resent)
		}
		runs = append(runs, resent.RunID)
	}
	if !slices.IsSorted(runs) || len(slices.Compact(runs)) != 3 {
		t.Errorf("runs in the order of their start: %v", runs)
	}
	records := records(t, r.cfg.Kafka, r.topics.Deliveries, func(rs []*kgo.Record) bool { return len(rs) == 3 })
	for i, record := range records {
		got, err := wire.ReadDelivery(record)
		if err != nil || string(record.Key) != w.ID {
			t.Fatalf("record of key %s: %v", record.Key, err)
		}
		want := matched(published("e", t0), w.ID)
		want.WebhookPosition, want.EventPosition = d.WebhookPosition, d.EventPosition
		want.RunID, want.Cause = runs[i], delivery.CauseResend
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("record (-want +got):\n%s", diff)
		}
		r.record(func(b *history.Batch) { b.AddDelivery(got, wire.PositionOf(record)) })
	}
	got := data[console.DeliveryDetail](t, r.do(200, "GET", one, ""))
	if got.Status != delivery.Pending || got.RunID != runs[2] || got.Cause != delivery.CauseResend || time.Since(got.UpdatedAt).Abs() > time.Minute {
		t.Errorf("after it: %+v", got)
	}
	// The run of a clock that is ahead is the latest that is known: the next one comes after it.
	ahead := d.Again(delivery.NewRunID("", time.Now().Add(time.Hour), [8]byte{}), delivery.CauseRecover)
	r.deliver(r.topics.Deliveries, ahead)
	if next := data[console.Resent](t, r.do(202, "POST", one+"/resend", "")); next.RunID <= ahead.RunID {
		t.Errorf("run %s ranks below %s", next.RunID, ahead.RunID)
	}
	r.do(422, "POST", one+"/resend?webhook_id=x", "")
	r.do(204, "DELETE", "/api/v1/webhooks/"+w.ID, "")
	if a := r.do(409, "POST", one+"/resend", ""); a.Code != "webhook_deleted" || !strings.Contains(a.Detail, "deleted") {
		t.Errorf("its webhook is gone: %s", a.text)
	}
}

func TestResendWithoutRoom(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.create(minimal)
	d := matched(published("e", t0), w.ID)
	r.deliver(r.topics.Deliveries, d)
	r.stop()
	full := r.cfg
	full.Room = func() error { return context.DeadlineExceeded }
	c := start(t, full)
	c.awaitReady()
	if a := c.do(503, "POST", deliveriesPath+"/"+d.ID+"/resend", ""); !strings.Contains(a.Detail, "no room") {
		t.Errorf("%s", a.text)
	}
}
