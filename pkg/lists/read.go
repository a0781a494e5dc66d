package lists

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/doorstep-dev/doorstep/pkg/invalid"
)

// Ours reports whether a parameter of a query belongs to the list: Read reads it.
func (l List) Ours(parameter string) bool {
	switch parameter {
	case "limit", "cursor", "sort", "total":
		return len(l.Fields) > 0
	case "show", "hide":
		return l.Shown != nil
	}
	return len(l.Fields) > 0 && (parameter == "filter" || strings.HasPrefix(parameter, "filter["))
}

// Page asks for a page in the list's own order, without filters. It errs with invalid.Fields.
func (l List) Page(limit int, cursor string) (Query, error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	if cursor != "" {
		q.Set("cursor", cursor)
	}
	return l.Read(q)
}

// Read reads what a list is asked. Parameters that are not the list's are left to others, but cursors are bound
// to them. One without a value is as if it were not there, save a filter, which would else list everything, and show and hide, which name something. It errs
// with invalid.Fields, which name every parameter at fault.
func (l List) Read(values url.Values) (Query, error) {
	q := Query{Limit: DefaultLimit, list: l.Name}
	var f invalid.Fields
	given := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch v := values[name]; {
		case !l.Ours(name):
		case len(v) > 1:
			f.Add(clip(name), "is given more than once")
		case strings.HasSuffix(name, "[eq]") && values.Has(strings.TrimSuffix(name, "[eq]")):
			f.Add(clip(name), "is the same as %s, which is given too", clip(strings.TrimSuffix(name, "[eq]")))
		case v[0] != "":
			given[name] = v[0]
		case strings.HasPrefix(name, "filter"), name == "show", name == "hide":
			f.Add(clip(name), "needs a value")
		}
	}
	if text, ok := given["limit"]; ok {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > MaxLimit {
			f.Add("limit", "must be a whole number from 1 to %d", MaxLimit)
		}
		q.Limit = n
	}
	q.Sort = l.readSort(given["sort"], &f)
	q.Filter = l.readFilters(given, &f)
	q.Total = readTotal(given["total"], &f)
	q.Fields = l.readFields(given, &f)
	q.bound = l.bound(q, values)
	if cursor, ok := given["cursor"]; ok && l.Opaque {
		q.Cursor = cursor
	} else if ok && len(f) == 0 {
		if q.After, ok = q.after(cursor); !ok {
			f.Add("cursor", "is not a next_cursor of this list, in this order and with these filters")
		}
	}
	return q, f.Err()
}

func readTotal(text string, f *invalid.Fields) bool {
	switch text {
	case "", "false":
		return false
	case "true":
		return true
	}
	f.Add("total", "must be true or false")
	return false
}

// readSort reads an order. It ends with the key: where it is not named, in the direction of the last field.
func (l List) readSort(text string, f *invalid.Fields) []Order {
	if text == "" {
		text = l.Sort
	}
	if text == "" {
		return nil
	}
	var order []Order
	for name := range strings.SplitSeq(text, ",") {
		name, descending := strings.CutPrefix(name, "-")
		field, ok := l.Field(name)
		switch {
		case !ok || !field.Sorts:
			f.Add("sort", "%s", l.why(name, "sorted", l.Sorted()))
		case slices.ContainsFunc(order, func(o Order) bool { return o.Field.Name == name }):
			f.Add("sort", "%q is named twice", name)
		default:
			order = append(order, Order{field, descending})
		}
	}
	key := l.KeyName()
	if i := slices.IndexFunc(order, func(o Order) bool { return o.Field.Name == key }); i >= 0 {
		return order[:i+1] // no two rows are alike so far
	}
	if len(order) > 0 {
		field, ok := l.Field(key)
		if !ok {
			field = Field{Name: key, Kind: Text}
		}
		order = append(order, Order{field, order[len(order)-1].Descending})
	}
	return order
}

// readFields reads which fields are shown. The key always is.
func (l List) readFields(given map[string]string, f *invalid.Fields) Fields {
	names := func(parameter string) []string {
		var names []string
		for name := range strings.SplitSeq(given[parameter], ",") {
			if !slices.Contains(l.Shown, name) {
				f.Add(parameter, "%q is not a field of this; there are %s", clip(name), strings.Join(l.Shown, ", "))
			} else if slices.Contains(names, name) {
				f.Add(parameter, "%q is named twice", name)
			}
			names = append(names, name)
		}
		return names
	}
	var fields Fields
	if _, ok := given["show"]; ok {
		fields.only = append(names("show"), l.KeyName())
	}
	if _, ok := given["hide"]; ok {
		fields.not = slices.DeleteFunc(names("hide"), func(name string) bool { return name == l.KeyName() })
	}
	return fields
}
