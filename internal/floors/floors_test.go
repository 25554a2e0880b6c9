package floors

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "millrace"

// TestFloors holds the rules for the tree as it is: every Go file, whatever its build tags say.
func TestFloors(t *testing.T) {
	t.Parallel()
	nodes, err := load(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	if len(nodes) < 5 {
		t.Fatalf("only %d packages found: the walk is broken", len(nodes))
	}
	for _, wrong := range check(nodes) {
		t.Error(wrong)
	}
}

// TestCheck shows that each rule can fail, on made-up trees.
func TestCheck(t *testing.T) {
	t.Parallel()
	ours := []node{
		{path: "pkg/audit"},
		{path: "pkg/wire"},
		{path: "pkg/m365"},
		{path: "pkg/kafkatx"},
		{path: "internal/conf"},
		{path: "internal/m365sim"},
		{path: "internal/testkit"},
		{path: "ingester/app"},
		{path: "ingester/internal/plan"},
		{path: "enricher/app"},
		{path: "cmd/console"},
		{path: "cmd/console/internal/pages"},
		{path: "normalizer/internal/mapping"},
	}
	tests := []struct {
		name string
		add  node
		want []string // beginnings of the violations
	}{
		{"downhill", node{path: "ingester/internal/source", imports: []string{"pkg/audit", "pkg/m365", "ingester/internal/plan", "context"}}, nil},
		{"same component", node{path: "internal/m365sim/tenant", imports: []string{"internal/m365sim", "pkg/audit"}}, nil},
		{"app to everything below", node{path: "normalizer/app", imports: []string{"normalizer/internal/mapping", "internal/conf", "pkg/kafkatx"}}, nil},
		{
			"uphill",
			node{path: "pkg/ocsf", imports: []string{"pkg/wire"}},
			[]string{"pkg/ocsf (floor 0) imports pkg/wire (floor 1)"},
		},
		{
			"sideways",
			node{path: "pkg/msauth", imports: []string{"pkg/m365"}},
			[]string{"pkg/msauth (floor 1) imports pkg/m365 (floor 1)"},
		},
		{
			"plumbing knows nothing of audit",
			node{path: "internal/service", imports: []string{"pkg/audit"}},
			[]string{"internal/service (floor 2) imports pkg/audit (floor 0)"},
		},
		{
			"binary imports binary",
			node{path: "normalizer/app", imports: []string{"ingester/app"}},
			[]string{"normalizer/app (floor 4) imports ingester/app (floor 4)"},
		},
		{
			"tool imports tool",
			node{path: "cmd/replay", imports: []string{"cmd/console"}},
			[]string{"cmd/replay (floor 5) imports cmd/console (floor 5)"},
		},
		{"tool imports its own", node{path: "cmd/console", imports: []string{"cmd/console/internal/pages"}}, nil},
		{
			"simulator shares the client's types",
			node{path: "internal/m365sim/graph", imports: []string{"pkg/m365"}},
			[]string{"internal/m365sim/graph (floor 3) imports pkg/m365 (floor 1)"},
		},
		{
			"impure",
			node{path: "enricher/internal/join", imports: []string{"os"}},
			[]string{"enricher/internal/join imports os: it is pure"},
		},
		{
			"main skips app",
			node{path: "enricher", imports: []string{"enricher/app", "pkg/kafkatx"}},
			[]string{"enricher (floor 5) imports pkg/kafkatx (floor 1)"},
		},
		{
			"Kafka client outside its seam",
			node{path: "ingester/internal/source", imports: []string{"github.com/segmentio/kafka-go"}},
			[]string{"ingester/internal/source imports github.com/segmentio/kafka-go: one package"},
		},
		{
			"Kafka client in a test outside its seam",
			node{path: "pkg/wire", testImports: []string{"github.com/segmentio/kafka-go/protocol"}},
			[]string{"pkg/wire imports github.com/segmentio/kafka-go/protocol in tests"},
		},
		{
			"witness in shipped code",
			node{path: "pkg/wire", imports: []string{"github.com/twmb/franz-go/pkg/kgo"}},
			[]string{"pkg/wire imports github.com/twmb/franz-go/pkg/kgo: an independent witness"},
		},
		{"witness in a test", node{path: "pkg/wire", testImports: []string{"github.com/twmb/franz-go/pkg/kgo"}}, nil},
		{
			"test code shipped",
			node{path: "internal/replay", imports: []string{"internal/testkit"}},
			[]string{"internal/replay imports internal/testkit: test code"},
		},
		{
			"test helper shipped",
			node{path: "enricher/app", imports: []string{"enricher/internal/network/mmdbtest"}},
			[]string{"enricher/app imports enricher/internal/network/mmdbtest: test code"},
		},
		{"test helper is test code", node{path: "enricher/internal/network/mmdbtest", imports: []string{"testing", "github.com/google/go-cmp/cmp"}}, nil},
		{
			"banned name",
			node{path: "pkg/kafkatx", selectors: []string{"github.com/segmentio/kafka-go.NewReader"}},
			[]string{"pkg/kafkatx uses github.com/segmentio/kafka-go.NewReader"},
		},
		{"no floor", node{path: "pkg/newthing"}, []string{"pkg/newthing: stands on no floor"}},
		{"junk name", node{path: "ingester/internal/util"}, []string{"ingester/internal/util: the name"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nodes := slices.DeleteFunc(slices.Clone(ours), func(n node) bool { return n.path == tt.add.path })
			got := check(append(nodes, tt.add))
			if len(got) != len(tt.want) {
				t.Fatalf("violations %q, want %q", got, tt.want)
			}
			for i, want := range tt.want {
				if !strings.HasPrefix(got[i], want) {
					t.Errorf("violation %q, want one that starts with %q", got[i], want)
				}
			}
		})
	}
}

// TestSelectors shows that uses of banned names are found under any import name.
func TestSelectors(t *testing.T) {
	t.Parallel()
	const src = `package p
import k "github.com/segmentio/kafka-go"
var r = k.NewReader(k.ReaderConfig{})
var ok k.Transport
`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"github.com/segmentio/kafka-go.NewReader", "github.com/segmentio/kafka-go.ReaderConfig"}
	if diff := cmp.Diff(want, bannedIn(file)); diff != "" {
		t.Errorf("banned names (-want +got):\n%s", diff)
	}
}

// load reads every package below root.
func load(root string) ([]node, error) {
	byPath := map[string]*node{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skipFolder(root, file, d.Name())
		}
		if filepath.Ext(file) != ".go" {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(rel)
		if byPath[pkg] == nil {
			byPath[pkg] = &node{path: pkg}
		}
		return byPath[pkg].add(file)
	})
	var nodes []node
	for _, n := range byPath {
		nodes = append(nodes, *n)
	}
	return nodes, err
}

// skipFolder leaves out what the go command leaves out: hidden folders, testdata, and modules of their own.
func skipFolder(root, dir, name string) error {
	if dir == root {
		return nil
	}
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" {
		return filepath.SkipDir
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
		return filepath.SkipDir
	}
	return nil
}

// add notes the imports of one file.
func (n *node) add(file string) error {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	isTest := strings.HasSuffix(file, "_test.go")
	for _, spec := range parsed.Imports {
		imported := strings.TrimPrefix(importPath(spec), module+"/")
		if isTest {
			n.testImports = append(n.testImports, imported)
		} else {
			n.imports = append(n.imports, imported)
		}
	}
	if !isTest {
		n.selectors = append(n.selectors, bannedIn(parsed)...)
	}
	return nil
}

func importPath(spec *ast.ImportSpec) string {
	path, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		return spec.Path.Value // the parser takes no other
	}
	return path
}

// bannedIn returns the banned names that a file uses, as import path + "." + name, in order of appearance.
func bannedIn(file *ast.File) []string {
	names := map[string]string{} // local name → import path
	for _, spec := range file.Imports {
		imported := importPath(spec)
		if bannedSelectors[imported] == nil {
			continue
		}
		local := "kafka" // kafka-go's package name
		if spec.Name != nil {
			local = spec.Name.Name
		}
		names[local] = imported
	}
	var used []string
	ast.Inspect(file, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := selector.X.(*ast.Ident); ok && slices.Contains(bannedSelectors[names[x.Name]], selector.Sel.Name) {
			used = append(used, names[x.Name]+"."+selector.Sel.Name)
		}
		return true
	})
	return used
}
