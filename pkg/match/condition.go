package match

import (
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
)

// maxFaults are told of a condition at once.
const maxFaults = 3

// Program is a compiled condition. It may be used by several goroutines.
type Program struct {
	cel  cel.Program
	text string
}

// Compile makes a program of a condition. Its error says in words for the webhook's owner what is
// wrong with the condition first, and where.
func Compile(condition string) (*Program, error) {
	p, faults := compile(condition)
	if len(faults) > 0 {
		return nil, errors.New(faults[0])
	}
	return p, nil
}

// compile makes a program, or says what is wrong with the condition. A condition over which the library stumbles is
// refused: it stands in the log, and would stop every matcher that reads it.
func compile(condition string) (p *Program, faults []string) {
	defer func() {
		if r := recover(); r != nil {
			p, faults = nil, []string{fmt.Sprintf("cannot be compiled: %s", firstLine(fmt.Sprint(r)))}
		}
	}()
	env, err := environment()
	if err != nil {
		return nil, []string{fmt.Sprintf("condition environment: %s", err)}
	}
	parsed, issues := env.Parse(condition)
	if issues.Err() != nil {
		return nil, told(condition, issues)
	}
	if fault := tooManyLoops(parsed.NativeRep(), condition); fault != "" {
		return nil, []string{fault}
	}
	ast, issues := env.Check(parsed)
	if issues.Err() != nil {
		return nil, told(condition, issues)
	}
	if t := ast.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, []string{at(condition, 1, 0, fmt.Sprintf("gives %s, must give true or false", plainly(t.String())))}
	}
	if fault := estimate(env, ast, condition); fault != "" {
		return nil, []string{fault}
	}
	program, err := env.Program(ast, programOptions()...)
	if err != nil {
		return nil, []string{firstLine(err.Error())}
	}
	return &Program{program, condition}, nil
}

// told are the issues of a condition in words.
func told(condition string, issues *cel.Issues) []string {
	var faults []string
	for _, e := range issues.Errors() {
		faults = append(faults, at(condition, e.Location.Line(), e.Location.Column(), plainly(e.Message)))
	}
	return faults
}

// CheckCondition says what is wrong with a webhook's condition, and where; an empty one is right.
func CheckCondition(condition string) invalid.Fields {
	var f invalid.Fields
	if condition == "" {
		return nil
	}
	_, faults := compile(condition)
	for _, fault := range faults[:min(maxFaults, len(faults))] {
		f.Add("condition", "%s", fault)
	}
	return f
}

// snippetLength is how much of a condition is repeated in a fault, in characters.
const snippetLength = 32

// at says a fault with its position and what stands there. line counts from 1, column from 0, in characters.
func at(condition string, line, column int, fault string) string {
	if line < 1 {
		return fault
	}
	lines := strings.Split(condition, "\n")
	rest := ""
	if line <= len(lines) {
		if chars := []rune(lines[line-1]); column >= 0 && column < len(chars) {
			rest = string(chars[column:min(len(chars), column+snippetLength)])
		}
	}
	where := fmt.Sprintf("line %d, column %d: ", line, column+1)
	if rest = strings.TrimSpace(rest); rest == "" {
		return where + fault
	}
	return where + fault + ", at `" + rest + "`"
}

// plainly is a message of the library on one line, without what only the library's authors can read.
func plainly(message string) string {
	message = strings.TrimPrefix(firstLine(message), "Syntax error: ")
	message, _, _ = strings.Cut(message, " expecting {") // every token that there is
	for _, r := range [][2]string{
		{eventType, "event"}, {"'<EOF>'", "the end"}, {"'_", "'"}, {"_'", "'"}, {"'@in'", "'in'"},
	} {
		message = strings.ReplaceAll(message, r[0], r[1])
	}
	return message
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// Holds evaluates the condition for an event. It errs if the condition asks for a field that is
// not there, compares what cannot be compared, costs too much, or gives something other than
// true or false.
func (p *Program) Holds(e event.Event) (bool, error) {
	holds, _, err := p.holds(newVariables(e))
	return holds, err
}

// holds also returns what the evaluation cost.
func (p *Program) holds(v *variables) (holds bool, cost uint64, err error) {
	out, details, err := p.cel.Eval(v)
	if details != nil && details.ActualCost() != nil {
		cost = *details.ActualCost()
	}
	switch {
	case err != nil && v.dataFault != nil:
		return false, cost, errors.New("condition: the event's data is not JSON")
	case err != nil:
		return false, cost, fmt.Errorf("condition: %s", evaluationFault(err, p.text))
	}
	// The value itself is not asked for: of a list it would be made, however long that is.
	switch out {
	case types.True:
		return true, cost, nil
	case types.False:
		return false, cost, nil
	}
	return false, cost, fmt.Errorf("condition: gives %s, must give true or false", out.Type().TypeName())
}

// evaluationFault says in words what went wrong in an evaluation. It is kept and shown where the event's data is not, so what
// the library repeats of that is left out: of its messages those are told that name types or what the condition itself
// says.
func evaluationFault(err error, condition string) string {
	message := firstLine(err.Error())
	if strings.Contains(message, "actual cost limit exceeded") {
		return fmt.Sprintf("costs more than %d, which is the limit", maxCost)
	}
	for _, known := range []string{
		"no such overload", "unsupported index type", "unsupported key type", "type conversion error",
		"division by zero", "modulus by zero", "integer overflow", "unsigned integer overflow",
		"events cannot be made", "compares more than", "looks through more than", "a text of ", "internal error",
	} {
		if strings.HasPrefix(message, known) {
			return message
		}
	}
	for _, known := range []string{"no such key", "no such attribute", "index out of bounds"} {
		named, is := strings.CutPrefix(message, known)
		if named = strings.TrimPrefix(named, ": "); is && named != "" && strings.Contains(condition, named) {
			return message
		} else if is {
			return known
		}
	}
	return "a value of the event is not what the condition takes it for"
}
