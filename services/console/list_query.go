package console

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
)

// HistoryPage is the part of a list that is asked for. (Huma passes over embedded types that are not exported.)
type HistoryPage struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"How many at most"`
	Cursor string `query:"cursor" maxLength:"1024" doc:"meta.next_cursor of the page before; pages neither skip nor repeat while rows are added"`
}

func (p HistoryPage) page(sort string) sqlhistory.Page {
	return sqlhistory.Page{After: p.Cursor, Limit: p.Limit, Ascending: !strings.HasPrefix(sort, "-")}
}

type deliveriesInput struct {
	HistoryPage
	Sort              string   `query:"sort" enum:"-created_at,created_at" default:"-created_at" doc:"Newest or oldest first"`
	WebhookID         string   `query:"filter[webhook_id]" format:"uuid"`
	EventID           string   `query:"filter[event_id]" maxLength:"64"`
	EventType         string   `query:"filter[event_type]" maxLength:"128" doc:"Exactly, e.g. card.updated"`
	ExternalReference string   `query:"filter[external_reference]" maxLength:"256" doc:"Of the event"`
	Status            []string `query:"filter[status]" enum:"pending,retrying,delivered,exhausted,suspended,cancelled,discarded,capped" doc:"One or several, with commas between them"`
	CreatedGTE        string   `query:"filter[created_at][gte]" format:"date-time" doc:"When the event was received: at this time or later"`
	CreatedGT         string   `query:"filter[created_at][gt]" format:"date-time" doc:"Later than this"`
	CreatedLTE        string   `query:"filter[created_at][lte]" format:"date-time" doc:"At this time or earlier"`
	CreatedLT         string   `query:"filter[created_at][lt]" format:"date-time" doc:"Earlier than this"`
}

// Resolve is called by huma beside its own checks.
func (*deliveriesInput) Resolve(hc huma.Context) []error { return checkQuery(hc) }

// filter is what a request asks for, of a tenant. Huma has checked the statuses.
func (in *deliveriesInput) filter(of string) (sqlhistory.DeliveryFilter, error) {
	var f invalid.Fields
	out := sqlhistory.DeliveryFilter{
		Tenant: of, WebhookID: webhookFilter(in.WebhookID, &f), EventID: in.EventID, EventType: in.EventType, ExternalReference: in.ExternalReference,
	}
	checkType("filter[event_type]", in.EventType, &f)
	for _, s := range in.Status {
		out.Statuses = append(out.Statuses, delivery.Status(s))
	}
	out.From, out.To = between("filter[created_at]", in.CreatedGTE, in.CreatedGT, in.CreatedLTE, in.CreatedLT, &f)
	return out, f.Err()
}

type eventsInput struct {
	HistoryPage
	Sort              string `query:"sort" enum:"-received_at,received_at" default:"-received_at" doc:"Newest or oldest first"`
	Type              string `query:"filter[type]" maxLength:"128" doc:"Exactly, e.g. card.updated"`
	ExternalReference string `query:"filter[external_reference]" maxLength:"256"`
	ReceivedGTE       string `query:"filter[received_at][gte]" format:"date-time" doc:"At this time or later"`
	ReceivedGT        string `query:"filter[received_at][gt]" format:"date-time" doc:"Later than this"`
	ReceivedLTE       string `query:"filter[received_at][lte]" format:"date-time" doc:"At this time or earlier"`
	ReceivedLT        string `query:"filter[received_at][lt]" format:"date-time" doc:"Earlier than this"`
}

// Resolve is called by huma beside its own checks.
func (*eventsInput) Resolve(hc huma.Context) []error { return checkQuery(hc) }

func (in *eventsInput) filter(of string) (sqlhistory.EventFilter, error) {
	var f invalid.Fields
	out := sqlhistory.EventFilter{Tenant: of, Type: in.Type, ExternalReference: in.ExternalReference}
	checkType("filter[type]", in.Type, &f)
	out.From, out.To = between("filter[received_at]", in.ReceivedGTE, in.ReceivedGT, in.ReceivedLTE, in.ReceivedLT, &f)
	return out, f.Err()
}

// checkQuery finds what huma passes over: a filter without a value would list everything, and of a parameter
// that is given twice the first would do.
func checkQuery(hc huma.Context) []error {
	u := hc.URL()
	return queryFaults(u.Query())
}

func queryFaults(query url.Values) (faults []error) {
	for name, values := range query {
		var fault string
		switch {
		case len(values) > 1:
			fault = "is given more than once"
		case strings.HasPrefix(name, "filter[") && values[0] == "":
			fault = "needs a value"
		default:
			continue
		}
		faults = append(faults, &huma.ErrorDetail{Location: "query." + name, Message: fault})
	}
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return faults
}

// webhookFilter is the id that a list is filtered by, as it is stored; empty stays empty.
func webhookFilter(id string, f *invalid.Fields) string {
	if id == "" {
		return ""
	}
	parsed, err := uuid.Parse(id)
	if err != nil || len(id) != 36 {
		f.Add("filter[webhook_id]", "must be the id of a webhook, a UUID")
	}
	return parsed.String()
}

func checkType(name, value string, f *invalid.Fields) {
	if value != "" && !event.ValidType(value) {
		f.Add(name, "must be one event type, dotted names of a-z, 0-9 and '_', e.g. card.updated")
	}
}

// between is the time that a list is of, from inclusive, to exclusive; what is not bounded is zero.
func between(name, gte, gt, lte, lt string, f *invalid.Fields) (from, to time.Time) {
	from = later(decodeTime(gte, name+"[gte]", f), next(decodeTime(gt, name+"[gt]", f)))
	to = earlier(decodeTime(lt, name+"[lt]", f), next(decodeTime(lte, name+"[lte]", f)))
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
