package console

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/publish"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

// maxEvents are in one array.
const maxEvents = 1000

// EventInput is an event as it is published.
type EventInput struct {
	ID                string            `json:"id,omitempty" maxLength:"64" pattern:"^[^.]*$" doc:"Unique in its tenant; the same id again within 24 hours is delivered once. Empty: a UUIDv7 is assigned"`
	Tenant            string            `json:"tenant,omitempty" doc:"Empty: the tenant that the call acts for"`
	Type              string            `json:"type" minLength:"1" maxLength:"128" pattern:"^[a-z0-9_]+([.][a-z0-9_]+)*$" example:"card.updated" doc:"A dotted name"`
	OccurredAt        string            `json:"occurred_at,omitempty" format:"date-time" doc:"Empty: when it was received"`
	ExternalReference string            `json:"external_reference,omitempty" maxLength:"256" doc:"The producer's name for the object concerned; events of one reference keep their order in the log. At most 256 bytes"`
	Attributes        map[string]string `json:"attributes,omitempty" doc:"At most 32; filters compare them"`
	Data              json.RawMessage   `json:"data,omitempty" doc:"Any JSON, at most 256 KiB; kept byte for byte. Empty: null"`
}

// EventAccepted names an event that was accepted.
type EventAccepted struct {
	ID       string         `json:"id" doc:"Given or assigned"`
	Warnings []FieldProblem `json:"warnings,omitempty" doc:"Where data does not fit its type's schema, though the tenant takes it: policy.validate is warn"`
}

// EventResult is what became of one event of an array that was not accepted whole.
type EventResult struct {
	ID       string `json:"id,omitempty"`
	Accepted bool   `json:"accepted"`
	Message  string `json:"message,omitempty" doc:"Why not"`
}

func (s *Service) routeEvents(api huma.API) {
	schemas := api.OpenAPI().Components.Schemas
	one := schemas.Schema(reflect.TypeFor[EventInput](), true, "")
	least, most := 1, maxEvents
	add(s, api, route{
		id: "publish-events", method: http.MethodPost, path: "events", summary: "Publish an event, or an array of at most 1,000",
		scope: tenant.ScopeEvents, status: http.StatusAccepted, maxBody: maxEventsBody, problems: []int{413, 429},
		within: max(workTime, s.cfg.Publish.Timeout), // as the operator has said
		body:   &huma.Schema{OneOf: []*huma.Schema{one, {Type: huma.TypeArray, Items: one, MinItems: &least, MaxItems: &most}}},
		answers: map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{OneOf: []*huma.Schema{
			schemas.Schema(reflect.TypeFor[Reply[EventAccepted]](), true, ""), schemas.Schema(reflect.TypeFor[Reply[[]EventAccepted]](), true, ""),
		}}}},
	}, s.publishEvents)
}

// acceptedOutput holds a Reply of EventAccepted, or of an array of them.
type acceptedOutput struct{ Body any }

func (s *Service) publishEvents(ctx context.Context, in *rawInput) (*acceptedOutput, error) {
	events, array, err := decodeEvents(in.RawBody, time.Now())
	if err != nil {
		return nil, err
	}
	c := callerOf(ctx)
	s.ensureTenants(ctx, c, events)
	results := s.publisher.Publish(ctx, publish.Caller{Principal: c.Principal, Tenant: c.Tenant, TraceContext: traceOf(ctx)}, events...)
	accepted := make([]EventAccepted, len(results))
	for i, r := range results {
		if r.Err != nil {
			return nil, s.refused(ctx, results, r.Err, array)
		}
		accepted[i] = EventAccepted{ID: r.EventID, Warnings: warningsOf(r)}
	}
	if array {
		return &acceptedOutput{reply(ctx, accepted).Body}, nil
	}
	return &acceptedOutput{reply(ctx, accepted[0]).Body}, nil
}

// warningsOf are what an accepted event's answer tells.
func warningsOf(r publish.Result) (list []FieldProblem) {
	for _, f := range r.Warnings {
		list = append(list, FieldProblem{Field: f.Name, Message: f.Message})
	}
	return list
}

// refused is the problem of events that were not all accepted. Of an array it says what became of
// each, since some may be in the log.
func (s *Service) refused(ctx context.Context, results []publish.Result, first error, array bool) error {
	problem := s.problemOf(ctx, first)
	if !array {
		return problem
	}
	problem.Errors = nil
	for i, r := range results {
		result := EventResult{ID: r.EventID, Accepted: r.Err == nil}
		if r.Err != nil {
			one := s.problemOf(ctx, r.Err)
			result.Message = one.Detail
			for _, f := range one.Errors {
				f.Field = fmt.Sprintf("[%d].%s", i, f.Field)
				problem.Errors = append(problem.Errors, f)
			}
		}
		problem.Results = append(problem.Results, result)
	}
	return problem
}

// decodeEvents reads one event or an array of them, and says everything that is wrong with any.
func decodeEvents(body []byte, now time.Time) (events []event.Event, array bool, err error) {
	body = bytes.TrimSpace(body)
	if !bytes.HasPrefix(body, []byte("[")) {
		e, f := decodeEvent(body, "", now)
		return []event.Event{e}, false, f.Err()
	}
	var (
		f    invalid.Fields
		raws []json.RawMessage
	)
	if f = decode(body, &raws, ""); len(f) > 0 {
		return nil, true, f
	}
	if n := len(raws); n == 0 || n > maxEvents {
		f.Add("body", "has %d events, it must have 1 to %d", n, maxEvents)
		return nil, true, f
	}
	for i, raw := range raws {
		e, faults := decodeEvent(raw, fmt.Sprintf("[%d].", i), now)
		f, events = append(f, faults...), append(events, e)
	}
	return events, true, f.Err()
}

func decodeEvent(raw []byte, prefix string, now time.Time) (event.Event, invalid.Fields) {
	var in EventInput
	f := decode(raw, &in, prefix)
	if len(f) > 0 {
		return event.Event{}, f
	}
	e := event.Event{
		ID: in.ID, Tenant: in.Tenant, Type: in.Type, ExternalReference: in.ExternalReference, Attributes: in.Attributes, Data: in.Data,
		OccurredAt: decodeTime(in.OccurredAt, prefix+"occurred_at", &f),
	}
	return e, append(f, e.Check(prefix, now)...)
}

// ensureTimeout bounds what making a tenant may cost an event: without SQL it is taken all the same.
const ensureTimeout = 500 * time.Millisecond

// ensureTenants makes the tenants that a platform key names for the first time. They are only listed
// sooner for it: an unknown tenant is an open one with the defaults to all who read events.
func (s *Service) ensureTenants(ctx context.Context, c caller, events []event.Event) {
	store, err := s.sql()
	if err != nil || !c.Platform() {
		return
	}
	for _, e := range events {
		id := e.Tenant
		if id == "" {
			id = c.Tenant
		}
		if _, known := s.tenants.Load(id); known {
			continue
		}
		within, cancel := context.WithTimeout(ctx, ensureTimeout)
		err := store.EnsureTenant(within, authorOf(ctx), id, time.Now())
		cancel()
		if err != nil {
			s.seldom.Warn(ctx, s.log, "tenant of an event not made", "error", err)
			return
		}
		s.tenants.Store(id, true)
	}
}
