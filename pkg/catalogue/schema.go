package catalogue

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/doorstep-dev/doorstep/pkg/invalid"
)

// Limits of a schema.
const (
	MaxSchemaBytes    = 64 << 10
	MaxSchemaDepth    = 64    // objects and arrays within one another
	MaxSchemaParts    = 2_000 // objects, arrays, true and false
	MaxReferences     = 32    // that lead to one another without going into a property or an item
	MaxPatternBytes   = 512
	MaxPatternProgram = 2_000 // instructions of RE2, which x{1000} has a thousand of
)

// dialect is the only one there is.
const dialect = "https://json-schema.org/draft/2020-12/schema"

// base is where a schema without $id stands. Nothing is there.
const base = "https://schema.invalid/"

// Schema checks JSON. It is safe for concurrent use.
type Schema struct {
	text []byte

	mu   sync.Mutex
	free []*checker // that nobody uses now
}

// Compile reads a schema. Its error is one line that says what is wrong and where in the schema, with the limit.
//
// Formats (date-time, uuid, uri and so on) are checked, not only noted; those that JSON Schema does not know are
// passed over. Not to be had: other dialects than 2020-12, references out of the schema, $dynamicRef.
func Compile(schema []byte) (*Schema, error) {
	first, err := newChecker(schema)
	if err != nil {
		return nil, err
	}
	return &Schema{text: schema, free: []*checker{first}}, nil
}

// Check says everything that is wrong with data, at most MaxFaults faults; nothing, if it fits. Fields are paths
// within field, e.g. data.current.name for field "data". They name properties, and never repeat a value.
func (s *Schema) Check(field string, data []byte) invalid.Fields {
	var f invalid.Fields
	v, err := decode(data, MaxDataDepth)
	if err != nil {
		f.Add(field, "%s", err)
		return f
	}
	c, err := s.take()
	if err != nil {
		f.Add(field, "cannot be checked: the schema %s", err) // not to be reached: it was compiled before
		return f
	}
	defer s.give(c)
	return c.check(field, v)
}

// take returns a checker that nobody else uses. Each counts its own steps, so a schema has as many as it is
// used at once.
func (s *Schema) take() (*checker, error) {
	s.mu.Lock()
	if n := len(s.free); n > 0 {
		defer s.mu.Unlock()
		c := s.free[n-1]
		s.free = s.free[:n-1]
		return c, nil
	}
	s.mu.Unlock()
	return newChecker(s.text)
}

func (s *Schema) give(c *checker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, c)
}

// newChecker compiles a schema and makes it count.
func newChecker(schema []byte) (*checker, error) {
	if n := len(schema); n > MaxSchemaBytes {
		return nil, fmt.Errorf("has %d bytes, the limit is %d", n, MaxSchemaBytes)
	}
	doc, err := decode(schema, MaxSchemaDepth)
	if err != nil {
		return nil, err
	}
	switch doc.(type) {
	case bool, map[string]any:
	default:
		return nil, errors.New("must be an object, or true or false")
	}
	if n := parts(doc); n > MaxSchemaParts {
		return nil, fmt.Errorf("has %d parts (objects, arrays, true and false), the limit is %d", n, MaxSchemaParts)
	}
	if d, ok := doc.(map[string]any); ok {
		if named, given := d["$schema"].(string); given && strings.TrimSuffix(named, "#") != dialect {
			return nil, fmt.Errorf("$schema must be %s, or be left out", dialect)
		}
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	c.UseRegexpEngine(newPattern)
	c.UseLoader(nowhere{})
	if err := c.AddResource(base, doc); err != nil {
		return nil, explain(err)
	}
	compiled, err := c.Compile(base)
	if err != nil {
		return nil, explain(err)
	}
	return metered(compiled)
}

// parts counts what may be a schema, or hold one.
func parts(v any) int {
	n := 0
	switch v := v.(type) {
	case bool:
		n = 1
	case []any:
		n = 1
		for _, x := range v {
			n += parts(x)
		}
	case map[string]any:
		n = 1
		for _, x := range v {
			n += parts(x)
		}
	}
	return n
}

// nowhere loads nothing.
type nowhere struct{}

var errNowhere = errors.New("is outside of the schema, and nothing is loaded")

func (nowhere) Load(string) (any, error) { return nil, errNowhere }

// pattern is a regular expression of RE2, which takes time in proportion to the text and to its program.
type pattern struct {
	*regexp.Regexp
	program int // instructions
}

// patternError says what is wrong with a regular expression, without repeating it.
type patternError string

func (e patternError) Error() string { return string(e) }

const notRE2 patternError = "is not a regular expression of RE2 (which has no look-around and no back-references)"

func newPattern(text string) (jsonschema.Regexp, error) {
	if n := len(text); n > MaxPatternBytes {
		return nil, patternError(fmt.Sprintf("is a regular expression of %d bytes, the limit is %d", n, MaxPatternBytes))
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, notRE2
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return nil, notRE2
	}
	if n := len(program.Inst); n > MaxPatternProgram {
		return nil, patternError(fmt.Sprintf("is a regular expression of %d instructions, the limit is %d; it must repeat less", n, MaxPatternProgram))
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, notRE2
	}
	return &pattern{Regexp: re, program: len(program.Inst)}, nil
}

// explain is an error of the compiler in one line of ours.
func explain(err error) error {
	var (
		wrong   *jsonschema.SchemaValidationError
		within  *jsonschema.ValidationError
		load    *jsonschema.LoadURLError
		pointer *jsonschema.JSONPointerNotFoundError
		anchor  *jsonschema.AnchorNotFoundError
		cycle   *jsonschema.MetaSchemaMismatchError
	)
	switch {
	case errors.As(err, &wrong) && errors.As(wrong.Err, &within):
		if f := faultsOf("", within); len(f) > 0 {
			return fmt.Errorf("is not a JSON Schema: at %s: %s", orRoot(f[0].Name), f[0].Message)
		}
		return errors.New("is not a JSON Schema")
	case errors.As(err, &load):
		return fmt.Errorf("the reference %q %w", clip(load.URL), errNowhere)
	case errors.As(err, &pointer):
		return fmt.Errorf("the reference %q leads to nothing", clip(strings.TrimPrefix(pointer.URL, base)))
	case errors.As(err, &anchor):
		return fmt.Errorf("the reference %q leads to nothing", clip(strings.TrimPrefix(anchor.Reference, base)))
	case errors.As(err, &cycle):
		return errors.New("has another $schema within it")
	}
	return fmt.Errorf("is not a JSON Schema that can be used: %s", clip(err.Error()))
}

func orRoot(path string) string {
	if path == "" {
		return "its root"
	}
	return path
}

func clip(text string) string {
	if len(text) > 64 {
		return strings.ToValidUTF8(text[:64], "") + "..."
	}
	return text
}
