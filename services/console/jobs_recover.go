package console

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

// Recovery says which deliveries of a webhook are sent again: those that have one of the statuses, and came to it in
// that time. Tests are left out.
type Recovery struct {
	Since      string            `json:"since" format:"date-time" doc:"What ended at this time or later: updated_at of the delivery"`
	Until      string            `json:"until,omitempty" format:"date-time" doc:"What ended earlier than this; absent: also what ends until the job comes to it"`
	Statuses   []delivery.Status `json:"statuses,omitempty" enum:"exhausted,cancelled,discarded" minItems:"1" maxItems:"3" doc:"Absent: exhausted"`
	EventTypes []string          `json:"event_types,omitempty" minItems:"1" maxItems:"200" doc:"Types such as card.updated, prefixes such as card.*, or *; absent: all"`
}

func (s *Service) routeRecover(api huma.API) {
	add(s, api, route{
		id: "recover-deliveries", method: http.MethodPost, path: "webhooks/{id}/recover",
		summary: "Send again what has ended without success, oldest first, each delivery once, in the background",
		scope:   tenant.ScopeDeliveries, status: http.StatusAccepted,
		body: Recovery{}, maxBody: maxBody, tags: true, once: true, problems: []int{404, 409, 413},
	}, s.recoverDeliveries)
}

func (s *Service) recoverDeliveries(ctx context.Context, in *idRawInput) (*jobOutput, error) {
	selection, err := decodeRecovery(in.RawBody, time.Now())
	if err != nil {
		return nil, err
	}
	return s.askedFor(ctx, in.ID, sqlstore.JobRecover, selection)
}

// decodeRecovery reads what a recover is asked for.
func decodeRecovery(raw []byte, now time.Time) (sqlstore.Selection, error) {
	var in Recovery
	f := decode(raw, &in, "")
	if len(f) == 0 && !isObject(raw) {
		f.Add("body", "must be an object")
	}
	if len(f) > 0 {
		return sqlstore.Selection{}, f
	}
	return in.selection(now)
}

// selection checks what a person asks for.
func (in Recovery) selection(now time.Time) (sqlstore.Selection, error) {
	var f invalid.Fields
	checkPatterns(in.EventTypes, &f)
	out := sqlstore.Selection{
		EventTypes: in.EventTypes, Statuses: recoverable(in.Statuses, &f),
		Since: decodeTime(in.Since, "since", &f), Until: decodeTime(in.Until, "until", &f),
	}
	switch {
	case in.Since == "":
		f.Add("since", "is required: what has ended since then is sent again, e.g. 2026-03-04T05:06:07Z")
	case out.Since.After(now):
		f.Add("since", "lies in the future")
	case !out.Until.IsZero() && !out.Until.After(out.Since):
		f.Add("until", "must be later than since")
	}
	return out, f.Err()
}

// recoverable are the statuses whose deliveries are sent again.
func recoverable(given []delivery.Status, f *invalid.Fields) []delivery.Status {
	if given == nil {
		return []delivery.Status{delivery.Exhausted}
	}
	if len(given) == 0 {
		f.Add("statuses", "needs at least one status; leave it out for exhausted")
	}
	for _, s := range given {
		if s != delivery.Exhausted && s != delivery.Cancelled && s != delivery.Discarded {
			f.Add("statuses", "%q cannot be recovered; it must be exhausted, cancelled or discarded", clip(string(s)))
		}
	}
	given = slices.Clone(given)
	slices.Sort(given)
	return slices.Compact(given)
}
