package ocsf_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"millrace/pkg/ocsf"
)

const shared = "../../../shared"

// TestAgainstTool changes events in thousands of ways and compares the verdicts with those of the validator in ../shared.
func TestAgainstTool(t *testing.T) {
	tool := filepath.Join(shared, "tools/ocsf_validate.py")
	samples, err := os.ReadFile(filepath.Join(shared, "reference/ocsf/m365-samples.ocsf.ndjson"))
	if err != nil {
		t.Skip("no ../shared beside the project's root; with it: go test ./pkg/ocsf -run TestAgainstTool")
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3; with it: go test ./pkg/ocsf -run TestAgainstTool")
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var events [][]byte
	for l := range bytes.Lines(bytes.TrimSpace(samples)) {
		events = append(events, bytes.TrimSpace(l))
	}
	originals := len(events)
	for i := range 4000 {
		var e map[string]any
		if err := json.Unmarshal(events[i%originals], &e); err != nil {
			t.Fatal(err)
		}
		for range 1 + rng.IntN(3) {
			mutate(rng, e)
		}
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, b)
	}
	file := filepath.Join(t.TempDir(), "events.ndjson")
	if err := os.WriteFile(file, bytes.Join(events, []byte("\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ := exec.CommandContext(t.Context(), python, tool, file).Output() // exits 1 when it finds errors, as it shall
	want := map[string][]string{}
	for l := range strings.Lines(string(out)) {
		f := strings.SplitN(strings.TrimSpace(l), "\t", 5)
		where := f[0][strings.LastIndexByte(f[0], ':')+1:]
		want[where] = append(want[where], strings.Join(f[1:4], " "))
	}
	wrong := 0
	for i, e := range events {
		var got []string
		for _, p := range ocsf.Validate(e) {
			level := "error"
			if p.Warning {
				level = "warning"
			}
			got = append(got, level+" "+p.Code+" "+p.Path)
		}
		w := want[fmt.Sprint(i+1)]
		sort.Strings(got)
		sort.Strings(w)
		if slices.Equal(got, []string{"error class_uid_unknown class_uid"}) {
			continue // a class that the tool knows and nobody here emits
		}
		if !slices.Equal(got, w) {
			if wrong++; wrong < 10 {
				t.Errorf("event %d:\n got %q\nwant %q\n%.600s", i+1, got, w, e)
			}
		}
	}
	t.Logf("%d events, of which the tool finds something wrong with %d; %d verdicts differ", len(events), len(want), wrong)
}

// mutate changes one attribute somewhere.
func mutate(rng *rand.Rand, e map[string]any) {
	keys := make([]string, 0, len(e))
	for k := range e {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	if len(keys) == 0 {
		return
	}
	k := keys[rng.IntN(len(keys))]
	if inner, ok := e[k].(map[string]any); ok && rng.IntN(4) > 0 {
		mutate(rng, inner)
		return
	}
	if list, ok := e[k].([]any); ok && len(list) > 0 && rng.IntN(3) > 0 {
		if inner, ok := list[rng.IntN(len(list))].(map[string]any); ok {
			mutate(rng, inner)
			return
		}
	}
	switch values := []any{
		nil, "", "text", 0, 1, 2, 3, 99, 4711, -1, 70000, 1.5, true,
		[]any{},
		[]any{"a", 1},
		map[string]any{},
		map[string]any{"name": "x"},
		"1.9.0", "1.7.0", "1.8.0-dev", "Other", "Unknown", "Success",
		[]any{nil},
		[]any{"cloud"},
		[]any{"cloud", "host", "incident"},
		2004, 6006, 300101,
		strings.Repeat("é", 41),
	}; rng.IntN(4) {
	case 0:
		delete(e, k)
	case 1:
		e[[]string{"extra", "uid", "type_id", "osint", "name", "smtp_from", "risk_level_id", "user", "resource"}[rng.IntN(9)]] = values[rng.IntN(len(values))]
	default:
		e[k] = values[rng.IntN(len(values))]
	}
}
