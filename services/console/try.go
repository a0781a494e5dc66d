package console

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/match"
	"github.com/doorstep-dev/doorstep/pkg/payload"
	"github.com/doorstep-dev/doorstep/pkg/signature"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// Bounds of one try.
const (
	maxSamples     = 100      // events that a caller gives
	maxTriedBodies = 20       // bodies that are shown, the newest events' first
	maxTriedBody   = 16 << 10 // bytes of each
	tryPage        = 25       // events that are read from the log at once: at most 6.4 MiB
)

// TryInput is a webhook as for POST webhooks, or what would be changed of one, and perhaps events to try it with.
type TryInput struct {
	WebhookInput
	SampleEvents []EventInput `json:"sample_events,omitempty" maxItems:"100" doc:"Events to try it with, as they are published. Default: the latest events of the tenant"`
}

// TryQuery is what a try is asked with.
type TryQuery struct {
	Limit   int    `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"How many of the latest events it is tried with"`
	RawBody []byte `contentType:"application/json"`
}

type idTryQuery struct {
	ID string `path:"id"`
	TryQuery
}

// Trial is what would have become of events. Nothing is stored and nothing is sent.
type Trial struct {
	Events  int          `json:"events" doc:"That it was tried with"`
	Matched int          `json:"matched"`
	Expired int          `json:"expired" doc:"Events of a type that it asks for of which the log does not hold the data any more; they are not tried"`
	Results []TriedEvent `json:"results" doc:"Newest first; sample events in their order"`
}

// TriedEvent is what would have become of one event.
type TriedEvent struct {
	ID         string        `json:"id"`
	Type       string        `json:"type"`
	ReceivedAt *time.Time    `json:"received_at" doc:"Null: a sample event"`
	Matches    bool          `json:"matches"`
	Reason     string        `json:"reason,omitempty" enum:"type,filter,condition,condition_error,expired,payload" doc:"Why it does not match. type: the webhook does not ask for it. filter: its attributes are not what the filters ask for. condition: it is false. condition_error: it could not be evaluated. expired: the log does not hold the data any more. payload: it matches, and its body cannot be made"`
	Filters    []string      `json:"filters,omitempty" doc:"The filters that are not met"`
	Message    string        `json:"message,omitempty" doc:"What went wrong with the condition or the payload"`
	Request    *TriedRequest `json:"request,omitempty" doc:"What the receiver would get; of the first 20 that match"`
}

// TriedRequest is a POST that was not made.
type TriedRequest struct {
	URL           string   `json:"url"`
	Headers       []Header `json:"headers" doc:"But for those of the signature and its time, which each attempt has of its own; secret parts masked"`
	Body          string   `json:"body"`
	BodyEncoding  string   `json:"body_encoding,omitempty" enum:"base64" doc:"Absent: it is text"`
	BodyBytes     int      `json:"body_bytes" doc:"How long the body is"`
	BodyTruncated bool     `json:"body_truncated,omitempty" doc:"True: only its first 16 KiB are shown"`
}

func (s *Service) routeTry(api huma.API) {
	add(s, api, route{
		id: "try-webhook", method: http.MethodPost, path: "webhooks/try",
		summary: "Try a webhook before it is made: which of the latest events it would get, and why not the others. Nothing is stored or sent. Needs the scope deliveries:read too",
		scope:   tenant.ScopeWebhooksRead, body: TryInput{}, maxBody: maxEventsBody, problems: []int{413},
	}, s.tryNewWebhook)
	add(s, api, route{
		id: "try-webhook-by-id", method: http.MethodPost, path: "webhooks/{id}/try",
		summary: "Try a webhook, with what the body changes of it (merge patch). Nothing is stored or sent. Needs the scope deliveries:read too",
		scope:   tenant.ScopeWebhooksRead, body: TryInput{}, bodyOptional: true, maxBody: maxEventsBody, problems: []int{404, 413},
	}, s.tryWebhook)
}

func (s *Service) tryNewWebhook(ctx context.Context, in *TryQuery) (*output[Trial], error) {
	_, of, err := s.storeAndTenant(ctx)
	if err != nil {
		return nil, err
	}
	return s.try(ctx, of, webhook.Webhook{Active: true, Tenant: of.ID, ID: noWebhook}, in)
}

// noWebhook is the id of a webhook that is not there.
const noWebhook = "00000000-0000-0000-0000-000000000000"

func (s *Service) tryWebhook(ctx context.Context, in *idTryQuery) (*output[Trial], error) {
	store, of, err := s.storeAndTenant(ctx)
	if err != nil {
		return nil, err
	}
	w, err := readWebhook(ctx, store, of.ID, in.ID)
	if err != nil {
		return nil, err
	}
	return s.try(ctx, of, w, &in.TryQuery)
}

func (s *Service) try(ctx context.Context, of tenant.Tenant, w webhook.Webhook, in *TryQuery) (*output[Trial], error) {
	if !callerOf(ctx).Allows(tenant.ScopeDeliveriesRead) {
		return nil, newProblem(http.StatusForbidden, "the API key does not have the scope "+string(tenant.ScopeDeliveriesRead)+": a try shows events")
	}
	w, samples, err := triedWith(of, w, in.RawBody, time.Now().UTC())
	if err != nil {
		return nil, err
	}
	t := newTrying(of, w, s.secretsOf(ctx, w).masked().headers)
	if samples != nil {
		for _, e := range samples {
			t.add(event.Record{Event: e}, nil)
		}
		return reply(ctx, t.Trial), nil
	}
	store, err := s.history()
	if err != nil {
		return nil, err
	}
	rows, _, err := store.Events(ctx, sqlhistory.EventFilter{Tenant: of.ID}, sqlhistory.Page{Limit: in.Limit})
	if err != nil {
		return nil, err
	}
	for len(rows) > 0 {
		page := rows[:min(tryPage, len(rows))]
		rows = rows[len(page):]
		if err := s.tryPage(ctx, t, page); err != nil {
			return nil, err
		}
	}
	return reply(ctx, t.Trial), nil
}

// tryPage tries events that the history knows. Only of a type that is asked for they are read from the log.
func (s *Service) tryPage(ctx context.Context, t *trying, rows []history.Event) error {
	var at []delivery.Position
	for _, row := range rows {
		if t.explainer.Wants(row.Type) {
			at = append(at, row.Position)
		}
	}
	records, err := s.payloads.readAll(ctx, at)
	if err != nil {
		return err
	}
	for _, row := range rows {
		e := event.Record{
			Event:      event.Event{ID: row.ID, Tenant: row.Tenant, Type: row.Type, OccurredAt: row.OccurredAt, ExternalReference: row.ExternalReference},
			ReceivedAt: row.ReceivedAt,
		}
		if !t.explainer.Wants(row.Type) {
			t.add(e, nil)
			continue
		}
		fault := errGone
		if r := records[row.Position]; r != nil {
			// Of another event the topic was made anew, and another record has its place.
			if kept, err := wire.ReadEvent(r); err == nil && kept.ID == row.ID && kept.Tenant == row.Tenant {
				e, fault = kept, nil
			}
		}
		t.add(e, fault)
	}
	return nil
}

// triedWith is a webhook with what a caller says of it, and the events that the caller gave; nil: none.
func triedWith(of tenant.Tenant, w webhook.Webhook, body []byte, now time.Time) (webhook.Webhook, []event.Event, error) {
	var said map[string]json.RawMessage
	if len(body) > 0 {
		f := decode(body, &said, "")
		if len(f) == 0 && said == nil {
			f.Add("body", "must be an object, not null")
		}
		if len(f) > 0 {
			return w, nil, f
		}
	}
	var f invalid.Fields
	samples, given := said["sample_events"]
	delete(said, "sample_events")
	patch, err := json.Marshal(said)
	if err != nil {
		return w, nil, err
	}
	if said == nil {
		patch = []byte("{}")
	}
	ours, err := heard(of.Profile, patch)
	f = faultsOf(f, ours.told(of.Profile, err))
	if w.URL == "" {
		w.URL = "https://receiver.invalid/" // a try needs none
	}
	w, _, err = patched(w, ours.patch)
	f = faultsOf(f, ours.told(of.Profile, err))
	events, faults := sampleEvents(of, samples, now)
	f = append(f, faults...)
	if !given || string(samples) == "null" {
		events = nil
	}
	return w, events, f.Err()
}

// faultsOf adds the faults that an error tells.
func faultsOf(f invalid.Fields, err error) invalid.Fields {
	var more invalid.Fields
	switch {
	case errors.As(err, &more):
		return append(f, more...)
	case err != nil:
		f.Add("body", "%s", err)
	}
	return f
}

// sampleEvents are the events that a caller gives, of the tenant.
func sampleEvents(of tenant.Tenant, raw json.RawMessage, now time.Time) (events []event.Event, f invalid.Fields) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var raws []json.RawMessage
	if f = decode(raw, &raws, "sample_events."); len(f) > 0 {
		return nil, f
	}
	if n := len(raws); n == 0 || n > maxSamples {
		f.Add("sample_events", "has %d events, it must have 1 to %d", n, maxSamples)
		return nil, f
	}
	for i, raw := range raws {
		e, faults := decodeEvent(raw, fmt.Sprintf("sample_events[%d].", i), now)
		f = append(f, faults...)
		e.ID, e.Tenant = cmp.Or(e.ID, fmt.Sprintf("sample-%d", i+1)), of.ID
		if e.OccurredAt.IsZero() {
			e.OccurredAt = now
		}
		events = append(events, e)
	}
	return events, f
}

// trying gathers what becomes of events, one after another.
type trying struct {
	Trial
	explainer *match.Explainer
	hook      webhook.Webhook
	payload   webhook.Payload
	headers   map[string]string // of the webhook, secret values masked
	bodies    int
}

func newTrying(of tenant.Tenant, w webhook.Webhook, headers map[string]string) *trying {
	return &trying{
		Trial: Trial{Results: []TriedEvent{}}, explainer: match.NewExplainer(w), hook: w, payload: w.Payload.Over(of.Payload), headers: headers,
	}
}

// add tries an event; gone says that the log does not hold it any more.
func (t *trying) add(e event.Record, gone error) {
	r := TriedEvent{ID: e.ID, Type: e.Type, ReceivedAt: orNull(e.ReceivedAt)}
	t.Events++
	if gone != nil {
		t.Expired++
		r.Reason = "expired"
		t.Results = append(t.Results, r)
		return
	}
	why := t.explainer.Explain(e.Event)
	r.Matches, r.Reason, r.Filters = why.Reason == match.Matches, string(why.Reason), why.Filters
	if why.Err != nil {
		r.Message = why.Err.Error()
	}
	if r.Matches {
		t.match(&r, e)
	}
	t.Results = append(t.Results, r)
}

// match adds what the receiver would get.
func (t *trying) match(r *TriedEvent, e event.Record) {
	t.Matched++
	if t.bodies == maxTriedBodies {
		return
	}
	body, err := payload.Build(e, t.payload)
	if err != nil {
		r.Reason, r.Message = "payload", err.Error()
		return
	}
	t.bodies++
	shown := body.Bytes[:min(len(body.Bytes), maxTriedBody)]
	r.Request = &TriedRequest{
		URL: t.hook.URL, Headers: triedHeaders(t.hook, t.headers, e, body.ContentType),
		BodyBytes: len(body.Bytes), BodyTruncated: len(shown) < len(body.Bytes),
	}
	r.Request.Body, r.Request.BodyEncoding = bodyText(shown)
}

// triedHeaders are those that a POST has, but for what is made anew for each attempt.
func triedHeaders(w webhook.Webhook, own map[string]string, e event.Record, contentType string) []Header {
	headers := []Header{}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		headers = append(headers, Header{Name: name, Value: own[name]})
	}
	headers = append(headers, Header{Name: delivery.HeaderEventType, Value: e.Type}, Header{Name: delivery.HeaderEventID, Value: e.ID})
	if w.ID != noWebhook {
		headers = append(headers, Header{Name: signature.HeaderID, Value: delivery.ID(e.ID, w.ID)})
	}
	return append(headers, Header{Name: "Content-Type", Value: contentType})
}
