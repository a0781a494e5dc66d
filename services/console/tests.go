package console

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/payload"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// A test is a delivery like any other but for its cause: the sender makes it once, and nothing that comes of it counts
// (see the sender's doc).

const (
	maxTestWait = 15               // seconds that the answer to a test waits for what the receiver says
	testEvery   = time.Second      // tests of one webhook, by one console
	maxTests    = 16               // at once: each follows `attempts`
	testGrace   = 10 * time.Second // beside the wait, for the log and SQL
)

// TestInput says what a test sends. Null and absent fields take the defaults.
type TestInput struct {
	EventType   string          `json:"event_type,omitempty" maxLength:"128" doc:"One that the webhook asks for. Default: the first of the catalogue that it asks for and that has an example, else the first"`
	Data        json.RawMessage `json:"data,omitempty" doc:"Any JSON, at most 256 KiB. Default: the type's example, else {\"test\":true,\"message\":\"A test of this webhook. Nothing has happened.\"}"`
	WaitSeconds *int            `json:"wait_seconds,omitempty" minimum:"0" maximum:"15" doc:"How long the answer waits for what the receiver says. Default 15"`
}

// Test is a test delivery, and what its receiver said.
type Test struct {
	DeliveryID string   `json:"delivery_id" format:"uuid" doc:"GET /api/v1/deliveries/{id} shows what becomes of it"`
	EventID    string   `json:"event_id" doc:"Of an event that is in no list: it never happened"`
	EventType  string   `json:"event_type"`
	Attempt    *Attempt `json:"attempt,omitempty" doc:"The only one; absent: the receiver has not answered yet"`
}

type testOutput struct {
	Status int
	Body   Reply[Test]
}

func (s *Service) routeTests(api huma.API) {
	add(s, api, route{
		id: "test-webhook", method: http.MethodPost, path: "webhooks/{id}/test",
		summary: "Send a test, also to a webhook that is disabled, paused or inactive, and tell what its receiver says; 202: it has not answered yet",
		scope:   tenant.ScopeWebhooks, body: TestInput{}, bodyOptional: true, maxBody: event.MaxDataBytes + maxBody,
		once: true, within: maxTestWait*time.Second + testGrace, problems: []int{404, 413, 429},
	}, s.testWebhook)
	responses := api.OpenAPI().Paths["/api/v1/webhooks/{id}/test"].Post.Responses
	responses["202"] = &huma.Response{Description: "It is sent, and its receiver has not answered yet", Content: responses["200"].Content}
}

func (s *Service) testWebhook(ctx context.Context, in *idRawInput) (*testOutput, error) {
	work, cancel := context.WithTimeout(ctx, workTime)
	defer cancel()
	store, of, err := s.storeAndTenant(work)
	if err != nil {
		return nil, err
	}
	var said TestInput
	if len(bytes.TrimSpace(in.RawBody)) > 0 {
		if f := decode(in.RawBody, &said, ""); len(f) > 0 {
			return nil, f
		}
	}
	w, err := readWebhook(work, store, of.ID, in.ID)
	if err != nil {
		return nil, err
	}
	t, err := s.test(ctx, work, store, of, w, said)
	if err != nil {
		return nil, err
	}
	s.log.Info("webhook tested", "webhook", w.ID, "delivery", t.DeliveryID, "key", callerOf(ctx).Key.ID)
	out := &testOutput{Status: http.StatusOK, Body: reply(ctx, t).Body}
	if t.Attempt == nil {
		out.Status = http.StatusAccepted
	}
	return out, nil
}

// test sends a test and waits for its attempt. work bounds what it asks of the stores, ctx all of it.
func (s *Service) test(ctx, work context.Context, store *sqlstore.Store, of tenant.Tenant, w webhook.Webhook, said TestInput) (Test, error) {
	e, patience, err := s.testEvent(of, w, said, time.Now().UTC())
	if err != nil {
		return Test{}, err
	}
	release, ok := s.tests.may(w.ID, time.Now())
	if !ok {
		return Test{}, newProblem(http.StatusTooManyRequests, "a webhook is tested once a second at most")
	}
	sent := false
	defer func() {
		if !sent {
			release()
		}
	}()
	select {
	case s.tests.slots <- struct{}{}:
		defer func() { <-s.tests.slots }()
	default:
		return Test{}, newProblem(http.StatusTooManyRequests, fmt.Sprintf("%d tests are under way, which is the most at once", maxTests))
	}
	at, err := s.written(work, store, w.ID)
	if err != nil {
		return Test{}, err
	}
	client, err := s.follow(work, s.topics.Attempts) // before it is sent, so that nothing is missed
	if err != nil {
		return Test{}, err
	}
	defer client.Close()
	if before, again := promised[testOutput](ctx); again {
		e.ID = before.Body.Data.EventID // the same one, if it was written
	}
	body, err := payload.Build(e, w.Payload.Over(of.Payload))
	if err != nil {
		return Test{}, invalid.Fields{{Name: "data", Message: "cannot be shaped as the webhook's payload says: " + err.Error()}}
	}
	id := delivery.ID(e.ID, w.ID)
	t := Test{DeliveryID: id, EventID: e.ID, EventType: e.Type}
	answering(ctx, func() any { return &testOutput{Status: http.StatusAccepted, Body: reply(ctx, t).Body} })
	d := delivery.Delivery{
		ID: id, Tenant: of.ID, EventID: e.ID, EventType: e.Type, WebhookID: w.ID, WebhookPosition: at,
		RunID: delivery.FirstRunID(id), Cause: delivery.CauseTest, Attempt: 1, ReceivedAt: e.ReceivedAt,
		Body: body.Bytes, ContentType: body.ContentType, TraceContext: traceOf(ctx),
	}
	about := sqlstore.Subject{Kind: sqlstore.KindDelivery, ID: d.ID, Tenant: d.Tenant}
	noting := map[string]any{"cause": d.Cause, "event_type": d.EventType, "run_id": d.RunID, "webhook_id": d.WebhookID}
	if err := s.noted(work, about, noting, func() error { return s.send(work, d) }); err != nil {
		return Test{}, err
	}
	sent = true
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	go func() { // a console that stops does not wait for receivers
		select {
		case <-s.stopping:
			cancel()
		case <-within.Done():
		}
	}()
	if a, ok := awaitAttempt(within, client, id); ok {
		t.Attempt = new(attemptView(a, s.topics))
	}
	return t, nil
}

// awaitAttempt is the first attempt of a delivery that comes before ctx ends.
func awaitAttempt(ctx context.Context, client *kgo.Client, deliveryID string) (delivery.Attempt, bool) {
	for ctx.Err() == nil {
		for _, r := range client.PollRecords(ctx, maxLines).Records() {
			if a, err := wire.ReadAttempt(r); err == nil && a.DeliveryID == deliveryID {
				row, _, _ := history.FromAttempt(a)
				return row.Attempt, true
			}
		}
	}
	return delivery.Attempt{}, false
}

// testEvent is what a test sends, and how long it waits for the answer.
func (s *Service) testEvent(of tenant.Tenant, w webhook.Webhook, said TestInput, now time.Time) (event.Record, time.Duration, error) {
	var f invalid.Fields
	wait := maxTestWait
	if n := said.WaitSeconds; n != nil {
		if wait = *n; wait < 0 || wait > maxTestWait {
			f.Add("wait_seconds", "must be 0 to %d", maxTestWait)
		}
	}
	known := s.settings.EventTypes(of.ID)
	e := event.Event{ID: uuid.Must(uuid.NewV7()).String(), Tenant: of.ID, Type: said.EventType, OccurredAt: now, Data: said.Data}
	if e.Type == "" {
		e.Type = testType(w.EventTypes, known)
	} else if !w.Wants(e.Type) {
		f.Add("event_type", "must be one that the webhook asks for: %s", clip(strings.Join(w.EventTypes, ", ")))
	}
	if len(e.Data) == 0 {
		e.Data = exampleOf(e.Type, known)
	}
	for _, fault := range e.Check("", now) {
		if fault.Name == "type" {
			fault.Name = "event_type"
		}
		f = append(f, fault)
	}
	return event.Record{Event: e, ReceivedAt: now, IDAssigned: true}, time.Duration(wait) * time.Second, f.Err()
}

// testType is the type that a test is of if nobody says: of those in the catalogue that the webhook asks for the first that
// has an example, else the first; if there is none, the first that the webhook asks for, which of a prefix card.* is card.test,
// of all doorstep.test.
func testType(patterns []string, known []tenant.EventType) string {
	first := ""
	for _, pattern := range patterns {
		for _, t := range known {
			if !webhook.TypeMatches(pattern, t.Type) {
				continue
			}
			if len(t.Example) > 0 {
				return t.Type
			}
			first = cmp.Or(first, t.Type)
		}
	}
	switch {
	case first != "":
		return first
	case len(patterns) == 0 || patterns[0] == "*":
		return "doorstep.test"
	}
	if prefix, ok := strings.CutSuffix(patterns[0], "*"); ok {
		return prefix + "test"
	}
	return patterns[0]
}

// exampleOf is what a test of a type sends if nobody says.
func exampleOf(name string, known []tenant.EventType) json.RawMessage {
	i := slices.IndexFunc(known, func(t tenant.EventType) bool { return t.Type == name && len(t.Example) > 0 })
	if i >= 0 {
		return known[i].Example
	}
	return json.RawMessage(`{"test":true,"message":"A test of this webhook. Nothing has happened."}`)
}

// written waits until the log has the webhook as it is in SQL, and returns a position by which it does: senders read as far
// before they send.
func (s *Service) written(ctx context.Context, store *sqlstore.Store, id string) (delivery.Position, error) {
	ctx, cancel := context.WithTimeout(ctx, workTime)
	defer cancel()
	for {
		announced, err := store.Announced(ctx, sqlstore.KindWebhook, id)
		if err != nil {
			return delivery.Position{}, err
		}
		if !announced {
			break
		}
		if !wait(ctx, 20*time.Millisecond, nil) {
			return delivery.Position{}, newProblem(http.StatusServiceUnavailable, "the last change of the webhook is not on the log yet; try again")
		}
	}
	within, cancel := context.WithTimeout(ctx, logTime)
	defer cancel()
	ends, err := kafka.NewAdmin(s.publisher.Client()).CommittedOffsets(within, s.topics.Webhooks)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return delivery.Position{}, s.logAway(ctx, "a webhook is not tested", err)
	}
	end, ok := ends.Lookup(s.topics.Webhooks, 0)
	if !ok || end.Offset == 0 {
		return delivery.Position{}, nil
	}
	return delivery.Position{Topic: s.topics.Webhooks, Offset: end.Offset - 1}, nil
}

// tests bound the tests of one console.
type tests struct {
	slots chan struct{}

	mu   sync.Mutex
	last map[string]time.Time // by webhook
}

func newTests() tests {
	return tests{slots: make(chan struct{}, maxTests), last: map[string]time.Time{}}
}

// may reports whether a webhook may be tested now, and notes that it is, until it is released because it was not.
func (t *tests) may(webhookID string, now time.Time) (release func(), ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.last[webhookID]) < testEvery {
		return nil, false
	}
	for id, at := range t.last {
		if now.Sub(at) >= testEvery {
			delete(t.last, id)
		}
	}
	t.last[webhookID] = now
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.last, webhookID)
	}, true
}

// causeAgain is the cause of a new run of a delivery: what was a test stays one.
func causeAgain(was, cause delivery.Cause) delivery.Cause {
	if was == delivery.CauseTest {
		return was
	}
	return cause
}
