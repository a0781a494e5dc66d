package helm

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const (
	tableBegins = "<!-- values: made of values.yaml by `go test ./helm -update` -->\n"
	tableEnds   = "<!-- end of values -->\n"
)

func TestREADMEHasTheValues(t *testing.T) {
	var document yaml.Node
	if err := yaml.Unmarshal(read(t, "values.yaml"), &document); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("| value | default | |\n|---|---|---|\n")
	for _, r := range rows(document.Content[0], "") {
		if r.comment == "" {
			t.Errorf("%s has no comment in values.yaml", r.path)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", r.path, r.value, r.comment)
	}
	readme := string(read(t, "README.md"))
	before, rest, ok := strings.Cut(readme, tableBegins)
	_, after, ended := strings.Cut(rest, tableEnds)
	if !ok || !ended {
		t.Fatal("README.md has no place for the values")
	}
	want := before + tableBegins + b.String() + tableEnds + after
	if *update {
		if err := os.WriteFile(filepath.Join(chart, "README.md"), []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if readme != want {
		t.Error("README.md does not have the values as they are; go test ./helm -update writes it")
	}
}

// row is a line of the table.
type row struct{ path, value, comment string }

// rows are the lines of a map: of a map in it that has comments its own lines, of everything else one.
func rows(node *yaml.Node, path string) []row {
	var all []row
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		at, comment := strings.TrimPrefix(path+"."+key.Value, "."), said(key.HeadComment)
		if !hasComments(value) {
			all = append(all, row{at, shown(value), comment})
			continue
		}
		if comment != "" {
			all = append(all, row{at, "", comment})
		}
		all = append(all, rows(value, at)...)
	}
	return all
}

func hasComments(node *yaml.Node) bool {
	if node.Kind != yaml.MappingNode {
		return false
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if said(node.Content[i].HeadComment) != "" || hasComments(node.Content[i+1]) {
			return true
		}
	}
	return false
}

// said is what a comment says to the README: what follows "--".
func said(comment string) string {
	_, text, ok := strings.Cut(comment, "# -- ")
	if !ok {
		return ""
	}
	return strings.ReplaceAll(strings.ReplaceAll(text, "\n# ", " "), "|", "\\|")
}

// shown is a value as JSON, in which YAML is written too.
func shown(node *yaml.Node) string {
	var v any
	if err := node.Decode(&v); err != nil {
		return err.Error()
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return "`" + string(b) + "`"
}
