package mapping

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"millrace/internal/testkit"
	"millrace/pkg/ocsf"
	"millrace/schemas"
)

const (
	documentFile = "../../../docs/mapping.md"
	tablesMark   = "<!-- what follows is generated from schemas/ocsf: go test ./normalizer/internal/mapping -run Document -update -->\n"
)

// TestDocument holds docs/mapping.md against the tables: text by hand above the mark, tables below it.
func TestDocument(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(documentFile)
	if err != nil {
		t.Fatal(err)
	}
	text, old, ok := strings.Cut(string(b), tablesMark)
	if !ok {
		t.Fatalf("%s has no line %s", documentFile, tablesMark)
	}
	generated := documentTables(t)
	if testkit.Update() {
		if err := os.WriteFile(documentFile, []byte(text+tablesMark+generated), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if old != generated {
		t.Error("docs/mapping.md does not say what the tables say: run go test ./normalizer/internal/mapping -run Document -update")
	}
}

func documentTables(t *testing.T) string {
	t.Helper()
	m := newMapper(t, Options{})
	var b bytes.Buffer
	b.WriteString("\n## Operations\n\nThe first row that fits record type and operation wins. `*` and `?` are wildcards; letter case does not matter.\n")
	byClass := map[ocsf.Class][][]string{}
	for i, row := range operationTable(t) {
		r := &m.tables.rows[i]
		byClass[r.class] = append(byClass[r.class], []string{strconv.Itoa(r.line), row[0], row[1], activityText(r.class, r.activity), r.resource, r.privilege})
	}
	for _, c := range ocsf.Classes() {
		rows := byClass[c]
		if len(rows) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n### %d %s\n\n| Row | Record types | Operation | Activity | Kind | Privilege |\n|---:|---|---|---|---|---|\n", c, c.Caption())
		for _, r := range rows {
			fmt.Fprintf(&b, "| %s | %s | `%s` | %s | %s | %s |\n", r[0], strings.ReplaceAll(r[1], "*", "any"), strings.ReplaceAll(r[2], "|", `\|`), r[3], r[4], r[5])
		}
	}
	b.WriteString("\n## Record types\n\nWhat happens to an operation that no row above has.\n\n| Record type | Name | Class | Activity | Kind |\n|---:|---|---|---|---|\n")
	for _, n := range slices.Sorted(maps.Keys(m.tables.types)) {
		r := m.tables.types[n]
		fmt.Fprintf(&b, "| %d | %s | %d %s | %s | %s |\n", n, r.name, r.class, r.class.Caption(), activityText(r.class, r.activity), r.resource)
	}
	return b.String()
}

// operationTable are the rows of the table as written.
func operationTable(t *testing.T) [][]string {
	t.Helper()
	f, err := schemas.OCSF.Open("ocsf/operations.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows[1:]
}

func activityText(class ocsf.Class, n int) string {
	switch n {
	case byVerb:
		return "by verb"
	case byRule:
		return "99, the operation"
	case finding:
		return "1 Create"
	case ocsf.Other:
		return "99, the operation"
	}
	caption, _ := class.Activity(n)
	return strconv.Itoa(n) + " " + caption
}
