package catalogue

import (
	"cmp"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/doorstep-dev/doorstep/pkg/invalid"
)

// MaxFaults is how many faults one check tells of; the last then says that there are more.
const MaxFaults = 20

// faultsOf are the library's findings as fields within field, in an order that does not change.
func faultsOf(field string, found ...*jsonschema.ValidationError) invalid.Fields {
	var f invalid.Fields
	for _, x := range found {
		collect(field, x, &f)
	}
	slices.SortFunc(f, func(a, b invalid.Field) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Message, b.Message))
	})
	f = slices.Compact(f)
	if more := len(f) - MaxFaults; more > 0 {
		f = f[:MaxFaults]
		f.Add(field, "and %d more", more)
	}
	return f
}

func collect(field string, found *jsonschema.ValidationError, f *invalid.Fields) {
	switch k := found.ErrorKind.(type) {
	case *kind.Schema, *kind.Group, *kind.Reference, *kind.AllOf:
		for _, x := range found.Causes {
			collect(field, x, f)
		}
	case *kind.Required:
		for _, name := range k.Missing {
			f.Add(at(field, append(slices.Clone(found.InstanceLocation), name)), "is required")
		}
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			f.Add(at(field, append(slices.Clone(found.InstanceLocation), name)), "is not a property of this")
		}
	case *kind.PropertyNames:
		why := "is none that it may have"
		if below := faultsOf("", found.Causes...); len(below) > 0 {
			why = below[0].Message
		}
		f.Add(at(field, found.InstanceLocation), "has a property of the name %q, which %s", clip(k.Property), why)
	default:
		f.Add(at(field, found.InstanceLocation), "%s", message(k))
	}
}

// at is the path of a value within field.
func at(field string, path []string) string {
	for _, name := range path {
		if field != "" {
			field += "."
		}
		field += clip(name)
	}
	return field
}

// message says what is wrong without what stands there: it may be what nobody else is to read.
func message(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Type:
		return "must be " + strings.Join(k.Want, " or ") + ", not " + k.Got
	case *kind.Enum:
		return "must be " + oneOf(k.Want)
	case *kind.Const:
		return "must be " + oneOf([]any{k.Want})
	case *kind.Format:
		if wrong := patternError(""); errors.As(k.Err, &wrong) {
			return wrong.Error()
		}
		return "must be of the format " + k.Want
	case *kind.Pattern:
		return fmt.Sprintf("must match %q", clip(k.Want))
	case *kind.AnyOf, *kind.OneOf:
		return forms(k)
	case *kind.Not:
		return "is what it must not be"
	case *kind.FalseSchema:
		return "must not be there"
	case *kind.DependentRequired:
		return dependent(k.Prop, k.Missing)
	case *kind.Dependency:
		return dependent(k.Prop, k.Missing)
	}
	return amount(k)
}

func forms(k jsonschema.ErrorKind) string {
	if one, ok := k.(*kind.OneOf); ok && len(one.Subschemas) > 0 {
		return "fits several of the forms (oneOf) of which it must fit one"
	}
	return "fits none of the forms that it may have (anyOf, oneOf)"
}

func dependent(name string, missing []string) string {
	return fmt.Sprintf("must have %s where it has %s", clip(strings.Join(missing, ", ")), clip(name))
}

// amount says by how much something is beyond its limit.
func amount(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.MinLength:
		return fmt.Sprintf("has %d characters, must have at least %d", k.Got, k.Want)
	case *kind.MaxLength:
		return fmt.Sprintf("has %d characters, the limit is %d", k.Got, k.Want)
	case *kind.MinItems:
		return fmt.Sprintf("has %d items, must have at least %d", k.Got, k.Want)
	case *kind.MaxItems:
		return fmt.Sprintf("has %d items, the limit is %d", k.Got, k.Want)
	case *kind.MinProperties:
		return fmt.Sprintf("has %d properties, must have at least %d", k.Got, k.Want)
	case *kind.MaxProperties:
		return fmt.Sprintf("has %d properties, the limit is %d", k.Got, k.Want)
	case *kind.UniqueItems:
		return fmt.Sprintf("has the same item twice, as number %d and %d", k.Duplicates[0]+1, k.Duplicates[1]+1)
	case *kind.Contains:
		return "has no item of the kind that it must contain"
	case *kind.MinContains:
		return fmt.Sprintf("has %d items of the kind that it must contain, must have at least %d", len(k.Got), k.Want)
	case *kind.MaxContains:
		return fmt.Sprintf("has %d items of the kind that it must contain, the limit is %d", len(k.Got), k.Want)
	case *kind.Minimum:
		return "must be at least " + number(k.Want)
	case *kind.Maximum:
		return "must be at most " + number(k.Want)
	case *kind.ExclusiveMinimum:
		return "must be more than " + number(k.Want)
	case *kind.ExclusiveMaximum:
		return "must be less than " + number(k.Want)
	case *kind.MultipleOf:
		return "must be a multiple of " + number(k.Want)
	}
	return "does not fit the schema"
}

// number is a bound as a schema has it, but for what is behind the ninth decimal.
func number(n *big.Rat) string {
	if n.IsInt() {
		return clip(n.RatString())
	}
	return clip(strings.TrimRight(n.FloatString(9), "0"))
}

// oneOf lists the values that there may be, which the schema says.
func oneOf(values []any) string {
	var parts []string
	for _, v := range values {
		switch v := v.(type) {
		case map[string]any:
			parts = append(parts, "a certain object")
		case []any:
			parts = append(parts, "a certain array")
		case string:
			parts = append(parts, fmt.Sprintf("%q", clip(v)))
		case nil:
			parts = append(parts, "null")
		default:
			parts = append(parts, clip(fmt.Sprint(v)))
		}
		if len(parts) == 10 && len(values) > 10 {
			parts = append(parts, "...")
			break
		}
	}
	return strings.Join(parts, ", ")
}
