package mapping

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"testing"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"millrace/internal/testkit"
	"millrace/pkg/audit"
	"millrace/pkg/ocsf"
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

// batch holds the last events, as a stage holds those of a batch until it is committed. Without it the heap is so small that the garbage
// collector marks half of the time, which no stage does.
type batch struct {
	events [4000][]byte // as many as a stage takes at once
	n      int
}

func (b *batch) keep(event []byte) {
	b.events[b.n%len(b.events)] = event
	b.n++
}

// contender turns one input of the mix into an encoded event.
type contender struct {
	name string
	do   func(n int) ([]byte, error)
}

// contenders are the mapper, and the same amount of work in the plain way: decode to a map, build an event of maps that has what the mapper writes,
// encode it. encoding/json/v2 is its mirror: with GOEXPERIMENT=jsonv2 encoding/json itself would be built on it, and there would be nothing to
// compare with in one run.
func contenders(tb testing.TB, inputs []input) []contender {
	tb.Helper()
	m := newMapper(tb, Options{})
	built := make([]map[string]any, len(inputs))
	for i, in := range inputs {
		events, err := m.Map(nil, in.rec, in.digest)
		if err != nil {
			tb.Fatal(err)
		}
		if err := json.Unmarshal(events[0].Value, &built[i]); err != nil {
			tb.Fatal(err)
		}
	}
	plainly := func(n int, unmarshal func([]byte, any) error, marshal func(any) ([]byte, error)) ([]byte, error) {
		var record map[string]any
		if err := unmarshal(inputs[n].rec.Raw, &record); err != nil {
			return nil, err
		}
		if _, err := time.Parse("2006-01-02T15:04:05", record["CreationTime"].(string)); err != nil {
			return nil, err
		}
		event, _ := clone(built[n]).(map[string]any)
		sum := sha256.Sum256(inputs[n].rec.Raw)
		event["raw_data_hash"].(map[string]any)["value"] = hex.EncodeToString(sum[:])
		return marshal(event)
	}
	var dst []Event
	return []contender{
		{"mapper", func(n int) ([]byte, error) {
			var err error
			if dst, err = m.Map(dst[:0], inputs[n].rec, inputs[n].digest); err != nil {
				return nil, err
			}
			return dst[0].Value, nil
		}},
		{"encoding/json", func(n int) ([]byte, error) { return plainly(n, json.Unmarshal, json.Marshal) }},
		{"json/v2", func(n int) ([]byte, error) {
			return plainly(n,
				func(raw []byte, v any) error { return jsonv2.Unmarshal(raw, v) },
				func(v any) ([]byte, error) { return jsonv2.Marshal(v) })
		}},
	}
}

// BenchmarkMap maps one record of the mix an iteration.
func BenchmarkMap(b *testing.B) { benchmark(b, 0) }

// BenchmarkStandardLibrary does the same with encoding/json.
func BenchmarkStandardLibrary(b *testing.B) { benchmark(b, 1) }

// BenchmarkJSONv2 does the same with the mirror of encoding/json/v2.
func BenchmarkJSONv2(b *testing.B) { benchmark(b, 2) }

func benchmark(b *testing.B, which int) {
	b.Helper()
	inputs, size := mixed(b)
	c := contenders(b, inputs)[which]
	b.SetBytes(int64(size / len(inputs)))
	b.ReportAllocs()
	var kept batch
	i := 0
	for b.Loop() {
		event, err := c.do(i % len(inputs))
		if err != nil {
			b.Fatal(err)
		}
		kept.keep(event)
		i++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkRatios has the contenders take turns, so that a slow moment of the machine hits all alike, and compares the medians of their turns. A turn
// is long enough to collect the garbage that it makes: short ones would leave that of the mapper to the others, who make so much more.
func BenchmarkRatios(b *testing.B) {
	inputs, _ := mixed(b)
	all := contenders(b, inputs)
	turns := make([][]time.Duration, len(all))
	var kept batch
	for b.Loop() {
		for i, c := range all {
			began := time.Now()
			for n := range kept.events {
				event, err := c.do(n % len(inputs))
				if err != nil {
					b.Fatal(err)
				}
				kept.keep(event)
			}
			turns[i] = append(turns[i], time.Since(began))
		}
	}
	median := func(of []time.Duration) float64 {
		slices.Sort(of)
		return of[len(of)/2].Seconds()
	}
	mapper := median(turns[0])
	b.ReportMetric(float64(len(kept.events))/mapper, "records/s")
	for i, c := range all[1:] {
		b.ReportMetric(median(turns[i+1])/mapper, "x-"+c.name)
	}
	b.ReportMetric(0, "ns/op") // of all contenders together: it says nothing
}

// BenchmarkParts are the steps of a record that cannot be left out, each alone: what they take in sum is what a mapping without any rules would.
func BenchmarkParts(b *testing.B) {
	inputs, size := mixed(b)
	mean := int64(size / len(inputs))
	each := func(name string, step func(n int)) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(mean)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				step(i % len(inputs))
				i++
			}
		})
	}
	var r record
	r.init()
	each("decode", func(n int) {
		if err := r.decode(inputs[n].rec.Raw); err != nil {
			b.Fatal(err)
		}
	})
	each("hash", func(n int) { sha256.Sum256(inputs[n].rec.Raw) })
	events, encoded := filled(b, inputs)
	var out []byte
	each("encode", func(n int) { out = events[n].Append(out[:0]) })
	var kept batch
	each("own bytes", func(n int) {
		value := make([]byte, len(encoded[n]))
		copy(value, encoded[n])
		kept.keep(value)
	})
}

// filled are the events of records before and after they are encoded; nothing of them is used again.
func filled(tb testing.TB, inputs []input) (events []*ocsf.Event, encoded [][]byte) {
	tb.Helper()
	tables, err := loadTables()
	if err != nil {
		tb.Fatal(err)
	}
	for _, in := range inputs {
		w := newWorker(tables, Options{})
		dst, err := w.mapRecord(nil, in.rec, in.digest)
		if err != nil {
			tb.Fatal(err)
		}
		events, encoded = append(events, &w.ev), append(encoded, dst[0].Value)
	}
	return events, encoded
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
