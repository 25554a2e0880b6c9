package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The JSON Schemas say what can be said in that language: types, enums, required and unknown attributes, constraints. What needs two
// attributes at once (profiles, captions, observables, hashes) is left to Validate.

type object = map[string]any

const schemaDialect = "https://json-schema.org/draft/2020-12/schema"

func schemaID(name string) string { return "urn:millrace:schema:ocsf:" + name + ":1.8.0" }

// writeSchemas writes one schema a class, and one with the objects that they share.
func (t *tables) writeSchemas(dir string) error {
	defs := object{}
	for _, row := range t.objects {
		s := t.ownerSchema(row[0], row[2], "")
		s["title"] = row[0]
		defs[row[0]] = s
	}
	err := writeJSON(filepath.Join(dir, "objects.json"), object{
		"$schema": schemaDialect, "$id": schemaID("objects"), "title": "Objects of OCSF 1.8.0 that the emitted classes reach", "$defs": defs,
	})
	if err != nil {
		return err
	}
	for _, c := range t.classes {
		s := t.ownerSchema(c.name, c.constraint, schemaID("objects"))
		s["$schema"], s["$id"], s["title"] = schemaDialect, schemaID(c.name), fmt.Sprintf("OCSF 1.8.0 class %d: %s", c.uid, c.caption)
		properties, _ := s["properties"].(object)
		properties["class_uid"] = object{"const": c.uid}
		properties["category_uid"] = object{"const": c.category}
		if err := writeJSON(filepath.Join(dir, c.name+".json"), s); err != nil {
			return err
		}
	}
	return nil
}

func writeJSON(file string, v any) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

// always are the profiles that every event lists: what they require is required.
var always = []string{"cloud", "host"}

func (t *tables) ownerSchema(owner, constraint, objects string) object {
	properties := object{}
	var required []string
	for _, a := range t.attrs[owner] {
		properties[a.name] = t.attributeSchema(a, objects)
		listed := len(a.profiles) == 0 || slices.ContainsFunc(a.profiles, func(p string) bool { return slices.Contains(always, p) })
		if a.requirement == "required" && listed {
			required = append(required, a.name)
		}
	}
	s := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	}
	for c := range strings.FieldsSeq(constraint) {
		kind, names, _ := strings.Cut(c, ":")
		var each []object
		for n := range strings.SplitSeq(names, "|") {
			each = append(each, object{"required": []string{n}})
		}
		s[map[string]string{"at_least_one": "anyOf", "just_one": "oneOf"}[kind]] = each
	}
	return s
}

func (t *tables) attributeSchema(a attribute, objects string) object {
	s := t.valueSchema(a, objects)
	if a.list {
		s = object{"type": "array", "items": s}
	}
	if a.deprecated != "" {
		s["deprecated"] = true
	}
	return s
}

func (t *tables) valueSchema(a attribute, objects string) object {
	switch a.object {
	case "":
	case "object":
		return object{"type": "object"}
	default:
		return object{"$ref": objects + "#/$defs/" + a.object}
	}
	s := t.scalarSchema(a.kind)
	if values := t.enums[a.enum]; len(values) > 0 {
		list := make([]any, 0, len(values))
		captions := map[string]string{}
		for _, v := range values {
			if v.id >= 0 {
				list = append(list, v.id)
				captions[v.text] = v.caption
				continue
			}
			list = append(list, v.text)
		}
		s["enum"] = list
		if len(captions) > 0 {
			var words []string
			for _, k := range slices.SortedFunc(maps.Keys(captions), numerically) {
				words = append(words, k+" "+captions[k])
			}
			s["description"] = strings.Join(words, ", ")
		}
	}
	return s
}

func numerically(a, b string) int {
	x, errX := strconv.Atoi(a)
	y, errY := strconv.Atoi(b)
	if errX != nil || errY != nil {
		return strings.Compare(a, b)
	}
	return x - y
}

func (t *tables) scalarSchema(kind string) object {
	for _, r := range t.types {
		if r[0] != kind {
			continue
		}
		s := object{}
		switch r[1] {
		case "boolean_t":
			s["type"] = "boolean"
		case "integer_t", "long_t":
			s["type"] = "integer"
		case "float_t":
			s["type"] = "number"
		case "string_t":
			s["type"] = "string"
		}
		for i, key := range map[int]string{3: "minimum", 4: "maximum", 5: "maxLength"} {
			if n, err := strconv.Atoi(r[i]); err == nil {
				s[key] = n
			}
		}
		return s
	}
	return object{}
}
