// Package event is the noun event: something that happened in the product, as a producer
// publishes it and as the log keeps it.
package event

import (
	"slices"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/doorstep-dev/doorstep/pkg/invalid"
)

// Limits of an event.
const (
	MaxIDLength            = 64  // characters
	MaxTypeLength          = 128 // characters
	MaxReferenceBytes      = 256
	MaxAttributes          = 32
	MaxAttributeKeyBytes   = 64
	MaxAttributeValueBytes = 256
	MaxDataBytes           = 256 << 10
	MaxTenantLength        = 64 // characters
	MaxOccurredAhead       = 24 * time.Hour
	DefaultTenant          = "default"
	idRule                 = "may hold letters, digits, '-', '_' and ':' only"
)

// Event is something that happened.
type Event struct {
	ID                string
	Tenant            string
	Type              string // dotted, e.g. "card.updated"
	OccurredAt        time.Time
	ExternalReference string // may be empty
	Attributes        map[string]string
	Data              []byte // JSON, byte for byte as the producer gave it
}

// Record is an event as the log keeps it.
type Record struct {
	Event
	ReceivedAt   time.Time
	IDAssigned   bool   // ingest made the id, so it cannot come twice
	APIKeyID     string // the key that published it
	TraceContext string // W3C traceparent; may be empty
}

// Key is the record's key in the topic `events`: events of one external reference keep their order.
func (e Event) Key() string {
	if e.ExternalReference != "" {
		return e.Tenant + "/" + e.ExternalReference
	}
	return e.Tenant + "/" + e.ID
}

// ValidType reports whether t can be an event type: dotted names of a-z, 0-9 and '_'.
func ValidType(t string) bool {
	if len(t) > MaxTypeLength {
		return false
	}
	inName := false
	for i := range len(t) {
		switch c := t[i]; {
		case isSmall(c) || c == '_':
			inName = true
		case c == '.' && inName:
			inName = false
		default:
			return false
		}
	}
	return inName
}

// ValidTenant reports whether id can name a tenant: a-z, 0-9, and behind the first of them '_' and '-'.
func ValidTenant(id string) bool {
	if id == "" || len(id) > MaxTenantLength || !isSmall(id[0]) {
		return false
	}
	for i := range len(id) {
		if c := id[i]; !isSmall(c) && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// validID reports whether id, which is not empty, keeps to idRule.
func validID(id string) bool {
	for i := range len(id) {
		switch c := id[i]; {
		case isSmall(c), 'A' <= c && c <= 'Z', c == '_', c == ':', c == '-':
		default:
			return false
		}
	}
	return true
}

func isSmall(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

// Check says everything that is wrong with e, fields named as in the API with the given prefix
// (e.g. "event."). An empty ID or Tenant is not a fault here: ingest assigns them. now bounds
// occurred_at.
func (e Event) Check(prefix string, now time.Time) invalid.Fields {
	var f invalid.Fields
	if n := utf8.RuneCountInString(e.ID); n > MaxIDLength {
		f.Add(prefix+"id", "has %d characters, the limit is %d", n, MaxIDLength)
	} else if e.ID != "" && !validID(e.ID) {
		f.Add(prefix+"id", idRule)
	}
	if e.Tenant != "" && !ValidTenant(e.Tenant) {
		f.Add(prefix+"tenant", "may hold a-z, 0-9, '-' and '_', at most %d characters", MaxTenantLength)
	}
	switch {
	case e.Type == "":
		f.Add(prefix+"type", "is required, e.g. card.updated")
	case !ValidType(e.Type):
		f.Add(prefix+"type", "must be dotted names of a-z, 0-9 and '_', at most %d characters, e.g. card.updated", MaxTypeLength)
	}
	if !e.OccurredAt.IsZero() && e.OccurredAt.After(now.Add(MaxOccurredAhead)) {
		f.Add(prefix+"occurred_at", "is more than %s ahead", MaxOccurredAhead)
	}
	if n := len(e.ExternalReference); n > MaxReferenceBytes {
		f.Add(prefix+"external_reference", "has %d bytes, the limit is %d", n, MaxReferenceBytes)
	} else if !utf8.ValidString(e.ExternalReference) {
		f.Add(prefix+"external_reference", "is not UTF-8")
	}
	e.checkAttributes(prefix, &f)
	switch n := len(e.Data); {
	case n > MaxDataBytes:
		f.Add(prefix+"data", "has %d bytes, the limit is %d", n, MaxDataBytes)
	case n > 0 && !validJSON(e.Data):
		f.Add(prefix+"data", "is not valid JSON")
	}
	return f
}

// validJSON reports what json.Valid does: duplicate names and text that is not UTF-8 pass, nesting deeper than 10,000
// does not. jsontext takes a sixth of its time for a long text, and two fifths for many small values.
func validJSON(data []byte) bool {
	return jsontext.Value(data).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

func (e Event) checkAttributes(prefix string, f *invalid.Fields) {
	if n := len(e.Attributes); n > MaxAttributes {
		f.Add(prefix+"attributes", "has %d entries, the limit is %d", n, MaxAttributes)
		return
	}
	var wrong []string // in order once they are known: nearly always there are none
	for k, v := range e.Attributes {
		if !validAttribute(k, v) {
			wrong = append(wrong, k)
		}
	}
	slices.Sort(wrong)
	for _, k := range wrong {
		switch v := e.Attributes[k]; {
		case k == "":
			f.Add(prefix+"attributes", "has an empty key")
		case len(k) > MaxAttributeKeyBytes:
			f.Add(prefix+"attributes", "has a key of %d bytes, the limit is %d", len(k), MaxAttributeKeyBytes)
		case len(v) > MaxAttributeValueBytes:
			f.Add(prefix+"attributes["+k+"]", "has %d bytes, the limit is %d", len(v), MaxAttributeValueBytes)
		default:
			f.Add(prefix+"attributes", "holds text that is not UTF-8")
		}
	}
}

func validAttribute(k, v string) bool {
	return k != "" && len(k) <= MaxAttributeKeyBytes && len(v) <= MaxAttributeValueBytes && utf8.ValidString(k) && utf8.ValidString(v)
}
