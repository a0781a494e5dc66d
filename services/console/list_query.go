package console

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/lists"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
)

// The lists of the history are read in the order of time only, along its days, and filtered by what has an index.

const eventTypeForm = "one event type, dotted names of a-z, 0-9 and '_', e.g. card.updated"

func only(ops ...lists.Op) []lists.Op { return ops }

// received is the time that a list of the history is ordered by.
func received(name, doc string) lists.Field {
	return lists.Field{Name: name, Kind: lists.Time, Sorts: true, Ops: only(lists.Gt, lists.Gte, lists.Lt, lists.Lte), Doc: doc}
}

func eventTypeField(name string) lists.Field {
	return lists.Field{Name: name, Kind: lists.Text, Ops: only(lists.Eq), Valid: event.ValidType, Form: eventTypeForm, Doc: "E.g. card.updated."}
}

func counted() string {
	return fmt.Sprintf("It ends too once the newest %d rows of the tenant, the webhook, the type or the status have been looked at.", sqlhistory.MaxLookedAt)
}

// foundOf is what is said of a page of the history beside its rows.
func foundOf(next string, q lists.Query, total func() (sqlhistory.Total, error)) (lists.Found, error) {
	found := lists.Found{Next: next}
	if !q.Total {
		return found, nil
	}
	n, err := total()
	found.Total, found.More = new(min(n.Rows, lists.MaxCounted)), n.More || n.Rows > lists.MaxCounted
	return found, err
}

// deliveryList is what a list of deliveries can be asked.
func deliveryList() lists.List {
	statuses := []string{}
	for _, s := range delivery.Statuses() {
		statuses = append(statuses, string(s))
	}
	return lists.List{
		Name: "deliveries", Sort: "-created_at", Opaque: true, Counted: counted(),
		Fields: []lists.Field{
			{Name: "webhook_id", Kind: lists.ID, Ops: only(lists.Eq)},
			{Name: "event_id", Kind: lists.Text, Ops: only(lists.Eq), Valid: func(id string) bool { return utf8.RuneCountInString(id) <= event.MaxIDLength },
				Form: fmt.Sprintf("at most %d characters", event.MaxIDLength)},
			eventTypeField("event_type"),
			{Name: "external_reference", Kind: lists.Text, Ops: only(lists.Eq), Doc: "Of the event."},
			{Name: "status", Kind: lists.Enum, Values: statuses, Ops: only(lists.Eq, lists.In)},
			received("created_at", "When the event was received."),
		},
	}
}

// deliveryFilter is what a request asks for, of a tenant.
func deliveryFilter(of string, q lists.Query) (sqlhistory.DeliveryFilter, error) {
	out := sqlhistory.DeliveryFilter{Tenant: of}
	for _, c := range q.Filter {
		text, _ := c.Values[0].(string)
		switch c.Field.Name {
		case "webhook_id":
			out.WebhookID = text
		case "event_id":
			out.EventID = text
		case "event_type":
			out.EventType = text
		case "external_reference":
			out.ExternalReference = text
		case "status":
			if out.Statuses != nil {
				return out, invalid.Fields{{Name: "filter[status]", Message: "is given twice, once as filter[status][in]"}}
			}
			for _, v := range c.Values {
				out.Statuses = append(out.Statuses, delivery.Status(v.(string)))
			}
		}
	}
	out.From, out.To = between(q.Filter, "created_at")
	return out, nil
}

// eventList is what a list of events can be asked.
func eventList() lists.List {
	return lists.List{
		Name: "events", Sort: "-received_at", Opaque: true, Counted: counted(),
		Fields: []lists.Field{
			eventTypeField("type"),
			{Name: "external_reference", Kind: lists.Text, Ops: only(lists.Eq)},
			received("received_at", ""),
		},
	}
}

func eventFilter(of string, q lists.Query) sqlhistory.EventFilter {
	out := sqlhistory.EventFilter{Tenant: of}
	for _, c := range q.Filter {
		text, _ := c.Values[0].(string)
		switch c.Field.Name {
		case "type":
			out.Type = text
		case "external_reference":
			out.ExternalReference = text
		}
	}
	out.From, out.To = between(q.Filter, "received_at")
	return out
}

// mailList is what a list of mails can be asked.
func mailList() lists.List {
	return lists.List{
		Name: "mails", Sort: "-mailed_at", Opaque: true, Counted: counted(),
		Fields: []lists.Field{
			{Name: "webhook_id", Kind: lists.ID, Ops: only(lists.Eq)},
			{Name: "mailed_at", Kind: lists.Time, Sorts: true, Ops: only()},
		},
	}
}

func mailFilter(of string, q lists.Query) sqlhistory.MailFilter {
	out := sqlhistory.MailFilter{Tenant: of}
	for _, c := range q.Filter {
		out.WebhookID, _ = c.Values[0].(string)
	}
	return out
}

// historyPage is the part of a list of the history that is asked for.
func historyPage(q lists.Query) sqlhistory.Page {
	return sqlhistory.Page{After: q.Cursor, Limit: q.Limit, Ascending: !q.Sort[0].Descending, Bound: q.Bound()}
}

// between is the time that a list is of, from inclusive, to exclusive; what is not bounded is zero.
func between(filter []lists.Condition, name string) (from, to time.Time) {
	for _, c := range filter {
		if c.Field.Name != name {
			continue
		}
		nanos, _ := c.Values[0].(int64)
		switch at := time.Unix(0, nanos).UTC(); c.Op {
		case lists.Gte:
			from = later(from, at)
		case lists.Gt:
			from = later(from, next(at))
		case lists.Lt:
			to = earlier(to, at)
		case lists.Lte:
			to = earlier(to, next(at))
		default:
		}
	}
	return from, to
}

// next is the first time behind t; none for none.
func next(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(time.Nanosecond)
}

// earlier is the earlier of two times, of which none may be given.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
