package catalogue_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/catalogue"
)

func compile(t testing.TB, schema string) *catalogue.Schema {
	t.Helper()
	s, err := catalogue.Compile([]byte(schema))
	if err != nil {
		t.Fatalf("%.200s: %v", schema, err)
	}
	return s
}

const card = `{
	"$schema": "https://json-schema.org/draft/2020-12/schema",
	"type": "object", "required": ["id", "name"], "additionalProperties": false,
	"$defs": {"label": {"type": "object", "required": ["color"], "properties": {"color": {"pattern": "^#[0-9a-f]{6}$"}}}},
	"properties": {
		"id": {"type": "string", "format": "uuid"},
		"name": {"type": "string", "maxLength": 5},
		"minutes": {"type": "integer", "minimum": 0, "multipleOf": 0.5},
		"kind": {"enum": ["a", 1, null]},
		"labels": {"type": "array", "maxItems": 2, "uniqueItems": true, "items": {"$ref": "#/$defs/label"}},
		"due": {"anyOf": [{"type": "null"}, {"type": "string", "format": "date"}]},
		"secret": {"const": "hunter2"}
	}
}`

func TestCheck(t *testing.T) {
	s := compile(t, card)
	const id = `"id":"8c1f4b52-6a0e-4f7d-9a53-0d2b9c3f6e11","name":"oak"`
	for data, want := range map[string]string{
		`{` + id + `}`: "",
		`{` + id + `,"labels":[{"color":"#00ff00"}],"due":null,"minutes":1e2,"kind":null}`: "",
		`{"id":"x","name":"too long"}`:       "data.id: must be of the format uuid; data.name: has 8 characters, the limit is 5",
		`{}`:                                 "data.id: is required; data.name: is required",
		`[]`:                                 "data: must be object, not array",
		`{` + id + `,"extra":"tell nobody"}`: "data.extra: is not a property of this",
		`{` + id + `,"minutes":-1}`:          "data.minutes: must be at least 0",
		`{` + id + `,"minutes":1.2}`:         "data.minutes: must be integer, not number",
		`{` + id + `,"kind":"tell nobody"}`:  `data.kind: must be "a", 1, null`,
		`{` + id + `,"labels":[{"color":"tell nobody"}]}`:                 `data.labels.0.color: must match "^#[0-9a-f]{6}$"`,
		`{` + id + `,"labels":[{"color":"#000000"},{"color":"#000000"}]}`: "data.labels: has the same item twice, as number 1 and 2",
		`{` + id + `,"due":"tell nobody"}`:                                "data.due: fits none of the forms that it may have (anyOf, oneOf)",
		`{` + id + `,"minutes":1e999999999}`:                              "data: holds a number of more than 400 digits, or with an exponent beyond 400",
		`{` + id + `,"minutes":1e-401}`:                                   "data: holds a number of more than 400 digits, or with an exponent beyond 400",
		`{` + id + `} {`:                                                  "data: is not valid JSON: something follows the value",
		`{"id"`:                                                           "data: is not valid JSON",
		"\"\xff\"":                                                        "data: is not UTF-8",
		strings.Repeat("[", 129) + strings.Repeat("]", 129):               "data: has objects and arrays within one another more than 128 deep",
	} {
		for range 3 { // whatever the order of maps
			got := s.Check("data", []byte(data))
			if text := got.Error(); text != want {
				t.Errorf("%.80s: %q, want %q", data, text, want)
			} else if strings.Contains(text, "tell nobody") {
				t.Errorf("%s repeats a value: %s", data, text)
			}
		}
	}
}

func TestCheckTellsOfSoManyFaults(t *testing.T) {
	s := compile(t, `{"additionalProperties": {"type": "string"}}`)
	var data []string
	for i := range catalogue.MaxFaults + 5 {
		data = append(data, fmt.Sprintf(`"p%02d":%d`, i, i))
	}
	got := s.Check("data", []byte("{"+strings.Join(data, ",")+"}"))
	if len(got) != catalogue.MaxFaults+1 || got[0].Name != "data.p00" || got[catalogue.MaxFaults].Message != "and 5 more" {
		t.Errorf("%d faults: %v", len(got), got)
	}
}

func TestCompileRefuses(t *testing.T) {
	for schema, want := range map[string]string{
		`{`:                                     "is not valid JSON",
		`7`:                                     "must be an object, or true or false",
		`{"type":"text"}`:                       "is not a JSON Schema: at type: fits none",
		`{"properties":{"a":{"minLength":-1}}}`: "at properties.a.minLength: must be at least 0",
		`{"$schema":"http://json-schema.org/draft-07/schema#"}`:                                "$schema must be https://json-schema.org/draft/2020-12/schema",
		`{"properties":{"a":{"$schema":"http://json-schema.org/draft-07/schema#","$id":"b"}}}`: "another $schema",
		`{"properties":{"a":{"pattern":"(?=x)"}}}`:                                             "is not a JSON Schema: at properties.a.pattern: is not a regular expression of RE2",
		`{"pattern":"` + strings.Repeat("x", 513) + `"}`:                                       "is a regular expression of 513 bytes, the limit is 512",
		`{"pattern":"(x{1000})(y{1000})(z{1000})"}`:                                            "instructions, the limit is 2000",
		`{"patternProperties":{"(":{}}}`:                                                       "is not a regular expression of RE2",
		`{"$ref":"https://example.com/card.json"}`:                                             `the reference "https://example.com/card.json" is outside of the schema`,
		`{"$ref":"file:///etc/passwd"}`:                                                        `the reference "file:///etc/passwd" is outside of the schema`,
		`{"$ref":"other.json"}`:                                                                `is outside of the schema`,
		`{"$id":"https://example.com/a","$ref":"b"}`:                                           `is outside of the schema`,
		`{"$ref":"#/$defs/a"}`:                                                                 `the reference "#/$defs/a" leads to nothing`,
		`{"$ref":"#a"}`:                                                                        "leads to nothing",
		`{"$ref":"https://json-schema.org/draft/2020-12/schema"}`:                              "$dynamicRef",
		`{"$ref":"http://json-schema.org/draft-07/schema"}`:                                    "another $schema",
		`{"$dynamicAnchor":"a"}`:                                                               "$dynamicRef",
		`{"$ref":"#"}`:                                                                         "refers to itself",
		`{"$defs":{"a":{"anyOf":[{"$ref":"#/$defs/b"}]},"b":{"not":{"$ref":"#/$defs/a"}}},"$ref":"#/$defs/a"}`: "refers to itself",
		`{"maximum":1e999}`: "exponent beyond 400",
		strings.Repeat(`{"not":`, 65) + `{}` + strings.Repeat(`}`, 65):            "more than 64 deep",
		`{"anyOf":[true` + strings.Repeat(`,true`, 2000) + `]}`:                   "parts (objects, arrays, true and false), the limit is 2000",
		`{"description":"` + strings.Repeat("x", catalogue.MaxSchemaBytes) + `"}`: "bytes, the limit is 65536",
	} {
		_, err := catalogue.Compile([]byte(schema))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.100s: %v, want %q", schema, err, want)
		}
	}
}

func TestCompileAccepts(t *testing.T) {
	for schema, fits := range map[string]string{
		`true`: `{"any":"thing"}`,
		`{}`:   `null`,
		`{"$id":"https://example.com/a","properties":{"next":{"$ref":"https://example.com/a"}},"type":"object"}`: `{"next":{"next":{}}}`,
		`{"$defs":{"a":{"$anchor":"b","type":"string"}},"$ref":"#b"}`:                                            `"x"`,
		`{"properties":{"$ref":{"type":"string"},"enum":{"const":1}}}`:                                           `{"$ref":"x","enum":1}`,
		`{"format":"unheard of","unknown":"keyword"}`:                                                            `1`,
		`{"unevaluatedProperties":false,"allOf":[{"properties":{"a":true}}]}`:                                    `{"a":1}`,
	} {
		if f := compile(t, schema).Check("data", []byte(fits)); len(f) != 0 {
			t.Errorf("%s: %v", schema, f)
		}
	}
}

// costly are schemas and data that without a bound would take longer than anybody can wait, or so long that
// a few of them stop an ingest.
func costly() map[string][2]string {
	multiplying := func(keyword string) string {
		var defs []string
		for i := range 12 {
			next := fmt.Sprintf(`{"$ref":"#/$defs/a%d"}`, i+1)
			defs = append(defs, fmt.Sprintf(`"a%d":{"%s":[%s,%s,%s,%s]}`, i, keyword, next, next, next, next))
		}
		return `{"$defs":{` + strings.Join(defs, ",") + `,"a12":{"type":"string"}},"$ref":"#/$defs/a0"}`
	}
	deep := func(open, end string) string { return strings.Repeat(open, 100) + "1" + strings.Repeat(end, 100) }
	var values []string
	for i := range 9000 {
		values = append(values, fmt.Sprint(i))
	}
	ones := `[` + strings.Repeat("-1,", 80_000) + `-1]`
	return map[string][2]string{
		"anyOf that multiplies":          {multiplying("anyOf"), "1"},
		"allOf that multiplies":          {multiplying("allOf"), "1"},
		"oneOf that multiplies":          {multiplying("oneOf"), `"x"`},
		"not, and items seen twice":      {`{"$defs":{"n":{"type":"array","items":{"$ref":"#/$defs/n"},"contains":{"$ref":"#/$defs/n"}}},"not":{"$ref":"#/$defs/n"}}`, deep("[", "]")},
		"keys that several patterns fit": {`{"$defs":{"n":{"type":"object","patternProperties":{"a":{"$ref":"#/$defs/n"},"a+":{"$ref":"#/$defs/n"}}}},"not":{"$ref":"#/$defs/n"}}`, deep(`{"a":`, "}")},
		"a long enum for many items":     {`{"items":{"enum":[` + strings.Join(values, ",") + `]}}`, ones},
		"a pattern on a long text":       {`{"pattern":"^(a?){400}$"}`, `"` + strings.Repeat("a", 250_000) + `"`},
		"unique items at each level":     {`{"$defs":{"n":{"uniqueItems":true,"items":{"$ref":"#/$defs/n"}}},"$ref":"#/$defs/n"}`, nested(100)},
		"names looked at many times":     {`{"unevaluatedProperties":false,"anyOf":[` + strings.Repeat(`{"type":"null"},`, 900) + `true]}`, wide(20_000)},
	}
}

// nested is an array in an array and so on, with much in the innermost.
func nested(depth int) string {
	return strings.Repeat("[", depth) + strings.Repeat("[],", 60_000) + "1" + strings.Repeat("]", depth)
}

func wide(keys int) string {
	var b strings.Builder
	b.WriteString(`{"x":1`)
	for i := range keys {
		fmt.Fprintf(&b, `,"k%d":1`, i)
	}
	return b.String() + "}"
}

func TestAChecksStepsAreBounded(t *testing.T) {
	for name, c := range costly() {
		t.Run(name, func(t *testing.T) {
			f := compile(t, c[0]).Check("data", []byte(c[1]))
			want := "data: takes more than 1000000 steps to check against the schema of its type"
			if f.Error() != want {
				t.Errorf("%.200s, want %s", f.Error(), want)
			}
		})
	}
}

// The largest event is checked, if its schema is nothing out of the ordinary.
func TestTheLargestEventIsChecked(t *testing.T) {
	for name, c := range map[string][2]string{
		"numbers": {`{"items":{"type":"integer","minimum":0}}`, `[` + strings.Repeat("1,", 130_000) + `1]`},
		"objects": {`{"items":{"type":"object","required":["a"],"properties":{"a":{"type":"integer"}}}}`, `[` + strings.Repeat(`{"a":1},`, 32_000) + `{"a":1}]`},
		"a text":  {`{"type":"string","pattern":"^[a-z]+$","maxLength":300000}`, `"` + strings.Repeat("a", 260_000) + `"`},
		"choices": {`{"items":{"oneOf":[{"type":"null"},{"type":"object","properties":{"a":{"enum":[1,2,3]}}}]}}`, `[` + strings.Repeat(`{"a":1},`, 32_000) + `null]`},
	} {
		if f := compile(t, c[0]).Check("data", []byte(c[1])); len(f) != 0 {
			t.Errorf("%s: %v", name, f)
		}
	}
}

func TestASchemaChecksManyAtOnce(t *testing.T) {
	s := compile(t, card)
	want := s.Check("data", []byte(`{}`))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if d := cmp.Diff(want, s.Check("data", []byte(`{}`))); d != "" {
					t.Error(d)
				}
			}
		})
	}
	wg.Wait()
}

// Nothing that a customer may send as a schema or as data stops the program.
func FuzzCheck(f *testing.F) {
	f.Add(card, `{"id":1,"labels":[{"color":"x"}],"minutes":1.5}`)
	f.Add(costly()["keys that several patterns fit"][0], `{"a":{"aa":1}}`)
	f.Add(`{"dependentRequired":{"a":["b"]},"dependencies":{"a":["c"],"b":{"minProperties":2}},"propertyNames":{"maxLength":1}}`, `{"a":1,"bb":2}`)
	f.Add(`{"prefixItems":[{"multipleOf":0.01},{"exclusiveMaximum":3}],"minContains":2,"contains":{"type":"number"},"unevaluatedItems":false}`, `[0.015,3,"x"]`)
	f.Fuzz(func(t *testing.T, schema, data string) {
		s, err := catalogue.Compile([]byte(schema))
		if err != nil {
			return
		}
		for _, fault := range s.Check("data", []byte(data)) {
			if fault.Name == "" || fault.Message == "" {
				t.Errorf("a fault without words: %+v", fault)
			}
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	s := compile(b, card)
	data := []byte(`{"id":"8c1f4b52-6a0e-4f7d-9a53-0d2b9c3f6e11","name":"oak","labels":[{"color":"#00ff00"}],"due":null,"minutes":100}`)
	b.ReportAllocs()
	for b.Loop() {
		if f := s.Check("data", data); len(f) > 0 {
			b.Fatal(f)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	for b.Loop() {
		if _, err := catalogue.Compile([]byte(card)); err != nil {
			b.Fatal(err)
		}
	}
}
