package catalogue

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

// Limits of an event type, and of a catalogue.
const (
	MaxTypes             = 1_000 // of a tenant
	MaxGroupLength       = 64    // characters
	MaxDescriptionLength = 1_024 // characters
	MaxExampleBytes      = 64 << 10
	MaxAttributes        = event.MaxAttributes
)

// The kinds of event types, which are vPlan's three result types.
const (
	KindNormal      = "normal"       // an object was created, updated or deleted
	KindNested      = "nested"       // an object was attached to a parent, or detached
	KindNestedPivot = "nested_pivot" // so, with values that belong to the two together
)

// Kinds lists the kinds.
func Kinds() []string { return []string{KindNormal, KindNested, KindNestedPivot} }

// Check says everything that is wrong with t, fields named as in the API with the given prefix (e.g.
// "event_types[3]."): its texts, that the schema compiles, and that the example fits it.
func Check(prefix string, t tenant.EventType) invalid.Fields {
	var f invalid.Fields
	switch {
	case t.Type == "":
		f.Add(prefix+"type", "is required, e.g. card.updated")
	case !event.ValidType(t.Type):
		f.Add(prefix+"type", "must be dotted names of a-z, 0-9 and '_', at most %d characters, e.g. card.updated", event.MaxTypeLength)
	}
	checkText(&f, prefix+"group", t.Group, MaxGroupLength)
	checkText(&f, prefix+"description", t.Description, MaxDescriptionLength)
	if !slices.Contains(Kinds(), t.Kind) {
		f.Add(prefix+"kind", "must be %s", strings.Join(Kinds(), ", "))
	}
	checkAttributes(&f, prefix, t.Attributes)
	checkExample(&f, prefix, t)
	return f
}

func checkText(f *invalid.Fields, name, text string, limit int) {
	switch n := utf8.RuneCountInString(text); {
	case n > limit:
		f.Add(name, "has %d characters, the limit is %d", n, limit)
	case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
		f.Add(name, "must be UTF-8, without NUL characters")
	}
}

func checkAttributes(f *invalid.Fields, prefix string, names []string) {
	if n := len(names); n > MaxAttributes {
		f.Add(prefix+"attributes", "has %d entries, the limit is %d", n, MaxAttributes)
		return
	}
	for i, name := range names {
		switch {
		case name == "" || len(name) > event.MaxAttributeKeyBytes || !utf8.ValidString(name) || strings.ContainsRune(name, 0):
			f.Add(fmt.Sprintf("%sattributes[%d]", prefix, i), "must have 1 to %d bytes of UTF-8", event.MaxAttributeKeyBytes)
		case slices.Contains(names[:i], name):
			f.Add(prefix+"attributes", "names %q twice", name)
		}
	}
}

func checkExample(f *invalid.Fields, prefix string, t tenant.EventType) {
	if n := len(t.Example); n > MaxExampleBytes {
		f.Add(prefix+"example", "has %d bytes, the limit is %d", n, MaxExampleBytes)
		return
	}
	if n := len(t.Example); n > 0 && (!json.Valid(t.Example) || !utf8.Valid(t.Example)) {
		f.Add(prefix+"example", "is not valid JSON")
		return
	}
	if len(t.Schema) == 0 {
		return
	}
	schema, err := Compile(t.Schema)
	if err != nil {
		f.Add(prefix+"schema", "%s", err)
		return
	}
	if len(t.Example) > 0 {
		*f = append(*f, schema.Check(prefix+"example", t.Example)...)
	}
}
