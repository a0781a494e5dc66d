package catalogue

import (
	"errors"
	"fmt"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/doorstep-dev/doorstep/pkg/invalid"
)

// MaxSteps is what one check may cost. A step is one look of one part of a schema at one value, at one key, at
// 64 bytes of a text, or of a pattern's instruction at 64 of them: below a microsecond. The largest event against a
// simple schema takes about half of it.
const MaxSteps = 1_000_000

// checker is a compiled schema for one check at a time: it counts the steps.
//
// The library has no bound of its own, and what references and anyOf multiply grows beyond any. But it looks at a
// value's format before it goes into the value, and a schema's format can be set. So every part of the schema gets a
// format that first pays for what the part is about to do, and fails once nothing is left, which ends the check: what fails
// its format is not gone into.
type checker struct {
	root *jsonschema.Schema
	left int // steps
}

var errSpent = errors.New("no steps are left")

func (c *checker) check(field string, v any) invalid.Fields {
	c.left = MaxSteps
	err := c.root.Validate(v)
	var f invalid.Fields
	if c.left < 0 {
		f.Add(field, "takes more than %d steps to check against the schema of its type", MaxSteps)
		return f
	}
	if wrong, ok := errors.AsType[*jsonschema.ValidationError](err); ok {
		f = faultsOf(field, wrong)
	}
	return f
}

// metered is a checker of a compiled schema. It refuses what cannot be counted.
func metered(root *jsonschema.Schema) (*checker, error) {
	c := &checker{root: root}
	seen := map[*jsonschema.Schema]bool{}
	var walk func(s *jsonschema.Schema) error
	walk = func(s *jsonschema.Schema) error {
		if seen[s] {
			return nil
		}
		seen[s] = true
		switch {
		case s.DraftVersion != 2020:
			return errors.New("has another $schema within it, or refers to one")
		case s.DynamicRef != nil, s.DynamicAnchor != "", s.RecursiveRef != nil:
			return errors.New("has $dynamicRef, $dynamicAnchor or $recursiveRef, which are not supported; use $ref")
		}
		for _, x := range all(s) {
			if err := walk(x); err != nil {
				return err
			}
		}
		return nil
	}
	if err := walk(root); err != nil {
		return nil, err
	}
	notes := false
	depths := map[*jsonschema.Schema]int{}
	for s := range seen {
		notes = notes || s.UnevaluatedProperties != nil || s.UnevaluatedItems != nil
		if n := depth(s, depths); n > MaxReferences {
			return nil, fmt.Errorf("refers to itself, or to more than %d others, without going into a property or an item", MaxReferences)
		}
	}
	for s := range seen {
		s.Format = meter(c, s, notes)
	}
	return c, nil
}

// depth is how far the parts of s lead that look at the same value; beyond MaxReferences, it is more than that.
func depth(s *jsonschema.Schema, known map[*jsonschema.Schema]int) int {
	if n, ok := known[s]; ok {
		return n
	}
	known[s] = MaxReferences + 1 // what leads back here
	n := 0
	for _, x := range besides(s) {
		n = max(n, 1+depth(x, known))
	}
	known[s] = min(n, MaxReferences+1)
	return known[s]
}

// besides are the parts of s that look at the value that s looks at.
func besides(s *jsonschema.Schema) []*jsonschema.Schema {
	var out []*jsonschema.Schema
	for _, x := range []*jsonschema.Schema{s.Ref, s.Not, s.If, s.Then, s.Else} {
		if x != nil {
			out = append(out, x)
		}
	}
	out = append(append(append(out, s.AllOf...), s.AnyOf...), s.OneOf...)
	for _, x := range s.DependentSchemas {
		out = append(out, x)
	}
	for _, x := range s.Dependencies { // of older drafts, and heeded still
		if x, ok := x.(*jsonschema.Schema); ok {
			out = append(out, x)
		}
	}
	return out
}

// perKey are the parts of an object's schema that look at any of its keys, or at its value.
func perKey(s *jsonschema.Schema) []*jsonschema.Schema {
	var out []*jsonschema.Schema
	for _, x := range s.PatternProperties {
		out = append(out, x)
	}
	if x, ok := s.AdditionalProperties.(*jsonschema.Schema); ok {
		out = append(out, x)
	}
	for _, x := range []*jsonschema.Schema{s.PropertyNames, s.UnevaluatedProperties} {
		if x != nil {
			out = append(out, x)
		}
	}
	return out
}

// perItem are the parts of an array's schema that look at any of its items.
func perItem(s *jsonschema.Schema) []*jsonschema.Schema {
	var out []*jsonschema.Schema
	for _, x := range []*jsonschema.Schema{s.Items2020, s.Contains, s.UnevaluatedItems} {
		if x != nil {
			out = append(out, x)
		}
	}
	return out
}

// all are the parts that s leads to.
func all(s *jsonschema.Schema) []*jsonschema.Schema {
	out := append(append(besides(s), perKey(s)...), perItem(s)...)
	for _, x := range s.Properties {
		out = append(out, x)
	}
	return append(out, s.PrefixItems...)
}

// meter is a format that pays for what s is about to do with a value, then checks the format that s had.
func meter(c *checker, s *jsonschema.Schema, notes bool) *jsonschema.Format {
	p, was := priceOf(s, notes), s.Format
	name := ""
	if was != nil {
		name = was.Name
	}
	return &jsonschema.Format{Name: name, Validate: func(v any) error {
		if c.left >= 0 {
			c.left -= p.of(v)
		}
		switch {
		case c.left < 0:
			return errSpent
		case was != nil:
			return was.Validate(v)
		}
		return nil
	}}
}
