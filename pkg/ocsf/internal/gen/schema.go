package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

func (t *tables) constants(b *bytes.Buffer) {
	b.WriteString("// The classes that are emitted.\nconst (\n")
	for _, c := range t.classes {
		fmt.Fprintf(b, "Class%s Class = %d // %s\n", goName(c.name), c.uid, c.caption)
	}
	b.WriteString(")\n\n")
	b.WriteString("// Classes lists the emitted classes by number.\nfunc Classes() []Class {\nreturn []Class{\n")
	for _, c := range t.classes {
		fmt.Fprintf(b, "Class%s,\n", goName(c.name))
	}
	b.WriteString("}\n}\n\n")
	for _, c := range t.classes {
		a, _ := t.find(c.name, "activity_id")
		fmt.Fprintf(b, "// The activities of class %d, %s.\nconst (\n", c.uid, c.caption)
		for _, v := range t.enums[a.enum] {
			fmt.Fprintf(b, "%s%s = %d\n", goName(c.name), goName(v.caption), v.id)
		}
		b.WriteString(")\n\n")
	}
	for _, e := range t.emittedEnums() {
		if strings.HasSuffix(e, "activity_id") {
			continue
		}
		fmt.Fprintf(b, "// The values of %s.\nconst (\n", e)
		prefix := strings.TrimSuffix(goName(e), "ID")
		for _, v := range t.enums[e] {
			fmt.Fprintf(b, "%s%s = %d\n", prefix, goName(v.caption), v.id)
		}
		b.WriteString(")\n\n")
	}
	t.classTable(b)
}

// emittedEnums are the enums of the attributes in emitted.csv and the classifying ones.
func (t *tables) emittedEnums() []string {
	used := map[string]bool{}
	for _, row := range t.emitted {
		for n := range strings.FieldsSeq(row[1]) {
			if a, ok := t.find(row[0], n); ok && goType(a) == "Enum" {
				used[a.enum] = true
			}
		}
	}
	for _, c := range t.classes {
		for _, n := range []string{"activity_id", "status_id"} {
			a, _ := t.find(c.name, n)
			used[a.enum] = true
		}
	}
	used["observable.type_id"] = true
	var names []string
	for _, n := range t.names {
		if used[n] {
			names = append(names, n)
		}
	}
	return names
}

func (t *tables) classTable(b *bytes.Buffer) {
	b.WriteString("// classes is what the encoder needs to know of each class, in the order of Classes.\nvar classes = [...]classInfo{\n")
	for _, c := range t.classes {
		act, _ := t.find(c.name, "activity_id")
		status, _ := t.find(c.name, "status_id")
		var has []string
		for n := range strings.FieldsSeq(t.emitted[0][1]) {
			if _, ok := t.find(c.name, n); ok {
				has = append(has, "1<<Attr"+goName(n))
			}
		}
		fmt.Fprintf(b, "{uid: %d, name: %q, caption: %q, category: %d, categoryName: %q, activity: &enum%s, status: &enum%s, profiles: %s, has: %s},\n",
			c.uid, c.name, c.caption, c.category, c.categoryName, goName(act.enum), goName(status.enum), stringList(strings.Fields(c.profiles)), strings.Join(has, "|"))
	}
	b.WriteString("}\n\nfunc (c Class) info() *classInfo {\nswitch c {\n")
	for i, c := range t.classes {
		fmt.Fprintf(b, "case Class%s:\nreturn &classes[%d]\n", goName(c.name), i)
	}
	b.WriteString("}\nreturn nil\n}\n\n")
	b.WriteString("// The attributes of events, for Class.Has.\nconst (\n")
	for i, n := range strings.Fields(t.emitted[0][1]) {
		if i == 0 {
			fmt.Fprintf(b, "Attr%s Attribute = iota\n", goName(n))
			continue
		}
		fmt.Fprintf(b, "Attr%s\n", goName(n))
	}
	b.WriteString(")\n")
}

func (t *tables) enumTable(b *bytes.Buffer) {
	b.WriteString("// The enums: values in order, with captions.\nvar (\n")
	for _, n := range t.names {
		fmt.Fprintf(b, "enum%s = enumSet{", goName(n))
		for _, v := range t.enums[n] {
			if v.deprecated == "" {
				fmt.Fprintf(b, "{id: %d, key: %q, caption: %q},", v.id, v.text, v.caption)
				continue
			}
			fmt.Fprintf(b, "{id: %d, key: %q, caption: %q, deprecated: %q},", v.id, v.text, v.caption, v.deprecated)
		}
		b.WriteString("}\n")
	}
	b.WriteString(")\n")
}

func (t *tables) schema(b *bytes.Buffer) {
	b.WriteString("// schemaTypes are the scalar types.\nvar schemaTypes = map[string]*typeDef{\n")
	for _, r := range t.types {
		fmt.Fprintf(b, "%q: {base: %q, regex: %s, ranged: %v, low: %s, high: %s, maxLen: %s, observable: %s},\n",
			r[0], r[1], quoteRaw(r[2]), r[3] != "", orZero(r[3]), orZero(r[4]), orZero(r[5]), orZero(r[6]))
	}
	b.WriteString("}\n\n// schemaProfiles are all profiles of the schema.\nvar schemaProfiles = " + stringList(t.profile) + "\n\n")
	b.WriteString("// schemaOwners are the classes and objects with their attributes.\nvar schemaOwners = map[string]*ownerDef{\n")
	info := map[string][]string{}
	for _, c := range t.classes {
		info[c.name] = []string{"", "", c.constraint, ""}
	}
	for _, o := range t.objects {
		info[o[0]] = []string{o[0], o[1], o[2], o[3]}
	}
	for _, owner := range t.owners {
		i := info[owner]
		fmt.Fprintf(b, "%q: {observable: []int{%s}, deprecated: %q, constraints: %s, attributes: []attributeDef{\n",
			owner, strings.ReplaceAll(i[1], " ", ", "), i[3], constraints(i[2]))
		for _, a := range t.attrs[owner] {
			t.attributeRow(b, a)
		}
		b.WriteString("}},\n")
	}
	b.WriteString("}\n")
}

func (t *tables) attributeRow(b *bytes.Buffer, a attribute) {
	var f []string
	add := func(format string, args ...any) { f = append(f, fmt.Sprintf(format, args...)) }
	add("name: %q, typ: %q", a.name, a.kind)
	if a.object != "" {
		add("object: %q", a.object)
	}
	if a.list {
		add("list: true")
	}
	add("req: '%c'", a.requirement[2]) // re[q]uired, re[c]ommended, op[t]ional
	if len(a.profiles) > 0 {
		add("profiles: %s", stringList(a.profiles))
	}
	if a.enum != "" && a.enum != "-" {
		add("enum: enum%s", goName(a.enum))
	}
	if a.sibling != "" {
		add("sibling: %q", a.sibling)
	}
	if a.observed != "" {
		add("observable: %s", a.observed)
	}
	if a.deprecated != "" {
		add("deprecated: %q", a.deprecated)
	}
	fmt.Fprintf(b, "{%s},\n", strings.Join(f, ", "))
}

// constraints turns "kind:a|b kind:c|d" into a Go literal.
func constraints(s string) string {
	if s == "" {
		return "nil"
	}
	var parts []string
	for c := range strings.FieldsSeq(s) {
		kind, names, _ := strings.Cut(c, ":")
		parts = append(parts, fmt.Sprintf("{kind: %q, names: %s}", kind, stringList(strings.Split(names, "|"))))
	}
	slices.Sort(parts)
	return "[]constraintDef{" + strings.Join(parts, ", ") + "}"
}

func stringList(s []string) string {
	if len(s) == 0 {
		return "nil"
	}
	q := make([]string, len(s))
	for i, x := range s {
		q[i] = fmt.Sprintf("%q", x)
	}
	return "[]string{" + strings.Join(q, ", ") + "}"
}

func quoteRaw(s string) string {
	if strings.Contains(s, "`") {
		return fmt.Sprintf("%q", s)
	}
	return "`" + s + "`"
}
