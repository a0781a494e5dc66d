package console_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/services/console"
)

func TestEventsAreFiltered(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, db sqldb.Config) {
		r := rigOn(t, db)
		for i := range 3 {
			e := published(fmt.Sprintf("e%d", i), t0.Add(time.Duration(i)*time.Minute))
			if i == 1 {
				e.Type, e.ExternalReference, e.Data = "board.created", "", []byte(`{ "a" : 1.0 }`)
			}
			r.event(e)
		}
		r.event(published("e0", t0.Add(time.Hour))) // sent again
		foreign := published("foreign", t0)
		foreign.Tenant = "acme"
		r.event(foreign)
		at := func(minutes int) string { return t0.Add(time.Duration(minutes) * time.Minute).Format(time.RFC3339Nano) }
		for query, want := range map[string]string{
			"":                                  "e0 e2 e1 e0",
			"sort=received_at":                  "e0 e1 e2 e0",
			"limit=1":                           "e0",
			"filter[type]=board.created":        "e1",
			"filter[external_reference]=card-7": "e0 e2 e0",
			"filter[received_at][gt]=" + at(1):  "e0 e2",
			"filter[received_at][lte]=" + at(1): "e1 e0",
			"filter[received_at][gte]=" + at(1) + "&filter[received_at][lt]=" + at(2): "e1",
		} {
			var got []string
			a := r.do(200, "GET", "/api/v1/events?total=true&"+query, "")
			for _, e := range data[[]console.Event](t, a) {
				got = append(got, e.ID)
			}
			if total := *a.Meta.Total; total != len(got) && query != "limit=1" || total < len(got) || a.Meta.TotalCapped {
				t.Errorf("%s: total %d", query, total)
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%s: %v, want %s", query, got, want)
			}
		}
		if a := r.do(200, "GET", "/api/v1/events/e1?show=data,type", ""); string(a.Data) != `{"id":"e1","type":"board.created","data":{ "a" : 1.0 }}` {
			t.Errorf("some fields: %s", a.text)
		}
		if a := r.do(200, "GET", "/api/v1/events/e1?hide=data,deliveries", ""); strings.Contains(a.text, `"deliveries"`) || !strings.Contains(a.text, `"notes":[]`) {
			t.Errorf("without some fields: %s", a.text)
		}
		var got []string
		cursor := ""
		for {
			a := r.do(200, "GET", "/api/v1/events?limit=1&cursor="+cursor, "")
			for _, e := range data[[]console.Event](t, a) {
				got = append(got, e.ID)
			}
			if cursor = a.Meta.NextCursor; cursor == "" {
				break
			}
		}
		if strings.Join(got, " ") != "e0 e2 e1 e0" {
			t.Errorf("page by page: %v", got)
		}
	})
}

func TestEventWithWhatBecameOfIt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := published("card-7:updated", t0)
	e.Data = []byte("{ \"a\" : 1.50,\n\t\"é\":\"\\u00e9<&>\" , \"n\": [ ], \"data\":null}")
	r.event(e)
	hook, broken := uuid.NewString(), uuid.NewString()
	d := matched(e, hook)
	at := r.deliver(r.topics.Deliveries, d)
	r.attempts(
		post(d, at, t0.Add(time.Second), ok(), delivery.Delivered),
		delivery.Attempt{
			Kind: delivery.KindCapped, Tenant: "default", EventID: e.ID, EventType: e.Type, ReceivedAt: t0, FinishedAt: t0.Add(time.Second),
			Status: delivery.Capped, Count: 7,
		},
		delivery.Attempt{
			Kind: delivery.KindConditionError, Tenant: "default", WebhookID: broken, EventID: e.ID, EventType: e.Type, ReceivedAt: t0,
			FinishedAt: t0.Add(2 * time.Second), Outcome: delivery.Outcome{ErrorCode: "condition_error", Error: "no such key: a"},
		},
	)
	path := "/api/v1/events/" + e.ID
	a := r.do(200, "GET", path, "")
	got := data[console.EventDetail](t, a)
	if !bytes.Equal(got.Data, e.Data) {
		t.Errorf("data: %s, want %s", got.Data, e.Data)
	}
	want := console.EventDetail{
		Event: console.Event{
			ID: e.ID, Type: "card.updated", ExternalReference: "card-7", OccurredAt: t0.Add(-time.Second), ReceivedAt: t0, APIKeyID: e.APIKeyID,
		},
		Attributes: map[string]string{"project": "66"},
		Deliveries: []console.Delivery{{
			ID: d.ID, WebhookID: hook, EventID: e.ID, EventType: "card.updated", ExternalReference: "card-7", Status: delivery.Delivered,
			Cause: delivery.CauseFirst, RunID: d.RunID, AttemptCount: 1, CreatedAt: t0, UpdatedAt: t0.Add(time.Second + 30*time.Millisecond),
			LastAttempt: &console.LastAttempt{StartedAt: t0.Add(time.Second), StatusCode: 204},
		}},
		Notes: []console.Note{{
			Kind: delivery.KindCapped, Count: 7, At: t0.Add(time.Second),
			Message: "more webhooks asked for this event than the limit allows; 7 of them got no delivery",
		}, {Kind: delivery.KindConditionError, WebhookID: broken, Message: "no such key: a", At: t0.Add(2 * time.Second)}},
		Data: got.Data,
	}
	if diff := cmp.Diff(want, got); diff != "" || a.Meta.RequestID == "" || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("%s %v (-want +got):\n%s", a.header.Get("Content-Type"), a.Meta, diff)
	}
	r.expire(r.topics.Events)
	gone := data[console.EventDetail](t, r.do(200, "GET", path, ""))
	want.Data, want.Attributes, want.DataGone = json.RawMessage("null"), map[string]string{}, true
	if diff := cmp.Diff(want, gone); diff != "" {
		t.Errorf("past retention (-want +got):\n%s", diff)
	}
}

func TestEventOfManyWebhooks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := r.event(published("e", t0))
	r.record(func(b *history.Batch) {
		for i := range 101 {
			b.AddDelivery(matched(e, uuid.NewString()), delivery.Position{Topic: r.topics.Deliveries, Offset: int64(i)})
		}
	})
	got := data[console.EventDetail](t, r.do(200, "GET", "/api/v1/events/e", ""))
	if len(got.Deliveries) != 100 || !got.MoreDeliveries || len(got.Notes) != 0 || string(got.Data) != "{}" {
		t.Errorf("%d deliveries, more: %t", len(got.Deliveries), got.MoreDeliveries)
	}
}
