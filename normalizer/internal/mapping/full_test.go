package mapping

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"millrace/pkg/audit"
	"millrace/pkg/ocsf"
)

// vendorField is a row of the vendor's schemas.
type vendorField struct{ name, kind string }

// vendorValue fills a field of the vendor's schemas with something of its type.
func vendorValue(schemas map[string][]vendorField, kind, path string, depth int) any {
	if inner, ok := strings.CutPrefix(kind, "Collection("); ok {
		one := vendorValue(schemas, strings.TrimSuffix(inner, ")"), path, depth)
		return []any{one, one}
	}
	switch kind {
	case "Edm.Guid":
		return "0b1e0b6e-6a0e-4a36-9d57-0f5b8f0b7a11"
	case "Edm.Boolean":
		return true
	case "Edm.Date", "Edm.DateTime", "Edm.DateTimeOffset":
		return "2026-03-02T08:00:00"
	case "Edm.Int32", "Edm.Int64", "Edm.Double":
		return len(path)
	case "Edm.String", "":
		return "text of " + path
	case "Common.NameValuePair", "NameValuePair":
		return map[string]any{"Name": "name of " + path, "Value": "value of " + path}
	case "Common.ModifiedProperty", "ModifiedProperty":
		return map[string]any{"Name": "name of " + path, "OldValue": "old of " + path, "NewValue": "new of " + path}
	}
	name := kind[strings.LastIndexByte(kind, '.')+1:]
	if fields, ok := schemas["type:"+name]; ok && depth < 6 {
		v := map[string]any{}
		for _, f := range fields {
			v[f.name] = vendorValue(schemas, f.kind, path+"."+f.name, depth+1)
		}
		return v
	}
	return 1 // an enum
}

// TestFullRecords maps, for each schema that the vendor documents, a record that has every field of it: valid, and nothing lost.
func TestFullRecords(t *testing.T) {
	f, err := os.Open(sharedFile(t, "reference/record-fields.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string][]vendorField{}
	for _, r := range rows[1:] {
		fields[r[0]] = append(fields[r[0]], vendorField{r[1], r[2]})
	}
	m := newMapper(t, Options{DLPClear: true})
	var g audit.Digester
	n := 0
	for schema, own := range fields {
		for recordType := range m.tables.types {
			if (recordType+len(schema))%29 != 0 && recordType > 50 {
				continue // each schema with some types, the common ones among them
			}
			v := map[string]any{
				"CreationTime": "2026-03-02T08:00:00", "Id": "0d1f", "RecordType": recordType, "Operation": "Update thing", "UserType": 0,
				"UserId": "ana@example.org", "UserKey": "1003", "Workload": "Exchange", "OrganizationId": string(testTenant), "Version": 1,
			}
			for _, f := range own {
				if _, ok := v[f.name]; !ok {
					v[f.name] = vendorValue(fields, f.kind, f.name, 0)
				}
			}
			raw, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			digest, err := g.Sum(raw)
			if err != nil {
				t.Fatal(err)
			}
			events, err := m.Map(nil, recordOf(raw, "Audit.General"), digest)
			if err != nil {
				t.Fatal(err)
			}
			checkLeaves(t, raw, events)
			for _, e := range events {
				if p, ok := ocsf.Valid(e.Value); !ok {
					t.Fatalf("%s: %v\n%s\n%s", schema, p, raw, e.Value)
				}
			}
			n++
		}
	}
	t.Logf("%d records of %d schemas", n, len(fields))
}
