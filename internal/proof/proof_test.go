package proof

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/broker"
	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

const tenantID = "3f1c0b6e-6a0e-4a36-9d57-0f5b8f0b7a11"

// world is a tenant and a cluster that holds exactly what the tenant has, until a test tampers with it.
type world struct {
	t      *testing.T
	names  wire.Names
	addr   string
	tenant string // of the records that carry carries
	index  int    // of the next one
	client *kgo.Client
	items  []Item
	raw    []kafkatx.Record
	events []kafkatx.Record
	rich   []kafkatx.Record
	dead   []kafkatx.Record
}

func newWorld(t *testing.T) *world {
	t.Helper()
	b, err := broker.Open(broker.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	w := &world{t: t, names: wire.Names{Prefix: "m365"}, addr: b.Addr(), tenant: tenantID}
	w.client, err = kgo.NewClient(kgo.SeedBrokers(w.addr), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(16<<20))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	topics := append(w.names.RawAll(), w.names.EventsAll()...)
	topics = append(append(topics, w.names.EnrichedAll()...), w.names.DeadLetter(false), w.names.DeadLetter(true))
	if _, err := kadm.NewClient(w.client).CreateTopics(t.Context(), 2, 1, nil, topics...); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		w.carry(fmt.Sprintf(`{"Id":"r%d","CreationTime":"2026-03-02T08:00:00","RecordType":15,"Workload":"AzureActiveDirectory","UserId":"u%d@example.org"}`, i, i%4), true)
	}
	w.carry(`{"CreationTime":"2026-03-02T08:00:00","RecordType":15,"Id":"r3","Workload":"AzureActiveDirectory","UserId":"u3@example.org"}`, false) // a repeat
	w.carry(`{"Id":"r4","CreationTime":"2026-03-02T08:00:00","RecordType":15,"Workload":"AzureActiveDirectory","UserId":"u0@example.org","X":1}`, true)
	w.carry(`{"CreationTime":"2026-03-02T08:00:00"}`, true) // refused
	return w
}

// carry does what the pipeline does with one record.
func (w *world) carry(raw string, publish bool) {
	it := Item{Tenant: w.tenant, ContentID: "blob", Index: w.index, Domain: audit.DomainAudit, Raw: []byte(raw)}
	w.index++
	w.items = append(w.items, it)
	env, err := audit.ParseEnvelope(it.Raw)
	if err != nil {
		w.t.Fatal(err)
	}
	rec := wire.RawRecord(w.names, 2, audit.Record{Raw: it.Raw, Provenance: audit.Provenance{
		Tenant: audit.TenantID(w.tenant), Source: audit.SourceEntra, Domain: it.Domain, ContentType: string(audit.Entra), ContentID: it.ContentID, Index: it.Index,
		Created: time.Unix(1_770_000_000, 0), Fetched: time.Unix(1_770_000_100, 0),
	}}, env)
	w.raw = append(w.raw, rec)
	if !publish {
		return
	}
	parsed, err := wire.ParseRaw(rec)
	if err != nil {
		w.t.Fatal(err)
	}
	mapped, err := mapAll(parsed)
	if err != nil {
		w.dead = append(w.dead, wire.DeadLetter(w.names, rec, "normalizer", wire.ReasonNoID, err.Error())...)
		return
	}
	for _, m := range mapped {
		ev := wire.EventRecord(w.names, rec, wire.Event{UID: m.UID, ClassUID: m.ClassUID, Workload: audit.WorkloadEntra, Value: m.Value})
		w.events = append(w.events, ev)
		w.rich = append(w.rich, wire.EnrichedRecord(w.names, ev, append(bytes.TrimSuffix(m.Value, []byte("}")), `,"enrichments":[1]}`...)))
	}
}

func mapAll(r audit.Record) ([]wire.Event, error) {
	env, err := audit.ParseEnvelope(r.Raw)
	if err != nil || env.ID == "" {
		return nil, fmt.Errorf("no Id")
	}
	var g audit.Digester
	digest, err := g.Sum(r.Raw)
	if err != nil {
		return nil, err
	}
	uid := fmt.Sprintf("%s-%s-%x", r.Tenant, env.ID, digest)
	return []wire.Event{{UID: uid, ClassUID: 3002, Value: fmt.Appendf(nil, `{"metadata":{"uid":%q},"index":%d}`, uid, r.Index)}}, nil
}

func (w *world) produce(records []kafkatx.Record) {
	w.t.Helper()
	for _, r := range records {
		out := &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value}
		for _, h := range r.Headers {
			out.Headers = append(out.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		if err := w.client.ProduceSync(w.t.Context(), out).FirstErr(); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) prove() *Report {
	w.t.Helper()
	for _, records := range [][]kafkatx.Record{w.raw, w.events, w.rich, w.dead} {
		w.produce(records)
	}
	r, err := Run(w.t.Context(), Config{
		Brokers: []string{w.addr}, Names: w.names, Map: mapAll,
		Source: func(_ context.Context, fn func(Item) error) error {
			for _, it := range w.items {
				if err := fn(it); err != nil {
					return err
				}
			}
			return nil
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func TestHolds(t *testing.T) {
	t.Parallel()
	r := newWorld(t).prove()
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	got := r.Total()
	want := Row{Has: 23, Raw: 23, Events: 21, Repeats: 1, Variants: 1, DeadLetters: 1, Enriched: 21}
	if !r.Holds() || got != want {
		t.Errorf("got %+v, want %+v\n%s", got, want, b.String())
	}
}

// TestTwoTenants has another tenant with the same content ids, record ids and bytes.
func TestTwoTenants(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		w := newWorld(t)
		n := len(w.items)
		w.tenant, w.index = "00000000-1111-4222-8333-444444444444", 0
		for i, it := range w.items[:n] {
			w.carry(string(it.Raw), i != 20)
		}
		if lost {
			w.raw = w.raw[:len(w.raw)-5]
		}
		if r := w.prove(); r.Holds() == lost || r.Total().Has != 2*n {
			t.Errorf("holds: %t, want %t; %+v: %+v", r.Holds(), !lost, r.Total(), r.Problems)
		}
	}
}

// TestFresh has records that the pipeline may have carried as far as any stage: nothing of them is missed, and what is there is judged.
func TestFresh(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		tamper func(w *world)
		holds  bool
	}{
		{"carried", func(*world) {}, true},
		{"not on raw", func(w *world) { w.raw, w.events, w.rich = w.raw[:23], w.events[:21], w.rich[:21] }, true},
		{"on raw only", func(w *world) { w.events, w.rich = w.events[:21], w.rich[:21] }, true},
		{"not enriched", func(w *world) { w.rich = w.rich[:21] }, true},
		{"after raw was read", func(w *world) { w.raw = w.raw[:23] }, true},
		{"twice on raw", func(w *world) { w.raw = append(w.raw, w.raw[23]) }, false},
		{"twice as an event", func(w *world) { w.events = append(w.events, w.events[21]) }, false},
		{"altered", func(w *world) { w.raw[23].Value = bytes.Replace(w.raw[23].Value, []byte("fresh"), []byte("fresX"), 1) }, false},
		{"an old one is missing", func(w *world) { w.events, w.rich = w.events[1:], w.rich[1:] }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.carry(`{"Id":"fresh","CreationTime":"2026-03-02T08:00:00","RecordType":15,"Workload":"AzureActiveDirectory","UserId":"u1@example.org"}`, true)
			w.items[len(w.items)-1].Fresh = true
			tt.tamper(w)
			if r := w.prove(); r.Holds() != tt.holds {
				t.Errorf("holds: %t, want %t; %+v", r.Holds(), tt.holds, r.Problems)
			}
		})
	}
}

// TestFails tampers with one record at a time: whatever is dropped, repeated or altered, anywhere, is named.
func TestFails(t *testing.T) {
	t.Parallel()
	alter := func(r *kafkatx.Record) { r.Value = bytes.Replace(r.Value, []byte("r7"), []byte("r8"), 1) }
	tests := []struct {
		name   string
		tamper func(w *world)
		kind   Kind
		what   string
		names  string
	}{
		{"raw dropped", func(w *world) { w.raw = append(w.raw[:7], w.raw[8:]...) }, Missing, "raw", "r7"},
		{"raw repeated", func(w *world) { w.raw = append(w.raw, w.raw[7]) }, Repeated, "raw", "r7"},
		{"raw altered", func(w *world) { alter(&w.raw[7]) }, Altered, "raw", "r7"},
		{"event dropped", func(w *world) { w.events = append(w.events[:7], w.events[8:]...) }, Missing, "event", "r7"},
		{"event repeated", func(w *world) { w.events = append(w.events, w.events[7]) }, Repeated, "event", "r7"},
		{"event altered", func(w *world) { alter(&w.events[7]) }, Altered, "event", "r7"},
		{"enriched dropped", func(w *world) { w.rich = append(w.rich[:7], w.rich[8:]...) }, Missing, "enriched event", "r7"},
		{"enriched repeated", func(w *world) { w.rich = append(w.rich, w.rich[7]) }, Repeated, "enriched event", "r7"},
		{"enriched altered", func(w *world) { alter(&w.rich[7]) }, Altered, "enriched event", "r7"},
		{"dead letter dropped", func(w *world) { w.dead = nil }, Missing, "dead letter", "blob/22"},
		{"dead letter repeated", func(w *world) { w.dead = append(w.dead, w.dead[0]) }, Repeated, "dead letter", "blob/22"},
		{"repeat published", func(w *world) {
			again := w.events[3]
			w.events, w.rich = append(w.events, again), append(w.rich, wire.EnrichedRecord(w.names, again, again.Value))
		}, Repeated, "event", "r3"},
		{"variant dropped", func(w *world) { w.events, w.rich = w.events[:20], w.rich[:20] }, Missing, "event", "r4"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tt.tamper(w)
			r := w.prove()
			if r.Holds() {
				t.Fatal("the proof holds")
			}
			for _, p := range r.Problems {
				if p.Kind == tt.kind && p.What == tt.what && strings.Contains(p.Detail, tt.names) {
					return
				}
			}
			t.Errorf("got %+v, want one that is %s: %s of %s", r.Problems, tt.kind, tt.what, tt.names)
		})
	}
}
