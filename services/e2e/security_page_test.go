package e2e

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

// proven is a link to a test: its name, and the directory of its package.
var proven = regexp.MustCompile(`\[(Test\w+|Fuzz\w+)\]\(([\w./-]+)\)`)

// SECURITY.md says of every attack which test answers it. Each of those tests is there.
func TestTheSecurityPageHolds(t *testing.T) {
	t.Parallel()
	const root = "../.."
	page, err := os.ReadFile(filepath.Join(root, "SECURITY.md"))
	if err != nil {
		t.Fatal(err)
	}
	attacks, tests := checkProofs(t, root, string(page))
	if attacks < 50 || tests < attacks {
		t.Errorf("%d attacks and %d tests were found on the page", attacks, tests)
	}
	for _, scope := range tenant.Scopes() {
		if !strings.Contains(string(page), "| `"+string(scope)+"` |") {
			t.Errorf("nobody is told what a key with the scope %s may do", scope)
		}
	}
}

// checkProofs finds the tables of a page whose third column, "Shown by", names tests, and fails the test unless each of
// their lines names one, and each that is named is there. It counts lines and tests.
func checkProofs(t *testing.T, root, page string) (lines, tests int) {
	t.Helper()
	known := map[string]map[string]bool{} // by directory
	inTable := false
	for n, line := range strings.Split(page, "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		switch last := cells[len(cells)-1]; {
		case !strings.HasPrefix(line, "|"):
			inTable = false
			continue
		case last == "Shown by":
			inTable = true
			continue
		case strings.HasPrefix(line, "|--"), !inTable:
			continue
		case len(cells) != 3:
			t.Errorf("line %d has %d cells: %s", n+1, len(cells), line)
		case !proven.MatchString(last):
			t.Errorf("line %d names no test: %s", n+1, line)
		}
		lines++
		for _, link := range proven.FindAllStringSubmatch(line, -1) {
			tests++
			name, dir := link[1], link[2]
			if known[dir] == nil {
				names, err := testsIn(filepath.Join(root, dir))
				if err != nil {
					t.Fatalf("line %d: %v", n+1, err)
				}
				known[dir] = names
			}
			if !known[dir][name] {
				t.Errorf("line %d: there is no %s in %s", n+1, name, dir)
			}
		}
	}
	return lines, tests
}

// testsIn are the tests of the package in a directory.
func testsIn(dir string) (map[string]bool, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no tests in %s: %w", dir, err)
	}
	names := map[string]bool{}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				names[f.Name.Name] = true
			}
		}
	}
	return names, nil
}
