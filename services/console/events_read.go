package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/lists"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// maxDeliveriesOfEvent are shown with an event.
const maxDeliveriesOfEvent = 100

// Event is an event as it was received. One that its producer sent twice is two of the same id.
type Event struct {
	ID                string    `json:"id"`
	Type              string    `json:"type"`
	ExternalReference string    `json:"external_reference"`
	OccurredAt        time.Time `json:"occurred_at"`
	ReceivedAt        time.Time `json:"received_at"`
	APIKeyID          string    `json:"api_key_id" doc:"The key that published it"`
}

// EventDetail is an event with what the log holds of it and what became of it.
type EventDetail struct {
	Event
	Attributes     map[string]string `json:"attributes"`
	DataGone       bool              `json:"data_gone,omitempty" doc:"True: the log does not keep attributes and data any more"`
	Deliveries     []Delivery        `json:"deliveries" doc:"Newest first, at most 100"`
	MoreDeliveries bool              `json:"more_deliveries,omitempty" doc:"True: there are more; list deliveries with filter[event_id]"`
	Notes          []Note            `json:"notes" doc:"Why webhooks that asked for it got no delivery. Of conditions that cannot be evaluated one event a second is told for each webhook, the last"`

	// Data is the last, and nothing that huma or encoding/json writes: it keeps its bytes.
	Data json.RawMessage `json:"data" doc:"Byte for byte as it was published"`
}

// Note says why a webhook, or several, got no delivery of an event.
type Note struct {
	Kind      delivery.Kind `json:"kind" enum:"capped,condition_error"`
	WebhookID string        `json:"webhook_id" doc:"Empty: capped"`
	Count     int           `json:"count,omitempty" doc:"Webhooks that were cut"`
	Message   string        `json:"message"`
	At        time.Time     `json:"at"`
}

// rawOutput is JSON that is written as it is.
type rawOutput struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func (s *Service) routeEventsRead(api huma.API) {
	add(s, api, route{
		id: "list-events", method: http.MethodGet, path: "events", summary: "List events, newest first", scope: tenant.ScopeDeliveriesRead,
		list: listOf[Event](eventList()),
	}, s.listEvents)
	detail := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Reply[EventDetail]](), true, "")
	add(s, api, route{
		id: "get-event", method: http.MethodGet, path: "events/{id}", summary: "Show an event with its data and its deliveries",
		scope: tenant.ScopeDeliveriesRead, problems: []int{404}, list: oneOf[EventDetail](),
		answers: map[string]*huma.MediaType{"application/json": {Schema: detail}},
	}, s.getEvent)
}

func eventView(e history.Event) Event {
	return Event{
		ID: e.ID, Type: e.Type, ExternalReference: e.ExternalReference, OccurredAt: e.OccurredAt, ReceivedAt: e.ReceivedAt, APIKeyID: e.APIKeyID,
	}
}

func (s *Service) listEvents(ctx context.Context, _ *noInput) (*output[[]Event], error) {
	q := queryOf(ctx)
	f := eventFilter(callerOf(ctx).Tenant, q)
	store, err := s.history()
	if err != nil {
		return nil, err
	}
	events, next, err := store.Events(ctx, f, historyPage(q))
	if err != nil {
		return nil, err
	}
	found, err := foundOf(next, q, func() (sqlhistory.Total, error) { return store.EventsTotal(ctx, f) })
	if err != nil {
		return nil, err
	}
	views := make([]Event, len(events))
	for i, e := range events {
		views[i] = eventView(e)
	}
	return replyList(ctx, views, found), nil
}

type eventIDInput struct {
	ID string `path:"id" maxLength:"64"`
}

func (s *Service) getEvent(ctx context.Context, in *eventIDInput) (*rawOutput, error) {
	store, err := s.history()
	if err != nil {
		return nil, err
	}
	row, err := store.Event(ctx, callerOf(ctx).Tenant, in.ID)
	if err != nil {
		return nil, err
	}
	v := EventDetail{Event: eventView(row)}
	deliveries, more, err := store.Deliveries(ctx, sqlhistory.DeliveryFilter{Tenant: row.Tenant, EventID: row.ID},
		sqlhistory.Page{Limit: maxDeliveriesOfEvent})
	if err != nil {
		return nil, err
	}
	// What stands for the webhooks that were cut is a note.
	v.MoreDeliveries, v.Deliveries = more != "", listedViews(slices.DeleteFunc(deliveries, func(d sqlhistory.ListedDelivery) bool {
		return d.Status == delivery.Capped
	}), time.Now())
	if v.Notes, err = notesOf(ctx, store, row); err != nil {
		return nil, err
	}
	record, err := s.eventRecord(ctx, row)
	if v.DataGone = errors.Is(err, errGone); err != nil && !v.DataGone {
		return nil, err
	}
	v.Attributes, v.Data = orEmpty(record.Attributes), record.Data
	body, err := encodeDetail(v, Meta{RequestID: requestID(ctx)}, queryOf(ctx).Fields)
	if err != nil {
		return nil, fmt.Errorf("event %s: %w", row.ID, err)
	}
	return &rawOutput{ContentType: "application/json", Body: body}, nil
}

// eventRecord is an event as the log holds it. It errs with errGone.
func (s *Service) eventRecord(ctx context.Context, row history.Event) (event.Record, error) {
	r, err := s.payloads.read(ctx, row.Position)
	if err != nil {
		return event.Record{}, err
	}
	e, err := wire.ReadEvent(r)
	switch {
	case err != nil:
		return event.Record{}, fmt.Errorf("event %s at its position in %s: %w", row.ID, row.Position.Topic, err)
	case e.ID != row.ID || e.Tenant != row.Tenant:
		return event.Record{}, errGone // the topic was made anew, and another record has its place
	}
	return e, nil
}

// notesOf are why webhooks that asked for an event got no delivery.
func notesOf(ctx context.Context, store *sqlhistory.Store, e history.Event) ([]Note, error) {
	said, err := store.ConditionErrors(ctx, e.Tenant, e.ID)
	if err != nil {
		return nil, err
	}
	cut, err := store.Delivery(ctx, e.Tenant, delivery.ID(e.ID, "")) // of no webhook: it stands for those cut
	if err == nil {
		var attempts []history.Attempt
		if attempts, err = store.Attempts(ctx, cut); err == nil {
			said = append(attempts, said...)
		}
	}
	if err != nil && !errors.Is(err, sqldb.ErrNotFound) {
		return nil, err
	}
	notes := []Note{}
	for _, a := range said {
		notes = append(notes, noteView(a))
	}
	return notes, nil
}

func noteView(a history.Attempt) Note {
	n := Note{Kind: a.Kind, WebhookID: a.WebhookID, Message: a.Outcome.Error, At: a.FinishedAt}
	if a.Kind == delivery.KindCapped {
		n.Count = a.Count
		n.Message = fmt.Sprintf("more webhooks asked for this event than the limit allows; %d of them got no delivery", a.Count)
	}
	return n
}

// encodeDetail is the answer with an event. encoding/json would take the space out of data, so the bytes are
// put where it has written null, at the end.
func encodeDetail(v EventDetail, meta Meta, fields lists.Fields) ([]byte, error) {
	data := v.Data
	if v.Data = nil; len(data) == 0 {
		data = json.RawMessage("null")
	}
	if !json.Valid(data) {
		return nil, errors.New("its data is not JSON")
	}
	detail, err := encode(v)
	if err != nil {
		return nil, err
	}
	about, err := encode(meta)
	if err != nil {
		return nil, err
	}
	head, ok := bytes.CutSuffix(detail, []byte("null}"))
	if !ok {
		return nil, errors.New("data is not the last field")
	}
	if detail, err = fields.Pick(slices.Concat(head, data, []byte("}"))); err != nil {
		return nil, err
	}
	return slices.Concat([]byte(`{"data":`), detail, []byte(`,"meta":`), about, []byte("}\n")), nil
}

// encode is v as huma would write it.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}
