package match

import (
	"regexp"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"
)

// The library counts what a call cost once it has been made. Two kinds of calls may take for ever before that: a comparison of
// lists and maps, which may hold the same part over and over (`[data].map(a, [a, a]).map(b, [b, b])` doubles with each
// loop), and a regular expression, whose length says little of its work. Both are looked at before they are made.

const (
	// maxCompared is how many values lists and maps that are compared may hold, all in all: more cost too much.
	maxCompared = maxCost
	// maxPattern bounds a regular expression, in instructions of its program.
	maxPattern = 500
	// maxPatternWork bounds one use of it: instructions times bytes of the text, some 10 ns each, 100 for a unit of cost.
	maxPatternWork = 10 * maxCost * 10
	// zoneCost is what a calendar field in a named time zone costs: the zone is read from a file.
	zoneCost = 200
)

// guard replaces calls that need a look before they are made. It is an interpreter.InterpretableDecoratorV2.
func guard(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	call, ok := i.(interpreter.InterpretableCall)
	if !ok {
		return i, nil
	}
	switch call.Function() {
	case operators.Equals, operators.NotEquals:
		want := types.Bool(call.Function() == operators.Equals)
		return guarded(call, func(a, b ref.Val) ref.Val {
			if weight(a, maxCompared) > maxCompared || weight(b, maxCompared) > maxCompared {
				return types.NewErr("compares more than %d values", maxCompared)
			}
			return types.Bool(types.Equal(a, b) == want)
		}), nil
	case operators.In:
		return guardedIn(call), nil
	case overloads.Matches:
		return guardedMatches(call)
	}
	return i, nil
}

// guarded is a call of two arguments with another implementation.
func guarded(call interpreter.InterpretableCall, f func(a, b ref.Val) ref.Val) interpreter.InterpretableCall {
	return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), func(args ...ref.Val) ref.Val {
		if len(args) != 2 {
			return types.NoSuchOverloadErr()
		}
		return f(args[0], args[1])
	})
}

func guardedIn(call interpreter.InterpretableCall) interpreter.InterpretableCall {
	return guarded(call, func(v, in ref.Val) ref.Val {
		if looked(v, in) > maxCompared {
			return types.NewErr("looks through more than %d values", maxCompared)
		}
		container, ok := in.(traits.Container)
		if !ok {
			return types.MaybeNoSuchOverloadErr(in)
		}
		return container.Contains(v)
	})
}

// looked is how much is looked at to find v in a list or map, at most. A map is not searched, and what is no list or map
// itself is found without a look into those that a list holds.
func looked(v, in ref.Val) int {
	list, ok := in.(traits.Lister)
	if !ok {
		return weight(v, maxCompared)
	}
	switch v.(type) {
	case traits.Lister, traits.Mapper, *types.Optional:
		return weight(in, maxCompared)
	}
	n, ok := list.Size().(types.Int)
	if !ok || n < 0 || n > maxCompared {
		return maxCompared + 1
	}
	return int(n) * (1 + weight(v, maxCompared)/10)
}

// opaque hides from the library that something is a call, so that it is left as it is.
type opaque struct{ interpreter.InterpretableV2 }

// guardedMatches compiles the pattern, which literalPatterns has seen to be a literal.
func guardedMatches(call interpreter.InterpretableCall) (interpreter.InterpretableV2, error) {
	if len(call.Args()) != 2 {
		return call, nil
	}
	literal, ok := call.Args()[1].(interpreter.InterpretableConst)
	if !ok {
		return call, nil
	}
	pattern, ok := literal.Value().(types.String)
	if !ok {
		return call, nil
	}
	size, err := types.RegexProgramSize(string(pattern))
	if err != nil {
		return nil, err
	}
	compiled, err := regexp.Compile(string(pattern))
	if err != nil {
		return nil, err
	}
	// The size of the pattern stands for the overload, as that is what calls reads the cost by.
	sized := interpreter.NewCall(call.ID(), call.Function(), strconv.Itoa(size), call.Args(), nil)
	return opaque{guarded(sized, func(text, _ ref.Val) ref.Val {
		s, ok := text.(types.String)
		if !ok {
			return types.MaybeNoSuchOverloadErr(text)
		}
		if size*len(s) > maxPatternWork {
			return types.NewErr("a text of %d bytes is too long for this pattern, the limit is %d", len(s), maxPatternWork/size)
		}
		return types.Bool(compiled.MatchString(string(s)))
	})}, nil
}

// literalPatterns refuses patterns that are not written out, not valid or too large. It is a cel.ASTValidator.
type literalPatterns struct{}

// Name is part of cel.ASTValidator.
func (literalPatterns) Name() string { return "doorstep.patterns" }

// Validate is part of cel.ASTValidator.
func (literalPatterns) Validate(_ *cel.Env, _ cel.ValidatorConfig, a *ast.AST, issues *cel.Issues) {
	for _, e := range ast.MatchDescendants(ast.NavigateAST(a), ast.FunctionMatcher(overloads.Matches)) {
		args := e.AsCall().Args()
		if len(args) == 0 {
			continue
		}
		arg := args[len(args)-1]
		if arg.Kind() != ast.LiteralKind {
			issues.ReportErrorAtID(arg.ID(), "the pattern of matches must be a string that is written out")
			continue
		}
		pattern, ok := arg.AsLiteral().(types.String)
		if !ok {
			continue // the type check says so
		}
		size, err := types.RegexProgramSize(string(pattern))
		if err != nil {
			issues.ReportErrorAtID(arg.ID(), "the pattern is no RE2 regular expression")
		} else if size > maxPattern {
			issues.ReportErrorAtID(arg.ID(), "the pattern compiles to %d instructions, the limit is %d", size, maxPattern)
		}
	}
}

// calls says what calls cost. It is a cost.ActualCostEstimator. The library knows the cost of overloads, but of dynamic data
// it does not know which it calls, and of lists and maps it counts the outermost values only.
type calls struct{}

// CallCost is part of cost.ActualCostEstimator.
func (calls) CallCost(function, overload string, args []ref.Val, result ref.Val) *uint64 {
	n := 1
	switch {
	case (function == operators.Equals || function == operators.NotEquals) && len(args) == 2:
		n += weight(args[0], maxCompared) + weight(args[1], maxCompared)
	case function == operators.In && len(args) == 2:
		n += looked(args[0], args[1])
	case function == overloads.Matches && len(args) == 2:
		size, _ := strconv.Atoi(overload)
		n += flat(args[0]) * size / 10
	case strings.HasSuffix(overload, "_tz"):
		n += zoneCost
	default:
		n += flat(result)
		for _, v := range args {
			n += flat(v)
		}
	}
	return new(uint64(n)) //nolint:gosec // not negative
}

// flat is the weight of a text; of all else nothing.
func flat(v ref.Val) int {
	switch v := v.(type) {
	case types.String:
		return len(v) / 10
	case types.Bytes:
		return len(v) / 10
	}
	return 0
}

// weight is about how much a comparison of v may have to look at: 1 for each value that it holds, at any depth, and for
// each 10 bytes of a text. It stops counting beyond limit.
func weight(v ref.Val, limit int) int {
	switch v := v.(type) {
	case *types.Optional:
		if !v.HasValue() {
			return 1
		}
		return 1 + weight(v.GetValue(), limit)
	case traits.Mapper:
		n := 1
		for it := v.Iterator(); n <= limit && it.HasNext() == types.True; {
			key := it.Next()
			n += 1 + weight(key, limit-n)
			if value, ok := v.Find(key); ok {
				n += 1 + weight(value, limit-n)
			}
		}
		return n
	case traits.Lister:
		n := 1
		for it := v.Iterator(); n <= limit && it.HasNext() == types.True; {
			n += 1 + weight(it.Next(), limit-n)
		}
		return n
	}
	return flat(v)
}
