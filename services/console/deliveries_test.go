package console_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/services/console"
)

const deliveriesPath = "/api/v1/deliveries"

func ok() delivery.Outcome { return delivery.Outcome{StatusCode: 204} }

func failed() delivery.Outcome {
	return delivery.Outcome{StatusCode: 500, ErrorCode: "status", Error: "the receiver answered 500"}
}

// names are the events of a list of deliveries, by which these tests know them.
func names(list []console.Delivery) []string {
	out := []string{}
	for _, d := range list {
		out = append(out, d.EventID)
	}
	return out
}

func TestDeliveriesAreFiltered(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, db sqldb.Config) {
		r := rigOn(t, db)
		hook, other := uuid.NewString(), uuid.NewString()
		for i := range 4 {
			e := published(fmt.Sprintf("e%d", i), t0.Add(time.Duration(i)*time.Minute))
			if i == 2 {
				e.Type, e.ExternalReference = "board.created", ""
			}
			d := matched(e, hook)
			if i == 3 {
				d = matched(e, other)
			}
			at := r.deliver(r.topics.Deliveries, d)
			switch i {
			case 0:
				r.attempts(post(d, at, e.ReceivedAt, ok(), delivery.Delivered))
			case 1:
				r.attempts(post(d, at, e.ReceivedAt, failed(), delivery.Retrying))
			}
		}
		foreign := published("foreign", t0)
		foreign.Tenant = "acme"
		r.deliver(r.topics.Deliveries, matched(foreign, hook))

		at := func(minutes int) string { return t0.Add(time.Duration(minutes) * time.Minute).Format(time.RFC3339Nano) }
		for query, want := range map[string]string{
			"":                           "e3 e2 e1 e0",
			"sort=-created_at":           "e3 e2 e1 e0",
			"sort=created_at":            "e0 e1 e2 e3",
			"limit=2":                    "e3 e2",
			"filter[webhook_id]=" + hook: "e2 e1 e0",
			"filter[webhook_id]=" + strings.ToUpper(hook):                           "e2 e1 e0",
			"filter[event_id]=e1":                                                   "e1",
			"filter[event_type]=board.created":                                      "e2",
			"filter[external_reference]=card-7":                                     "e3 e1 e0",
			"filter[external_reference]=card-7&sort=created_at":                     "e0 e1 e3",
			"filter[external_reference]=card-8":                                     "",
			"filter[status]=delivered":                                              "e0",
			"filter[status]=delivered,retrying":                                     "e1 e0",
			"filter[status]=pending&filter[webhook_id]=" + hook:                     "e2",
			"filter[created_at][gte]=" + at(1):                                      "e3 e2 e1",
			"filter[created_at][gt]=" + at(1):                                       "e3 e2",
			"filter[created_at][lte]=" + at(1):                                      "e1 e0",
			"filter[created_at][lt]=" + at(1):                                       "e0",
			"filter[created_at][gte]=" + at(1) + "&filter[created_at][lt]=" + at(3): "e2 e1",
			"filter[created_at][gte]=" + at(0) + "&filter[created_at][gt]=" + at(1): "e3 e2",
			"filter[created_at][lte]=" + at(2) + "&filter[created_at][lt]=" + at(2): "e1 e0",
			"filter[created_at][gte]=" + at(3) + "&filter[created_at][lt]=" + at(1): "",
			"filter[created_at][gte]=" + url.QueryEscape(t0.In(time.FixedZone("", 7200)).Format(time.RFC3339Nano)) + "&limit=1": "e3",
		} {
			a := r.do(200, "GET", deliveriesPath+"?total=true&"+query, "")
			list := data[[]console.Delivery](t, a)
			if got := strings.Join(names(list), " "); got != want {
				t.Errorf("%s: %s, want %s", query, got, want)
			}
			if total := *a.Meta.Total; total != len(list) && !strings.Contains(query, "limit") || total < len(list) || a.Meta.TotalCapped {
				t.Errorf("%s: total %d", query, total)
			}
		}
		first := data[[]console.Delivery](t, r.do(200, "GET", deliveriesPath+"?limit=1", ""))[0]
		for _, path := range []string{deliveriesPath + "/" + first.ID + "?show=event_id", deliveriesPath + "/" + first.ID + "?show=event_id,status&hide=status"} {
			if a := r.do(200, "GET", path, ""); string(a.Data) != `{"id":"`+first.ID+`","event_id":"e3"}` {
				t.Errorf("%s: %s", path, a.Data)
			}
		}
		list := data[[]console.Delivery](t, r.do(200, "GET", deliveriesPath, "", "Doorstep-Tenant", "acme"))
		if got := strings.Join(names(list), " "); got != "foreign" {
			t.Errorf("another tenant's: %s", got)
		}
	})
}

// A list read page by page has every row that was there at the beginning once, in both directions.
func TestDeliveriesComeInPages(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	hook := uuid.NewString()
	add := func(i int, at time.Time) {
		r.deliver(r.topics.Deliveries, matched(published(fmt.Sprintf("e%02d", i), at), hook))
	}
	for i := range 7 {
		add(i, t0.Add(time.Duration(i/2)*time.Second)) // two of each time
	}
	for _, sort := range []string{"created_at", "-created_at"} {
		var got []string
		cursor, pages := "", 0
		for {
			a := r.do(200, "GET", deliveriesPath+"?filter[webhook_id]="+hook+"&limit=3&sort="+sort+"&cursor="+cursor, "")
			got = append(got, names(data[[]console.Delivery](t, a))...)
			pages++
			if cursor = a.Meta.NextCursor; cursor == "" {
				break
			}
			if sort == "-created_at" {
				add(10+pages, t0.Add(time.Hour)) // comes before what was read already
			}
		}
		slices.Sort(got)
		if d := cmp.Diff([]string{"e00", "e01", "e02", "e03", "e04", "e05", "e06"}, got); d != "" || pages != 3 {
			t.Errorf("%s, in %d pages (-want +got):\n%s", sort, pages, d)
		}
	}
	first := r.do(200, "GET", deliveriesPath+"?limit=3", "")
	for name, query := range map[string]string{
		"the other direction": "?sort=created_at&cursor=" + first.Meta.NextCursor,
		"made up":             "?cursor=abc",
		"changed":             "?cursor=x" + first.Meta.NextCursor,
	} {
		if a := r.do(422, "GET", deliveriesPath+query, ""); len(a.Errors) != 1 || a.Errors[0].Field != "cursor" {
			t.Errorf("cursor, %s: %s", name, a.text)
		}
	}
	if a := r.do(422, "GET", "/api/v1/events?cursor="+first.Meta.NextCursor, ""); a.Errors[0].Field != "cursor" {
		t.Errorf("a cursor of deliveries for events: %s", a.text)
	}
}

func TestListsSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for query, want := range map[string]string{ // of the first fault
		"deliveries?limit=0":                                          "limit: must be a whole number from 1 to 500",
		"deliveries?limit=501":                                        "limit: must be a whole number from 1 to 500",
		"deliveries?limit=x":                                          "limit: ",
		"deliveries?sort=name":                                        `sort: "name" is not a field of this list; there are created_at`,
		"deliveries?sort=status":                                      `sort: "status" is not one that this list is sorted by; there are created_at`,
		"deliveries?status=delivered":                                 "status: is not a parameter of this; there are limit, cursor, sort, total, show, hide, filter[webhook_id], filter[event_id]",
		"deliveries?filter[colour]=red":                               `filter[colour]: "colour" is not a field of this list; there are webhook_id, event_id, event_type, external_reference, status, created_at`,
		"deliveries?filter=x":                                         "filter: must be filter[field] or filter[field][operator]; there are the fields webhook_id",
		"deliveries?filter[created_at]=2026-01-01T00:00:00Z":          `filter[created_at]: "eq" is not an operator of created_at; there are gt, gte, lt, lte`,
		"deliveries?filter[created_at][eq]=x":                         `filter[created_at][eq]: "eq" is not an operator of created_at; there are gt, gte, lt, lte`,
		"deliveries?filter[webhook_id]=x":                             "filter[webhook_id]: ",
		"deliveries?filter[webhook_id]=":                              "filter[webhook_id]: needs a value",
		"deliveries?filter[status]=":                                  "filter[status]: needs a value",
		"deliveries?filter[status]=lost":                              `filter[status]: "lost" is none of pending, retrying, `,
		"deliveries?filter[status]=delivered&filter[status]=lost":     "filter[status]: is given more than once",
		"deliveries?filter[status]=lost,pending":                      `filter[status]: "lost" is none of`,
		"deliveries?filter[status]=pending&filter[status][in]=capped": "filter[status]: is given twice",
		"deliveries?filter[status]=pending&filter[status][eq]=capped": "filter[status][eq]: is the same as filter[status], which is given too",
		"deliveries?total=1":                                          "total: must be true or false",
		"deliveries?filter[event_id]=%zz":                             "query: is not well-formed",
		"deliveries?show=id,colour":                                   `show: "colour" is not a field of this; there are id, webhook_id, event_id`,
		"deliveries?limit=1&limit=2":                                  "limit: is given more than once",
		"deliveries?filter[event_type]=card.*":                        "filter[event_type]: must be one event type",
		"deliveries?filter[event_id]=" + strings.Repeat("x", 65):      "filter[event_id]: must be at most 64 characters",
		"deliveries?filter[created_at][gte]=yesterday":                "filter[created_at][gte]: ",
		"deliveries?filter[created_at][lt]=2026-01-01":                "filter[created_at][lt]: ",
		"deliveries?filter[created_at][lt]=1901-01-01T00:00:00Z":      "filter[created_at][lt]: must be an RFC 3339 time of 1970",
		"deliveries?filter[created_at][gt]=2026-01-01T00:00:00+01:00": "filter[created_at][gt]: ", // a + must be written %2B
		"events?sort=created_at":                                      `sort: "created_at" is not a field of this list; there are received_at`,
		"events?filter[status]=delivered":                             `filter[status]: "status" is not a field of this list; there are type, external_reference, received_at`,
		"events?filter[type]=Card":                                    "filter[type]: must be one event type",
		"events?filter[type]=":                                        "filter[type]: needs a value",
		"events?filter[received_at][lte]=x":                           "filter[received_at][lte]: ",
		"events?limit=0":                                              "limit: must be a whole number from 1 to 500",
	} {
		a := r.do(422, "GET", "/api/v1/"+query, "")
		if len(a.Errors) == 0 || !strings.HasPrefix(a.Errors[0].Field+": "+a.Errors[0].Message, want) {
			t.Errorf("%s: %s, want %s", query, a.text, want)
		}
	}
}

func TestHistoryNeedsItsScopes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := r.event(published("e", t0))
	w := r.create(minimal)
	d := matched(e, w.ID)
	r.deliver(r.topics.Deliveries, d)
	one, event := deliveriesPath+"/"+d.ID, "/api/v1/events/e"
	reader := r.key(`{"name":"reader","scopes":["deliveries:read"]}`).Key
	sender := r.key(`{"name":"sender","scopes":["deliveries"]}`).Key
	producer := r.key(`{"name":"producer","scopes":["events","webhooks"]}`).Key
	foreign := r.key(`{"name":"foreign","scopes":["deliveries"]}`, "Doorstep-Tenant", "acme").Key
	for _, tt := range []struct {
		key, method, path string
		status            int
	}{
		{reader, "GET", deliveriesPath, 200}, {reader, "GET", one, 200}, {reader, "GET", one + "/payload", 200},
		{reader, "GET", "/api/v1/events", 200}, {reader, "GET", event, 200}, {reader, "POST", one + "/resend", 403},
		{reader, "POST", "/api/v1/events", 403},
		{sender, "GET", deliveriesPath, 200}, {sender, "GET", event, 200}, {sender, "POST", one + "/resend", 202},
		{producer, "GET", deliveriesPath, 403}, {producer, "GET", one, 403}, {producer, "GET", one + "/payload", 403},
		{producer, "GET", "/api/v1/events", 403}, {producer, "GET", event, 403}, {producer, "POST", one + "/resend", 403},
		{foreign, "GET", one, 404}, {foreign, "GET", one + "/payload", 404}, {foreign, "POST", one + "/resend", 404},
		{foreign, "GET", event, 404},
		{"", "GET", deliveriesPath, 401}, {"", "POST", one + "/resend", 401},
		{reader, "GET", deliveriesPath + "/" + uuid.NewString(), 404}, {reader, "GET", deliveriesPath + "/x%00y", 404},
		{reader, "GET", "/api/v1/events/none", 404}, {reader, "GET", "/api/v1/events/x%00y", 404},
		{sender, "POST", deliveriesPath + "/" + uuid.NewString() + "/resend", 404}, {sender, "DELETE", one, 405},
	} {
		if a := r.as(tt.key, tt.method, tt.path, ""); a.status != tt.status {
			t.Errorf("%s %s with %q: %d, want %d: %s", tt.method, tt.path, tt.key, a.status, tt.status, a.text)
		}
	}
	for _, path := range []string{deliveriesPath, "/api/v1/events"} {
		if list := data[[]any](t, r.as(foreign, "GET", path, "")); len(list) != 0 {
			t.Errorf("another tenant sees %v of %s", list, path)
		}
	}
}

func TestDeliveryWithItsAttempts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	hook := uuid.NewString()
	d := matched(published("e", t0), hook)
	at := r.deliver(r.topics.Deliveries, d)
	first := post(d, at, t0.Add(time.Second), failed(), delivery.Retrying)
	first.NextAttemptAt = t0.Add(time.Minute)
	first.Outcome.URL, first.Outcome.RemoteAddress = "https://receiver.example/hook", "93.184.215.14:443"
	first.Outcome.RequestHeaders = []delivery.Header{{Name: "Webhook-Id", Value: d.ID}}
	first.Outcome.ResponseHeaders = []delivery.Header{{Name: "Content-Type", Value: "text/html"}, {Name: "Server", Value: "s"}}
	first.Outcome.ResponseBody = []byte("café"[:4]) // cut within a character
	first.Outcome.Phases = delivery.Phases{DNS: 1500 * time.Microsecond, Connect: 2 * time.Millisecond, Total: 30 * time.Millisecond, Reused: true}
	d.Attempt = 2
	second := post(d, at, t0.Add(2*time.Minute), failed(), delivery.Exhausted)
	second.Lane, second.DueAt = r.topics.Tiers[1].Topic, t0.Add(time.Minute)
	second.Outcome.ResponseBody = []byte{0xff, 0xfe, 0}
	again := d.Again(delivery.NewRunID("", t0.Add(time.Hour), [8]byte{}), delivery.CauseResend)
	third := post(again, at, t0.Add(3*time.Hour), ok(), delivery.Delivered)
	third.Lane = r.topics.ParkedLong.Topic
	r.attempts(third, first, second)

	got := data[console.DeliveryDetail](t, r.do(200, "GET", deliveriesPath+"/"+d.ID, ""))
	last := third.StartedAt
	want := console.DeliveryDetail{
		Delivery: console.Delivery{
			ID: d.ID, WebhookID: hook, EventID: "e", EventType: "card.updated", ExternalReference: "card-7", Status: delivery.Delivered,
			Cause: delivery.CauseResend, RunID: again.RunID, AttemptCount: 3, CreatedAt: t0, UpdatedAt: third.FinishedAt,
			LastAttempt: &console.LastAttempt{StartedAt: last, StatusCode: 204},
		},
		Attempts: []console.Attempt{{
			RunID: d.RunID, Cause: delivery.CauseFirst, Attempt: 1, Kind: delivery.KindPost, Status: delivery.Retrying,
			StartedAt: &first.StartedAt, FinishedAt: &first.FinishedAt, Lane: "immediate", NextAttemptAt: &first.NextAttemptAt,
			URL: "https://receiver.example/hook", RemoteAddress: "93.184.215.14:443", StatusCode: 500, ErrorCode: "status",
			Error: "the receiver answered 500", RequestHeaders: []console.Header{{Name: "Webhook-Id", Value: d.ID}},
			ResponseHeaders: []console.Header{{Name: "Content-Type", Value: "text/html"}, {Name: "Server", Value: "s"}},
			ResponseBody:    "caf", Phases: &console.Phases{DNS: 1.5, Connect: 2, Total: 30, Reused: true}, Instance: "sender-0",
		}, {
			RunID: d.RunID, Cause: delivery.CauseFirst, Attempt: 2, Kind: delivery.KindPost, Status: delivery.Exhausted,
			StartedAt: &second.StartedAt, FinishedAt: &second.FinishedAt, DueAt: &second.DueAt, Lane: "5m", StatusCode: 500, ErrorCode: "status",
			Error: "the receiver answered 500", ResponseBody: "//4A", ResponseBodyEncoding: "base64", Phases: &console.Phases{},
			RequestHeaders: []console.Header{}, ResponseHeaders: []console.Header{}, Instance: "sender-0",
		}, {
			RunID: again.RunID, Cause: delivery.CauseResend, Attempt: 1, Kind: delivery.KindPost, Status: delivery.Delivered,
			StartedAt: &third.StartedAt, FinishedAt: &third.FinishedAt, Lane: "parked", StatusCode: 204, Phases: &console.Phases{},
			RequestHeaders: []console.Header{}, ResponseHeaders: []console.Header{}, Instance: "sender-0",
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	listed := data[[]console.Delivery](t, r.do(200, "GET", deliveriesPath, ""))
	if diff := cmp.Diff([]console.Delivery{want.Delivery}, listed); diff != "" {
		t.Errorf("in a list (-want +got):\n%s", diff)
	}
}

func TestSuspendedDelivery(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d := matched(published("e", t0), uuid.NewString())
	d.SuspendReason, d.SuspendedAt = delivery.SuspendPaused, t0.Add(time.Second)
	r.deliver(r.topics.Suspended, d)
	got := data[console.DeliveryDetail](t, r.do(200, "GET", deliveriesPath+"/"+d.ID, ""))
	if got.Status != delivery.Suspended || got.SuspendReason != "paused" || !got.UpdatedAt.Equal(d.SuspendedAt) || got.LastAttempt != nil ||
		len(got.Attempts) != 0 {
		t.Errorf("%+v", got)
	}
	if a := r.do(200, "GET", deliveriesPath+"/"+d.ID+"/payload", ""); a.text != string(d.Body) {
		t.Errorf("payload: %s", a.text)
	}
}
