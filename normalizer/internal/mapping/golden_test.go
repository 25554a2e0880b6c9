package mapping

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"millrace/internal/testkit"
	"millrace/pkg/audit"
	"millrace/pkg/ocsf"
	"millrace/schemas"
)

// archive is a file of testdata: a note on why the case exists, then files. Lines "key: value" at the end of the note are settings.
type archive struct {
	note     string
	settings map[string]string
	files    map[string]string
}

// parseArchive reads the txtar form: a comment, then files behind lines of the form "-- name --".
func parseArchive(b []byte) archive {
	a := archive{settings: map[string]string{}, files: map[string]string{}}
	name := ""
	for line := range strings.Lines(string(b)) {
		trimmed := strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(trimmed, "-- "); ok && strings.HasSuffix(rest, " --") {
			name = strings.TrimSuffix(rest, " --")
			a.files[name] = ""
			continue
		}
		if name != "" {
			a.files[name] += line
			continue
		}
		a.note += line
		if key, value, ok := strings.Cut(trimmed, ": "); ok && !strings.Contains(key, " ") {
			a.settings[key] = value
		}
	}
	return a
}

func (a archive) format() []byte {
	b := []byte(a.note)
	for _, name := range slices.Sorted(maps.Keys(a.files)) {
		b = fmt.Appendf(b, "-- %s --\n%s", name, a.files[name])
	}
	return b
}

// provenance is that of every fixture; settings can change parts of it.
func (a archive) provenance() audit.Provenance {
	p := audit.Provenance{
		Tenant: testTenant, Source: audit.SourceGeneral, Domain: audit.DomainAudit, ContentType: "Audit.General", ContentID: "c1",
		Created: time.Date(2026, 3, 2, 8, 10, 0, 0, time.UTC), Fetched: time.Date(2026, 3, 2, 8, 10, 5, 250e6, time.UTC),
	}
	if s := a.settings["content-type"]; s != "" {
		p.ContentType = s
	}
	if s := a.settings["domain"]; s != "" {
		p.Domain = audit.Domain(s)
	}
	return p
}

func (a archive) options() Options {
	return Options{RawData: a.settings["raw-data"] == "on", DLPClear: a.settings["dlp"] == "clear"}
}

// result is what the golden file says: the events, one after the other, and what is wrong with them; or the refusal.
func (a archive) result(t *testing.T, rec audit.Record) string {
	t.Helper()
	var g audit.Digester
	digest, err := g.Sum(rec.Raw)
	if err != nil {
		digest = 0 // bytes that are no record have no digest, and are refused
	}
	events, err := newMapper(t, a.options()).Map(nil, rec, digest)
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		return refusal.Error() + "\n"
	}
	if err != nil {
		t.Fatalf("got error %v, want a refusal", err)
	}
	var b bytes.Buffer
	for _, e := range events {
		if err := json.Indent(&b, e.Value, "", "\t"); err != nil {
			t.Fatalf("%v\n%s", err, e.Value)
		}
		b.WriteByte('\n')
		for _, p := range ocsf.Validate(e.Value) {
			fmt.Fprintf(&b, "# %v\n", p)
		}
	}
	return b.String()
}

// fixtures gives all cases of testdata by name.
func fixtures(t testing.TB) map[string]archive {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]archive{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(f), ".txtar")] = parseArchive(b)
	}
	if len(all) == 0 {
		t.Fatal("testdata has no cases")
	}
	return all
}

// raw is the record of a case. The line break at the end of the file is not part of it.
func (a archive) raw() []byte { return []byte(strings.TrimSuffix(a.files["input.json"], "\n")) }

func TestGolden(t *testing.T) {
	t.Parallel()
	for name, a := range fixtures(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := a.result(t, audit.Record{Raw: a.raw(), Provenance: a.provenance()})
			if strings.Contains(got, "# error") {
				t.Errorf("the event is not valid:\n%s", got)
			}
			if testkit.Update() {
				a.files["want.json"] = got
				if err := os.WriteFile(filepath.Join("testdata", name+".txtar"), a.format(), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(a.files["want.json"], got); diff != "" {
				t.Errorf("mapping (-want +got):\n%s", diff)
			}
		})
	}
}

// TestJSONSchemas holds the events of all fixtures against the JSON Schema of their class.
func TestJSONSchemas(t *testing.T) {
	t.Parallel()
	compiler := jsonschema.NewCompiler()
	files, err := fs.Glob(schemas.OCSF, "ocsf/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := schemas.OCSF.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if err := compiler.AddResource(doc.(map[string]any)["$id"].(string), doc); err != nil {
			t.Fatal(err)
		}
	}
	classes := map[int]*jsonschema.Schema{}
	for _, c := range ocsf.Classes() {
		s, err := compiler.Compile("urn:millrace:schema:ocsf:" + c.Name() + ":" + ocsf.Version)
		if err != nil {
			t.Fatal(err)
		}
		classes[int(c)] = s
	}
	m := newMapper(t, Options{})
	for name, a := range fixtures(t) {
		events, err := m.Map(nil, audit.Record{Raw: a.raw(), Provenance: a.provenance()}, 1)
		if err != nil {
			continue // a refusal
		}
		for _, e := range events {
			value, err := jsonschema.UnmarshalJSON(bytes.NewReader(e.Value))
			if err != nil {
				t.Fatal(err)
			}
			if err := classes[e.ClassUID].Validate(value); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
