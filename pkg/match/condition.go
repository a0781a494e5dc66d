package match

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
)

// maxCost bounds one evaluation, in CEL's cost units: a comparison costs about 1, reading a
// string 0.1 a byte, and each round of a macro what its body costs. It allows a search through
// the largest data (256 KiB, 26,000 units) and stops nested loops over long lists within
// milliseconds.
const maxCost = 100_000

// Program is a compiled condition. It may be used by several goroutines.
type Program struct{ cel cel.Program }

// environment is what conditions are written against: `event`, a map with id, type, tenant,
// occurred_at (timestamp), external_reference and attributes (map of strings), and `data`, the
// event's data as parsed JSON: whole numbers that fit are int, others double.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.Variable("event", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("data", cel.DynType),
	)
})

// Compile makes a program of a condition. Its error says in words for the webhook's owner what is
// wrong with the condition, and where.
func Compile(condition string) (*Program, error) {
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("condition environment: %w", err)
	}
	ast, issues := env.Compile(condition)
	if issues.Err() != nil {
		first := issues.Errors()[0]
		return nil, fmt.Errorf("line %d, column %d: %s", first.Location.Line(), first.Location.Column()+1, firstLine(first.Message))
	}
	if t := ast.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("gives %s, must give true or false", t)
	}
	p, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxCost))
	if err != nil {
		return nil, errors.New(firstLine(err.Error()))
	}
	return &Program{p}, nil
}

// CheckCondition says what is wrong with a webhook's condition; an empty one is right.
func CheckCondition(condition string) invalid.Fields {
	var f invalid.Fields
	if condition == "" {
		return nil
	}
	if _, err := Compile(condition); err != nil {
		f.Add("condition", "%s", err)
	}
	return f
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// Holds evaluates the condition for an event. It errs if the condition asks for a field that is
// not there, compares what cannot be compared, costs too much, or gives something other than
// true or false.
func (p *Program) Holds(e event.Event) (bool, error) { return p.holds(newVariables(e)) }

func (p *Program) holds(v *variables) (bool, error) {
	out, _, err := p.cel.Eval(v)
	if err != nil {
		return false, fmt.Errorf("condition: %s", firstLine(err.Error()))
	}
	holds, ok := out.Value().(bool)
	if !ok {
		return false, fmt.Errorf("condition: gives %s, must give true or false", out.Type().TypeName())
	}
	return holds, nil
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
