package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/doorstep-dev/doorstep/pkg/invalid"
)

// The profiles whose products have names of their own for fields of a webhook.
const (
	profilePlanDocket = "plandocket"
	profilePlanMill   = "planmill"
)

// ProductNames are what a product calls fields of a webhook. They are fields for tenants with its profile only,
// beside Doorstep's own.
type ProductNames struct {
	Events       []string `json:"events,omitempty" maxItems:"200" doc:"PlanDocket's name of event_types; under the profile plandocket only"`
	IsActive     *bool    `json:"is_active,omitempty" doc:"PlanDocket's name of active; under the profile plandocket only"`
	Hook         string   `json:"hook,omitempty" doc:"PlanMill's event_types, where it is one; under the profile planmill only"`
	EventUser    HookID   `json:"eventUser,omitempty" doc:"PlanMill's filter by the attribute of that name; under the profile planmill only"`
	EventProject HookID   `json:"eventProject,omitempty" doc:"PlanMill's filter by the attribute of that name; under the profile planmill only"`
}

// HookID is an id of PlanMill's: a number in JSON if it is one, else a string.
type HookID string

// wholeNumber is a number that is spelled in one way only, and that every reader of JSON keeps.
var wholeNumber = regexp.MustCompile(`^(0|-?[1-9][0-9]{0,14})$`)

// MarshalJSON is the id as PlanMill gives it.
func (id HookID) MarshalJSON() ([]byte, error) {
	if wholeNumber.MatchString(string(id)) {
		return []byte(id), nil
	}
	return json.Marshal(string(id))
}

// UnmarshalJSON takes a whole number or a string.
func (id *HookID) UnmarshalJSON(b []byte) error {
	if wholeNumber.Match(b) {
		*id = HookID(b)
		return nil
	}
	var text *string
	if json.Unmarshal(b, &text) != nil || text == nil {
		return errors.New("must be a whole number or a string")
	}
	*id = HookID(*text)
	return nil
}

// Schema says that it is a number or a string.
func (HookID) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{{Type: huma.TypeInteger}, {Type: huma.TypeString}}}
}

// WebhookBody is all that a caller may say of a webhook, for the API's description.
type WebhookBody struct {
	WebhookInput
	ProductNames
}

// alias is a product's name of a field of a webhook.
type alias struct {
	name  string
	field string                               // ours; after a dot, the entry of a map
	read  func(json.RawMessage) (any, error)   // the value as ours has it, of one that is not null
	show  func(v Webhook, names *ProductNames) // the field in the product's name
}

// dialects are the aliases of each profile.
func dialects() map[string][]alias {
	return map[string][]alias{
		profilePlanDocket: {
			{"events", "event_types", asItIs, func(v Webhook, n *ProductNames) { n.Events = v.EventTypes }},
			{"is_active", "active", asItIs, func(v Webhook, n *ProductNames) { n.IsActive = &v.Active }},
		},
		profilePlanMill: {
			{"hook", "event_types", oneType, func(v Webhook, n *ProductNames) {
				if len(v.EventTypes) == 1 {
					n.Hook = v.EventTypes[0]
				}
			}},
			{"eventUser", "filters.eventUser", hookID, func(v Webhook, n *ProductNames) { n.EventUser = HookID(v.Filters["eventUser"]) }},
			{"eventProject", "filters.eventProject", hookID, func(v Webhook, n *ProductNames) { n.EventProject = HookID(v.Filters["eventProject"]) }},
		},
	}
}

func asItIs(raw json.RawMessage) (any, error) { return raw, nil }

func oneType(raw json.RawMessage) (any, error) {
	var name string
	if json.Unmarshal(raw, &name) != nil {
		return nil, errors.New("must be a string, one event type")
	}
	return []string{name}, nil
}

func hookID(raw json.RawMessage) (any, error) {
	var id HookID
	if err := id.UnmarshalJSON(raw); err != nil {
		return nil, err
	}
	return string(id), nil
}

// named is a webhook's view with its product's names beside ours.
func (v Webhook) named(profile string) Webhook {
	for _, a := range dialects()[profile] {
		a.show(v, &v.ProductNames)
	}
	return v
}

// spoken is a merge patch of a webhook in Doorstep's names.
type spoken struct {
	patch []byte
	names map[string]string // the caller's names, by the fields that they stand for
}

// heard is what a caller said of a webhook of a tenant with the profile. It errs where a field is said twice, in
// two names and with two values, and where a value cannot be what the product's name stands for. What is wrong
// with the rest is for others to say.
func heard(profile string, patch []byte) (spoken, error) {
	s := spoken{patch: patch, names: map[string]string{}}
	var said map[string]json.RawMessage
	aliases := dialects()[profile]
	if len(aliases) == 0 || json.Unmarshal(patch, &said) != nil {
		return s, nil //nolint:nilerr // what cannot be read is told by who reads it next
	}
	var f invalid.Fields
	for _, a := range aliases {
		raw, ok := said[a.name]
		if !ok {
			continue
		}
		s.names[a.field] = a.name
		delete(said, a.name)
		if err := a.put(raw, said); err != nil {
			f.Add(a.name, "%s", err)
		}
	}
	if len(s.names) == 0 {
		return s, nil
	}
	var err error
	if s.patch, err = json.Marshal(said); err != nil {
		return s, err
	}
	return s, f.Err()
}

// put says the alias's value in ours.
func (a alias) put(raw json.RawMessage, said map[string]json.RawMessage) error {
	value := json.RawMessage("null")
	if !isNull(raw) {
		ours, err := a.read(raw)
		if err != nil {
			return err
		}
		if value, err = json.Marshal(ours); err != nil {
			return err
		}
	}
	field, name, inMap := strings.Cut(a.field, ".")
	at := said
	if inMap {
		at = map[string]json.RawMessage{}
		if whole, given := said[field]; given && json.Unmarshal(whole, &at) != nil {
			return nil //nolint:nilerr // it is no object, which is a fault of its own
		}
	} else {
		name = field
	}
	before, twice := at[name]
	if at == nil { // all entries are to go, and this one with them
		before, twice = json.RawMessage("null"), true
	}
	if twice {
		if !sameJSON(before, value) {
			return fmt.Errorf("is %s too, which says something else; say it once", a.field)
		}
		return nil
	}
	at[name] = value
	if !inMap {
		return nil
	}
	whole, err := json.Marshal(at)
	said[field] = whole
	return err
}

func isNull(raw json.RawMessage) bool { return string(bytes.TrimSpace(raw)) == "null" }

func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// told is what is wrong with a webhook in the caller's names.
func (s spoken) told(profile string, err error) error {
	var f invalid.Fields
	if !errors.As(err, &f) {
		return err
	}
	f = slices.Clone(f)
	for i := range f {
		f[i] = s.nameOf(f[i], profile)
	}
	return f
}

// nameOf names a fault as the caller did. Names of a product under another profile are explained.
func (s spoken) nameOf(fault invalid.Field, profile string) invalid.Field {
	for field, name := range s.names {
		// Entries of maps are told as filters[eventUser].
		ours := strings.Replace(field, ".", "[", 1)
		if rest, is := strings.CutPrefix(fault.Name, ours); is && (rest == "" || rest == "]" || rest[0] == '.' || rest[0] == '[') {
			fault.Name = name + strings.TrimPrefix(rest, "]")
			return fault
		}
	}
	if fault.Message != notAField {
		return fault
	}
	products := dialects()
	for _, of := range slices.Sorted(maps.Keys(products)) {
		for _, a := range products[of] {
			if a.name == fault.Name && of != profile {
				fault.Message = fmt.Sprintf("%s: it is %s under the profile %s, which this tenant does not have", notAField, a.field, of)
			}
		}
	}
	return fault
}
