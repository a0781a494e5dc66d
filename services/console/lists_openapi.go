package console

import (
	"fmt"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/doorstep-dev/doorstep/pkg/lists"
)

// listParameters are what the description says of a list's query, which lists.Read reads.
func listParameters(l lists.List) []*huma.Param {
	var all []*huma.Param
	if len(l.Fields) > 0 {
		all = append(all, pageParameters(l)...)
	}
	if l.Shown != nil {
		shown := oneOrMore(anyOf(l.Shown), len(l.Shown))
		all = append(all,
			commas("show", "Only these fields; "+l.KeyName()+" is always shown", shown),
			commas("hide", "All fields but these; "+l.KeyName()+" is always shown", shown))
	}
	for _, f := range l.Fields {
		for _, op := range f.Operators() {
			if op == lists.Eq {
				all = append(all, filterParameter("filter["+f.Name+"]", f, op))
			}
			all = append(all, filterParameter(fmt.Sprintf("filter[%s][%s]", f.Name, op), f, op))
		}
	}
	return all
}

func pageParameters(l lists.List) []*huma.Param {
	sorted := l.Sorted()
	for _, name := range l.Sorted() {
		sorted = append(sorted, "-"+name)
	}
	order := []string{
		"Fields in their order, - before one for descending; default " + l.Sort + ". Ties are broken by " + l.KeyName() +
			". Texts are ordered by their bytes, and null comes before all times.",
	}
	for _, a := range l.Apart {
		order = append(order, "Shown but neither sorted nor filtered by: "+strings.Join(a.Names, ", ")+", as each "+a.Why+".")
	}
	total := fmt.Sprintf("True: count what the filters leave, into meta.total. Counting ends at %d; meta.total_capped says that there are more.", lists.MaxCounted)
	if l.Counted != "" {
		total += " " + l.Counted
	}
	return []*huma.Param{
		query("limit", "How many at most", &huma.Schema{Type: huma.TypeInteger, Minimum: new(1.0), Maximum: new(float64(lists.MaxLimit)), Default: lists.DefaultLimit}),
		query("cursor", "meta.next_cursor of the page before, in the same order and with the same filters. Pages neither skip nor repeat while rows are added or changed, "+
			"save a row whose own place in the order changes", &huma.Schema{Type: huma.TypeString, MaxLength: new(lists.MaxCursor)}),
		commas("sort", strings.Join(order, " "), oneOrMore(anyOf(sorted), len(l.Sorted()))),
		query("total", total, &huma.Schema{Type: huma.TypeBoolean}),
	}
}

func query(name, doc string, schema *huma.Schema) *huma.Param {
	return &huma.Param{Name: name, In: "query", Description: doc, Schema: schema}
}

// commas is a parameter with several values in one.
func commas(name, doc string, schema *huma.Schema) *huma.Param {
	p := query(name, doc, schema)
	p.Explode = new(false)
	return p
}

func anyOf(names []string) *huma.Schema {
	values := make([]any, len(names))
	for i, n := range names {
		values[i] = n
	}
	return &huma.Schema{Type: huma.TypeString, Enum: values}
}

func oneOrMore(items *huma.Schema, most int) *huma.Schema {
	return &huma.Schema{Type: huma.TypeArray, Items: items, MinItems: new(1), MaxItems: &most, UniqueItems: true}
}

func filterParameter(name string, f lists.Field, op lists.Op) *huma.Param {
	doc := strings.TrimSpace(filterDoc(f, op) + ". " + f.Doc)
	one := valueSchema(f, op)
	if op == lists.In || f.Kind == lists.Enum && op == lists.Eq {
		return commas(name, doc, oneOrMore(one, lists.MaxValues))
	}
	return query(name, doc, one)
}

// filterDoc is what a filter leaves.
func filterDoc(f lists.Field, op lists.Op) string {
	member := f.Kind == lists.Members
	switch op {
	case lists.Ne:
		if member {
			return "Rows whose " + f.Name + " do not have it"
		}
		return "Rows whose " + f.Name + " is another"
	case lists.Gt:
		return "Above, or later than, this"
	case lists.Gte:
		return "This, above it, or later"
	case lists.Lt:
		return "Below, or earlier than, this"
	case lists.Lte:
		return "This, below it, or earlier"
	case lists.In:
		return "One of these, with commas between them; a value that holds a comma cannot be asked for so"
	case lists.Contains:
		if member {
			return "Rows whose " + f.Name + " have it"
		}
		return "Holds this; A to Z are taken for a to z"
	default:
		if member {
			return "Rows whose " + f.Name + " have it"
		}
		if f.Kind == lists.Enum {
			return "This, or one of several, with commas between them"
		}
		return "Exactly this"
	}
}

func valueSchema(f lists.Field, op lists.Op) *huma.Schema {
	switch f.Kind {
	case lists.ID:
		return &huma.Schema{Type: huma.TypeString, Format: "uuid"}
	case lists.Number:
		return &huma.Schema{Type: huma.TypeInteger, Format: "int64"}
	case lists.Bool:
		return &huma.Schema{Type: huma.TypeBoolean}
	case lists.Time:
		at := &huma.Schema{Type: huma.TypeString, Format: "date-time"}
		if f.Null && slices.Contains([]lists.Op{lists.Eq, lists.Ne}, op) {
			return &huma.Schema{AnyOf: []*huma.Schema{at, anyOf([]string{"null"})}}
		}
		return at
	case lists.Text, lists.Enum, lists.Members:
	}
	if f.Values != nil {
		return anyOf(f.Values)
	}
	return &huma.Schema{Type: huma.TypeString, MinLength: new(1), MaxLength: new(lists.MaxText)}
}
