package catalogue

import "github.com/santhosh-tekuri/jsonschema/v6"

// price is what a part of a schema costs, in steps. The first look of the parts that it leads to is paid for
// by it, since they may fail before they come to their format.
type price struct {
	always   int            // whatever the value is
	key      int            // for each key of an object
	keyByte  int            // for each 64 bytes of a key
	property map[string]int // for a property of this name
	item     int            // for each item of an array
	prefix   int            // for an array
	unique   bool           // items are compared with one another
	text     int            // for each 64 bytes of a text
}

// priceOf is the price of s. notes tells that the whole schema has unevaluatedProperties or unevaluatedItems: then each
// part notes the keys or items of its value.
func priceOf(s *jsonschema.Schema, notes bool) price {
	p := price{always: 1 + len(s.Required), key: 1, item: 1, text: 1, unique: s.UniqueItems}
	for _, x := range besides(s) {
		p.always += look(x)
		if notes {
			p.key++
			p.item++
		}
	}
	for _, names := range s.DependentRequired {
		p.always += 1 + len(names)
	}
	for _, x := range s.Dependencies {
		if names, ok := x.([]string); ok {
			p.always += 1 + len(names)
		}
	}
	for _, x := range perKey(s) {
		p.key += look(x)
	}
	for re := range s.PatternProperties {
		p.key++
		p.keyByte += program(re)
	}
	if len(s.Properties) > 0 {
		p.property = make(map[string]int, len(s.Properties))
		for name, x := range s.Properties {
			p.property[name] = look(x)
		}
	}
	for _, x := range perItem(s) {
		p.item += look(x)
	}
	for _, x := range s.PrefixItems {
		p.prefix += look(x)
	}
	if s.Pattern != nil {
		p.text += program(s.Pattern)
	}
	return p
}

// look is what a part does before it comes to its format: the type, and what the value may be equal to.
func look(s *jsonschema.Schema) int {
	n := 1
	if s.Enum != nil {
		n += size(s.Enum.Values)
	}
	if s.Const != nil {
		n += size(*s.Const)
	}
	return n
}

// program is how many instructions a pattern has at most in work at one byte of a text.
func program(re jsonschema.Regexp) int {
	if p, ok := re.(*pattern); ok {
		return p.program
	}
	return MaxPatternProgram
}

// of is the price for a value.
func (p price) of(v any) int {
	switch v := v.(type) {
	case map[string]any:
		n := p.always + len(v)*p.key
		if p.property == nil && p.keyByte == 0 {
			return n
		}
		for name := range v {
			n += p.property[name] + len(name)*p.keyByte/64
		}
		return n
	case []any:
		n := p.always + p.prefix + len(v)*p.item
		if p.unique {
			n += 20 * size(v) // up to 20 items each with each, more by their hashes
		}
		return n
	case string:
		return p.always + len(v)*p.text/64
	}
	return p.always
}

// size counts the values within a value, and 64 bytes of text as one.
func size(v any) int {
	n := 1
	switch v := v.(type) {
	case string:
		n += len(v) / 64
	case []any:
		for _, x := range v {
			n += size(x)
		}
	case map[string]any:
		for name, x := range v {
			n += len(name)/64 + size(x)
		}
	}
	return n
}
