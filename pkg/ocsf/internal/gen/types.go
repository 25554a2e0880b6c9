package main

import (
	"bytes"
	"fmt"
	"strings"
)

// find returns an attribute of a class or object; for the owner "event", of the first class that has it.
func (t *tables) find(owner, name string) (attribute, bool) {
	owners := []string{owner}
	if owner == "event" {
		owners = owners[:0]
		for _, c := range t.classes {
			owners = append(owners, c.name)
		}
	}
	for _, o := range owners {
		for _, a := range t.attrs[o] {
			if a.name == name {
				return a, true
			}
		}
	}
	return attribute{}, false
}

func typeName(object string) string { return goName(object) }

// goType is the Go type of an emitted attribute.
func goType(a attribute) string {
	switch {
	case a.enum != "" && a.sibling != "" && !a.list:
		return "Enum"
	case a.object == "object", a.kind == "json_t":
		return "JSON"
	case a.object != "" && a.list:
		return "[]" + typeName(a.object)
	case a.object != "":
		return typeName(a.object)
	case a.kind == "boolean_t":
		return "Bool"
	case a.kind == "integer_t" || a.kind == "long_t" || a.kind == "timestamp_t" || a.kind == "port_t":
		return "Int"
	case a.list:
		return "[]string"
	default:
		return "string"
	}
}

func (t *tables) goTypes(b *bytes.Buffer) {
	for _, row := range t.emitted {
		owner, names := row[0], strings.Fields(row[1])
		attrs := make([]attribute, 0, len(names))
		for _, n := range names {
			a, ok := t.find(owner, n)
			if !ok {
				panic("emitted.csv: no attribute " + n + " in " + owner)
			}
			attrs = append(attrs, a)
		}
		name := typeName(owner)
		doc := fmt.Sprintf("%s is the object %s.", name, owner)
		if owner == "event" {
			name, doc = "Attributes", "Attributes are those that events of all emitted classes have, beyond the classification."
		}
		fmt.Fprintf(b, "// %s\ntype %s struct {\n", doc, name)
		for _, a := range attrs {
			fmt.Fprintf(b, "\t%s %s\n", goName(a.name), goType(a))
		}
		b.WriteString("}\n\n")
		if owner == "event" {
			t.reset(b, attrs)
		}
		fmt.Fprintf(b, "func (v *%s) append(e *encoder) {\n", name)
		for _, a := range attrs {
			t.appendAttribute(b, owner, a)
		}
		b.WriteString("}\n\n")
	}
}

// reset clears everything but the space of the lists of the event itself. The lists are put back one by one: a literal that has them
// would be built beside the event and copied over it.
func (t *tables) reset(b *bytes.Buffer, attrs []attribute) {
	var kept, lists, emptied []string
	for _, a := range attrs {
		if a.list {
			field := "v." + goName(a.name)
			kept = append(kept, strings.ToLower(a.name[:1])+goName(a.name)[1:])
			lists, emptied = append(lists, field), append(emptied, field+"[:0]")
		}
	}
	b.WriteString("// reset clears the attributes and keeps the space of the event's own lists.\nfunc (v *Attributes) reset() {\n")
	fmt.Fprintf(b, "%s := %s\n", strings.Join(kept, ", "), strings.Join(emptied, ", "))
	fmt.Fprintf(b, "*v = Attributes{}\n%s = %s\n}\n\n", strings.Join(lists, ", "), strings.Join(kept, ", "))
}

// observed is the observable type an attribute gives, or "": the attribute's own, else its type's.
func (t *tables) observed(a attribute) string {
	if a.observed != "" {
		return a.observed
	}
	for _, r := range t.types {
		if r[0] == a.kind {
			return r[6]
		}
	}
	return ""
}

func (t *tables) appendAttribute(b *bytes.Buffer, owner string, a attribute) {
	field := "v." + goName(a.name)
	key := fmt.Sprintf("`%q:`", a.name)
	obs := t.observed(a)
	quiet := owner == "event" && (a.name == "metadata" || a.name == "cloud" || a.name == "raw_data_hash")
	if owner == "event" && a.object != "" && a.object != "object" && !quiet {
		// Most classes have few of the objects: one test is cheaper than to find everything in an object absent.
		fmt.Fprintf(b, "if e.class.has&(1<<Attr%s) != 0 {\n", goName(a.name))
		defer b.WriteString("}\n")
	}
	switch typ := goType(a); {
	case typ == "Enum":
		set := "&enum" + goName(a.enum)
		if owner == "event" && a.name == "status_id" {
			set = "e.class.status"
		}
		fmt.Fprintf(b, "e.enum(%s, `%q:`, %s, %s)\n", key, a.sibling, set, field)
	case typ == "JSON":
		fmt.Fprintf(b, "e.json(%s, %s)\n", key, field)
	case typ == "Bool":
		fmt.Fprintf(b, "e.bool(%s, %s)\n", key, field)
	case typ == "Int":
		fmt.Fprintf(b, "e.int(%s, %s, %s)\n", key, orZero(obs), field)
	case typ == "[]string":
		fmt.Fprintf(b, "e.texts(%s, %s, %s)\n", key, orZero(obs), field)
	case typ == "string":
		fmt.Fprintf(b, "e.text(%s, %s, %s)\n", key, orZero(obs), field)
	case a.list:
		fmt.Fprintf(b, "if len(%[2]s) > 0 {\nl := e.openList(%[1]s)\nfor i := range %[2]s {\no := e.openElement(i)\n%[2]s[i].append(e)\ne.close(o)\n}\ne.closeList(l)\n}\n", key, field)
	default:
		if quiet {
			b.WriteString("e.quiet++\n")
		}
		fmt.Fprintf(b, "{\no := e.open(%s)\n%s.append(e)\ne.close(o)\n}\n", key, field)
		if quiet {
			b.WriteString("e.quiet--\n")
		}
	}
}

func orZero(s string) string {
	if s == "" {
		return "0"
	}
	return s
}
