package catalogue

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// CheckWebhook says what of a webhook does not go with its tenant's catalogue, and what the caller is to be told although it
// does. was is the webhook before the change, zero for a new one: what a webhook had stays, also where the catalogue does not
// have it any more.
//
// Where the catalogue is closed (open is false), a type must be in it, and a prefix such as card.* must have at least one
// type that it stands for; * always may be. Once a type of the catalogue names attributes, a filter must be by an attribute that
// at least one of the webhook's types names; where the catalogue is open, only if all that the webhook wants is in it.
func CheckWebhook(open bool, types []tenant.EventType, was, w webhook.Webhook) (faults invalid.Fields, notices []string) {
	for _, pattern := range w.EventTypes {
		if slices.Contains(was.EventTypes, pattern) || !validPattern(pattern) {
			continue
		}
		wanted := standsFor(types, pattern)
		switch {
		case len(wanted) == 0 && !open && pattern != "*":
			faults.Add("event_types", "%s", outside(pattern))
		case len(wanted) == 1 && wanted[0].Type == pattern && wanted[0].Deprecated:
			notices = append(notices, pattern+" is deprecated.")
		}
	}
	f, n := checkFilters(open, types, was, w)
	return append(faults, f...), append(notices, n...)
}

// Missing are the patterns of a webhook that stand for no type of a closed catalogue.
func Missing(types []tenant.EventType, w webhook.Webhook) []string {
	var out []string
	for _, pattern := range w.EventTypes {
		if pattern != "*" && len(standsFor(types, pattern)) == 0 {
			out = append(out, pattern)
		}
	}
	return out
}

func outside(pattern string) string {
	if strings.HasSuffix(pattern, "*") {
		return pattern + " stands for no type of the catalogue, which takes no others; GET /api/v1/event-types lists them"
	}
	return pattern + " is not in the catalogue, which takes no others; GET /api/v1/event-types lists them"
}

func validPattern(pattern string) bool {
	return pattern == "*" || event.ValidType(strings.TrimSuffix(pattern, ".*"))
}

// standsFor are the types that a pattern names.
func standsFor(types []tenant.EventType, pattern string) []tenant.EventType {
	var out []tenant.EventType
	for _, t := range types {
		if webhook.TypeMatches(pattern, t.Type) {
			out = append(out, t)
		}
	}
	return out
}

func checkFilters(open bool, types []tenant.EventType, was, w webhook.Webhook) (faults invalid.Fields, notices []string) {
	named := slices.ContainsFunc(types, func(t tenant.EventType) bool { return len(t.Attributes) > 0 })
	if !named || maps.Equal(was.Filters, w.Filters) && slices.Equal(was.EventTypes, w.EventTypes) {
		return nil, nil
	}
	var wanted []tenant.EventType
	for _, pattern := range w.EventTypes {
		of := standsFor(types, pattern)
		if open && (len(of) == 0 || strings.HasSuffix(pattern, "*")) {
			return nil, nil // it may want types of which nothing is known
		}
		wanted = append(wanted, of...)
	}
	for _, name := range slices.Sorted(maps.Keys(w.Filters)) {
		have := func(t tenant.EventType) bool { return slices.Contains(t.Attributes, name) }
		if len(wanted) > 0 && !slices.ContainsFunc(wanted, have) {
			faults.Add("filters["+name+"]", "%s", notNamed(name, types))
			continue
		}
		without := slices.Collect(maps.Keys(lacking(wanted, have)))
		if len(without) > 0 {
			slices.Sort(without)
			notices = append(notices, fmt.Sprintf("Events of %s have no attribute %s, so the filter lets none of them through.", few(without), name))
		}
	}
	return faults, notices
}

func lacking(types []tenant.EventType, have func(tenant.EventType) bool) map[string]bool {
	out := map[string]bool{}
	for _, t := range types {
		if !have(t) {
			out[t.Type] = true
		}
	}
	return out
}

// notNamed says who has the attribute, if anybody does.
func notNamed(name string, types []tenant.EventType) string {
	var having []string
	for _, t := range types {
		if slices.Contains(t.Attributes, name) {
			having = append(having, t.Type)
		}
	}
	if len(having) == 0 {
		return "is an attribute of no type of the catalogue"
	}
	return "is an attribute of none of the webhook's event types; these have it: " + few(having)
}

// few lists names, the first five of them.
func few(names []string) string {
	if len(names) > 5 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:5], ", "), len(names)-5)
	}
	return strings.Join(names, ", ")
}
