package conf

import (
	"encoding"
	"fmt"
	"io"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Print writes the effective configuration as YAML that Load reads back. Secrets show their place; one that came from the
// environment shows as ***.
func Print(w io.Writer, config any) error {
	root, err := schemaOf(reflect.TypeOf(config))
	if err != nil {
		return err
	}
	var b strings.Builder
	printStruct(&b, root, reflect.ValueOf(config), "")
	_, err = io.WriteString(w, b.String())
	return err
}

func printStruct(b *strings.Builder, n *node, v reflect.Value, indent string) {
	for _, f := range n.fields {
		printValue(b, f.node, v.FieldByIndex(f.index), indent, f.name)
	}
}

func printValue(b *strings.Builder, n *node, v reflect.Value, indent, name string) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	switch {
	case n.kind == kindStruct:
		b.WriteString(indent + name + ":\n")
		printStruct(b, n, v, indent+"  ")
	case n.kind == kindMap && v.Len() > 0:
		b.WriteString(indent + name + ":\n")
		keys := v.MapKeys()
		sort.Slice(keys, func(i, j int) bool { return keys[i].String() < keys[j].String() })
		for _, key := range keys {
			printValue(b, n.elem, v.MapIndex(key), indent+"  ", quote(key.String()))
		}
	case n.kind == kindMap:
		b.WriteString(indent + name + ": {}\n")
	case n.kind == kindList && n.elem.kind == kindStruct && v.Len() > 0:
		b.WriteString(indent + name + ":\n")
		for i := range v.Len() {
			var entry strings.Builder
			printStruct(&entry, n.elem, reflect.Indirect(v.Index(i)), indent+"    ")
			b.WriteString(indent + "  - " + strings.TrimPrefix(entry.String(), indent+"    "))
		}
	case n.kind == kindList:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = scalarText(reflect.Indirect(v.Index(i)))
		}
		b.WriteString(indent + name + ": [" + strings.Join(parts, ", ") + "]\n")
	default:
		b.WriteString(indent + name + ": " + scalarText(v) + "\n")
	}
}

// scalarText is a value as YAML.
func scalarText(v reflect.Value) string {
	switch value := plain(v, true).(type) {
	case string:
		return quote(value)
	default:
		return fmt.Sprint(value)
	}
}

// quote writes a YAML string, with quotes where a plain one would be read as something else.
func quote(s string) string {
	if isPlainText(s) {
		return s
	}
	return strconv.Quote(s)
}

// isPlainText is careful rather than complete: words, host names, paths, durations and sizes need no quotes.
func isPlainText(s string) bool {
	for i, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		digit := c >= '0' && c <= '9'
		if !letter && !digit && c != '/' && (i == 0 || !strings.ContainsRune("._-/:@", c)) || c == ':' && i == len(s)-1 {
			return false
		}
	}
	switch strings.ToLower(s) {
	case "", "true", "false", "yes", "no", "on", "off", "null", "y", "n":
		return false
	}
	if s[0] > '9' || s[0] == '/' {
		return true
	}
	// Numbers, dates and sexagesimals start with a digit as well; addresses have three dots, units one of these letters.
	return !strings.HasPrefix(s, "0") && (strings.Count(s, ".") > 2 || strings.ContainsAny(s, "dhmsiB"))
}

// plain turns a value into what a YAML parser would have made of it. Durations and sizes are always texts.
func plain(v reflect.Value, masked bool) any {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	switch value := v.Interface().(type) {
	case time.Duration:
		return formatDuration(value)
	case Size:
		return value.String()
	case Secret:
		if !masked && value.place != nil && value.place.file == "" && value.place.env == "" {
			return envText(value.place.value)
		}
		return value.String()
	case encoding.TextMarshaler:
		text, err := value.MarshalText()
		if err != nil {
			return ""
		}
		return string(text)
	case fmt.Stringer:
		return value.String()
	}
	switch v.Kind() {
	case reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = plain(v.Index(i), masked)
		}
		return list
	case reflect.Map:
		out := map[string]any{}
		for _, key := range v.MapKeys() {
			out[key.String()] = plain(v.MapIndex(key), masked)
		}
		return out
	case reflect.Struct:
		out := map[string]any{}
		fields, err := structFields(v.Type())
		if err != nil {
			return out
		}
		for _, f := range fields {
			out[f.name] = plain(v.FieldByIndex(f.index), masked)
		}
		return out
	case reflect.String:
		return v.String()
	case reflect.Bool:
		return v.Bool()
	case reflect.Float32, reflect.Float64:
		return v.Float()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return v.Uint()
	default:
		return v.Int()
	}
}

// clone copies a configuration so deep that decoding into the copy leaves the original alone: lists are always replaced, maps
// are copied by decodeMap, so structs are all that has to be copied.
func clone(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	out.Set(v)
	return out
}
