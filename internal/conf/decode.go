package conf

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
)

// decode lays a tree of plain values over v. Keys that the schema does not have and values of the wrong kind are errors.
func (l *loader) decode(n *node, path string, value any, v reflect.Value) error {
	if value == nil { // `key:` with nothing behind it keeps the default
		return nil
	}
	if v.Kind() == reflect.Pointer {
		target := reflect.New(v.Type().Elem())
		if err := l.decode(n, path, value, target.Elem()); err != nil {
			return err
		}
		v.Set(target)
		return nil
	}
	if n.kind != kindScalar {
		var err error
		if value, err = structured(n, path, value); err != nil {
			return err
		}
	}
	switch n.kind {
	case kindStruct:
		return l.decodeStruct(n, path, value, v)
	case kindList:
		return l.decodeList(n, path, value, v)
	case kindMap:
		return l.decodeMap(n, path, value, v)
	default:
		if err := l.decodeScalar(value, v); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return nil
	}
}

// structured turns a text from the environment or the command line into the list or map that its key wants.
func structured(n *node, path string, value any) (any, error) {
	var text string
	switch t := value.(type) {
	case envText:
		text = string(t)
	case setText:
		text = string(t)
	case string:
		if n.kind != kindList || n.elem.kind != kindScalar {
			return value, nil
		}
		text = t
	default:
		return value, nil
	}
	if n.kind == kindList && n.elem.kind == kindScalar && !strings.HasPrefix(text, "[") {
		list := []any{}
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, setText(part))
			}
		}
		return list, nil
	}
	// The parser only takes maps: a one-key document carries lists as well.
	parsed, err := yaml.Parser().Unmarshal([]byte("value: " + text))
	if err != nil {
		return nil, fmt.Errorf("%s: neither a value nor YAML on one line", path)
	}
	return parsed["value"], nil
}

func (l *loader) decodeStruct(n *node, path string, value any, v reflect.Value) error {
	values, ok := value.(map[string]any)
	if !ok {
		return fmt.Errorf("%s: expected keys below it, found %s", path, describe(value))
	}
	for name := range values {
		if _, found := n.field(name); !found {
			return unknownKey(l.root, join(path, name))
		}
	}
	for _, f := range n.fields { // in the struct's order, so that of two mistakes the same one is named every time
		if inner, given := values[f.name]; given {
			if err := l.decode(f.node, join(path, f.name), inner, v.FieldByIndex(f.index)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *loader) decodeList(n *node, path string, value any, v reflect.Value) error {
	values, ok := value.([]any)
	if !ok {
		return fmt.Errorf("%s: expected a list, found %s", path, describe(value))
	}
	out := reflect.MakeSlice(v.Type(), len(values), len(values))
	for i, inner := range values {
		at := join(path, strconv.Itoa(i))
		if inner == nil {
			return fmt.Errorf("%s: the entry is empty", at)
		}
		if err := l.decode(n.elem, at, inner, out.Index(i)); err != nil {
			return err
		}
	}
	v.Set(out)
	return nil
}

func (l *loader) decodeMap(n *node, path string, value any, v reflect.Value) error {
	values, ok := value.(map[string]any)
	if !ok {
		return fmt.Errorf("%s: expected keys below it, found %s", path, describe(value))
	}
	out := reflect.MakeMap(v.Type())
	for _, key := range v.MapKeys() {
		out.SetMapIndex(key, v.MapIndex(key))
	}
	for name, inner := range values {
		entry := reflect.New(v.Type().Elem()).Elem()
		if err := l.decode(n.elem, join(path, name), inner, entry); err != nil {
			return err
		}
		out.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), entry)
	}
	v.Set(out)
	return nil
}

func (l *loader) decodeScalar(value any, v reflect.Value) error {
	if v.Type() == secretType {
		return l.decodeSecret(value, v)
	}
	switch t := value.(type) {
	case envText:
		return parseText(string(t), v)
	case setText:
		return parseText(string(t), v)
	case string:
		return parseString(t, v)
	case bool:
		if v.Kind() != reflect.Bool {
			return fmt.Errorf("expected %s, found %v", expected(v.Type()), t)
		}
		v.SetBool(t)
		return nil
	case int, int64, uint64, float64:
		return setNumber(t, v)
	case time.Time: // an unquoted YAML date
		return parseString(t.Format(time.RFC3339Nano), v)
	default:
		return fmt.Errorf("expected %s, found %s", expected(v.Type()), describe(value))
	}
}

func (l *loader) decodeSecret(value any, v reflect.Value) error {
	lookup := func(name string) (string, bool) {
		for _, pair := range l.env {
			if k, value, _ := strings.Cut(pair, "="); k == name {
				return value, true
			}
		}
		return "", false
	}
	text := ""
	switch t := value.(type) {
	case envText:
		if after, ok := strings.CutPrefix(string(t), "file:"); ok {
			v.Set(reflect.ValueOf(SecretFile(after)))
			return nil
		}
		if t != "" {
			v.Set(reflect.ValueOf(SecretValue(string(t))))
		}
		return nil
	case setText:
		text = string(t)
	case string:
		text = t
	default:
		return fmt.Errorf("expected %s, found %s", expected(v.Type()), describe(value))
	}
	secret, err := parseSecret(text, lookup)
	if err != nil {
		return err
	}
	v.Set(reflect.ValueOf(secret))
	return nil
}

// parseString takes a YAML string: numbers and booleans in quotes are refused, as a file has a way to write them.
func parseString(text string, v reflect.Value) error {
	if v.Type() != durationType && !v.Addr().Type().Implements(textUnmarshaler) && v.Kind() != reflect.String {
		return fmt.Errorf("expected %s, found the text %q", expected(v.Type()), text)
	}
	return parseText(text, v)
}

// parseText reads a value by the type of its key.
func parseText(text string, v reflect.Value) error {
	if v.Type() == durationType {
		d, err := ParseDuration(text)
		v.SetInt(int64(d))
		return err
	}
	if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr()); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
		return nil
	case reflect.Bool:
		b, err := strconv.ParseBool(strings.TrimSpace(text))
		if err != nil {
			return fmt.Errorf("expected true or false, found %q", text)
		}
		v.SetBool(b)
		return nil
	default:
		if n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64); err == nil {
			return setNumber(n, v)
		}
		f, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil {
			return fmt.Errorf("expected %s, found %q", expected(v.Type()), text)
		}
		return setNumber(f, v)
	}
}

func setNumber(value any, v reflect.Value) error {
	if v.Type() == durationType {
		return fmt.Errorf("a duration needs a unit: write %vs or %vm", value, value)
	}
	if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr()); ok {
		return u.UnmarshalText(fmt.Append(nil, value))
	}
	given := reflect.ValueOf(value)
	switch v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if given.CanInt() && !v.OverflowInt(given.Int()) {
			v.SetInt(given.Int())
			return nil
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if given.CanInt() && given.Int() >= 0 && !v.OverflowUint(uint64(given.Int())) {
			v.SetUint(uint64(given.Int()))
			return nil
		}
		if given.CanUint() && !v.OverflowUint(given.Uint()) {
			v.SetUint(given.Uint())
			return nil
		}
	case reflect.Float32, reflect.Float64:
		if given.CanInt() {
			v.SetFloat(float64(given.Int()))
			return nil
		}
		if given.CanFloat() {
			v.SetFloat(given.Float())
			return nil
		}
	case reflect.String: // 12345 where a text is wanted is meant as one
		if given.CanInt() {
			v.SetString(strconv.FormatInt(given.Int(), 10))
			return nil
		}
	default:
	}
	return fmt.Errorf("expected %s, found %v", expected(v.Type()), value)
}

// expected names a type for the operator.
func expected(t reflect.Type) string {
	switch {
	case t == durationType:
		return "a duration like 30s"
	case t == secretType:
		return "the place of a secret (file:/run/secrets/name or env:NAME)"
	case t == reflect.TypeFor[Size]():
		return "a size like 64MiB"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.String, reflect.Struct, reflect.Slice:
		return "text"
	default:
		return "a whole number"
	}
}

func describe(value any) string {
	switch t := value.(type) {
	case map[string]any:
		return "keys"
	case []any:
		return "a list"
	case string, bool, int, float64:
		return fmt.Sprintf("%q", fmt.Sprint(t))
	default:
		return fmt.Sprintf("%T", value)
	}
}
