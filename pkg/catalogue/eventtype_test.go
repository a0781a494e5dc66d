package catalogue_test

import (
	"strings"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/catalogue"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

func TestCheckEventType(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*tenant.EventType)
		want   string
	}{
		"only what is required":      {func(*tenant.EventType) {}, ""},
		"no type":                    {func(e *tenant.EventType) { e.Type = "" }, "x.type: is required, e.g. card.updated"},
		"a type in capitals":         {func(e *tenant.EventType) { e.Type = "Card" }, "x.type: must be dotted names"},
		"a pattern":                  {func(e *tenant.EventType) { e.Type = "card.*" }, "x.type: must be dotted names"},
		"no kind":                    {func(e *tenant.EventType) { e.Kind = "" }, "x.kind: must be normal, nested, nested_pivot"},
		"the longest group":          {func(e *tenant.EventType) { e.Group = strings.Repeat("ä", 64) }, ""},
		"a longer group":             {func(e *tenant.EventType) { e.Group = strings.Repeat("ä", 65) }, "x.group: has 65 characters, the limit is 64"},
		"a long description":         {func(e *tenant.EventType) { e.Description = strings.Repeat("x", 1025) }, "x.description: has 1025 characters, the limit is 1024"},
		"a description with NUL":     {func(e *tenant.EventType) { e.Description = "\x00" }, "x.description: must be UTF-8"},
		"a schema that is none":      {func(e *tenant.EventType) { e.Schema = []byte(`{"type":"text"}`) }, "x.schema: is not a JSON Schema: at type"},
		"an example that does fit":   {func(e *tenant.EventType) { e.Schema, e.Example = []byte(`{"type":"array"}`), []byte(`[]`) }, ""},
		"an example that does not":   {func(e *tenant.EventType) { e.Schema, e.Example = []byte(`{"required":["id"]}`), []byte(`{}`) }, "x.example.id: is required"},
		"an example without schema":  {func(e *tenant.EventType) { e.Example = []byte(`{}`) }, ""},
		"an example that is no JSON": {func(e *tenant.EventType) { e.Example = []byte(`{`) }, "x.example: is not valid JSON"},
		"a large example":            {func(e *tenant.EventType) { e.Example = []byte(`"` + strings.Repeat("x", 64<<10) + `"`) }, "x.example: has 65538 bytes, the limit is 65536"},
		"attributes":                 {func(e *tenant.EventType) { e.Attributes = []string{"eventUser", "eventProject"} }, ""},
		"an attribute twice":         {func(e *tenant.EventType) { e.Attributes = []string{"a", "a"} }, `x.attributes: names "a" twice`},
		"an attribute without name":  {func(e *tenant.EventType) { e.Attributes = []string{"a", ""} }, "x.attributes[1]: must have 1 to 64 bytes"},
		"many attributes":            {func(e *tenant.EventType) { e.Attributes = make([]string, 33) }, "x.attributes: has 33 entries, the limit is 32"},
	} {
		t.Run(name, func(t *testing.T) {
			e := tenant.EventType{Type: "card.updated", Kind: catalogue.KindNormal}
			tt.change(&e)
			got := catalogue.Check("x.", e)
			if text := got.Error(); (tt.want == "") != (text == "") || !strings.HasPrefix(text, tt.want) {
				t.Errorf("%q, want %q", text, tt.want)
			}
		})
	}
}
