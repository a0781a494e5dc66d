package console

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// duplicateFor is how long a producer's retry is told from an event.
const duplicateFor = 24 * time.Hour

// facts are what an explanation is made of.
type facts struct {
	webhookID      string
	mayReadWebhook bool // the caller may read what the webhook asks for
	received       []history.Event
	event          event.Record
	eventGone      bool // the log does not keep it
	registered     bool // the webhook is there
	hook           webhook.Webhook
	statesKnown    bool
	obstacle       obstacle
	tried          tried             // the condition, unless the event is gone
	row            *history.Delivery // nil: none
	attempts       []history.Attempt
	notes          []Note // of the event
}

// explanation is what follows from the facts.
func (f facts) explanation(topics wire.Topics, now time.Time) Explanation {
	x := Explanation{
		Event:   ExplainedEvent{Event: eventView(f.received[0]), Receptions: receptions(f.received), DataGone: f.eventGone},
		Webhook: ExplainedWebhook{ID: f.webhookID, Deleted: !f.registered},
		Checks:  []Check{}, Notes: []Note{},
	}
	if f.registered {
		x.Webhook.Name, x.Webhook.CreatedAt, x.Webhook.UpdatedAt = f.hook.Name, orNull(f.hook.CreatedAt), orNull(f.hook.UpdatedAt)
		x.Checks = f.checks()
	}
	for _, n := range f.notes {
		if n.WebhookID == "" || n.WebhookID == f.webhookID {
			x.Notes = append(x.Notes, n)
		}
	}
	if f.row != nil {
		d := detailView(*f.row, f.attempts, topics, now)
		x.Delivery, x.Verdict = &d, string(f.row.Status)
		x.Reason = deliveryWords(d)
		return x
	}
	x.Verdict, x.Reason = f.withoutDelivery(x)
	return x
}

// receptions are each time that an event came. One counts if the last that counted is a day or more ago.
func receptions(events []history.Event) []Reception {
	out := make([]Reception, len(events))
	var counted time.Time
	for i, e := range events {
		p := e.Position
		out[i] = Reception{ReceivedAt: e.ReceivedAt, Topic: p.Topic, Partition: p.Partition, Offset: p.Offset}
		if out[i].Duplicate = i > 0 && e.ReceivedAt.Sub(counted) < duplicateFor; !out[i].Duplicate {
			counted = e.ReceivedAt
		}
	}
	return out
}

// checks are what decides, as the matcher and the sender do.
func (f facts) checks() []Check {
	w, e := f.hook, f.received[0]
	check := func(name string, passes bool, good, bad string) Check {
		if !passes {
			good = bad
		}
		return Check{Name: name, Passes: &passes, Message: good}
	}
	all := []Check{
		check("created", !w.CreatedAt.After(e.ReceivedAt), "the webhook was there when the event came",
			"the webhook was made at "+w.CreatedAt.Format(time.RFC3339)+", after the event came"),
		check("active", w.Active || w.Held, "the webhook is active, or was disabled when it was deactivated, so that what comes is kept",
			"the webhook is not active: nothing is matched for it"),
		check("type", slices.ContainsFunc(w.EventTypes, func(p string) bool { return webhook.TypeMatches(p, e.Type) }),
			"its event types name "+e.Type, "its event types do not name "+e.Type),
		f.filterCheck(), f.conditionCheck(),
	}
	sends := Check{Name: "sendable", Message: "whether it is disabled is not known yet; try again"}
	if f.statesKnown {
		sends = check("sendable", f.obstacle == "", "it is sent to", "what is matched for it is kept suspended: the webhook is "+f.obstacle.state())
	}
	return append(all, sends)
}

// state is the obstacle as a webhook's state.
func (o obstacle) state() string {
	if o == obstacleInactive {
		return "not active"
	}
	return string(o)
}

func (f facts) filterCheck() Check {
	c := Check{Name: "filters"}
	passes := true
	switch {
	case len(f.hook.Filters) == 0:
		c.Message = "it has no filters"
	case f.eventGone:
		c.Message = "the log does not keep the event's attributes any more, so the filters cannot be tried"
		return c
	default:
		c.Differs = f.differences()
		passes = len(c.Differs) == 0
		c.Message = "the event's attributes meet its filters"
		if !passes {
			names := make([]string, len(c.Differs))
			for i, d := range c.Differs {
				names[i] = d.Attribute
			}
			c.Message = "the event's attributes do not meet its filters: " + strings.Join(names, ", ")
		}
	}
	c.Passes = &passes
	return c
}

func (f facts) differences() []Difference {
	var out []Difference
	for _, name := range slices.Sorted(maps.Keys(f.hook.Filters)) {
		wanted := f.hook.Filters[name]
		given, has := f.event.Attributes[name]
		if has && given == wanted {
			continue
		}
		d := Difference{Attribute: name}
		if f.mayReadWebhook {
			d.Wanted = wanted
		}
		if has {
			d.Given = &given
		}
		out = append(out, d)
	}
	return out
}

func (f facts) conditionCheck() Check {
	c := Check{Name: "condition"}
	passes := f.tried.err == nil && f.tried.holds
	switch {
	case f.hook.Condition == "":
		passes, c.Message = true, "it has no condition"
	case f.eventGone:
		c.Message = "the log does not keep the event any more, so the condition cannot be tried"
		return c
	case f.tried.err != nil:
		c.Message = "its condition cannot be evaluated for this event, which counts as no match"
		if f.mayReadWebhook { // it repeats parts of the condition
			c.Message += ": " + strings.TrimPrefix(f.tried.err.Error(), "condition: ")
		}
	case f.tried.holds:
		c.Message = "its condition holds"
	default:
		c.Message = "its condition does not hold for this event"
	}
	c.Passes = &passes
	return c
}

// withoutDelivery says why there is none.
func (f facts) withoutDelivery(x Explanation) (verdict, reason string) {
	var failed, unknown []string
	for _, c := range x.Checks {
		switch {
		case c.Name == "sendable":
		case c.Passes == nil:
			unknown = append(unknown, c.Message)
		case !*c.Passes:
			failed = append(failed, c.Message)
		}
	}
	changed := f.hook.UpdatedAt.After(x.Event.ReceivedAt)
	for _, n := range x.Notes {
		if n.Kind == delivery.KindConditionError {
			return "condition_error", "the webhook's condition could not be evaluated when the event was matched, which counts as no match: " + f.conditionWords(n)
		}
	}
	if len(failed) > 0 {
		reason = strings.Join(failed, "; ")
		if changed {
			reason += "; it was changed after the event came, so it may have been otherwise then"
		}
		return "no_match", reason
	}
	for _, n := range x.Notes {
		if n.Kind == delivery.KindCapped {
			return "capped", fmt.Sprintf("the webhook asks for the event, but %s: the oldest webhooks go first", n.Message)
		}
	}
	switch {
	case changed:
		return "changed_since", "nothing is in the way of it now, but the webhook was changed at " + f.hook.UpdatedAt.Format(time.RFC3339) +
			", after the event came: before that it did not ask for the event, or was not active"
	case len(unknown) > 0:
		return "not_made", "there is no delivery, and why cannot be told in full: " + strings.Join(unknown, "; ")
	}
	return "not_made", "the webhook asks for the event, and there is no delivery yet: it is under way, or the history does not have it yet"
}

func (f facts) conditionWords(n Note) string {
	if f.mayReadWebhook {
		return n.Message
	}
	return "the API key may not read webhooks, so the fault is not told"
}

// deliveryWords say how a delivery stands.
func deliveryWords(d DeliveryDetail) string {
	words := map[delivery.Status]string{
		delivery.Pending:   "it waits to be sent",
		delivery.Retrying:  "it was sent and not accepted; it is sent again",
		delivery.Delivered: "it was sent and accepted",
		delivery.Exhausted: "it was sent and never accepted, and all tries are used up",
		delivery.Suspended: "it was matched and is kept, because the webhook was " + suspendedBecause(d.SuspendReason) + ": release or discard it",
		delivery.Cancelled: "it was matched, and the webhook was deleted before it was sent",
		delivery.Discarded: "it was matched and kept, and a person has discarded it",
		delivery.Capped:    "more webhooks asked for the event than the limit allows",
	}[d.Status]
	if d.Status == delivery.Retrying && d.NextAttemptAt != nil {
		words += " at " + d.NextAttemptAt.Format(time.RFC3339)
	}
	posts, last := 0, Attempt{}
	for _, a := range d.Attempts {
		if a.Kind == delivery.KindPost {
			posts, last = posts+1, a
		}
	}
	if posts > 0 {
		words += fmt.Sprintf(" (attempts so far: %d)", posts)
	}
	if posts > 0 && last.ErrorCode != "" && last.Error != "" {
		words += "; the last said: " + last.Error
	}
	return words
}

func suspendedBecause(r delivery.SuspendReason) string {
	if r == delivery.SuspendInactive {
		return "not active"
	}
	return string(r)
}
