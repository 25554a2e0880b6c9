package mapping

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"testing"

	"millrace/pkg/audit"
)

// The tests of this file judge the mapping by material that is not part of the project: ../shared beside the project's root. They
// run wherever it is there, and say so where it is not.

const shared = "../../../../shared"

func sharedFile(t *testing.T, name string) string {
	t.Helper()
	p := filepath.Join(shared, name)
	if _, err := os.Stat(p); err != nil {
		t.Skipf("%s is not there: put it beside the project's root and run go test ./normalizer/internal/mapping", p)
	}
	return p
}

func lines(t *testing.T, file string) [][]byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		if len(bytes.TrimSpace(s.Bytes())) > 0 {
			out = append(out, bytes.Clone(s.Bytes()))
		}
	}
	return out
}

const testTenant = audit.TenantID("3f1c0b6e-6a0e-4a36-9d57-0f5b8f0b7a11")

func recordOf(raw []byte, contentType string) audit.Record {
	return audit.Record{Raw: raw, Provenance: audit.Provenance{Tenant: testTenant, Domain: audit.DomainAudit, ContentType: contentType}}
}

func mapOne(t testing.TB, m *Mapper, rec audit.Record) []Event {
	t.Helper()
	var g audit.Digester
	digest, err := g.Sum(rec.Raw)
	if err != nil {
		t.Fatal(err)
	}
	events, err := m.Map(nil, rec, digest)
	if err != nil {
		t.Fatalf("%s: %v", rec.Raw, err)
	}
	return events
}

// explained are the places where events differ on purpose from the samples, by record: the samples leave out what rule 4.8 keeps.
var explained = map[string]string{
	"00000002-1111-4222-8333-444455556666 unmapped.ResultStatus": "contradicts the status, so it was not copied",
	"00000022-1111-4222-8333-444455556666 unmapped.UserId":       "the actor is the file's author",
	"00000022-1111-4222-8333-444455556666 unmapped.UserKey":      "the actor is the file's author",
	"00000022-1111-4222-8333-444455556666 unmapped.UserType":     "the actor is the file's author",
}

func TestSamples(t *testing.T) {
	records := lines(t, sharedFile(t, "reference/ocsf/m365-samples.ndjson"))
	want := map[string][]map[string]any{}
	for _, l := range lines(t, sharedFile(t, "reference/ocsf/m365-samples.ocsf.ndjson")) {
		var e map[string]any
		if err := json.Unmarshal(l, &e); err != nil {
			t.Fatal(err)
		}
		id := e["metadata"].(map[string]any)["original_event_uid"].(string)
		want[id] = append(want[id], e)
	}
	m, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range records {
		var rec struct{ Id string }
		if err := json.Unmarshal(raw, &rec); err != nil {
			t.Fatal(err)
		}
		logName := want[rec.Id][0]["metadata"].(map[string]any)["log_name"].(string)
		events := mapOne(t, m, recordOf(raw, logName))
		if len(events) != len(want[rec.Id]) {
			t.Errorf("%s: got %d events, want %d", rec.Id, len(events), len(want[rec.Id]))
			continue
		}
		for i, e := range events {
			var got map[string]any
			if err := json.Unmarshal(e.Value, &got); err != nil {
				t.Fatalf("%s: %v\n%s", rec.Id, err, e.Value)
			}
			for _, d := range differences("", got, want[rec.Id][i]) {
				if _, ok := explained[rec.Id+" "+d.path]; !ok && d.path != "metadata.uid" {
					t.Errorf("%s %s: %s: got %v, want %v", rec.Id, got["metadata"].(map[string]any)["event_code"], d.path, d.got, d.want)
				}
			}
		}
	}
}

type difference struct {
	path      string
	got, want any
}

func differences(at string, got, want any) []difference {
	g, ok1 := got.(map[string]any)
	w, ok2 := want.(map[string]any)
	if ok1 && ok2 {
		var out []difference
		keys := map[string]bool{}
		for k := range g {
			keys[k] = true
		}
		for k := range w {
			keys[k] = true
		}
		for k := range keys {
			out = append(out, differences(strings.TrimPrefix(at+"."+k, "."), g[k], w[k])...)
		}
		sort.Slice(out, func(i, j int) bool { return out[i].path < out[j].path })
		return out
	}
	if at == "observables" {
		got, want = sorted(got), sorted(want)
	}
	if reflect.DeepEqual(got, want) {
		return nil
	}
	return []difference{{at, got, want}}
}

func sorted(v any) any {
	l, _ := v.([]any)
	var s []string
	for _, x := range l {
		s = append(s, fmt.Sprint(x))
	}
	sort.Strings(s)
	return s
}

// corpora gives the records of each file of the shared corpora.
func corpora(t *testing.T) map[string][][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(sharedFile(t, "corpora"), "*.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][][]byte{}
	for _, f := range files {
		out[filepath.Base(f)] = lines(t, f)
	}
	return out
}

func TestCorpora(t *testing.T) {
	m, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	var g audit.Digester
	var all bytes.Buffer
	for name, records := range corpora(t) {
		var events, specific, acting, refusals int
		for _, raw := range records {
			digest, err := g.Sum(raw)
			if err != nil {
				t.Fatal(err)
			}
			out, err := m.Map(nil, recordOf(raw, "Audit.General"), digest)
			if err != nil {
				refusals++
				t.Logf("%s: %v", name, err)
			}
			for _, e := range out {
				events++
				if e.ClassUID != 6003 {
					specific++
				}
				if e.ActivityID != 99 && e.ActivityID != 0 {
					acting++
				} else {
					t.Logf("%s: class %d activity %d: %.200s", name, e.ClassUID, e.ActivityID, raw)
				}
				all.Write(e.Value)
				all.WriteByte('\n')
			}
		}
		t.Logf("%s: %d records, %d refused, %d events; %.1f %% in a specific class, %.1f %% with a specific activity", name,
			len(records), refusals, events, 100*float64(specific)/float64(events), 100*float64(acting)/float64(events))
	}
	checkWithTool(t, all.Bytes())
}

// checkWithTool runs the shared validator over events, one a line.
func checkWithTool(t *testing.T, events []byte) {
	t.Helper()
	tool := sharedFile(t, "tools/ocsf_validate.py")
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Logf("no python3: %s did not run", tool)
		return
	}
	file := filepath.Join(t.TempDir(), "events.ndjson")
	if err := os.WriteFile(file, events, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), python, tool, file).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%.5000s", err, out)
		return
	}
	l := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	t.Logf("%s", l[len(l)-1])
}
