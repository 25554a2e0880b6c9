package proof

import (
	"slices"
	"strings"
	"testing"

	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

// TestTooLarge has a record that is too large for raw: it must lie on a dead-letter topic, in parts that make the whole.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	first := func(r kafkatx.Record) kafkatx.Record {
		r.Value = append([]byte("x"), r.Value[1:]...)
		return r
	}
	tests := []struct {
		name   string
		tamper func(dead []kafkatx.Record) []kafkatx.Record
		kind   Kind // "" = the proof holds
	}{
		{"whole", func(d []kafkatx.Record) []kafkatx.Record { return d }, ""},
		{"part dropped", func(d []kafkatx.Record) []kafkatx.Record { return d[:1] }, Missing},
		{"part altered", func(d []kafkatx.Record) []kafkatx.Record { return []kafkatx.Record{first(d[0]), d[1]} }, Altered},
		{"repeated", func(d []kafkatx.Record) []kafkatx.Record { return append(d, d...) }, Repeated},
		{"part repeated", func(d []kafkatx.Record) []kafkatx.Record { return append(d, d[0]) }, Unexpected},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.carry(`{"Id":"giant","CreationTime":"2026-03-02T08:00:00","RecordType":15,"X":"`+strings.Repeat("x", 10<<20)+`"}`, false)
			raw := w.raw[len(w.raw)-1]
			w.raw = w.raw[:len(w.raw)-1]
			w.dead = append(w.dead, tt.tamper(wire.DeadLetter(w.names, raw, "ingester", wire.ReasonTooLarge, ""))...)
			r := w.prove()
			named := slices.ContainsFunc(r.Problems, func(p Problem) bool { return p.Kind == tt.kind && p.What == "dead letter" })
			if r.Holds() != (tt.kind == "") || !r.Holds() && !named {
				t.Errorf("got %+v, want %q", r.Problems, tt.kind)
			}
		})
	}
}
