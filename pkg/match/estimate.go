package match

import (
	"fmt"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
)

// What an event is taken to hold when the cost of a condition is estimated. How long its lists and texts are is not
// known before it comes: an event that holds more meets maxCost when it is evaluated.
const (
	usualEntries = 30   // of each list and map
	usualText    = 1000 // characters of each text
)

// estimate refuses a condition that would cost too much for events of a usual size: loops within loops. It returns what is
// wrong, with the position of the innermost loop; empty: nothing.
func estimate(env *cel.Env, checked *cel.Ast, condition string) string {
	likely, err := env.EstimateCost(checked, usual{})
	if err != nil {
		return fmt.Sprintf("its cost cannot be estimated: %s", firstLine(err.Error()))
	}
	// The library's upper bound is without end for what it knows nothing of, which is then for the evaluation to bound.
	if likely.Max <= maxCost || likely.Max >= 1<<62 && likely.Min <= maxCost {
		return ""
	}
	fault := fmt.Sprintf("costs up to %d for lists of %d entries, the limit is %d", likely.Max, usualEntries, maxCost)
	loop, found := innermost(checked.NativeRep())
	if !found {
		return at(condition, 1, 0, fault)
	}
	where := checked.NativeRep().SourceInfo().GetStartLocation(loop)
	return at(condition, where.Line(), where.Column(), fault)
}

// tooManyLoops refuses a condition with more than maxLoops, at the first that is too many.
func tooManyLoops(a *ast.AST, condition string) string {
	loops := ast.MatchDescendants(ast.NavigateAST(a), ast.KindMatcher(ast.ComprehensionKind))
	if len(loops) <= maxLoops {
		return ""
	}
	where := a.SourceInfo().GetStartLocation(loops[maxLoops].ID())
	return at(condition, where.Line(), where.Column(), fmt.Sprintf("has %d loops (all, exists, filter, map), the limit is %d", len(loops), maxLoops))
}

// innermost is the id of the loop that stands within most others.
func innermost(a *ast.AST) (id int64, found bool) {
	deepest := -1
	for _, e := range ast.MatchDescendants(ast.NavigateAST(a), ast.KindMatcher(ast.ComprehensionKind)) {
		depth := 0
		for up, ok := e.Parent(); ok; up, ok = up.Parent() {
			if up.Kind() == ast.ComprehensionKind {
				depth++
			}
		}
		if depth > deepest {
			id, deepest = e.ID(), depth
		}
	}
	return id, deepest >= 0
}

// usual is a cost.Estimator of events of a usual size.
type usual struct{}

// EstimateSize is part of cost.Estimator.
func (usual) EstimateSize(node cost.AstNode) *cost.SizeEstimate {
	if node.ComputedSize() != nil || len(node.Path()) == 0 && written(node.Expr()) {
		return nil
	}
	most := uint64(usualEntries)
	if node.Type() != nil && node.Type().Kind() == types.StringKind {
		most = usualText
	}
	return &cost.SizeEstimate{Min: 0, Max: most}
}

// written reports whether an expression is written out, so that the library knows its size.
func written(e ast.Expr) bool {
	if e == nil {
		return false
	}
	switch e.Kind() {
	case ast.LiteralKind, ast.ListKind, ast.MapKind, ast.StructKind, ast.ComprehensionKind:
		return true
	default:
		return false
	}
}

// EstimateCallCost is part of cost.Estimator.
func (usual) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}
