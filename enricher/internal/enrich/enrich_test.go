package enrich

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"millrace/enricher/internal/join"
	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

// shared counts what all stages measure.
type shared struct {
	refused map[wire.Reason]int
	delays  []time.Duration
}

func newShared() *shared { return &shared{refused: map[wire.Reason]int{}} }

func (s *shared) Refused(reason wire.Reason, n int) { s.refused[reason] += n }

func (s *shared) Delay(created, now time.Time) { s.delays = append(s.delays, now.Sub(created)) }

func at(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }

func event(offset int64, value string) kafkatx.Record {
	return kafkatx.Record{
		Topic: "test.events.entra.v1", Partition: 3, Offset: offset, Key: []byte("key"), Value: []byte(value),
		Headers: []kafkatx.Header{
			{Key: wire.HeaderType, Value: []byte("millrace.m365.event.v1")},
			{Key: wire.HeaderContentCreated, Value: []byte(at(100).Format(time.RFC3339Nano))},
		},
	}
}

func newProcessor(t testing.TB, s *shared) (*Processor, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	metrics, err := NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	lookups := &join.Lookups{}
	p := New(Config{
		Names: wire.Names{Prefix: "test"}, Lookups: func() *join.Lookups { return lookups }, Metrics: metrics, Shared: s,
		Now: func() time.Time { return at(107) }, Log: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(p.Close)
	return p, registry
}

func TestProcess(t *testing.T) {
	t.Parallel()
	s := newShared()
	p, registry := newProcessor(t, s)
	huge := `{"class_uid":3002,"unmapped":"` + strings.Repeat("x", wire.MaxEvent) + `"}`
	nearly := `{"class_uid":3002,"unmapped":"` + strings.Repeat("x", wire.MaxEvent-40) + `"}` // only its joins would make it too large
	in := []kafkatx.Record{
		event(0, `{"class_uid":3002,"user":{"name":"ada@example.org"}}`), event(1, "not JSON"), event(2, huge), event(3, nearly),
		event(4, `{"class_uid":6003}`),
	}
	before := make([][]byte, len(in))
	for i, r := range in {
		before[i] = bytes.Clone(r.Value)
	}
	res, err := p.Process(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	again, err := p.Process(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i, r := range res.Outputs {
		got = append(got, fmt.Sprintf("%s[%d] %s %s", r.Topic, r.Partition, wire.Header(r, wire.HeaderType), wire.Header(r, wire.HeaderReason)))
		if !bytes.Equal(r.Value, again.Outputs[i].Value) {
			t.Errorf("output %d: other bytes at a redo", i)
		}
	}
	enriched, dead := "test.enriched.entra.v1[3] millrace.m365.enriched.v1 ", "test.deadletter.general.v1[3] millrace.m365.deadletter.v1 "
	want := []string{enriched, dead + "invalid_event", dead + "too_large", dead + "too_large", enriched, enriched}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for i, r := range in {
		if !bytes.Equal(r.Value, before[i]) {
			t.Errorf("input %d was written to", i)
		}
	}
	if parts := [][]byte{res.Outputs[2].Value, res.Outputs[3].Value}; !bytes.Equal(bytes.Join(parts, nil), in[2].Value) {
		t.Error("the parts of a large dead letter are not its bytes")
	}
	if out := res.Outputs[0].Value; cap(out) != len(out) {
		t.Error("whoever appends to a value writes into the next one")
	}

	if !bytes.Equal(res.Outputs[4].Value, in[3].Value) {
		t.Error("an event that its joins make too large has to pass as it came")
	}

	again.Change.Discard()
	if n := testutil.ToFloat64(p.cfg.Metrics.events); n != 0 || len(s.refused) != 0 {
		t.Errorf("a discarded batch was counted: %v, %v", n, s.refused)
	}
	res.Change.Merge()
	if n := testutil.ToFloat64(p.cfg.Metrics.events); n != 3 || s.refused[wire.ReasonInvalidEvent] != 1 || s.refused[wire.ReasonTooLarge] != 1 {
		t.Errorf("counted %v events, refused %v", n, s.refused)
	}
	if len(s.delays) != 3 || s.delays[0] != 7*time.Second {
		t.Errorf("delays %v", s.delays)
	}
	if n := testutil.ToFloat64(p.cfg.Metrics.lookups[join.Target][join.Incomplete]); n != 1 {
		t.Errorf("%v lookups of the target were counted as incomplete, want 1", n)
	}
	if _, err := NewMetrics(registry); err == nil {
		t.Error("the metrics are not registered")
	}
}

func TestADefectCostsNoEvent(t *testing.T) {
	t.Parallel()
	s := newShared()
	p, _ := newProcessor(t, s)
	good := p.join
	p.join = func(dst, ev []byte, tenant audit.TenantID, l *join.Lookups) ([]byte, join.Report, error) {
		if bytes.Contains(ev, []byte("defect")) {
			_ = append(dst, "half an event"...)
			panic("secret content")
		}
		return good(dst, ev, tenant, l)
	}
	in := []kafkatx.Record{event(0, `{"class_uid":1}`), event(1, `{"class_uid":2,"a":"defect"}`), event(2, `{"class_uid":3}`)}
	res, err := p.Process(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Outputs) != 3 || !bytes.Equal(res.Outputs[1].Value, in[1].Value) || res.Outputs[1].Topic != "test.enriched.entra.v1" {
		t.Fatalf("got %+v", res.Outputs)
	}
	for _, i := range []int{0, 2} {
		if !bytes.Contains(res.Outputs[i].Value, []byte(`"enrichments"`)) {
			t.Errorf("event %d was not joined: %s", i, res.Outputs[i].Value)
		}
	}
	res.Change.Merge()
	if n := testutil.ToFloat64(p.cfg.Metrics.unjoined); n != 1 || testutil.ToFloat64(p.cfg.Metrics.events) != 3 {
		t.Errorf("%v events were counted as unjoined", n)
	}

	p.join = func(_, _ []byte, _ audit.TenantID, _ *join.Lookups) ([]byte, join.Report, error) { panic(p) }
	if res, err = p.Process(t.Context(), []kafkatx.Record{event(0, "no JSON")}); err != nil || wire.Header(res.Outputs[0], wire.HeaderReason) != "invalid_event" {
		t.Errorf("what cannot be passed on: %+v, %v", res.Outputs, err)
	}
}

func BenchmarkProcess(b *testing.B) {
	p, _ := newProcessor(b, newShared())
	var in []kafkatx.Record
	for i := range 1000 {
		in = append(in, event(int64(i), `{"class_uid":3002,"user":{"name":"ada@example.org"},"src_endpoint":{"ip":"203.0.113.9"},"unmapped":{"a":"`+strings.Repeat("x", 1500)+`"}}`))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Process(b.Context(), in); err != nil {
			b.Fatal(err)
		}
	}
}
