package mapping

import (
	"encoding/csv"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"millrace/pkg/audit"
	"millrace/pkg/ocsf"
)

func newMapper(t testing.TB, o Options) *Mapper {
	t.Helper()
	m, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// minimal is a record with nothing but what every record has.
func minimal(recordType int, op, workload string) []byte {
	return fmt.Appendf(nil, `{"Id":"0d1f","RecordType":%d,"CreationTime":"2026-03-02T08:00:00","Operation":%q,`+
		`"OrganizationId":"3f1c0b6e-6a0e-4a36-9d57-0f5b8f0b7a11","UserType":0,"UserKey":"1003","UserId":"ana@example.org","Workload":%q,"Version":1}`,
		recordType, op, workload)
}

// example is an operation that a pattern fits.
func example(pattern string) string {
	return strings.NewReplacer("*", "x", "?", "–").Replace(pattern)
}

func checkValid(t *testing.T, e Event) {
	t.Helper()
	for _, p := range ocsf.Validate(e.Value) {
		t.Errorf("%v in %s", p, e.Value)
	}
}

// TestRecordTypes maps a minimal record of every record type, with an operation that no rule knows and with none.
func TestRecordTypes(t *testing.T) {
	t.Parallel()
	m := newMapper(t, Options{})
	for n, row := range m.tables.types {
		e := mapOne(t, m, recordOf(minimal(n, "", ""), "Audit.General"))[0]
		checkValid(t, e)
		if e.ClassUID != int(row.class) || e.ActivityID != 0 || e.RecordType != n {
			t.Errorf("record type %d without operation: got class %d activity %d, want class %d activity 0", n, e.ClassUID, e.ActivityID, row.class)
		}
		e = mapOne(t, m, recordOf(minimal(n, "Qqqzzz", "Wwww"), "Audit.General"))[0]
		checkValid(t, e)
		if r := m.tables.match(n, "qqqzzz"); r != nil {
			continue // a pattern that fits everything
		}
		want := ocsf.Other
		if row.activity >= 0 {
			want = row.activity
		} else if row.activity == finding {
			want = 1
		}
		if e.ClassUID != int(row.class) || e.ActivityID != want {
			t.Errorf("record type %d: got class %d activity %d, want class %d activity %d", n, e.ClassUID, e.ActivityID, row.class, want)
		}
	}
}

// TestOperations maps a minimal record for every rule and each of its record types.
func TestOperations(t *testing.T) {
	t.Parallel()
	m := newMapper(t, Options{})
	rows := 0
	for n, set := range m.tables.sets {
		fits := append([]int(nil), set.patterns...)
		for _, i := range set.exact {
			fits = append(fits, i)
		}
		for _, i := range fits {
			row := &m.tables.rows[i]
			op := example(row.pattern)
			if m.tables.match(n, op) != row {
				continue // an earlier row has this operation for this type
			}
			rows++
			e := mapOne(t, m, recordOf(minimal(n, op, ""), "Audit.General"))[0]
			checkValid(t, e)
			if e.ClassUID != int(row.class) || row.activity >= 0 && e.ActivityID != row.activity {
				t.Errorf("line %d, record type %d, %q: got class %d activity %d, want class %d activity %d",
					row.line, n, op, e.ClassUID, e.ActivityID, row.class, row.activity)
			}
		}
	}
	if rows < 800 {
		t.Errorf("got %d rules tried, want all", rows)
	}
}

// TestKnownOperations maps a minimal record of each operation that the vendor documents, where the list is at hand.
func TestKnownOperations(t *testing.T) {
	f, err := os.Open(sharedFile(t, "reference/operations.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	usual := map[string]int{
		"PowerBI": 20, "Exchange": 1, "Security&Compliance": 24, "SharePoint": 4, "AzureActiveDirectory": 8, "MicrosoftTeams": 25,
		"DefenderXDR": 81, "MicrosoftForms": 66, "Yammer": 22, "PowerApps": 45, "OneDrive": 6, "Dynamics": 21,
	}
	m := newMapper(t, Options{})
	var specific, other, rest, in6003 int
	for _, r := range rows[1:] {
		types := strings.Split(r[3], "/")
		n, err := strconv.Atoi(strings.TrimSpace(types[0]))
		if err != nil {
			var ok bool
			if n, ok = usual[r[1]]; !ok {
				n = -1
			}
		}
		e := mapOne(t, m, recordOf(minimal(n, r[0], r[1]), "Audit.General"))[0]
		checkValid(t, e)
		switch {
		case e.ActivityID != 99:
			specific++
			if e.ClassUID == 6003 {
				in6003++
			}
		case e.ClassUID != 6003:
			other++
			t.Logf("99: %d %s (%d)", e.ClassUID, r[0], n)
		default:
			rest++
			t.Logf("6003: %s %s (%d)", r[1], r[0], n)
		}
	}
	t.Logf("%d operations: %d with a specific activity (%d of them in 6003), %d with 99 in a specific class, %d with 99 in 6003",
		len(rows)-1, specific, in6003, other, rest)
}

func TestGlob(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, text string
		want          bool
	}{
		{"add user", "add user", true},
		{"add user", "add users", false},
		{"*", "", true},
		{"a*", "abc", true},
		{"*c", "abc", true},
		{"*b*", "abc", true},
		{"a?c", "abc", true},
		{"a?c", "a–c", true},
		{"a??c", "a–c", false},
		{"*ab", "aab", true},
		{"a*b*c", "axxbyyc", true},
		{"a*b*c", "axxbyy", false},
		{"", "x", false},
	} {
		if got := glob(tt.pattern, tt.text); got != tt.want {
			t.Errorf("%q on %q: got %v, want %v", tt.pattern, tt.text, got, tt.want)
		}
	}
}

func TestVerbs(t *testing.T) {
	t.Parallel()
	m := newMapper(t, Options{})
	for op, want := range map[string]int{
		"ListCreated": 1, "New-Thing": 1, "SetThing": 3, "thing removed": 4, "RemovePolicyCopy": 4, "Enable-It": 8, "DLPRuleAdded": 1,
		"Frobnicate": 99, "": 99, "ÄnderungX": 99, "CasePolicyUpdated": 3,
	} {
		if got := m.tables.verbActivity(ocsf.ClassEntityManagement, op); got != want {
			t.Errorf("%q: got activity %d, want %d", op, got, want)
		}
	}
}

// TestRulesAreBounded maps more made-up operations than a worker remembers.
func TestRulesAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorker(newMapper(t, Options{}).tables, Options{})
	for i := range 3 * maxRules {
		w.lookup(1, "Op"+strconv.Itoa(i))
	}
	w.lookup(1, strings.Repeat("x", 1<<20))
	if len(w.rules) > maxRules {
		t.Errorf("got %d rules remembered, want at most %d", len(w.rules), maxRules)
	}
}

// TestEventUID pins the names of events: they must never change. The values are those of another implementation of RFC 9562.
func TestEventUID(t *testing.T) {
	t.Parallel()
	if got, want := formatUUID(namespace), "05ae5c47-8f03-522c-b64f-ee2d9987cc2b"; got != want {
		t.Errorf("got namespace %s, want %s", got, want)
	}
	w := &worker{rec: audit.Record{Provenance: audit.Provenance{Tenant: testTenant, Domain: audit.DomainAudit}}, digest: 0x0123456789abcdef}
	if got, want := w.eventUID("0d1f", 0), "728d3f63-a074-508f-a991-c31ed60e21bb"; got != want {
		t.Errorf("got uid %s, want %s", got, want)
	}
}
