package conf

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// kind says how a key is written.
type kind int

const (
	kindScalar kind = iota // one value: text, number, yes or no, duration, size, secret
	kindStruct
	kindList // of scalars or structs
	kindMap  // free keys
)

// node is one place in a configuration: the schema is derived from the struct once per load.
type node struct {
	kind   kind
	typ    reflect.Type // of the Go value, pointers removed
	help   string
	fields []field // of a struct, in order of declaration
	elem   *node   // of a list or map
}

type field struct {
	name  string
	index []int // for reflect.Value.FieldByIndex
	node  *node
}

var (
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	secretType      = reflect.TypeFor[Secret]()
	durationType    = reflect.TypeFor[time.Duration]()
)

func isScalar(t reflect.Type) bool {
	if t == secretType || reflect.PointerTo(t).Implements(textUnmarshaler) {
		return true
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Slice, reflect.Map:
		return false
	default:
		return true
	}
}

// schemaOf derives the schema of a type. Its errors are mistakes of the programmer, found by the first test that loads the struct.
func schemaOf(t reflect.Type) (*node, error) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	n := &node{kind: kindScalar, typ: t}
	if isScalar(t) {
		switch t.Kind() {
		case reflect.Func, reflect.Chan, reflect.Interface, reflect.Complex64, reflect.Complex128:
			return nil, fmt.Errorf("type %s cannot be configured", t)
		default:
			return n, nil
		}
	}
	var err error
	switch t.Kind() {
	case reflect.Struct:
		n.kind = kindStruct
		n.fields, err = structFields(t)
	case reflect.Slice:
		n.kind = kindList
		n.elem, err = schemaOf(t.Elem())
	default:
		n.kind = kindMap
		if t.Key().Kind() != reflect.String {
			return nil, fmt.Errorf("type %s: keys of a map must be text", t)
		}
		n.elem, err = schemaOf(t.Elem())
	}
	return n, err
}

func structFields(t reflect.Type) ([]field, error) {
	var out []field
	for i := range t.NumField() {
		f := t.Field(i)
		tag, tagged := f.Tag.Lookup("koanf")
		name, option, _ := strings.Cut(tag, ",")
		switch {
		case name == "-" || !f.IsExported():
			continue
		case option == "squash":
			inner, err := structFields(f.Type)
			if err != nil {
				return nil, err
			}
			for _, in := range inner {
				in.index = append([]int{i}, in.index...)
				out = append(out, in)
			}
			continue
		case !tagged || name == "" || name != strings.ToLower(name) || strings.ContainsAny(name, ". "):
			return nil, fmt.Errorf("field %s.%s needs a koanf tag: lower case, words joined by _", t, f.Name)
		}
		child, err := schemaOf(f.Type)
		if err != nil {
			return nil, fmt.Errorf("%s.%s: %w", t, f.Name, err)
		}
		child.help = f.Tag.Get("help")
		out = append(out, field{name: name, index: []int{i}, node: child})
	}
	return out, nil
}

func (n *node) field(name string) (field, bool) {
	for _, f := range n.fields {
		if f.name == name {
			return f, true
		}
	}
	return field{}, false
}

// keys lists every key below a node as the operator writes it; lists show as tenants.0.id.
func (n *node) keys(prefix string) []string {
	switch n.kind {
	case kindStruct:
		var out []string
		for _, f := range n.fields {
			out = append(out, f.node.keys(join(prefix, f.name))...)
		}
		return out
	case kindList:
		if n.elem.kind == kindStruct {
			return append([]string{prefix}, n.elem.keys(join(prefix, "0"))...)
		}
	default:
	}
	return []string{prefix}
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}

// unknownKey is the error for a key that the schema does not have.
func unknownKey(root *node, path string) error {
	if near := Nearest(path, knownPaths(root, path)); near != "" {
		return fmt.Errorf("unknown key %s: did you mean %s?", path, near)
	}
	return fmt.Errorf("unknown key %s: --help lists the keys", path)
}

// knownPaths lists keys, and their prefixes, for comparison with a path; list positions are taken over from the path.
func knownPaths(root *node, path string) []string {
	seen := map[string]bool{}
	var out []string
	parts := strings.Split(path, ".")
	for _, key := range root.keys("") {
		segments := strings.Split(key, ".")
		for i, s := range segments {
			if s == "0" && i < len(parts) && isIndex(parts[i]) {
				segments[i] = parts[i]
			}
		}
		for i := range segments {
			if prefix := strings.Join(segments[:i+1], "."); !seen[prefix] {
				seen[prefix] = true
				out = append(out, prefix)
			}
		}
	}
	return out
}

func isIndex(s string) bool {
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}

// Nearest is the candidate with the smallest edit distance to what was written, "" if none is near enough to be meant. A candidate
// that only differs in what lies before its last part (brokers for kafka.brokers) is near as well.
func Nearest(written string, candidates []string) string {
	best, bestDistance := "", len(written)/2+1
	last := written[strings.LastIndexByte(written, '.')+1:]
	for _, candidate := range candidates {
		d := distance(written, candidate)
		if candidate[strings.LastIndexByte(candidate, '.')+1:] == last {
			d = min(d, 2)
		}
		if d < bestDistance {
			best, bestDistance = candidate, d
		}
	}
	return best
}

// distance is Levenshtein's, over bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
