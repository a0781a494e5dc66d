package matcher_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

func TestADeliveryCarriesWhatTheSenderNeeds(t *testing.T) {
	w := newWorld(t)
	at := w.hook("h1", func(h *webhook.Webhook) { h.Payload.Format = webhook.FormatStandard })
	w.start()
	from := w.publish("e1", func(e *event.Record) {
		e.ExternalReference, e.TraceContext = "card-7", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	})
	got := w.want(w.topics.Deliveries, "e1>h1")[0]
	id := delivery.ID("e1", "h1")
	want := delivery.Delivery{
		ID: id, Tenant: "acme", EventID: "e1", EventType: "card.updated", ExternalReference: "card-7", WebhookID: "h1",
		WebhookPosition: at, EventPosition: from, RunID: delivery.FirstRunID(id), Cause: delivery.CauseFirst, Attempt: 1,
		ReceivedAt: epoch.Add(time.Second), ContentType: "application/json",
		Body:         []byte(`{"type":"card.updated","timestamp":"2026-01-01T00:00:00Z","data":{"id": 1}}`),
		TraceContext: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("delivery (-want +got):\n%s", diff)
	}
	if key := string(w.wrote[w.topics.Deliveries][0].Key); key != "h1" {
		t.Errorf("key %q, want the webhook's id", key)
	}
}

func TestMatching(t *testing.T) {
	w := newWorld(t)
	yes := true
	w.put(wire.Tenant(w.topics.Settings, tenant.Tenant{ID: "planmill", Payload: webhook.Payload{Stringify: &yes}}))
	w.hook("all", func(h *webhook.Webhook) { h.EventTypes = []string{"*"} })
	w.hook("other", func(h *webhook.Webhook) { h.Tenant = "other" })
	w.hook("inactive", func(h *webhook.Webhook) { h.Active = false })
	w.hook("filtered", func(h *webhook.Webhook) { h.Filters = map[string]string{"eventUser": "545"} })
	w.hook("condition", func(h *webhook.Webhook) { h.Condition = "data.id > 1" })
	w.hook("mill", func(h *webhook.Webhook) { h.Tenant = "planmill" })
	w.start()
	w.publish("plain")
	w.publish("user", func(e *event.Record) { e.Attributes = map[string]string{"eventUser": "545"} })
	w.publish("two", func(e *event.Record) { e.Data = []byte(`{"id":2}`) })
	w.publish("order", func(e *event.Record) { e.Type = "order.created" })
	w.publish("mills", func(e *event.Record) { e.Tenant = "planmill" })
	w.publish("nobody", func(e *event.Record) { e.Tenant = "nobody" })
	for _, d := range w.want(w.topics.Deliveries, "plain>all", "user>all", "user>filtered", "two>all", "two>condition", "order>all", "mills>mill") {
		want := map[string]string{"two": `{"id":2}`, "mills": `{"id":"1"}`}[d.EventID]
		if want == "" {
			want = `{"id": 1}`
		}
		if string(d.Body) != want {
			t.Errorf("%s for %s: body %s, want %s", d.EventID, d.WebhookID, d.Body, want)
		}
	}
}

func TestAWebhooksChangeTakesEffect(t *testing.T) {
	w := newWorld(t)
	m := w.start()
	// until publishes events until one shows the change. The fastest of some is to be within the second that is promised: a
	// machine with much to do makes any of them late.
	fastest := time.Hour
	until := func(what string, want bool) {
		t.Helper()
		began, i := time.Now(), 0
		w.eventually("in force: "+what, func() bool {
			events := m.metric(t, "doorstep_events_matched_total")
			deliveries := m.metric(t, "doorstep_deliveries_matched_total")
			w.publish(fmt.Sprintf("%s-%d", what, i))
			i++
			w.eventually("matched", func() bool { return m.metric(t, "doorstep_events_matched_total") > events })
			return m.metric(t, "doorstep_deliveries_matched_total") > deliveries == want
		})
		fastest = min(fastest, time.Since(began))
	}
	w.hook("h")
	until("created", true)
	w.hook("h", func(h *webhook.Webhook) { h.EventTypes = []string{"order.*"} })
	until("changed", false)
	w.hook("h")
	until("changed-back", true)
	w.put(wire.Gone(w.topics.Webhooks, "h"), nil)
	until("deleted", false)
	if fastest > time.Second {
		t.Errorf("of 4 changes, the fastest took effect after %s", fastest)
	}
}

func TestDuplicates(t *testing.T) {
	w := newWorld(t)
	w.hook("h")
	m := w.start()
	w.publish("same")
	w.publish("same")                                                      // the producer tried again
	w.publish("same", func(e *event.Record) { e.ExternalReference = "x" }) // to another partition, perhaps
	w.publish("same", func(e *event.Record) { e.Tenant = "other" })        // ids are a tenant's own
	w.publish("assigned", func(e *event.Record) { e.IDAssigned = true })
	w.want(w.topics.Deliveries, "same>h", "assigned>h")
	if n := m.metric(t, "doorstep_duplicates_total"); n != 2 {
		t.Errorf("%v duplicates counted, want 2", n)
	}
	keys := w.redisClient().Keys(t.Context(), w.cfg.Redis.Prefix+"*").Val()
	if len(keys) != 2 || slices.ContainsFunc(keys, func(key string) bool { return strings.Contains(key, "assigned") }) {
		t.Errorf("looked up: %v, want the two that the producers gave", keys)
	}
}

func TestAReplayIsNoDuplicate(t *testing.T) {
	w, broker := embeddedWorld(t) // whose answers can be made up
	w.hook("h")
	var failed atomic.Int64
	broker.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
		resp := req.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode = kerr.InvalidProducerEpoch.Code
		failed.Add(1)
		return resp, nil, true
	})
	w.start()
	w.publish("e1")
	w.publish("e2")
	w.want(w.topics.Deliveries, "e1>h", "e2>h")
	if failed.Load() == 0 {
		t.Error("no transaction failed")
	}
}

func TestARestartMidwayGivesNoSecondDelivery(t *testing.T) {
	w := newWorld(t)
	w.hook("h1")
	w.hook("h2")
	var want []string
	for i := range 200 {
		id := fmt.Sprintf("e%d", i)
		w.publish(id)
		want = append(want, id+">h1", id+">h2")
	}
	for matched := 0.0; matched < 200; {
		m, had := w.start(), matched
		w.eventually("matching", func() bool {
			matched = had + m.metric(t, "doorstep_events_matched_total")
			return matched > had
		})
		if err := m.stop(); err != nil {
			t.Fatal(err)
		}
		matched = had + m.metric(t, "doorstep_events_matched_total")
	}
	w.want(w.topics.Deliveries, want...)
}

func TestTheCap(t *testing.T) {
	w := newWorld(t)
	two := 2
	w.put(wire.Tenant(w.topics.Settings, tenant.Tenant{ID: "acme", Policy: tenant.Policy{MaxWebhooksPerEvent: &two}}))
	for i := range 5 {
		w.hook(fmt.Sprintf("h%d", i), func(h *webhook.Webhook) { h.CreatedAt = epoch.Add(-time.Duration(i) * time.Hour) })
	}
	w.start()
	from := w.publish("e1")
	w.want(w.topics.Deliveries, "e1>h4", "e1>h3")
	a := w.attempt()
	if a.Kind != delivery.KindCapped || a.Count != 3 || a.EventID != "e1" || a.Tenant != "acme" || a.Status != delivery.Capped || a.Position != from {
		t.Errorf("what was cut is recorded as %+v", a)
	}
}

// A tenant without the feature is not matched, and what was published meanwhile is not matched afterwards either.
func TestTheFeatureWebhooks(t *testing.T) {
	w := newWorld(t)
	off := tenant.Tenant{ID: "acme", Version: 1, Features: map[string]bool{tenant.FeatureWebhooks: false}}
	w.put(wire.Tenant(w.topics.Settings, off))
	w.hook("h1")
	m := w.start()
	n := 0
	publish := func() {
		n++
		w.publish(fmt.Sprintf("e%d", n))
		w.eventually("reading", func() bool { return m.metric(t, "doorstep_events_matched_total") == float64(n) })
	}
	publish()
	off.Version, off.Features = 2, nil
	w.put(wire.Tenant(w.topics.Settings, off))
	// Until the matcher has heard of it, further events fare as the first did.
	w.eventually("matching again", func() bool {
		publish()
		return m.metric(t, "doorstep_deliveries_matched_total") > 0
	})
	w.want(w.topics.Deliveries, fmt.Sprintf("e%d>h1", n))
}

func TestSuspended(t *testing.T) {
	w := newWorld(t)
	for id, s := range map[string]failure.State{
		"disabled":    {Generation: 1, Version: 9, Disabled: true},
		"reactivated": {Generation: 1, Version: 9, Disabled: true},
		"waiting":     {Generation: 1, Version: 9, DisabledUntil: time.Now().Add(time.Hour)},
		"both":        {Generation: 1, Version: 9, Disabled: true},
		"held":        {Generation: 1, Version: 9, Disabled: true},
	} {
		s.WebhookID = id
		w.put(wire.State(w.topics.States, s))
	}
	w.put(wire.State(w.topics.States, failure.State{WebhookID: "disabled", Generation: 1, Version: 8})) // came late
	w.hook("disabled")
	w.hook("reactivated", func(h *webhook.Webhook) { h.Generation = 2 })
	w.hook("waiting")
	w.hook("paused", func(h *webhook.Webhook) { h.Paused = true })
	w.hook("both", func(h *webhook.Webhook) { h.Paused = true })
	w.hook("held", func(h *webhook.Webhook) { h.Active, h.Held = false, true })
	w.hook("held but healthy", func(h *webhook.Webhook) { h.Active, h.Held = false, true })
	w.start()
	w.publish("e")
	w.want(w.topics.Deliveries, "e>reactivated", "e>waiting")
	for _, d := range w.want(w.topics.Suspended, "e>disabled", "e>paused", "e>both", "e>held") {
		want := map[string]delivery.SuspendReason{"paused": delivery.SuspendPaused}[d.WebhookID]
		if want == "" {
			want = delivery.SuspendDisabled
		}
		if d.SuspendReason != want || d.SuspendedAt.IsZero() {
			t.Errorf("%s is suspended for %q at %s, want %q", d.WebhookID, d.SuspendReason, d.SuspendedAt, want)
		}
	}
}

func TestWhatCannotBeReadStopsNothing(t *testing.T) {
	w := newWorld(t)
	yes := true
	w.hook("h")
	w.hook("s", func(h *webhook.Webhook) { h.Payload.Stringify = &yes })
	w.put(&kgo.Record{Topic: w.topics.Webhooks, Key: []byte("h9"), Value: []byte("secret")}, nil)
	m := w.start()
	w.publish("before")
	w.put(&kgo.Record{Topic: w.topics.Events, Key: []byte("k"), Value: []byte("secret")}, nil)
	w.put(&kgo.Record{Topic: w.topics.Events, Key: []byte("k"), Value: make([]byte, 1<<20-200)}, nil)
	w.publish("broken", func(e *event.Record) { e.Data = []byte(`{"secret`) })
	w.publish("large", func(e *event.Record) { e.Data = []byte(`"` + strings.Repeat("x", 1<<20-16<<10) + `"`) })
	w.publish("after")
	w.want(w.topics.Deliveries, "before>h", "before>s", "broken>h", "after>h", "after>s")
	for _, r := range w.read(w.topics.Quarantine, 5) {
		q, err := wire.ReadQuarantine(r)
		if err != nil {
			t.Fatal(err)
		}
		if q.Reader != "matcher" || q.Reason == "" || strings.Contains(q.Reason, "secret") || q.Position.Topic == "" {
			t.Errorf("quarantined as %+v", q)
		}
	}
	if n := m.metric(t, "doorstep_quarantined_total"); n != 5 {
		t.Errorf("%v counted, want 5", n)
	}
}

func TestConditionsThatFailAreRecorded(t *testing.T) {
	w := newWorld(t)
	w.hook("h", func(h *webhook.Webhook) { h.Condition = "data.amount > 5" })
	w.start()
	w.publish("e")
	a := w.attempt()
	if a.Kind != delivery.KindConditionError || a.WebhookID != "h" || a.EventID != "e" || !strings.Contains(a.Outcome.Error, "amount") {
		t.Errorf("recorded as %+v", a)
	}
	if a.Count != 1 || a.Counter == "" || a.Condition != webhook.ConditionKey("data.amount > 5") {
		t.Errorf("%d failures of %q counted under %q", a.Count, a.Condition, a.Counter)
	}
	w.want(w.topics.Deliveries)
}

// Failures at every event are told once a second for each webhook, and all are counted. What is left when a matcher ends is
// told too, and its next life counts under another name.
func TestConditionsThatFailAtEveryEventCostLittle(t *testing.T) {
	const events, lives = 1000, 2
	w := newWorld(t)
	w.hook("h", func(h *webhook.Webhook) { h.Condition = "data.amount > 5" })
	w.hook("i", func(h *webhook.Webhook) { h.Condition = "data.amount > 6" })
	began := time.Now()
	for life := range lives {
		m := w.start()
		for i := range events {
			w.produce(wire.Event(w.topics.Events, event.Record{Event: event.Event{
				ID: fmt.Sprintf("e-%d-%d", life, i), Tenant: "acme", Type: "card.updated", OccurredAt: epoch, Data: []byte(`{"id": 1}`),
			}, ReceivedAt: epoch}))
		}
		w.flush()
		w.eventually("evaluated", func() bool { return m.metric(t, "doorstep_condition_errors_total") == 2*events })
		if err := m.stop(); err != nil {
			t.Fatal(err)
		}
	}
	var last map[string]delivery.Attempt // by counter
	w.eventually("told", func() bool {
		last = w.counters()
		count := map[string]int{}
		for _, a := range last {
			count[a.WebhookID] += a.Count
		}
		return count["h"] == lives*events && count["i"] == lives*events
	})
	if len(last) != 2*lives {
		t.Errorf("%d counters, want one for each webhook and life", len(last))
	}
	if n, most := len(w.wrote[w.topics.Attempts]), 2*(lives+1+int(time.Since(began)/time.Second)); n > most {
		t.Errorf("%d records, want %d at most", n, most)
	}
}

func TestWithoutRedisMatchingGoesOn(t *testing.T) {
	w := newWorld(t)
	w.cfg.Redis.Timeout = 50 * time.Millisecond
	addr := w.redisClient().Options().Addr
	network := testkit.NewProxy(t, addr)
	w.cfg.Redis.URL = strings.Replace(w.cfg.Redis.URL, addr, network.Addr, 1)
	w.hook("h")
	m := w.start()
	w.publish("e1")
	w.want(w.topics.Deliveries, "e1>h")
	before := m.metric(t, "doorstep_events_not_looked_up_total") // what a slow machine does not look up in 50 ms
	network.Cut()
	w.publish("e2")
	w.publish("e3")
	w.want(w.topics.Deliveries, "e1>h", "e2>h", "e3>h")
	if n := m.metric(t, "doorstep_events_not_looked_up_total") - before; n != 2 {
		t.Errorf("%v counted as not looked up, want 2", n)
	}
	if n := m.metric(t, "doorstep_store_failures_total"); n < 1 {
		t.Errorf("%v failures of a store counted, with Redis away", n)
	}
	network.Heal()
	w.eventually("looking for duplicates again", func() bool {
		w.publish("e1")
		return m.metric(t, "doorstep_duplicates_total") > 0
	})
}

func TestTheEmbeddedRedisIsRefilled(t *testing.T) {
	w, _ := embeddedWorld(t)
	w.cfg.Kafka.Embedded = true
	w.hook("h")
	first := w.start()
	w.publish("before")
	w.want(w.topics.Deliveries, "before>h")
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	testkit.DeleteKeys(t, w.cfg.Redis.URL, w.cfg.Redis.Prefix)
	w.publish("between")
	w.start()
	w.publish("before")
	w.publish("between")
	w.publish("after")
	w.want(w.topics.Deliveries, "before>h", "between>h", "after>h")
}

func TestWithoutRoomNothingIsMatched(t *testing.T) {
	w := newWorld(t)
	var full atomic.Bool
	full.Store(true)
	w.cfg.Room = func() error {
		if full.Load() {
			return errors.New("disk full")
		}
		return nil
	}
	w.hook("h")
	w.start()
	w.publish("e")
	w.want(w.topics.Deliveries)
	full.Store(false)
	w.want(w.topics.Deliveries, "e>h")
}
