package match

import (
	"maps"
	"slices"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// Reason is why an event does not go to a webhook.
type Reason string

// The reasons, in the order in which they are looked for.
const (
	Matches             Reason = ""                // it goes there
	OtherType           Reason = "type"            // the webhook does not ask for its type
	FilterNotMet        Reason = "filter"          // its attributes are not what the filters ask for
	ConditionNotMet     Reason = "condition"       // the condition is false
	ConditionNotDecided Reason = "condition_error" // the condition could not be evaluated
)

// Explanation says whether an event goes to a webhook, and what is in the way.
type Explanation struct {
	Reason  Reason
	Filters []string // names of the filters that are not met, sorted
	Err     error    // why the condition could not be evaluated
}

// Explainer explains what goes to one webhook.
type Explainer struct {
	hook    webhook.Webhook
	program *Program
	fault   error
}

// NewExplainer compiles the webhook's condition; one that does not compile is told of each event.
func NewExplainer(w webhook.Webhook) *Explainer {
	x := &Explainer{hook: w}
	if w.Condition != "" {
		x.program, x.fault = Compile(w.Condition)
	}
	return x
}

// Wants reports whether the webhook asks for events of a type.
func (x *Explainer) Wants(eventType string) bool { return x.hook.Wants(eventType) }

// Explain answers as Index.Match does of a webhook that is active, without the cap: that depends on the other webhooks of
// its tenant, and so does what their conditions cost together.
func (x *Explainer) Explain(e event.Event) Explanation {
	if !x.Wants(e.Type) {
		return Explanation{Reason: OtherType}
	}
	var unmet []string
	for _, name := range slices.Sorted(maps.Keys(x.hook.Filters)) {
		if v, ok := e.Attributes[name]; !ok || v != x.hook.Filters[name] {
			unmet = append(unmet, name)
		}
	}
	if len(unmet) > 0 {
		return Explanation{Reason: FilterNotMet, Filters: unmet}
	}
	if x.hook.Condition == "" {
		return Explanation{}
	}
	holds, err := false, x.fault
	if err == nil {
		holds, err = x.program.Holds(e)
	}
	switch {
	case err != nil:
		return Explanation{Reason: ConditionNotDecided, Err: err}
	case !holds:
		return Explanation{Reason: ConditionNotMet}
	}
	return Explanation{}
}
