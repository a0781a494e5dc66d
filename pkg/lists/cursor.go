package lists

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// cursor is what the text of one holds.
type cursor struct {
	List  string `json:"l"`
	Sort  string `json:"s"`
	Bound string `json:"b"` // hash of the filters
	After []any  `json:"a"`
}

// order is what a list is sorted by, as the parameter says it.
func (q Query) order() string {
	names := make([]string, len(q.Sort))
	for i, o := range q.Sort {
		if names[i] = o.Field.Name; o.Descending {
			names[i] = "-" + names[i]
		}
	}
	return strings.Join(names, ",")
}

// Next is the cursor of the page behind a row with these values of Sort's fields.
func (q Query) Next(row []any) string {
	b, err := json.Marshal(cursor{q.list, q.order(), q.bound, row})
	if err != nil {
		panic(err) // strings, int64 and bools
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// Bound is a short text that tells a list's order and filters from others, for cursors of another make.
func (q Query) Bound() string { return q.bound }

// after reads a cursor; it fails for one of another list, order or filters.
func (q Query) after(text string) ([]any, bool) {
	if len(text) > MaxCursor {
		return nil, false
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, false
	}
	var c cursor
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber() // a float64 does not hold nanoseconds
	if d.Decode(&c) != nil || !atEnd(d) || c.List != q.list || c.Sort != q.order() || c.Bound != q.bound || len(c.After) != len(q.Sort) {
		return nil, false
	}
	for i, v := range c.After {
		if c.After[i] = q.Sort[i].Field.stored(v); c.After[i] == nil {
			return nil, false
		}
	}
	return c.After, true
}

func atEnd(d *json.Decoder) bool {
	_, err := d.Token()
	return err == io.EOF //nolint:errorlint // Token returns it as it is
}

// stored is a value of a cursor as a Condition has it; nil: it is none of this field.
func (f Field) stored(v any) any {
	switch v := v.(type) {
	case string:
		if f.Kind == Number || f.Kind == Time || f.Kind == Bool || !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
			return nil
		}
		return v
	case bool:
		if f.Kind == Bool {
			return v
		}
	case json.Number:
		if n, err := v.Int64(); err == nil && (f.Kind == Number || f.Kind == Time) {
			return n
		}
	}
	return nil
}

// bound is a hash of the filters, and of the parameters that are not the list's.
func (l List) bound(q Query, all url.Values) string {
	others := url.Values{}
	for name, v := range all {
		if !l.Ours(name) {
			others[name] = v
		}
	}
	filters := make([][]any, len(q.Filter))
	for i, c := range q.Filter {
		filters[i] = append([]any{c.Field.Name, c.Op}, c.Values...)
	}
	// filter[a] and filter[a][eq] are two parameters, and may come in either order.
	slices.SortStableFunc(filters, func(a, b []any) int {
		return cmp.Or(cmp.Compare(a[0].(string), b[0].(string)), cmp.Compare(a[1].(Op), b[1].(Op)))
	})
	b, err := json.Marshal([]any{filters, others.Encode()})
	if err != nil {
		panic(err) // strings, int64 and bools
	}
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:8])
}
