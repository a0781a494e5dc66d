package console_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/services/console"
)

// Nothing but what reads the history waits for it.
func TestWithoutTheHistory(t *testing.T) {
	t.Parallel()
	for name, history := range map[string]sqldb.Config{
		"kept nowhere":  {},
		"away":          {PostgresURL: "postgres://nobody@127.0.0.1:1/history?sslmode=disable"},
		"no such place": {SQLitePath: "/no/such/place/history.db"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t, ownLog(t), sqldbtest.SQLite(t))
			cfg.History = history
			c := start(t, cfg)
			c.awaitReady()
			w := c.create(minimal)
			c.do(202, "POST", "/api/v1/events", `{"type":"card.updated"}`)
			got := data[console.Webhook](t, c.do(200, "GET", "/api/v1/webhooks/"+w.ID, ""))
			if got.SuspendedCount != nil || got.LastTriggeredAt != nil {
				t.Errorf("known without a history: %+v", got)
			}
			id := uuid.NewString()
			for _, call := range []string{
				"GET /api/v1/deliveries", "GET /api/v1/deliveries/" + id, "GET /api/v1/deliveries/" + id + "/payload",
				"POST /api/v1/deliveries/" + id + "/resend", "GET /api/v1/events", "GET /api/v1/events/e",
			} {
				var method, path string
				_, _ = fmt.Sscan(call, &method, &path)
				if a := c.do(503, method, path, ""); a.header.Get("Retry-After") == "" || a.RequestID == "" {
					t.Errorf("%s: %s", call, a.text)
				}
			}
		})
	}
}

func TestHistoryComesBack(t *testing.T) {
	t.Parallel()
	db := sqldbtest.Postgres(t)
	server, err := url.Parse(db.PostgresURL)
	if err != nil {
		t.Fatal(err)
	}
	network := testkit.NewProxy(t, server.Host)
	server.Host = network.Addr
	cfg := config(t, ownLog(t), db)
	cfg.History.PostgresURL = server.String()
	network.Cut()
	c := start(t, cfg)
	c.awaitReady()
	c.do(503, "GET", deliveriesPath, "")
	network.Heal()
	answers := func() error {
		if a := c.as(bootKey, "GET", deliveriesPath, ""); a.status != 200 {
			return fmt.Errorf("%d %s", a.status, a.text)
		}
		return nil
	}
	eventually(t, answers)
	w := c.create(minimal)
	network.Cut() // away again: webhooks are shown without
	c.do(503, "GET", deliveriesPath, "")
	if got := data[console.Webhook](t, c.do(200, "GET", "/api/v1/webhooks/"+w.ID, "")); got.SuspendedCount != nil {
		t.Errorf("suspended: %d", *got.SuspendedCount)
	}
	network.Heal()
	eventually(t, answers)
}

// Positions lead to a log that does not answer.
func TestHistoryWithoutTheLog(t *testing.T) {
	t.Parallel()
	db := sqldbtest.Any(t)
	log := ownLog(t)
	log.Brokers = []string{"127.0.0.1:1"}
	c := start(t, config(t, log, db))
	names := topics(t, log)
	var w console.Webhook
	eventually(t, func() error {
		if a := c.as(bootKey, "POST", "/api/v1/webhooks", minimal); a.status == 201 {
			w = data[console.Webhook](t, a)
			return nil
		}
		return errors.New("no SQL yet")
	})
	d := matched(published("e", t0), w.ID)
	var b history.Batch
	b.AddEvent(published("e", t0), delivery.Position{Topic: names.Events})
	b.AddDelivery(d, delivery.Position{Topic: names.Deliveries})
	if err := openHistory(t, c.cfg.History).Record(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if a := c.as(bootKey, "GET", deliveriesPath+"/"+d.ID, ""); a.status != 200 {
			return errors.New(a.text)
		}
		return nil
	})
	for _, call := range []string{"GET " + deliveriesPath + "/" + d.ID + "/payload", "POST " + deliveriesPath + "/" + d.ID + "/resend", "GET /api/v1/events/e"} {
		t.Run(call, func(t *testing.T) {
			t.Parallel() // each waits for the log
			one := *c
			one.t = t
			method, path, _ := strings.Cut(call, " ")
			if a := one.do(503, method, path, ""); a.Detail != "the log cannot be reached; try again" {
				t.Errorf("%s", a.text)
			}
		})
	}
}

func TestWebhooksShowTheirPast(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w, quiet := r.create(minimal), r.create(minimal)
	sent := matched(published("e0", t0), w.ID)
	at := r.deliver(r.topics.Deliveries, sent)
	r.attempts(post(sent, at, t0, ok(), delivery.Delivered))
	again := sent.Again(delivery.NewRunID("", t0.Add(time.Hour), [8]byte{}), delivery.CauseResend)
	r.attempts(post(again, at, t0.Add(time.Hour), failed(), delivery.Retrying))
	now := time.Now()
	for i, suspendedAt := range []time.Time{now, now.Add(-29 * 24 * time.Hour), now, t0} { // the last has expired
		d := matched(published(fmt.Sprintf("s%d", i), t0), w.ID)
		d.SuspendReason, d.SuspendedAt = delivery.SuspendPaused, suspendedAt
		r.deliver(r.topics.Suspended, d)
	}
	views := append(data[[]console.Webhook](t, r.do(200, "GET", "/api/v1/webhooks", "")),
		data[console.Webhook](t, r.do(200, "GET", "/api/v1/webhooks/"+w.ID, "")),
		data[console.Webhook](t, r.do(200, "PATCH", "/api/v1/webhooks/"+w.ID, `{"name":"new"}`)))
	for _, v := range views {
		if v.ID == quiet.ID {
			if v.LastTriggeredAt != nil || v.LastSuccessAt != nil || v.SuspendedCount == nil || *v.SuspendedCount != 0 {
				t.Errorf("never sent to: %+v", v)
			}
			continue
		}
		if v.LastTriggeredAt == nil || !v.LastTriggeredAt.Equal(t0.Add(time.Hour)) || v.LastSuccessAt == nil ||
			!v.LastSuccessAt.Equal(t0.Add(30*time.Millisecond)) || v.SuspendedCount == nil || *v.SuspendedCount != 3 {
			t.Errorf("sent to: %+v", v)
		}
	}
}
