// Package payload makes the bytes that a webhook gets of an event.
//
// A body does not depend on the webhook, only on the event and on the payload options in force, so
// all webhooks with equal options share one (Builder). `exclude` and `stringify` work on the
// event's data; what is left of it keeps its order, its strings' spelling and its numbers' texts,
// while white space between them goes.
package payload

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// Content types of bodies.
const (
	ContentTypeJSON        = "application/json"
	ContentTypeCloudEvents = "application/cloudevents+json"
)

// Body is what is POSTed. Its bytes may be shared: they are never changed.
type Body struct {
	Bytes       []byte
	ContentType string
}

// Build makes the body of e. Empty options mean the data as given, byte for byte; an event
// without data has the data null. It errs if data must be rewritten and is not JSON, or if the
// format is not known.
func Build(e event.Record, options webhook.Payload) (Body, error) {
	if options.Format == webhook.FormatThin {
		return thin(e)
	}
	data, err := shape(e.Data, options)
	if err != nil {
		return Body{}, fmt.Errorf("payload of event %s: %w", e.ID, err)
	}
	switch options.Format {
	case "", webhook.FormatRaw:
		return Body{data, ContentTypeJSON}, nil
	case webhook.FormatStandard:
		return standard(e, data)
	case webhook.FormatCloudEvents:
		return cloudEvents(e, data)
	case webhook.FormatHook:
		return hook(e, data), nil
	default:
		return Body{}, fmt.Errorf("payload of event %s: format %q is not known", e.ID, options.Format)
	}
}

// shape applies exclude and stringify to the data.
func shape(data []byte, options webhook.Payload) ([]byte, error) {
	if len(data) == 0 {
		return []byte("null"), nil
	}
	stringify := options.Stringify != nil && *options.Stringify
	var exclude []string
	if options.Exclude != nil {
		exclude = *options.Exclude
	}
	if slices.Contains(exclude, webhook.ExcludeAll) {
		return []byte("null"), nil
	}
	if !stringify && len(exclude) == 0 {
		return data, nil
	}
	return rewrite(data, exclude, stringify)
}

// occurred is when the event happened: RFC 3339 UTC.
func occurred(e event.Record) string {
	at := e.OccurredAt
	if at.IsZero() {
		at = e.ReceivedAt
	}
	return at.UTC().Format(time.RFC3339Nano)
}

// standard is the body that Standard Webhooks 1.0.0 recommends.
func standard(e event.Record, data []byte) (Body, error) {
	b := newObject(len(data))
	b.text("type", e.Type)
	b.text("timestamp", occurred(e))
	b.raw("data", data)
	return Body{b.end(), ContentTypeJSON}, nil
}

// cloudEvents is a CloudEvents 1.0 event in structured mode. Attributes are not part of it, since
// their names need not be names that CloudEvents allows.
func cloudEvents(e event.Record, data []byte) (Body, error) {
	b := newObject(len(data))
	b.text("specversion", "1.0")
	b.text("id", e.ID)
	b.text("source", "/tenants/"+e.Tenant)
	b.text("type", e.Type)
	if e.ExternalReference != "" {
		b.text("subject", e.ExternalReference)
	}
	b.text("time", occurred(e))
	b.text("datacontenttype", ContentTypeJSON)
	b.raw("data", data)
	return Body{b.end(), ContentTypeCloudEvents}, nil
}

// thin tells that something happened, and to what, without its data.
func thin(e event.Record) (Body, error) {
	attributes, err := json.Marshal(e.Attributes) // sorted by key
	if err != nil {
		return Body{}, fmt.Errorf("payload of event %s: %w", e.ID, err)
	}
	if e.Attributes == nil {
		attributes = []byte("{}")
	}
	b := newObject(len(attributes))
	b.text("hook", e.Type)
	b.text("id", e.ID)
	b.text("external_reference", e.ExternalReference)
	b.raw("attributes", attributes)
	return Body{b.end(), ContentTypeJSON}, nil
}

// hook is the body of PlanMill's hooks: what happened, the event's attributes (eventUser, eventProject) and the id of what it
// happened to, beside each other, then its data as "payload". Ids that are whole numbers are numbers, stringified or not, as in
// PlanMill's own samples. Without data, or with all of it excluded, there is no payload.
func hook(e event.Record, data []byte) Body {
	b := newObject(len(data))
	b.text("hook", e.Type)
	for _, name := range slices.Sorted(maps.Keys(e.Attributes)) {
		if name != "hook" && name != "Id" && name != "payload" {
			key := quote(name)
			b.raw(string(key[1:len(key)-1]), id(e.Attributes[name]))
		}
	}
	if e.ExternalReference != "" {
		b.raw("Id", id(e.ExternalReference))
	}
	if string(bytes.TrimSpace(data)) != "null" {
		b.raw("payload", data)
	}
	return Body{b.end(), ContentTypeJSON}
}

// wholeNumber is spelled in one way only, and short enough for every reader of JSON.
var wholeNumber = regexp.MustCompile(`^(0|-?[1-9][0-9]{0,14})$`)

// id is a text as a JSON number if it is a whole one, else as a string.
func id(text string) []byte {
	if wholeNumber.MatchString(text) {
		return []byte(text)
	}
	return quote(text)
}

// object writes a JSON object in the order of the calls.
type object struct{ buf []byte }

// envelope is about the room that an object's own fields take, in bytes.
const envelope = 320

func newObject(data int) *object { return &object{buf: append(make([]byte, 0, data+envelope), '{')} }

// raw takes a key as it is spelled in JSON.
func (o *object) raw(key string, value []byte) {
	if len(o.buf) > 1 {
		o.buf = append(o.buf, ',')
	}
	o.buf = append(o.buf, '"')
	o.buf = append(o.buf, key...)
	o.buf = append(o.buf, '"', ':')
	o.buf = append(o.buf, value...)
}

func (o *object) text(key, value string) { o.raw(key, quote(value)) }

func (o *object) end() []byte { return append(o.buf, '}') }

// quote is s as a JSON string. Encoding a string cannot fail.
func quote(s string) []byte {
	q, _ := json.Marshal(s)
	return q
}

// Builder makes the bodies of one event, each once.
type Builder struct {
	event  event.Record
	simple map[simple]Body
	others map[string]Body // by key
}

// simple are options that exclude nothing: those of almost all webhooks.
type simple struct {
	format    webhook.Format
	stringify bool
}

// NewBuilder makes a builder for an event.
func NewBuilder(e event.Record) *Builder { return &Builder{event: e} }

// Build is the function Build for the builder's event; equal options give the same bytes.
func (b *Builder) Build(options webhook.Payload) (Body, error) {
	s := simple{options.Format, options.Stringify != nil && *options.Stringify}
	plain := options.Exclude == nil || len(*options.Exclude) == 0
	key := ""
	if plain {
		if body, ok := b.simple[s]; ok {
			return body, nil
		}
	} else {
		key = fmt.Sprintf("%s\n%t\n%s", s.format, s.stringify, strings.Join(*options.Exclude, "\n"))
		if body, ok := b.others[key]; ok {
			return body, nil
		}
	}
	body, err := Build(b.event, options)
	if err != nil {
		return Body{}, err
	}
	switch {
	case plain && b.simple == nil:
		b.simple = map[simple]Body{s: body}
	case plain:
		b.simple[s] = body
	case b.others == nil:
		b.others = map[string]Body{key: body}
	default:
		b.others[key] = body
	}
	return body, nil
}
