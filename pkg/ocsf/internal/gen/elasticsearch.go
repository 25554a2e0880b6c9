package main

import (
	"path/filepath"
	"strings"
)

// The index template for Elasticsearch. Attributes that the normalizer writes have their types; what the enricher adds, and later versions, are taken
// by the dynamic templates: texts whole, as keywords. What has the structure of somebody else is flattened: one field, whatever its members are
// called, so that vendor fields cannot use up the fields of an index or change their type.

// longest is how long a text may be to be found by: in UTF-8 at most 3 bytes a UTF-16 unit, with room for the name of a flattened member below
// Lucene's bound of 32,766 bytes a term. A longer text stays in the document.
const longest = 8191

// deepest is how deep a flattened member may be nested. Elasticsearch's own bound is the 1,000 of its parser; 20, the default, would refuse events.
const deepest = 1000

func keyword() object { return object{"type": "keyword", "ignore_above": longest} }

func flattened() object {
	return object{"type": "flattened", "ignore_above": longest, "depth_limit": deepest}
}

// classifying are the attributes that the encoder writes by itself.
const classifying = "category_uid category_name class_uid class_name activity_id activity_name type_uid type_name time timezone_offset observables"

// writeTemplate writes the index template into a folder.
func (t *tables) writeTemplate(dir string) error {
	emitted := map[string]string{"observable": "name type_id value", "enrichment": "name value type data"}
	for _, row := range t.emitted {
		emitted[row[0]] = row[1]
	}
	emitted["event"] += " " + classifying + " enrichments"
	dynamic := func(name, kind string, mapping object) object {
		return object{name: object{"match_mapping_type": kind, "mapping": mapping}}
	}
	return writeJSON(filepath.Join(dir, "index-template.json"), object{
		"_meta":          object{"description": "Events and enriched events of Millrace. Generated from schemas/ocsf.", "ocsf_version": "1.8.0"},
		"index_patterns": []string{"m365-*"},
		"priority":       200,
		"template": object{
			"settings": object{"index": object{"codec": "best_compression", "mapping.total_fields.limit": 2000}},
			"mappings": object{
				"date_detection":    false,
				"numeric_detection": false,
				"dynamic_templates": []object{
					{"coordinates": object{"path_match": []string{"*.location.lat", "*.location.long"}, "mapping": object{"type": "float"}}},
					dynamic("texts", "string", keyword()),
				},
				"properties": t.indexed("event", emitted),
			},
		},
	})
}

// indexed are the fields of an owner's emitted attributes and of the captions beside them.
func (t *tables) indexed(owner string, emitted map[string]string) object {
	fields := object{}
	for name := range strings.FieldsSeq(emitted[owner]) {
		a, ok := t.find(owner, name)
		if !ok {
			panic("no attribute " + name + " in " + owner)
		}
		fields[name] = t.field(a, emitted)
		if a.sibling != "" {
			fields[a.sibling] = keyword()
		}
	}
	return fields
}

func (t *tables) field(a attribute, emitted map[string]string) object {
	switch {
	case a.object == "object", a.kind == "json_t":
		return flattened()
	case a.object != "":
		return object{"properties": t.indexed(a.object, emitted)}
	case a.name == "raw_data":
		return object{"type": "keyword", "index": false, "doc_values": false}
	case a.name == "message":
		return object{"type": "match_only_text"}
	}
	switch a.kind {
	case "timestamp_t":
		return object{"type": "date", "format": "epoch_millis"}
	case "ip_t":
		return object{"type": "ip", "ignore_malformed": true}
	case "boolean_t":
		return object{"type": "boolean"}
	case "integer_t", "long_t", "port_t":
		return object{"type": "long"}
	case "float_t":
		return object{"type": "double"}
	default:
		return keyword()
	}
}
