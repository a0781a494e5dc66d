// Package lists says what a list of the REST API can be asked, and reads it from a URL's query: the page, the
// order, the filters, the fields that are shown, and the total.
//
//	limit=50&cursor=...                     a page
//	sort=-created_at,name                   an order; ties are broken by the key
//	filter[name]=a&filter[created_at][gte]= filters, all of which hold
//	show=id,name or hide=headers            fields of the answer
//	total=true                              how many there are
//
// A List is the whitelist of one list: what is not in it is refused, by a fault that says what there is. Its
// fields are named as in JSON, which is how their columns are named in SQL.
//
// A page begins behind a row, not behind a number of rows: a cursor holds what the row that a page ends with is
// ordered by. So rows that are added, changed or deleted meanwhile make no other row come twice or not at all,
// save a changed row itself where the list is sorted by what changed. A cursor is bound to its list, its order
// and its filters.
package lists

import (
	"slices"
	"strconv"
	"strings"
)

// Limits of what a list can be asked.
const (
	DefaultLimit = 50     // rows of a page
	MaxLimit     = 500    // rows of a page
	MaxValues    = 100    // values of the operator in
	MaxText      = 512    // characters of a value
	MaxCursor    = 16384  // bytes
	MaxCounted   = 10_000 // rows; a total says no more than that there are more
)

// Kind is what the values of a field are.
type Kind string

// The kinds.
const (
	Text    Kind = "text"    // ordered by its bytes
	ID      Kind = "id"      // a UUID, kept in lower case
	Number  Kind = "number"  // whole
	Bool    Kind = "bool"    // false before true
	Time    Kind = "time"    // RFC 3339; null before all
	Enum    Kind = "enum"    // one of Values
	Members Kind = "members" // an array of texts, filtered by what it has
)

// Op compares a field with a value.
type Op string

// The operators.
const (
	Eq       Op = "eq" // of Members: has the value
	Ne       Op = "ne" // of Members: does not have the value
	Gt       Op = "gt"
	Gte      Op = "gte"
	Lt       Op = "lt"
	Lte      Op = "lte"
	In       Op = "in"       // one of several, with commas between them
	Contains Op = "contains" // of Text: holds the value, whatever the case of a-z; of Members: has it
)

// Ops are the operators that go with a kind.
func (k Kind) Ops() []Op {
	switch k {
	case Text:
		return []Op{Eq, Ne, In, Contains}
	case Number, Time:
		return []Op{Eq, Ne, Gt, Gte, Lt, Lte, In}
	case Bool:
		return []Op{Eq, Ne}
	case Members:
		return []Op{Eq, Ne, In, Contains}
	case ID, Enum:
	}
	return []Op{Eq, Ne, In}
}

// Field is what a list is filtered by, sorted by, or both.
type Field struct {
	Name   string
	Kind   Kind
	Sorts  bool
	Null   bool     // of Time: it may be null
	Values []string // of Enum, and of Members that are of an enum
	Ops    []Op     // nil: those of its kind
	Doc    string   // what there is to know of it beside its name

	// Valid says whether a value may be asked for, and Form what it must be; nil: any.
	Valid func(string) bool
	Form  string
}

// Operators are those that the field is filtered by.
func (f Field) Operators() []Op {
	if f.Ops != nil {
		return f.Ops
	}
	return f.Kind.Ops()
}

// Apart are fields that are shown, and neither sorted nor filtered by.
type Apart struct {
	Names []string
	Why   string // e.g. "comes from the failure state", as the rest of a sentence that begins with the name
}

// List is the whitelist of one list.
type List struct {
	Name    string   // e.g. webhooks
	Key     string   // the field that tells rows apart, and is always shown; empty: id
	Fields  []Field  // with the key, if it is filtered or sorted by
	Sort    string   // the default, as the parameter says it, e.g. created_at
	Shown   []string // the names that show and hide know; nil: it has neither
	Apart   []Apart
	Counted string // what ends a count beside MaxCounted, as a sentence; empty: nothing

	// Opaque says that cursors are made and read by where the rows are kept: Query.Cursor has the text, and
	// Query.Bound what it must be bound to.
	Opaque bool
}

// KeyName is the field that tells rows apart.
func (l List) KeyName() string {
	if l.Key == "" {
		return "id"
	}
	return l.Key
}

// Field is the field of that name.
func (l List) Field(name string) (Field, bool) {
	i := slices.IndexFunc(l.Fields, func(f Field) bool { return f.Name == name })
	if i < 0 {
		return Field{}, false
	}
	return l.Fields[i], true
}

// Sorted are the names that the list is sorted by.
func (l List) Sorted() []string {
	return l.names(func(f Field) bool { return f.Sorts })
}

// Filtered are the names that the list is filtered by.
func (l List) Filtered() []string {
	return l.names(func(f Field) bool { return len(f.Operators()) > 0 })
}

func (l List) names(has func(Field) bool) []string {
	var names []string
	for _, f := range l.Fields {
		if has(f) {
			names = append(names, f.Name)
		}
	}
	return names
}

// why is what is wrong with a name that is not in the whitelist; what is e.g. "sorted".
func (l List) why(name, what string, there []string) string {
	reason := " is not a field of this list"
	if slices.Contains(l.Shown, name) {
		reason = " is not one that this list is " + what + " by"
	}
	for _, a := range l.Apart {
		if slices.Contains(a.Names, name) {
			reason = " " + a.Why + ", so this list is not " + what + " by it"
		}
	}
	return strconv.Quote(clip(name)) + reason + "; there are " + strings.Join(there, ", ")
}

// Query is what a list is asked. Read makes it, and nobody else.
type Query struct {
	Limit  int
	Sort   []Order // the last one is the key
	Filter []Condition
	Total  bool
	After  []any  // the values of Sort's fields of the row that the page begins behind; nil: at the start
	Cursor string // of an opaque list, instead of After
	Fields Fields // what is shown

	list, bound string
}

// Order is a field that a list is sorted by.
type Order struct {
	Field      Field
	Descending bool
}

// Condition is a filter. Values are strings, int64 (of Time: Unix nanoseconds) or bools; In alone has several. A null
// has none.
type Condition struct {
	Field  Field
	Op     Op
	Values []any
}

// Null says that the field is asked to be null, or not to be.
func (c Condition) Null() bool { return len(c.Values) == 0 }

// Fields are those of an answer's names that are shown. The zero value shows all.
type Fields struct {
	only, not []string
}

// All says that every name is shown.
func (f Fields) All() bool { return f.only == nil && f.not == nil }

// Has reports whether a name is shown.
func (f Fields) Has(name string) bool {
	return (f.only == nil || slices.Contains(f.only, name)) && !slices.Contains(f.not, name)
}

// Named reports whether show names it: for what is costly, and shown only then.
func (f Fields) Named(name string) bool { return slices.Contains(f.only, name) }

// Found is what is said of a page beside its rows.
type Found struct {
	Next  string // the cursor of the next page; empty: this is the last
	Total *int   // how many rows there are, up to MaxCounted; nil: nobody asked
	More  bool   // there are more than Total
}

func clip(text string) string {
	const most = 64
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "..."
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
