package catalogue

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// Entry is an event type as documents have it, YAML and JSON.
type Entry struct {
	Type        string          `json:"type,omitempty" maxLength:"128" pattern:"^[a-z0-9_]+([.][a-z0-9_]+)*$" doc:"Dotted names, e.g. card.updated"`
	Group       string          `json:"group,omitempty" maxLength:"64" doc:"What it is listed under, e.g. Card"`
	Kind        string          `json:"kind,omitempty" enum:"normal,nested,nested_pivot" doc:"An object changed (the default); or one was attached to a parent or detached; or so, with values of the two together"`
	Description string          `json:"description,omitempty" maxLength:"1024"`
	Deprecated  bool            `json:"deprecated,omitempty" doc:"Still accepted; who registers a webhook for it is told"`
	Attributes  []string        `json:"attributes,omitempty" maxItems:"32" doc:"Attributes of its events that filters may name. Once a type of the catalogue has any, filters may name no others"`
	Schema      json.RawMessage `json:"schema,omitempty" doc:"JSON Schema 2020-12 of the events' data, at most 64 KiB; formats are checked, nothing is loaded, patterns are RE2"`
	Example     json.RawMessage `json:"example,omitempty" doc:"Data of such an event, at most 64 KiB; it must fit the schema"`
}

// EntryOf is t as documents have it.
func EntryOf(t tenant.EventType) Entry {
	return Entry{
		Type: t.Type, Group: t.Group, Kind: t.Kind, Description: t.Description, Deprecated: t.Deprecated, Attributes: t.Attributes,
		Schema: t.Schema, Example: t.Example,
	}
}

// EventType is the event type of a tenant that an entry describes, its JSON without spaces. profile is the one that brings
// it; empty: it is the tenant's own.
func (e Entry) EventType(of, profile string) tenant.EventType {
	return tenant.EventType{
		Tenant: of, Type: e.Type, Group: e.Group, Description: e.Description, Kind: cmp.Or(e.Kind, KindNormal),
		Schema: compact(e.Schema), Example: compact(e.Example), Deprecated: e.Deprecated, Attributes: slices.Clip(e.Attributes),
		Profile: profile,
	}
}

// compact is JSON without spaces, nil for none and for null. What is not JSON stays as it is, for Check to find.
func compact(raw json.RawMessage) []byte {
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return raw
	}
	if b.Len() == 0 || b.String() == "null" {
		return nil
	}
	return b.Bytes()
}

// Types are event types as a document: what is exported and imported.
type Types struct {
	EventTypes []Entry `json:"event_types" maxItems:"1000"`
}

// Profile is a product's catalogue with the policy and the payload that belong to it.
type Profile struct {
	Name        string            `json:"profile" maxLength:"64" pattern:"^[a-z0-9][a-z0-9_-]*$" doc:"vplan, plandocket and planmill are shipped"`
	Description string            `json:"description,omitempty" maxLength:"1024"`
	Open        bool              `json:"open,omitempty" doc:"Event types outside its catalogue are accepted"`
	Policy      ProfilePolicy     `json:"policy,omitzero" doc:"What it does not name becomes the installation's again, but for keep_answers and validate, which stay the tenant's"`
	Payload     ProfilePayload    `json:"payload,omitzero" doc:"What it does not name becomes the default again, but for exclude, which stays the tenant's"`
	Features    map[string]bool   `json:"features,omitempty" doc:"Of tenants that have not said otherwise"`
	Names       map[string]string `json:"names,omitempty" doc:"What the product's API calls fields of a webhook, by its names; of shipped profiles only"`
	EventTypes  []Entry           `json:"event_types" maxItems:"1000" required:"false"`
}

// ProfilePolicy is a profile's policy.
type ProfilePolicy struct {
	WarnAfter           *int   `json:"warn_after,omitempty" minimum:"1" maximum:"1000000"`
	DisableAfter        *int   `json:"disable_after,omitempty" minimum:"1" maximum:"1000000"`
	MaxWebhooksPerEvent *int   `json:"max_webhooks_per_event,omitempty" minimum:"1" maximum:"10000"`
	RetryCount          *int   `json:"retry_count,omitempty" minimum:"0" maximum:"12"`
	TimeoutSeconds      *int   `json:"timeout_seconds,omitempty" minimum:"1" maximum:"30"`
	Reactivation        string `json:"reactivation,omitempty" enum:"console,any"`
	KeepAnswers         *bool  `json:"keep_answers,omitempty"`
}

// ProfilePayload are a profile's defaults of bodies.
type ProfilePayload struct {
	Format    string    `json:"format,omitempty" enum:"raw,standard,cloudevents,thin,hook"`
	Exclude   *[]string `json:"exclude,omitempty" maxItems:"64"`
	Stringify *bool     `json:"stringify,omitempty"`
}

//go:embed profiles/*.yaml
var shipped embed.FS

// Shipped are the names of the profiles that come with Doorstep.
func Shipped() []string { return []string{"vplan", "plandocket", "planmill"} }

// Document is a shipped profile's YAML, comments and all.
func Document(name string) ([]byte, bool) {
	if !slices.Contains(Shipped(), name) {
		return nil, false
	}
	document, err := shipped.ReadFile("profiles/" + name + ".yaml")
	return document, err == nil
}

// Load reads a shipped profile. It errs for a name that is not of Shipped.
func Load(name string) (Profile, error) {
	document, ok := Document(name)
	if !ok {
		return Profile{}, fmt.Errorf("there is no profile %q; there are %s", clip(name), strings.Join(Shipped(), ", "))
	}
	return Read(document)
}

// Read reads a profile from YAML, or from JSON, which is YAML. Whether it can be used, Check says.
func Read(document []byte) (Profile, error) {
	text, err := FromYAML(document)
	if err != nil {
		return Profile{}, err
	}
	var p Profile
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return Profile{}, fmt.Errorf("profile: %w", err)
	}
	return p, nil
}

// CheckOwn says everything that is wrong with a profile that does not come with Doorstep, but for its policy and its payload: those
// are a tenant's once it is applied, and checked as such.
func (p Profile) CheckOwn() invalid.Fields {
	var f invalid.Fields
	switch {
	case !event.ValidTenant(p.Name):
		f.Add("profile", "must begin with a-z or 0-9 and hold a-z, 0-9, '-' and '_' only, at most %d characters", event.MaxTenantLength)
	case slices.Contains(Shipped(), p.Name):
		f.Add("profile", "%s comes with Doorstep; apply it by its name alone, or give yours another", p.Name)
	}
	return append(f, p.CheckRest()...)
}

// CheckRest is CheckOwn but for the name.
func (p Profile) CheckRest() invalid.Fields {
	var f invalid.Fields
	if len(p.Names) > 0 {
		f.Add("names", "is of the profiles that come with Doorstep only")
	}
	checkText(&f, "description", p.Description, MaxDescriptionLength)
	return append(f, Types{p.EventTypes}.Check()...)
}

// Check says everything that is wrong with the types, fields named event_types[3].schema and so on, at most some hundred.
func (t Types) Check() invalid.Fields {
	var f invalid.Fields
	if n := len(t.EventTypes); n > MaxTypes {
		f.Add("event_types", "has %d entries, the limit is %d", n, MaxTypes)
		return f
	}
	seen := map[string]bool{}
	for i, e := range t.EventTypes {
		prefix := fmt.Sprintf("event_types[%d].", i)
		if f = append(f, Check(prefix, e.EventType("", ""))...); seen[e.Type] {
			f.Add(prefix+"type", "%s stands twice", clip(e.Type))
		}
		seen[e.Type] = true
		if len(f) >= 100 {
			f.Add("event_types", "those behind number %d are not checked yet", i)
			break
		}
	}
	return f
}

// Effect is what applying a profile does to a catalogue, by types in their order.
type Effect struct {
	Added   []string // that the tenant did not have
	Changed []string // that a profile brought, and this one says otherwise
	Removed []string // that the profile before brought, and this one does not
	Kept    []string // the tenant's own of a name that is in the profile too: they stay as they are
}

// Apply is a tenant and its catalogue with the profile applied. The tenant's own types stay, also where the profile has
// one of the same name; what an earlier profile brought goes or is replaced. Applied again, it changes nothing.
func (p Profile) Apply(t tenant.Tenant, types []tenant.EventType) (tenant.Tenant, []tenant.EventType, Effect) {
	t.Profile, t.Open = p.Name, p.Open
	t.Policy, t.Payload = p.Policy.over(t.Policy), p.Payload.over(t.Payload)
	if len(p.Features) > 0 {
		features := maps.Clone(p.Features)
		maps.Copy(features, t.Features)
		t.Features = features
	}
	have := map[string]tenant.EventType{}
	for _, x := range types {
		have[x.Type] = x
	}
	var (
		out    []tenant.EventType
		effect Effect
		brings = map[string]bool{}
	)
	for _, e := range p.EventTypes {
		brings[e.Type] = true
		was, had := have[e.Type]
		is := e.EventType(t.ID, p.Name)
		switch {
		case !had:
			effect.Added = append(effect.Added, e.Type)
		case was.Profile == "":
			effect.Kept = append(effect.Kept, e.Type)
			is = was
		case !Same(was, is):
			effect.Changed = append(effect.Changed, e.Type)
		}
		out = append(out, is)
	}
	for _, x := range types {
		switch {
		case brings[x.Type]:
		case x.Profile == "":
			out = append(out, x)
		default:
			effect.Removed = append(effect.Removed, x.Type)
		}
	}
	slices.SortFunc(out, func(a, b tenant.EventType) int { return strings.Compare(a.Type, b.Type) })
	for _, names := range [][]string{effect.Added, effect.Changed, effect.Removed, effect.Kept} {
		slices.Sort(names)
	}
	return t, out, effect
}

// Same reports whether two event types say the same, whichever profile brought them.
func Same(a, b tenant.EventType) bool {
	return a.Type == b.Type && a.Group == b.Group && a.Kind == b.Kind && a.Description == b.Description && a.Deprecated == b.Deprecated &&
		slices.Equal(a.Attributes, b.Attributes) && bytes.Equal(a.Schema, b.Schema) && bytes.Equal(a.Example, b.Example)
}

// over is the policy of a tenant that had the policy was.
func (p ProfilePolicy) over(was tenant.Policy) tenant.Policy {
	now := was // with what profiles do not say
	now.WarnAfter, now.DisableAfter, now.MaxWebhooksPerEvent = p.WarnAfter, p.DisableAfter, p.MaxWebhooksPerEvent
	now.RetryCount, now.Reactivation, now.Timeout = p.RetryCount, p.Reactivation, nil
	if s := p.TimeoutSeconds; s != nil {
		// Beyond any limit it stays beyond the limit, and does not overflow.
		now.Timeout = new(time.Duration(min(max(*s, 0), 1000)) * time.Second)
	}
	if p.KeepAnswers != nil {
		now.KeepAnswers = p.KeepAnswers
	}
	return now
}

func (p ProfilePayload) over(was webhook.Payload) webhook.Payload {
	now := webhook.Payload{Format: webhook.Format(p.Format), Exclude: p.Exclude, Stringify: p.Stringify}
	if now.Exclude == nil {
		now.Exclude = was.Exclude
	}
	return now
}

// Applied is what a profile of that name now says for a tenant that it was applied to, with what was changed since but for the
// tenant's own types.
func Applied(name string, t tenant.Tenant, types []tenant.EventType) Profile {
	return ProfileOf(name, t, slices.DeleteFunc(slices.Clone(types), func(x tenant.EventType) bool { return x.Profile != name }))
}

// ProfileOf is a tenant's catalogue, policy, payload and features as a profile of that name.
func ProfileOf(name string, t tenant.Tenant, types []tenant.EventType) Profile {
	p := Profile{
		Name: name, Open: t.Open,
		Policy: ProfilePolicy{
			WarnAfter: t.Policy.WarnAfter, DisableAfter: t.Policy.DisableAfter, MaxWebhooksPerEvent: t.Policy.MaxWebhooksPerEvent,
			RetryCount: t.Policy.RetryCount, Reactivation: t.Policy.Reactivation, KeepAnswers: t.Policy.KeepAnswers,
		},
		Payload:    ProfilePayload{Format: string(t.Payload.Format), Exclude: t.Payload.Exclude, Stringify: t.Payload.Stringify},
		Features:   maps.Clone(t.Features),
		EventTypes: Entries(types),
	}
	if t.Policy.Timeout != nil {
		p.Policy.TimeoutSeconds = new(int(*t.Policy.Timeout / time.Second))
	}
	return p
}

// Entries are event types as documents have them.
func Entries(types []tenant.EventType) []Entry {
	entries := make([]Entry, len(types))
	for i, t := range types {
		entries[i] = EntryOf(t)
	}
	return entries
}

// YAML is the profile as a document that Read reads.
func (p Profile) YAML() ([]byte, error) { return document(p) }

// YAML is the types as a document.
func (t Types) YAML() ([]byte, error) { return document(t) }

func document(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("write a document: %w", err)
	}
	return ToYAML(b.Bytes())
}
