package archtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/doorstep-dev/doorstep/"

// pkg is what `go list` says of a package.
type pkg struct {
	ImportPath   string
	Dir          string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// path is the package's place within the product, as the table has it.
func (p pkg) path() string { return strings.TrimPrefix(p.ImportPath, module) }

// ours are the imports of a list that are ours, by their place within the product.
func ours(imports []string) []string {
	var paths []string
	for _, i := range imports {
		if path, ok := strings.CutPrefix(i, module); ok {
			paths = append(paths, path)
		}
	}
	return paths
}

// packages lists all packages of the workspace.
func packages(t *testing.T) []pkg {
	t.Helper()
	if os.Getenv("GOWORK") == "off" {
		t.Skip("needs the workspace of all modules")
	}
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports", "work")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list work: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestEveryPackageIsInTheTable(t *testing.T) {
	for _, p := range packages(t) {
		if _, ok := lineOf(p.path()); !ok {
			t.Errorf("%s is not in the table (pkg/archtest/table_test.go): give it a level", p.path())
		}
	}
}

func TestImportsFollowTheTable(t *testing.T) {
	for _, p := range packages(t) {
		from, _ := lineOf(p.path())
		for _, i := range ours(p.Imports) {
			if to, ok := lineOf(i); ok && !from.allows(to) {
				t.Errorf("%s imports %s; its line allows %q", p.path(), i, from.may)
			}
		}
	}
}

// Tests may import more than their package, but no service knows another, not even in a test.
func TestServicesDoNotKnowOneAnother(t *testing.T) {
	for _, p := range packages(t) {
		from, _ := lineOf(p.path())
		if from.level == whole {
			continue
		}
		for _, i := range ours(slices.Concat(p.TestImports, p.XTestImports)) {
			if to, _ := lineOf(i); (to.level == service || to.level == whole) && to.path != from.path {
				t.Errorf("a test of %s imports %s", p.path(), i)
			}
		}
	}
}

func TestPurePackages(t *testing.T) {
	for _, p := range packages(t) {
		l, ok := lineOf(p.path())
		if !ok || l.level > pure || strings.HasPrefix(l.path, "proto/") {
			continue
		}
		for _, i := range p.Imports {
			if slices.Contains(impure, i) && !slices.Contains(excepted[p.path()], i) {
				t.Errorf("%s imports %s: levels 0 and 1 are told the time, and do no I/O", p.path(), i)
			}
		}
		for _, f := range p.files(t, p.GoFiles) {
			for _, found := range impurities(f.syntax) {
				t.Errorf("%s: %s in level %d", f.at(found.pos), found.what, l.level)
			}
		}
	}
}

// A reader who opens a package finds in one place what it is for.
func TestEveryPackageHasOneDocComment(t *testing.T) {
	for _, p := range packages(t) {
		names := p.GoFiles
		if len(names) == 0 {
			names = slices.Concat(p.TestGoFiles, p.XTestGoFiles)
		}
		var in []string
		for _, f := range p.files(t, names) {
			if f.syntax.Doc != nil {
				in = append(in, filepath.Base(f.at(f.syntax.Package).Filename))
			}
		}
		if len(in) != 1 {
			t.Errorf("%s has %d package comments, want one: %v", p.path(), len(in), in)
		}
	}
}

// What a program does starts in main and can be followed from there.
func TestNoInit(t *testing.T) {
	for _, p := range packages(t) {
		if strings.HasPrefix(p.path(), "proto/") {
			continue // generated
		}
		for _, f := range p.files(t, p.GoFiles) {
			for _, d := range f.syntax.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s: func init", f.at(fn.Pos()))
				}
			}
		}
	}
}

// file is a parsed source file.
type file struct {
	syntax *ast.File
	set    *token.FileSet
}

func (f file) at(pos token.Pos) token.Position { return f.set.Position(pos) }

func (p pkg) files(t *testing.T, names []string) []file {
	t.Helper()
	var files []file
	for _, name := range names {
		set := token.NewFileSet()
		syntax, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file{syntax, set})
	}
	return files
}

// impurity is something that a pure package does not do.
type impurity struct {
	pos  token.Pos
	what string
}

func impurities(f *ast.File) []impurity {
	var found []impurity
	names := localNames(f)
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, impurity{n.Pos(), "a goroutine"})
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && slices.Contains(impureCalls[names[x.Name]], n.Sel.Name) {
				found = append(found, impurity{n.Pos(), fmt.Sprintf("%s.%s", names[x.Name], n.Sel.Name)})
			}
		}
		return true
	})
	return found
}

// localNames are the last elements of the import paths of a file, by the names it knows them by.
func localNames(f *ast.File) map[string]string {
	names := make(map[string]string)
	for _, i := range f.Imports {
		path, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			continue
		}
		last := path[strings.LastIndexByte(path, '/')+1:]
		name := last
		if i.Name != nil {
			name = i.Name.Name
		}
		names[name] = last
	}
	return names
}

// The checks above must be able to fail.
func TestImpuritiesAreFound(t *testing.T) {
	const source = `package p
import ("time"; clock "time"; "github.com/google/uuid")
func f(now time.Time) {
	_ = clock.Now()
	_ = now.Add(time.Second)
	_ = uuid.New()
	_ = uuid.NewSHA1(uuid.Nil, nil)
	go f(now)
}`
	f, err := parser.ParseFile(token.NewFileSet(), "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range impurities(f) {
		got = append(got, i.what)
	}
	if want := []string{"time.Now", "uuid.New", "a goroutine"}; !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
}

func TestTableRules(t *testing.T) {
	for name, tt := range map[string]struct {
		from, to string
		want     bool
	}{
		"a decision knows nouns":             {"pkg/retry", "pkg/delivery", true},
		"a noun knows no decision":           {"pkg/delivery", "pkg/retry", false},
		"nouns do not know the wire":         {"pkg/event", "proto/doorstep/v1", false},
		"a service knows what is shared":     {"services/sender", "pkg/kafka", true},
		"a service knows no other":           {"services/sender", "services/matcher", false},
		"a service knows its own parts":      {"services/console", "services/console/internal/web", true},
		"the whole knows services":           {"services/doorstep/app", "services/sender", true},
		"product code knows no test kit":     {"services/doorstep", "pkg/testkit", false},
		"end to end tests know the test kit": {"services/e2e", "pkg/testkit", true},
		"proto knows nothing of ours":        {"proto/doorstep/v1", "pkg/event", false},
	} {
		from, ok1 := lineOf(tt.from)
		to, ok2 := lineOf(tt.to)
		if got := from.allows(to); !ok1 || !ok2 || got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}
