package mapping

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// hotPath are the packages that each record goes through.
var hotPath = []string{".", "../normalize", "../seen", "../../../pkg/ocsf", "../../../pkg/audit"}

// cold are the files in them that no record goes through: what explains a mapping to people, and the tree that Validate walks.
var cold = []string{"explain.go", "tree.go"}

// maxLines is how long a function may be. A longer one says why, in a comment with the word of longReason.
const (
	maxLines   = 80
	longReason = "Longer than a screen because"
)

// TestHotPath holds that nothing on the way of a record reflects or builds trees of maps, and that its functions can be read at one glance.
func TestHotPath(t *testing.T) {
	t.Parallel()
	for _, dir := range hotPath {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", dir, len(files), err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") || strings.HasSuffix(name, "_gen.go") {
				continue
			}
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, name, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(cold, filepath.Base(name)) {
				for _, problem := range slowParts(file) {
					t.Errorf("%s: %s", name, problem)
				}
			}
			for _, d := range file.Decls {
				f, ok := d.(*ast.FuncDecl)
				if !ok {
					continue
				}
				lines := set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1
				if lines > maxLines && !strings.Contains(f.Doc.Text(), longReason) {
					t.Errorf("%s: %s has %d lines: split it, or begin a sentence of its comment with %q", name, f.Name.Name, lines, longReason)
				}
			}
		}
	}
}

// slowParts names what a file on the hot path must not have.
func slowParts(file *ast.File) (problems []string) {
	for _, spec := range file.Imports {
		if path, _ := strconv.Unquote(spec.Path.Value); path == "reflect" || path == "encoding/json" {
			problems = append(problems, "imports "+path)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if m, ok := n.(*ast.MapType); ok && isIdent(m.Key, "string") && (isIdent(m.Value, "any") || isEmptyInterface(m.Value)) {
			problems = append(problems, "has a map[string]any")
		}
		return true
	})
	return problems
}

func isIdent(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

func isEmptyInterface(e ast.Expr) bool {
	i, ok := e.(*ast.InterfaceType)
	return ok && len(i.Methods.List) == 0
}

// TestSlowPartsAreFound shows that the rule has teeth.
func TestSlowPartsAreFound(t *testing.T) {
	t.Parallel()
	const source = "package p\nimport (\n\"encoding/json\"\n\"reflect\"\n)\nvar a map[string]any\nfunc f(map[string]interface{}) { _ = reflect.TypeOf(json.Valid) }\n"
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := slowParts(file); len(got) != 4 {
		t.Errorf("got %q", got)
	}
}
