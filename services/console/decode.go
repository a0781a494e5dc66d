package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"

	"github.com/doorstep-dev/doorstep/pkg/invalid"
)

// decode reads one JSON value into a struct, strictly: names are compared exactly, and every name
// that the struct does not have is at fault. prefix stands before the names of the faults.
func decode(raw []byte, into any, prefix string) invalid.Fields {
	var f invalid.Fields
	if !json.Valid(raw) {
		f.Add(orBody(prefix), "is not valid JSON%s", where(raw))
		return f
	}
	shape := reflect.TypeOf(into).Elem()
	if shape.Kind() == reflect.Struct && isNull(raw) {
		f.Add(orBody(prefix), "must be an object, not null")
		return f
	}
	checkNames(raw, shape, prefix, &f)
	var wrong *json.UnmarshalTypeError
	if err := json.Unmarshal(raw, into); errors.As(err, &wrong) {
		f.Add(orBody(strings.TrimSuffix(prefix+wrong.Field, ".")), "must be %s, not %s", kindName(wrong.Type), firstWord(wrong.Value))
	} else if err != nil {
		f.Add(orBody(prefix), "cannot be read: %s", err)
	}
	return f
}

// merged is before, what a caller has said so far, with a merge patch (RFC 7396) applied. readOnly are the
// names that only Doorstep sets.
func merged[T any](before T, patch []byte, readOnly []string) (after T, err error) {
	// The patch by itself first, so that its faults are told by its own names.
	var said map[string]any
	f := decode(patch, &said, "")
	if len(f) == 0 && said == nil {
		f.Add("body", "must be an object")
	}
	checkNames(patch, reflect.TypeFor[T](), "", &f)
	for i, fault := range f {
		if fault.Message == notAField && slices.Contains(readOnly, fault.Name) {
			f[i].Message = "is read-only"
		}
	}
	if len(f) > 0 {
		return after, f
	}
	whole, err := json.Marshal(before)
	if err == nil {
		whole, err = jsonpatch.MergePatch(whole, patch)
	}
	if err != nil {
		return after, fmt.Errorf("apply merge patch: %w", err)
	}
	if f = decode(whole, &after, ""); len(f) == 0 {
		checkNUL(whole, &f)
	}
	return after, f.Err()
}

func orBody(name string) string {
	if name = strings.TrimSuffix(name, "."); name == "" {
		return "body"
	}
	return name
}

// where says at which byte JSON stops being JSON, without repeating any of it.
func where(raw []byte) string {
	var v any
	var syntax *json.SyntaxError
	switch err := json.NewDecoder(bytes.NewReader(raw)).Decode(&v); {
	case errors.As(err, &syntax):
		return ": " + syntax.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ": it ends too early"
	case err == nil:
		return ": something follows the value"
	}
	return ""
}

const notAField = "is not a field of this"

// checkNames looks for names that a struct, and structs within it, do not have.
func checkNames(raw json.RawMessage, t reflect.Type, prefix string, f *invalid.Fields) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct {
		var items []json.RawMessage
		_ = json.Unmarshal(raw, &items) // what is no array is refused when it is read
		for i, item := range items {
			checkNames(item, t.Elem(), fmt.Sprintf("%s[%d].", strings.TrimSuffix(prefix, "."), i), f)
		}
		return
	}
	var object map[string]json.RawMessage
	if t.Kind() != reflect.Struct || json.Unmarshal(raw, &object) != nil {
		return
	}
	known := map[string]reflect.StructField{}
	for _, field := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		known[name] = field
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		field, ok := known[name]
		if !ok {
			f.Add(prefix+clip(name), notAField)
			continue
		}
		checkNames(object[name], field.Type, prefix+name+".", f)
	}
}

// checkNUL refuses texts with a NUL character, which PostgreSQL cannot store.
func checkNUL(raw []byte, f *invalid.Fields) {
	var v any
	if json.Unmarshal(raw, &v) == nil && hasNUL(v) {
		f.Add("body", `holds a text with a NUL character (\u0000)`)
	}
}

func hasNUL(v any) bool {
	switch v := v.(type) {
	case string:
		return strings.ContainsRune(v, 0)
	case []any:
		return slices.ContainsFunc(v, hasNUL)
	case map[string]any:
		for name, x := range v {
			if strings.ContainsRune(name, 0) || hasNUL(x) {
				return true
			}
		}
	}
	return false
}

func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Slice:
		return "an array"
	case reflect.Map, reflect.Struct:
		return "an object"
	default:
		return "a string"
	}
}

// firstWord drops the value of "number 1.5".
func firstWord(value string) string {
	word, _, _ := strings.Cut(value, " ")
	return word
}

func clip(name string) string {
	if len(name) > 64 {
		return strings.ToValidUTF8(name[:64], "") + "..."
	}
	return name
}

// decodeTime reads an RFC 3339 time; empty is the zero time.
func decodeTime(text, name string, f *invalid.Fields) time.Time {
	if text == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || t.Year() < 1970 || t.Year() > 2261 {
		f.Add(name, "must be an RFC 3339 time of 1970 to 2261, e.g. 2026-03-04T05:06:07Z")
		return time.Time{}
	}
	return t.UTC()
}
