package mapping

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"

	"millrace/pkg/audit"
	"millrace/schemas"
)

// indexField is a field of the index template.
type indexField struct {
	Type       string
	Properties map[string]indexField
}

func indexTemplate(t *testing.T) map[string]indexField {
	t.Helper()
	b, err := schemas.Elasticsearch.ReadFile("elasticsearch/index-template.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Template struct {
			Mappings struct{ Properties map[string]indexField }
		}
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	return doc.Template.Mappings.Properties
}

// TestIndexTemplate holds that each value of the events of all fixtures fits the field that the index template gives it.
func TestIndexTemplate(t *testing.T) {
	t.Parallel()
	fields := indexTemplate(t)
	if fields["unmapped"].Type != "flattened" {
		t.Errorf("unmapped is %s", fields["unmapped"].Type)
	}
	for name, a := range fixtures(t) {
		opts := a.options()
		opts.RawData = true
		events, err := newMapper(t, opts).Map(nil, audit.Record{Raw: a.raw(), Provenance: a.provenance()}, 1)
		if err != nil {
			continue // a refusal
		}
		for _, e := range events {
			for path, value := range decode(t, e.Value) {
				if err := fits(value, fields[path]); err != nil {
					t.Errorf("%s: %s: %v", name, path, err)
				}
			}
		}
	}
}

// fits says why Elasticsearch would refuse a value for a field; lists are taken member by member.
func fits(v any, f indexField) error {
	if list, ok := v.([]any); ok {
		for _, x := range list {
			if err := fits(x, f); err != nil {
				return err
			}
		}
		return nil
	}
	ok := false
	switch f.Type {
	case "": // an object
		members, isObject := v.(map[string]any)
		for name, x := range members {
			if err := fits(x, f.Properties[name]); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		ok = isObject && f.Properties != nil
	case "flattened":
		_, ok = v.(map[string]any)
	case "keyword", "match_only_text":
		_, ok = v.(string)
	case "long", "date":
		var n json.Number
		if n, ok = v.(json.Number); ok {
			_, err := n.Int64()
			ok = err == nil
		}
	case "boolean":
		_, ok = v.(bool)
	case "ip":
		text, _ := v.(string)
		_, err := netip.ParseAddr(text)
		ok = err == nil
	}
	if !ok {
		return fmt.Errorf("the field is %q with %d members, the value %.80v", f.Type, len(f.Properties), v)
	}
	return nil
}
