package catalogue_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/catalogue"
)

func TestFromYAML(t *testing.T) {
	for document, want := range map[string]string{
		"b: 1\na: [x, true, null, 1.50, 0x10, 2026-03-02, \"1\", no]": `{"b":1,"a":["x",true,null,1.50,16,"2026-03-02","1","no"]}`,
		"x-a: &a {k: <b>}\nv: *a\nw: {x-inner: 1}":                    `{"v":{"k":"<b>"},"w":{"x-inner":1}}`,
		"- |\n  two\n  lines":                                         `["two\nlines"]`,
		`{"json": ["is", "YAML"]}`:                                    `{"json":["is","YAML"]}`,
	} {
		if got, err := catalogue.FromYAML([]byte(document)); err != nil || string(got) != want {
			t.Errorf("%q: %s, %v", document, got, err)
		}
	}
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := range 9 {
		a := string(rune('0' + i))
		b := string(rune('1' + i))
		bomb += "a" + b + ": &a" + b + " [" + strings.Repeat("*a"+a+",", 9) + "*a" + a + "]\n"
	}
	for document, want := range map[string]string{
		"":                     "is empty",
		"a: [":                 "is not YAML",
		"a: 1\n---\nb: 2":      "one YAML document",
		"a: 1\na: 2":           `stands twice`,
		"{a: 1}: 2":            "a key must be a text",
		"a: &a {b: 1}\n<<: *a": "merge keys (<<) are not supported",
		"a: .inf":              "not a number that JSON has",
		"a: &a [*a]":           "deep",
		bomb:                   "holds more than 200000 values",
		strings.Repeat("[", 150) + strings.Repeat("]", 150): "more than 100 deep",
	} {
		if got, err := catalogue.FromYAML([]byte(document)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.60q: %.60s, %v; want %q", document, got, err, want)
		}
	}
}

// Whatever JSON says, it says as YAML too.
func TestYAMLIsWhatJSONWas(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
		"", "true", "null", "~", "1", "1e3", "0x1", "2026-03-02", "no", "<<", "*a", "&a", "- a", "a: b", "#", "|", "two\nlines", " x ", "\t", "=", "!!int",
	}))
	var value func(depth int) *rapid.Generator[any]
	value = func(depth int) *rapid.Generator[any] {
		scalar := rapid.OneOf(
			rapid.Map(text, func(s string) any { return s }), rapid.Just[any](nil), rapid.Map(rapid.Bool(), func(b bool) any { return b }),
			rapid.Map(rapid.SampledFrom([]string{"0", "-1", "1.50", "1e2", "-1.5E-3", "12345678901234567890"}), func(n string) any { return json.Number(n) }),
		)
		if depth == 0 {
			return scalar
		}
		return rapid.OneOf(scalar,
			rapid.Map(rapid.SliceOfN(value(depth-1), 0, 3), func(v []any) any { return v }),
			rapid.Map(rapid.MapOfN(text.Filter(func(s string) bool { return !strings.HasPrefix(s, "x-") }), value(depth-1), 0, 3), func(v map[string]any) any { return v }))
	}
	rapid.Check(t, func(t *rapid.T) {
		want, err := json.Marshal(value(3).Draw(t, "value"))
		if err != nil {
			t.Fatal(err)
		}
		document, err := catalogue.ToYAML(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := catalogue.FromYAML(document)
		if err != nil {
			t.Fatalf("%s\n%s\n%v", want, document, err)
		}
		if d := cmp.Diff(tree(t, want), tree(t, got)); d != "" {
			t.Fatalf("%s\n%s\n%s", want, document, d)
		}
	})
}

func tree(t *rapid.T, text []byte) (v any) {
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}
