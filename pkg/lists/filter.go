package lists

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/invalid"
)

const null = "null"

// readFilters reads filter[field] and filter[field][operator], in the order of their names.
func (l List) readFilters(given map[string]string, f *invalid.Fields) []Condition {
	var all []Condition
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !strings.HasPrefix(name, "filter") {
			continue
		}
		field, op, ok := l.filtered(name, f)
		if !ok {
			continue
		}
		if c, fault := field.condition(op, given[name]); fault != "" {
			f.Add(name, "%s", fault)
		} else {
			all = append(all, c)
		}
	}
	return all
}

// filtered is the field and the operator that a parameter names.
func (l List) filtered(parameter string, f *invalid.Fields) (Field, Op, bool) {
	name, op, ok := cutFilter(parameter)
	if !ok {
		f.Add(clip(parameter), "must be filter[field] or filter[field][operator]; there are the fields %s", strings.Join(l.Filtered(), ", "))
		return Field{}, "", false
	}
	field, ok := l.Field(name)
	if !ok || len(field.Operators()) == 0 {
		f.Add(clip(parameter), "%s", l.why(name, "filtered", l.Filtered()))
		return Field{}, "", false
	}
	if !slices.Contains(field.Operators(), op) {
		f.Add(clip(parameter), "%q is not an operator of %s; there are %s", clip(string(op)), name, join(field.Operators()))
		return Field{}, "", false
	}
	return field, op, true
}

// cutFilter takes filter[name] and filter[name][op] apart.
func cutFilter(parameter string) (name string, op Op, ok bool) {
	rest, ok := strings.CutPrefix(parameter, "filter[")
	inner, closed := strings.CutSuffix(rest, "]")
	if !ok || !closed {
		return "", "", false
	}
	name, operator, has := strings.Cut(inner, "][")
	if !has {
		operator = string(Eq)
	}
	return name, Op(operator), name != "" && operator != "" && !strings.ContainsAny(name+operator, "[]")
}

// condition reads the value of a filter.
func (f Field) condition(op Op, text string) (c Condition, fault string) {
	c = Condition{Field: f, Op: op}
	if f.Null && text == null && (op == Eq || op == Ne) {
		return c, ""
	}
	texts := []string{text}
	// No value of an enum has a comma, so several can be nothing else.
	if op == In || f.Kind == Enum && op == Eq && strings.Contains(text, ",") {
		c.Op, texts = In, strings.Split(text, ",")
	}
	if len(texts) > MaxValues {
		return c, "has " + strconv.Itoa(len(texts)) + " values, the limit is " + strconv.Itoa(MaxValues)
	}
	for _, text := range texts {
		v, fault := f.value(text)
		if fault != "" {
			return c, fault
		}
		c.Values = append(c.Values, v)
	}
	return c, ""
}

// value reads one value.
func (f Field) value(text string) (v any, fault string) {
	switch {
	case text == "":
		return nil, "has an empty value"
	case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
		return nil, "must be UTF-8 text without NUL characters"
	case utf8.RuneCountInString(text) > MaxText:
		return nil, "has more than " + strconv.Itoa(MaxText) + " characters"
	case f.Valid != nil && !f.Valid(text):
		return nil, "must be " + f.Form
	}
	switch f.Kind {
	case ID:
		id, err := uuid.Parse(text)
		if err != nil || len(text) != 36 {
			return nil, "must be a UUID"
		}
		return id.String(), ""
	case Number:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, "must be a whole number"
		}
		return n, ""
	case Bool:
		if text != "true" && text != "false" {
			return nil, "must be true or false"
		}
		return text == "true", ""
	case Time:
		return timeValue(text, f.Null)
	case Text, Enum, Members:
	}
	if f.Values != nil && !slices.Contains(f.Values, text) {
		return nil, strconv.Quote(clip(text)) + " is none of " + strings.Join(f.Values, ", ")
	}
	return text, ""
}

func timeValue(text string, orNull bool) (any, string) {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || t.Year() < 1970 || t.Year() > 2261 || t.Unix() < 0 {
		fault := "must be an RFC 3339 time of 1970 to 2261, e.g. 2026-03-04T05:06:07Z"
		if orNull {
			fault += "; with eq and ne it may be null"
		}
		return nil, fault
	}
	return t.UnixNano(), ""
}

func join(ops []Op) string {
	names := make([]string, len(ops))
	for i, op := range ops {
		names[i] = string(op)
	}
	return strings.Join(names, ", ")
}
