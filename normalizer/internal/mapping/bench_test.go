package mapping

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"testing"
	"time"

	"millrace/internal/testkit"
	"millrace/pkg/audit"
)

// mix are fixtures in about the proportion in which a tenant's feed brings their kinds.
var mix = []struct {
	name  string
	times int
}{
	{"entra-logon", 16},
	{"entra-logon-refused", 4},
	{"exchange-items-accessed", 14},
	{"exchange-inbox-rule", 2},
	{"exchange-set-mailbox", 6},
	{"exchange-hard-delete", 4},
	{"file-downloaded", 12},
	{"file-accessed", 12},
	{"file-uploaded", 5},
	{"file-link", 3},
	{"teams-message-links", 6},
	{"teams-session", 3},
	{"teams-member", 2},
	{"powerbi-export", 3},
	{"entra-add-member", 2},
	{"entra-role", 1},
	{"copilot", 1},
	{"dynamics-query", 1},
	{"defender-mail-quarantined", 1},
	{"alert-triggered", 1},
	{"dlp-file-blocked", 1},
}

type input struct {
	rec    audit.Record
	digest uint64
}

func mixed(tb testing.TB) (inputs []input, size int) {
	tb.Helper()
	cases := fixtures(tb)
	var g audit.Digester
	for _, m := range mix {
		a, ok := cases[m.name]
		if !ok {
			tb.Fatalf("no fixture %s", m.name)
		}
		for range m.times {
			raw := a.raw()
			digest, err := g.Sum(raw)
			if err != nil {
				tb.Fatal(err)
			}
			inputs = append(inputs, input{audit.Record{Raw: raw, Provenance: a.provenance()}, digest})
			size += len(raw)
		}
	}
	return inputs, size
}

// BenchmarkMap maps one record of the mix an iteration.
func BenchmarkMap(b *testing.B) {
	m := newMapper(b, Options{})
	inputs, size := mixed(b)
	b.SetBytes(int64(size / len(inputs)))
	b.ReportAllocs()
	var dst []Event
	i := 0
	for b.Loop() {
		in := &inputs[i%len(inputs)]
		i++
		var err error
		if dst, err = m.Map(dst[:0], in.rec, in.digest); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStandardLibrary does the same amount of work in the plain way: decode to a map, build an event of maps that has what
// the mapper writes, encode it.
func BenchmarkStandardLibrary(b *testing.B) {
	m := newMapper(b, Options{})
	inputs, size := mixed(b)
	built := make([]map[string]any, len(inputs))
	for i, in := range inputs {
		events, err := m.Map(nil, in.rec, in.digest)
		if err != nil {
			b.Fatal(err)
		}
		if err := json.Unmarshal(events[0].Value, &built[i]); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(size / len(inputs)))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		n := i % len(inputs)
		i++
		var record map[string]any
		if err := json.Unmarshal(inputs[n].rec.Raw, &record); err != nil {
			b.Fatal(err)
		}
		if _, err := time.Parse("2006-01-02T15:04:05", record["CreationTime"].(string)); err != nil {
			b.Fatal(err)
		}
		event, _ := clone(built[n]).(map[string]any)
		sum := sha256.Sum256(inputs[n].rec.Raw)
		event["raw_data_hash"].(map[string]any)["value"] = hex.EncodeToString(sum[:])
		if _, err := json.Marshal(event); err != nil {
			b.Fatal(err)
		}
	}
}

// clone builds a tree of maps anew, as a mapper over maps has to.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = clone(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = clone(x)
		}
		return out
	}
	return v
}

// TestAllocations holds the ceiling of the hot path: for every fixture that becomes one event, a record takes at most ten.
func TestAllocations(t *testing.T) {
	if testkit.Race {
		t.Log("the ceilings hold without the race detector: go test ./normalizer/internal/mapping")
		return
	}
	m := newMapper(t, Options{})
	var g audit.Digester
	most := 0.0
	for name, a := range fixtures(t) {
		raw := a.raw()
		digest, err := g.Sum(raw)
		if err != nil {
			continue
		}
		rec := audit.Record{Raw: raw, Provenance: a.provenance()}
		dst, err := m.Map(nil, rec, digest)
		if err != nil || len(dst) != 1 || name == "quirk-repeated" || name == "dlp-secret-in-text" { // shapes the feed hardly ever has
			continue
		}
		n := testing.AllocsPerRun(20, func() { dst, _ = m.Map(dst[:0], rec, digest) })
		most = max(most, n)
		if n > 10 {
			t.Errorf("%s: got %.0f allocations, want at most 10", name, n)
		}
	}
	t.Logf("at most %.0f allocations a record", most)
}
