package conf

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/v2"
)

const (
	envPrefix = "MILLRACE_"
	// delimiter between the parts of a key inside koanf: no key can contain it, so that keys of maps may have dots (networks).
	delimiter = "\x1f"
	maxFile   = 4 << 20
)

// Sources says where a configuration comes from.
type Sources struct {
	File string   // path of a YAML file, "" = none
	Env  []string // as os.Environ gives it; only MILLRACE_… is looked at, and what an env: secret names
	Set  []string // key=value, as given with -set
}

// text is a value from outside a file: it is parsed by the type of its key. An environment value may be a secret itself.
type (
	envText string
	setText string
)

// Load lays the sources over what the struct holds, its defaults. The error names the source, the key and the remedy. On an error
// the struct is unchanged.
func Load[T any](into *T, from Sources) error {
	root, err := schemaOf(reflect.TypeFor[T]())
	if err != nil {
		return err
	}
	l := &loader{root: root, tree: koanf.New(delimiter), defaults: reflect.ValueOf(into).Elem(), env: from.Env}
	if from.File != "" {
		if err := l.file(from.File); err != nil {
			return fmt.Errorf("config file %s: %w", from.File, err)
		}
	}
	if err := l.environment(); err != nil {
		return err
	}
	for _, pair := range from.Set {
		key, value, found := strings.Cut(pair, "=")
		if !found {
			return fmt.Errorf("-set %s: write key=value", pair)
		}
		if err := l.override(strings.Split(key, "."), setText(value)); err != nil {
			return fmt.Errorf("-set %s: %w", key, err)
		}
	}
	loaded := clone(l.defaults)
	if err := l.decode(root, "", l.tree.Raw(), loaded); err != nil {
		return err
	}
	*into = loaded.Interface().(T)
	return nil
}

type loader struct {
	root     *node
	tree     *koanf.Koanf // the layers so far, without the defaults
	defaults reflect.Value
	env      []string
}

// layer is one source as koanf wants it.
type layer map[string]any

func (l layer) Read() (map[string]any, error) { return l, nil }

func (layer) ReadBytes() ([]byte, error) { return nil, errors.ErrUnsupported }

func (l *loader) file(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return errors.Unwrap(err) // the path is in the caller's message already
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return err
	}
	if len(raw) > maxFile {
		return fmt.Errorf("larger than %s", Size(maxFile))
	}
	values, err := yaml.Parser().Unmarshal(raw)
	if err != nil {
		return errors.New(strings.ReplaceAll(strings.TrimPrefix(err.Error(), "yaml: "), "\n", " "))
	}
	if err := l.load(values); err != nil {
		return err
	}
	// Checked here and not at the end, so that the message names the file.
	return l.decode(l.root, "", l.tree.Raw(), clone(l.defaults))
}

func (l *loader) load(values map[string]any) error {
	return l.tree.Load(layer(values), nil)
}

// serviceLink matches the variables that Kubernetes puts into every container for each service of the namespace: a service named
// millrace-ingester must not stop a binary.
var serviceLink = regexp.MustCompile(`^[A-Z0-9_]*_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

func (l *loader) environment() error {
	ours := slices.DeleteFunc(slices.Clone(l.env), func(s string) bool { return !strings.HasPrefix(s, envPrefix) })
	sort.Strings(ours) // MILLRACE_TENANTS__0__ID before MILLRACE_TENANTS__1__ID, whatever the order of the environment
	for _, pair := range ours {
		name, value, _ := strings.Cut(pair, "=")
		path := strings.Split(strings.ToLower(strings.TrimPrefix(name, envPrefix)), "__")
		err := l.override(path, envText(value))
		if err != nil && len(path) == 1 && serviceLink.MatchString(name) {
			continue
		}
		if err != nil {
			return fmt.Errorf("environment variable %s: %w", name, err)
		}
	}
	return nil
}

// override sets one key. A position in a list replaces that element's key or, directly behind the end, adds an element.
func (l *loader) override(path []string, value any) error {
	n := l.root
	for i, part := range path {
		switch n.kind {
		case kindStruct:
			f, found := n.field(part)
			if !found {
				return unknownKey(l.root, strings.Join(path, "."))
			}
			n = f.node
		case kindMap:
			n = n.elem
		case kindList:
			list, err := changeList(l.list(path[:i]), n, path[i:], value)
			if err != nil {
				return fmt.Errorf("%s: %w", strings.Join(path, "."), err)
			}
			path, value = path[:i], list
			return l.set(path, value)
		default:
			return unknownKey(l.root, strings.Join(path, "."))
		}
	}
	checked := reflect.New(n.typ).Elem()
	if err := l.decode(n, strings.Join(path, "."), value, checked); err != nil {
		return err
	}
	return l.set(path, value)
}

func (l *loader) set(path []string, value any) error {
	return l.tree.Set(strings.Join(path, delimiter), value)
}

// list is the list at a key as it stands: from the layers so far, or else from the defaults.
func (l *loader) list(path []string) []any {
	if list, ok := l.tree.Get(strings.Join(path, delimiter)).([]any); ok {
		return slices.Clone(list)
	}
	v, n := l.defaults, l.root
	for _, part := range path {
		f, found := n.field(part)
		if !found {
			return nil
		}
		if v = v.FieldByIndex(f.index); v.Kind() == reflect.Pointer {
			return nil
		}
		n = f.node
	}
	list, _ := plain(v, false).([]any)
	return list
}

// changeList returns list with the value at rest set; rest starts with a position.
func changeList(list []any, n *node, rest []string, value any) ([]any, error) {
	at, err := strconv.Atoi(rest[0])
	switch {
	case err != nil || at < 0:
		return nil, fmt.Errorf("%s is not a position in the list: write 0 for the first", rest[0])
	case at > len(list):
		return nil, fmt.Errorf("the list has %d entries: the next one is %d", len(list), len(list))
	case at == len(list):
		list = append(list, nil)
	}
	if len(rest) == 1 {
		list[at] = value
		return list, nil
	}
	if n.elem.kind != kindStruct {
		return nil, errors.New("its entries have no keys")
	}
	entry := map[string]any{}
	if old, ok := list[at].(map[string]any); ok {
		maps.Copy(entry, old)
	}
	f, found := n.elem.field(rest[1])
	switch {
	case !found:
		return nil, unknownKey(n.elem, strings.Join(rest[1:], "."))
	case len(rest) == 2:
		entry[rest[1]] = value
	case f.node.kind == kindList:
		inner, _ := entry[rest[1]].([]any)
		if entry[rest[1]], err = changeList(slices.Clone(inner), f.node, rest[2:], value); err != nil {
			return nil, err
		}
	default:
		if err := setNested(entry, n.elem, rest[1:], value); err != nil {
			return nil, err
		}
	}
	list[at] = entry
	return list, nil
}

// setNested sets a key below a list's entry.
func setNested(entry map[string]any, n *node, path []string, value any) error {
	for i, part := range path[:len(path)-1] {
		f, found := n.field(part)
		if !found || f.node.kind == kindList || f.node.kind == kindScalar {
			return unknownKey(n, strings.Join(path[i:], "."))
		}
		inner := map[string]any{}
		if old, ok := entry[part].(map[string]any); ok {
			maps.Copy(inner, old)
		}
		entry[part] = inner
		entry, n = inner, f.node
	}
	entry[path[len(path)-1]] = value
	return nil
}
