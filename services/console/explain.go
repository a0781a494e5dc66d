package console

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/match"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

// maxReceptions are told of an event that was published again and again.
const maxReceptions = 20

// Explanation says why an event went, or did not go, to a webhook.
type Explanation struct {
	Verdict  string           `json:"verdict" enum:"pending,retrying,delivered,exhausted,suspended,cancelled,discarded,condition_error,capped,no_match,changed_since,not_made" doc:"The delivery's status if there is one; else why there is none. changed_since: the webhook asks for the event as it is now, but was made or changed after it came; not_made: nothing is in the way, so it is under way or not known yet"`
	Reason   string           `json:"reason" doc:"The same in words"`
	Event    ExplainedEvent   `json:"event"`
	Webhook  ExplainedWebhook `json:"webhook"`
	Checks   []Check          `json:"checks" doc:"What decides whether the webhook gets the event, as it is registered now, in the order in which it is decided"`
	Notes    []Note           `json:"notes" doc:"What was said of this event when it was matched"`
	Delivery *DeliveryDetail  `json:"delivery,omitempty" doc:"Absent: there is none"`
}

// ExplainedEvent is the event of an explanation.
type ExplainedEvent struct {
	Event
	Receptions []Reception `json:"receptions" doc:"Each time that it was published, oldest first, at most 20; what comes again within 24 hours is a duplicate, and sent to nobody"`
	DataGone   bool        `json:"data_gone,omitempty" doc:"True: the log does not keep it any more, so filters and condition cannot be tried"`
}

// Reception is one time that an event was published.
type Reception struct {
	ReceivedAt time.Time `json:"received_at"`
	Topic      string    `json:"topic"`
	Partition  int32     `json:"partition"`
	Offset     int64     `json:"offset"`
	Duplicate  bool      `json:"duplicate" doc:"True: it came again within 24 hours"`
}

// ExplainedWebhook is the webhook of an explanation, as it is registered now.
type ExplainedWebhook struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Deleted   bool       `json:"deleted,omitempty"`
	CreatedAt *time.Time `json:"created_at"`
	UpdatedAt *time.Time `json:"updated_at"`
}

// Check is one condition of a webhook getting an event.
type Check struct {
	Name    string       `json:"name" enum:"created,active,type,filters,condition,sendable"`
	Passes  *bool        `json:"passes" doc:"Null: it cannot be told"`
	Message string       `json:"message"`
	Differs []Difference `json:"differs,omitempty" doc:"Of filters: the attributes that are otherwise"`
}

// Difference is an attribute that a filter wants otherwise.
type Difference struct {
	Attribute string  `json:"attribute"`
	Wanted    string  `json:"wanted,omitempty" doc:"Absent: the API key may not read webhooks"`
	Given     *string `json:"given" doc:"Null: the event does not have it"`
}

type explainInput struct {
	Event   string `query:"event" required:"true" minLength:"1" maxLength:"64" doc:"Id of the event"`
	Webhook string `query:"webhook" required:"true" format:"uuid" doc:"Id of the webhook"`
}

// Resolve is called by huma beside its own checks.
func (*explainInput) Resolve(hc huma.Context) []error {
	u := hc.URL()
	return queryFaults(u.Query())
}

func (s *Service) routeExplain(api huma.API) {
	add(s, api, route{
		id: "explain", method: http.MethodGet, path: "explain", summary: "Say why an event went, or did not go, to a webhook",
		scope: tenant.ScopeDeliveriesRead, problems: []int{404},
	}, s.explain)
}

func (s *Service) explain(ctx context.Context, in *explainInput) (*output[Explanation], error) {
	facts, err := s.factsOf(ctx, in.Event, strings.ToLower(in.Webhook))
	if err != nil {
		return nil, err
	}
	return reply(ctx, facts.explanation(s.topics, time.Now())), nil
}

// factsOf gathers what is known of an event and a webhook of the caller's tenant.
func (s *Service) factsOf(ctx context.Context, eventID, webhookID string) (f facts, err error) {
	c := callerOf(ctx)
	f.webhookID, f.mayReadWebhook = webhookID, c.Allows(tenant.ScopeWebhooksRead) || c.Allows(tenant.ScopeWebhooks)
	store, err := s.history()
	if err != nil {
		return f, err
	}
	f.received, _, err = store.Events(ctx, sqlhistory.EventFilter{Tenant: c.Tenant, ID: eventID}, sqlhistory.Page{Limit: maxReceptions, Ascending: true})
	if err != nil {
		return f, err
	}
	if len(f.received) == 0 {
		return f, newProblem(http.StatusNotFound, "no event of that id was received, or the history does not have it: it comes a moment after, and goes after 40 days")
	}
	if err := s.rowsFor(ctx, store, &f, eventID, c.Tenant); err != nil {
		return f, err
	}
	if err := s.registrationFor(ctx, &f, c.Tenant); err != nil {
		return f, err
	}
	if f.event, err = s.eventRecord(ctx, f.received[0]); errors.Is(err, errGone) {
		f.eventGone, err = true, nil
	}
	if err == nil && f.registered && !f.eventGone {
		f.tried = tryCondition(f.hook.Condition, f.event.Event)
	}
	return f, err
}

// rowsFor adds what the history says of them.
func (s *Service) rowsFor(ctx context.Context, store *sqlhistory.Store, f *facts, eventID, of string) error {
	row, err := store.Delivery(ctx, of, delivery.ID(eventID, f.webhookID))
	if err == nil {
		f.row = &row
		f.attempts, err = store.Attempts(ctx, row)
	}
	if err != nil && !errors.Is(err, sqldb.ErrNotFound) {
		return err
	}
	f.notes, err = notesOf(ctx, store, history.Event{Tenant: of, ID: eventID})
	return err
}

// registrationFor adds the webhook as it is now. It errs with ErrNotFound if nothing is known of one.
func (s *Service) registrationFor(ctx context.Context, f *facts, of string) error {
	store, err := s.sql()
	if err != nil {
		return err
	}
	f.hook, err = store.Webhook(ctx, of, f.webhookID)
	switch {
	case errors.Is(err, sqlstore.ErrNotFound) && f.row != nil:
		return nil // it was deleted
	case err != nil:
		return err
	}
	f.registered = true
	if s.ready(s.states.Ready()) == nil {
		f.statesKnown, f.obstacle = true, obstacleOf(f.hook, true, s.states.Get(f.hook.ID, f.hook.Generation))
	}
	return nil
}

// tried is what came of a condition.
type tried struct {
	holds bool
	err   error
}

func tryCondition(condition string, e event.Event) tried {
	if condition == "" {
		return tried{holds: true}
	}
	program, err := match.Compile(condition)
	if err != nil {
		return tried{err: err}
	}
	holds, err := program.Holds(e)
	return tried{holds, err}
}
