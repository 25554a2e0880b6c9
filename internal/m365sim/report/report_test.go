package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "records.ndjson")
	text := `{"Id":"1","CreationTime":"2026-03-02T08:00:00","Workload":"Exchange","RecordType":2,"ClientIP":"[2001:db8::1]:52211","UserId":"ana@example.org"}
{"Id":"2","Workload":"OneDrive","RecordType":6,"ClientIP":"::ffff:203.0.113.9","UserId":"S-1-5-18"}

not json
`
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := New("files")
	if err := c.AddFile(name); err != nil {
		t.Fatal(err)
	}
	for _, want := range [][2]string{{"ClientIP", "[v6]:port"}, {"ClientIP", "::ffff:v4"}, {"UserId", "SID"}, {"UserId", "address"}, {"missing", "CreationTime"}, {"shape", "no JSON object"}, {"record type", "6"}} {
		if c.Count(want[0], want[1]) != 1 {
			t.Errorf("%s %s was counted %d times", want[0], want[1], c.Count(want[0], want[1]))
		}
	}
	var out strings.Builder
	if err := Write(&out, c, New("nothing")); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "workload Exchange") {
		t.Errorf("report:\n%s", &out)
	}
	if err := c.AddFile(filepath.Join(t.TempDir(), "absent")); err == nil {
		t.Error("a missing file was read")
	}
}
