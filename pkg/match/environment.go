package match

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/doorstep-dev/doorstep/pkg/event"
)

// maxCost bounds one evaluation, in CEL's cost units: a comparison costs about 1, reading a
// string 0.1 a byte, and each round of a macro what its body costs. It allows a search through
// the largest data (256 KiB, 26,000 units) and stops nested loops over long lists within
// milliseconds.
const maxCost = 100_000

const (
	// maxLoops is how many loops (all, exists, filter, map) a condition may have: the type check takes the time of their cube.
	maxLoops = 16
	// maxDepth is how deep an expression may stand within others.
	maxDepth = 100
)

// eventType is the name of the type of `event`, which nobody writes.
const eventType = "doorstep.Event"

// environment is what conditions are written against: `event`, an object with id, type, tenant,
// occurred_at (timestamp), external_reference and attributes (map of strings), and `data`, the
// event's data as parsed JSON: whole numbers that fit are int, others double.
//
// Beside CEL's own functions and macros it has optionals (`data.?customer.?vip.orValue(false)`), since fields that
// are not there are what makes conditions fail, and lowerAscii, upperAscii and trim. The rest of cel-go's string functions
// (replace, join, format, split) can make much of little within one call, where no cost limit reaches; sets say nothing that
// exists and `in` do not; the math functions are of no use without a way to keep their results.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	registry, err := types.NewRegistry()
	if err == nil {
		err = registry.RegisterType(types.OptionalType)
	}
	if err != nil {
		return nil, err
	}
	return cel.NewEnv(
		cel.OptionalTypes(), // before the provider, which takes no more types
		cel.CustomTypeAdapter(registry), cel.CustomTypeProvider(provider{registry}),
		cel.Variable("event", cel.ObjectType(eventType)),
		cel.Variable("data", cel.DynType),
		text("lowerAscii", lowerASCII), text("upperAscii", upperASCII), text("trim", strings.TrimSpace),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), literalPatterns{}),
		cel.ParserRecursionLimit(maxDepth),
	)
})

// programOptions are those of every program.
func programOptions() []cel.ProgramOption {
	return []cel.ProgramOption{
		cel.EvalOptions(cel.OptOptimize), cel.CostTracking(calls{}), cel.CostLimit(maxCost), cel.CustomDecoratorV2(guard),
	}
}

// text declares a function of a string that gives one that is no longer.
func text(name string, f func(string) string) cel.EnvOption {
	return cel.Function(name, cel.MemberOverload("string_"+name, []*cel.Type{cel.StringType}, cel.StringType,
		cel.UnaryBinding(func(v ref.Val) ref.Val {
			s, ok := v.(types.String)
			if !ok {
				return types.MaybeNoSuchOverloadErr(v)
			}
			return types.String(f(string(s)))
		})))
}

func lowerASCII(s string) string { return strings.Map(shifted('A', 'Z', 'a'-'A'), s) }
func upperASCII(s string) string { return strings.Map(shifted('a', 'z', 'A'-'a'), s) }

func shifted(from, to, by rune) func(rune) rune {
	return func(r rune) rune {
		if r >= from && r <= to {
			return r + by
		}
		return r
	}
}

// provider knows the type of `event` beside CEL's own. Its value is a map.
type provider struct{ types.Provider }

// eventFields are the fields of `event`.
func eventFields() map[string]*types.Type {
	return map[string]*types.Type{
		"id": types.StringType, "type": types.StringType, "tenant": types.StringType, "occurred_at": types.TimestampType,
		"external_reference": types.StringType, "attributes": types.NewMapType(types.StringType, types.StringType),
	}
}

// FindStructType is part of types.Provider.
func (p provider) FindStructType(name string) (*types.Type, bool) {
	if name == eventType {
		return types.NewTypeTypeWithParam(types.NewObjectType(eventType)), true
	}
	return p.Provider.FindStructType(name)
}

// FindStructFieldNames is part of types.Provider.
func (p provider) FindStructFieldNames(name string) ([]string, bool) {
	if name == eventType {
		return []string{"attributes", "external_reference", "id", "occurred_at", "tenant", "type"}, true
	}
	return p.Provider.FindStructFieldNames(name)
}

// FindStructFieldType is part of types.Provider.
func (p provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if name != eventType {
		return p.Provider.FindStructFieldType(name, field)
	}
	t, ok := eventFields()[field]
	if !ok {
		return nil, false
	}
	return &types.FieldType{
		Type:  t,
		IsSet: func(of any) bool { return fieldOf(of, field) != nil },
		GetFrom: func(of any) (any, error) {
			if v := fieldOf(of, field); v != nil {
				return v, nil
			}
			return nil, fmt.Errorf("no such key: %s", field)
		},
	}, true
}

func fieldOf(event any, field string) any {
	fields, _ := event.(map[string]any)
	return fields[field]
}

// NewValue is part of types.Provider.
func (p provider) NewValue(name string, fields map[string]ref.Val) ref.Val {
	if name == eventType {
		return types.NewErr("events cannot be made")
	}
	return p.Provider.NewValue(name, fields)
}

// variables are one event as conditions see it; each part is made when first asked for.
type variables struct {
	of        event.Event
	event     map[string]any
	data      any
	parsed    bool
	dataFault error
}

func newVariables(e event.Event) *variables { return &variables{of: e} }

// Parent is part of cel.Activation.
func (v *variables) Parent() cel.Activation { return nil }

// ResolveName is part of cel.Activation.
func (v *variables) ResolveName(name string) (any, bool) {
	switch name {
	case "event":
		if v.event == nil {
			v.event = map[string]any{
				"id": v.of.ID, "type": v.of.Type, "tenant": v.of.Tenant, "occurred_at": v.of.OccurredAt,
				"external_reference": v.of.ExternalReference, "attributes": v.of.Attributes,
			}
		}
		return v.event, true
	case "data":
		if !v.parsed {
			v.data, v.dataFault = parse(v.of.Data)
			v.parsed = true
		}
		return v.data, v.dataFault == nil
	}
	return nil, false
}

func parse(data []byte) (any, error) {
	if len(data) == 0 {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("something follows the value")
	}
	return numbers(v), nil
}

// numbers replaces the texts of numbers: by int where they are whole and fit, else by double.
func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, _ := v.Float64() // out of range gives an infinity, which compares as one expects
		return f
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	}
	return v
}
