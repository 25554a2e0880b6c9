package conf

import (
	"io"
	"reflect"
	"strings"
)

const (
	helpIndent = "        "
	helpWidth  = 100
)

// Help writes one paragraph a key: its name, what it takes, its default, and the text of its help tag.
func Help(w io.Writer, defaults any) error {
	root, err := schemaOf(reflect.TypeOf(defaults))
	if err != nil {
		return err
	}
	var b strings.Builder
	helpStruct(&b, root, reflect.ValueOf(defaults), "")
	_, err = io.WriteString(w, b.String())
	return err
}

func helpStruct(b *strings.Builder, n *node, v reflect.Value, prefix string) {
	for _, f := range n.fields {
		value := reflect.Value{}
		if v.IsValid() {
			value = reflect.Indirect(v.FieldByIndex(f.index))
		}
		helpNode(b, f.node, value, join(prefix, f.name))
	}
}

func helpNode(b *strings.Builder, n *node, v reflect.Value, path string) {
	if n.kind == kindStruct {
		if n.help != "" {
			b.WriteString("\n  " + path + "\n")
			wrap(b, n.help)
		}
		helpStruct(b, n, v, path)
		return
	}
	b.WriteString("\n  " + path + "  " + takes(n) + defaultText(n, v) + "\n")
	wrap(b, n.help)
	if n.kind == kindList && n.elem.kind == kindStruct {
		// The keys of a new entry, with what an empty one means.
		helpStruct(b, n.elem, reflect.Value{}, path+".0")
	}
}

func takes(n *node) string {
	switch n.kind {
	case kindList:
		if n.elem.kind == kindStruct {
			return "list of entries"
		}
		return "list of " + strings.TrimPrefix(takes(n.elem), "a ")
	case kindMap:
		return "map from text to " + takes(n.elem)
	case kindStruct:
		return "keys"
	default:
		return expected(n.typ)
	}
}

func defaultText(n *node, v reflect.Value) string {
	if !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return ""
	}
	switch {
	case n.kind == kindList && n.elem.kind == kindScalar && v.Len() > 0:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = scalarText(v.Index(i))
		}
		return " (default " + strings.Join(parts, ", ") + ")"
	case n.kind == kindScalar:
		if text := scalarText(v); text != `""` {
			return " (default " + text + ")"
		}
		return ""
	default:
		return ""
	}
}

// wrap writes a text in lines of helpWidth columns.
func wrap(b *strings.Builder, text string) {
	column := 0
	for word := range strings.FieldsSeq(text) {
		switch {
		case column == 0:
			b.WriteString(helpIndent)
			column = len(helpIndent)
		case column+1+len(word) > helpWidth:
			b.WriteString("\n" + helpIndent)
			column = len(helpIndent)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	if column > 0 {
		b.WriteByte('\n')
	}
}
