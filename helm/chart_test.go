// Package helm holds the chart to what it says of itself. It needs no helm: what the chart renders stands in testdata, and
// the module render, which has helm's libraries and is not part of the workspace, says whether that is what it renders now
// (`make chart`).
package helm

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the README's table of values")

const chart = "doorstep"

// read is a file of the chart.
func read(t *testing.T, elems ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(append([]string{chart}, elems...)...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decode[T any](t *testing.T, b []byte) T {
	t.Helper()
	var v T
	if err := yaml.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// A value without its place in the schema could be mistyped without an error, and a place without a value is not documented.
func TestSchemaAndValuesNameTheSame(t *testing.T) {
	schema := decode[map[string]any](t, read(t, "values.schema.json"))
	values := decode[map[string]any](t, read(t, "values.yaml"))
	compare(t, schema, schema, values, "")
}

// overrides are places whose defaults stand elsewhere: they have the schema of `defaults`.
var overrides = []string{"ingest", "matcher", "sender", "recorder", "notifier", "console", "embedded.pod", "kafka.sasl.serviceUsers"}

func compare(t *testing.T, root, schema map[string]any, values any, path string) {
	t.Helper()
	if ref, ok := schema["$ref"].(string); ok {
		schema = root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
	}
	properties, ok := schema["properties"].(map[string]any)
	if !ok || slices.Contains(overrides, path) || strings.HasSuffix(path, "Probe") || strings.HasSuffix(path, "resources") {
		return
	}
	if schema["additionalProperties"] != false {
		t.Errorf("the schema lets anything into %q", path)
	}
	in, _ := values.(map[string]any)
	for name, p := range properties {
		at := strings.TrimPrefix(path+"."+name, ".")
		v, ok := in[name]
		if !ok && at != "global" {
			t.Errorf("%s is in values.schema.json and not in values.yaml", at)
			continue
		}
		compare(t, root, p.(map[string]any), v, at)
	}
	for name := range in {
		if _, ok := properties[name]; !ok {
			t.Errorf("%s.%s is in values.yaml and not in values.schema.json", path, name)
		}
	}
}

// The defaults, and the values of the goldens, are what the schema allows.
func TestValuesFollowTheSchema(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join(chart, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(chart, "ci", "*-values.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no values files: %v", err)
	}
	for _, file := range append(files, filepath.Join(chart, "values.yaml")) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if v := decode[map[string]any](t, b); len(v) > 0 {
			if err := schema.Validate(any(v)); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}
