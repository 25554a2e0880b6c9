package floors

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// node is one package with what its files import: our own packages by their path inside the module, all others in full.
type node struct {
	path        string
	imports     []string // of shipped files
	testImports []string // of _test.go files
	selectors   []string // of shipped files: import path + "." + name, for packages of bannedSelectors
}

// check returns what the packages do against the rules, one line each, sorted.
func check(nodes []node) []string {
	var wrong []string
	for _, n := range nodes {
		wrong = append(wrong, checkName(n)...)
		wrong = append(wrong, checkFloors(n, nodes)...)
		wrong = append(wrong, checkPure(n)...)
		wrong = append(wrong, checkSeams(n)...)
		wrong = append(wrong, checkSelectors(n)...)
		wrong = append(wrong, checkTestCode(n)...)
	}
	slices.Sort(wrong)
	return slices.Compact(wrong)
}

func checkName(n node) []string {
	if name := path.Base(n.path); slices.Contains(refusedNames, name) {
		return []string{fmt.Sprintf("%s: the name %q says nothing about what is in it", n.path, name)}
	}
	return nil
}

// checkFloors holds the table of floors for the imports of n among our own packages.
func checkFloors(n node, nodes []node) []string {
	from, ok := roomOf(n.path)
	if !ok {
		return []string{n.path + ": stands on no floor; give it a row in internal/floors"}
	}
	var wrong []string
	for _, imported := range n.imports {
		if !slices.ContainsFunc(nodes, func(o node) bool { return o.path == imported }) {
			continue // not ours
		}
		to, ok := roomOf(imported)
		if !ok || to.floor == outside {
			continue // reported at the imported package, or a seam's business
		}
		sameRoom := to.pattern == from.pattern && component(imported) == component(n.path)
		allowed := slices.ContainsFunc(from.imports, func(pattern string) bool {
			return match(strings.ReplaceAll(pattern, "<binary>", component(n.path)), imported)
		})
		if !sameRoom && !allowed {
			wrong = append(wrong, fmt.Sprintf("%s (floor %d) imports %s (floor %d): not in its row", n.path, from.floor, imported, to.floor))
		}
	}
	return wrong
}

func checkPure(n node) []string {
	if !matchAny(purePackages, n.path) {
		return nil
	}
	var wrong []string
	for _, imported := range n.imports {
		if matchAny(impureImports, imported) {
			wrong = append(wrong, fmt.Sprintf("%s imports %s: it is pure, what it needs comes in as a value", n.path, imported))
		}
	}
	return wrong
}

func checkSeams(n node) []string {
	var wrong []string
	for _, s := range seams {
		if matchAny(s.only, n.path) || (s.tests && isTestCode(n.path)) {
			continue
		}
		report := func(imports []string, where string) {
			for _, imported := range imports {
				if match(s.imports, imported) && !strings.HasPrefix(imported+"/", n.path+"/") {
					wrong = append(wrong, fmt.Sprintf("%s imports %s%s: %s", n.path, imported, where, s.why))
				}
			}
		}
		report(n.imports, "")
		if !s.tests {
			report(n.testImports, " in tests")
		}
	}
	return wrong
}

func checkSelectors(n node) []string {
	var wrong []string
	for _, selector := range n.selectors {
		wrong = append(wrong, fmt.Sprintf("%s uses %s: it breaks exactly-once (see docs/exactly-once.md)", n.path, selector))
	}
	return wrong
}

// isTestCode tells whether a package is there for tests only: testkit, and helpers beside a package that are named after it and end in test, as httptest
// does.
func isTestCode(pkg string) bool {
	return match("internal/testkit/...", pkg) || strings.HasSuffix(path.Base(pkg), "test") && component(pkg) != "test"
}

// checkTestCode keeps our own test helpers out of shipped code; for those of the standard library the seam of testing does it.
func checkTestCode(n node) []string {
	var wrong []string
	for _, imported := range n.imports {
		if _, ours := roomOf(imported); ours && isTestCode(imported) && !isTestCode(n.path) {
			wrong = append(wrong, fmt.Sprintf("%s imports %s: test code stays in tests", n.path, imported))
		}
	}
	return wrong
}

// roomOf returns the first row that matches a package.
func roomOf(pkg string) (room, bool) {
	i := slices.IndexFunc(rooms, func(r room) bool { return match(r.pattern, pkg) })
	if i < 0 {
		return room{}, false
	}
	return rooms[i], true
}

// component is what a package belongs to: the binary of a binary's packages, the tool below cmd, else the first path element.
func component(pkg string) string {
	first, rest, _ := strings.Cut(pkg, "/")
	if first != "cmd" {
		return first
	}
	tool, _, _ := strings.Cut(rest, "/")
	return first + "/" + tool
}

func matchAny(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return match(p, pkg) })
}

// match tells whether a package path matches a pattern: * is one path element, {a,b} an alternative inside one, and a trailing /... the package itself and
// everything below it.
func match(pattern, pkg string) bool {
	below := strings.HasSuffix(pattern, "/...")
	want, have := strings.Split(strings.TrimSuffix(pattern, "/..."), "/"), strings.Split(pkg, "/")
	if len(have) < len(want) || (len(have) > len(want) && !below) {
		return false
	}
	for i, element := range want {
		if !matchElement(element, have[i]) {
			return false
		}
	}
	return true
}

func matchElement(pattern, element string) bool {
	if inner, ok := strings.CutPrefix(pattern, "{"); ok {
		return slices.Contains(strings.Split(strings.TrimSuffix(inner, "}"), ","), element)
	}
	return pattern == "*" || pattern == element
}
