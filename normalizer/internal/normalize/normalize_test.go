package normalize_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"millrace/normalizer/internal/mapping"
	"millrace/normalizer/internal/normalize"
	"millrace/normalizer/internal/seen"
	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

const (
	partitions = 4
	tenant     = audit.TenantID("11111111-2222-3333-4444-555555555555")
)

var (
	names = wire.Names{Prefix: "m365"}
	start = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
)

// fakeMapper does what the Operation of a record says.
type fakeMapper struct{ t *testing.T }

func (m fakeMapper) Map(dst []mapping.Event, rec audit.Record, digest uint64) ([]mapping.Event, error) {
	env, err := audit.ParseEnvelope(rec.Raw)
	if err != nil {
		m.t.Errorf("the mapper was given what is no record: %v", err)
	}
	event := func(value string) mapping.Event {
		return mapping.Event{
			UID: fmt.Sprintf("%s-%x-%d", env.ID, digest, len(dst)), ClassUID: 6001, TypeUID: 600199, SeverityID: 1, TimeMillis: start.UnixMilli(),
			RecordType: env.RecordType, Workload: env.Workload, Value: []byte(value),
		}
	}
	switch env.Operation {
	case "Panic":
		panic("the secret of " + env.UserID)
	case "NilPanic":
		var none *mapping.Event
		return append(dst, *none), nil
	case "Broken":
		return dst, errors.New("the secret of " + env.UserID)
	case "Refuse":
		return dst, &mapping.Refusal{Reason: mapping.ReasonNoTime, Detail: "no time"}
	case "Large":
		return append(dst, event(strings.Repeat("x", 100)), event(strings.Repeat("x", 5000))), nil
	case "Two":
		dst = append(dst, event(env.ID+"/0"))
		return append(dst, event(env.ID+"/1")), nil
	}
	return append(dst, event(env.ID)), nil
}

type fixture struct {
	*normalize.Handler
	registry *prometheus.Registry
	log      *bytes.Buffer
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{registry: prometheus.NewRegistry(), log: &bytes.Buffer{}}
	budget := seen.NewBudget(64 << 20)
	metrics, err := normalize.NewMetrics(f.registry, budget, false)
	if err != nil {
		t.Fatal(err)
	}
	f.Handler, err = normalize.New(3, normalize.Config{
		Names: names, Partitions: partitions, Horizon: seen.DefaultHorizon, Budget: budget, Mapper: fakeMapper{t}, Metrics: metrics,
		Log: slog.New(slog.NewTextHandler(f.log, nil)), Now: func() time.Time { return start.Add(time.Minute) }, MaxEvent: 4000,
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) process(t *testing.T, in ...kafkatx.Record) kafkatx.Result {
	t.Helper()
	res, err := f.Process(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// raw is a record on a raw topic. Of its fields only those of the name=value pairs differ from record to record.
func raw(source audit.Source, id string, pairs ...string) kafkatx.Record {
	members := map[string]string{"Operation": "FileAccessed", "UserId": "ada@example.org", "Workload": "SharePoint"}
	domain := audit.DomainAudit
	if source == audit.SourceDLP {
		domain = audit.DomainDLP
	}
	for _, pair := range pairs {
		k, v, _ := strings.Cut(pair, "=")
		members[k] = v
	}
	body := fmt.Sprintf(`{"CreationTime":"2026-03-02T07:00:00","RecordType":6,"Id":%q,"Operation":%q,"UserId":%q,"Workload":%q,"Extra":%q}`,
		id, members["Operation"], members["UserId"], members["Workload"], members["Extra"])
	return rawBytes(source, domain, []byte(body))
}

func rawBytes(source audit.Source, domain audit.Domain, body []byte) kafkatx.Record {
	env, _ := audit.ParseEnvelope(body) // of what is no record the empty envelope
	return wire.RawRecord(names, partitions, audit.Record{Raw: body, Provenance: audit.Provenance{
		Tenant: tenant, Source: source, Domain: domain, ContentType: "Audit.SharePoint", ContentID: "blob-1", Created: start, Fetched: start.Add(time.Second),
	}}, env)
}

// values lists what was put on the topics whose name contains part.
func values(res kafkatx.Result, part string) []string {
	var out []string
	for _, r := range res.Outputs {
		if strings.Contains(r.Topic, part) {
			out = append(out, string(r.Value))
		}
	}
	return out
}

func TestOrderFanOutAndRouting(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	in := []kafkatx.Record{
		raw(audit.SourceSharePoint, "a"), raw(audit.SourceGeneral, "b", "Operation=Two"), raw(audit.SourceSharePoint, "c"),
		raw(audit.SourceDLP, "d"),
	}
	res := f.process(t, in...)
	if diff := cmp.Diff([]string{"a", "b/0", "b/1", "c"}, values(res, ".events.sharepoint.")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"d"}, values(res, ".events.dlp.")); diff != "" {
		t.Error(diff)
	}
	for _, out := range res.Outputs {
		if out.Partition != in[0].Partition || string(out.Key) != string(in[0].Key) {
			t.Errorf("%s/%d %s: not where the raw record was", out.Topic, out.Partition, out.Key)
		}
	}
}

func TestRepeatsAndVariants(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	// The same record from two topics and with its members in another order, and the same id with other content.
	again := raw(audit.SourceGeneral, "a")
	again.Value = bytes.Replace(again.Value, []byte(`"RecordType":6,"Id":"a"`), []byte(`"Id":"a", "RecordType":6`), 1)
	res := f.process(t, raw(audit.SourceSharePoint, "a"), again, raw(audit.SourceSharePoint, "a", "Extra=x"))
	if got := values(res, ".events."); len(got) != 2 {
		t.Fatalf("got %d events, want the record and its variant", len(got))
	}
	if wire.Header(res.Outputs[0], wire.HeaderVariant) != "" || wire.Header(res.Outputs[1], wire.HeaderVariant) != "true" {
		t.Error("the second one, and only it, must be marked as a variant")
	}
	// Aborted: all of it is done again, with the same outcome.
	res.Change.Discard()
	redone := f.process(t, raw(audit.SourceSharePoint, "a"), again, raw(audit.SourceSharePoint, "a", "Extra=x"))
	if diff := cmp.Diff(res.Outputs, redone.Outputs); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(res.State, redone.State); diff != "" {
		t.Error(diff)
	}
	redone.Change.Merge()
	res = f.process(t, again, raw(audit.SourceSharePoint, "a", "Extra=x"), raw(audit.SourceSharePoint, "a", "Extra=y"))
	if len(res.Outputs) != 1 || wire.Header(res.Outputs[0], wire.HeaderVariant) != "true" {
		t.Errorf("got %d outputs, want one more variant", len(res.Outputs))
	}
	res.Change.Merge()
	if res := f.process(t, again); len(res.Outputs) != 0 || res.State != nil {
		t.Errorf("a repeat gave %d outputs and %d state records", len(res.Outputs), len(res.State))
	}
	// In another domain the same id is another record.
	f2 := newFixture(t)
	for _, state := range redone.State {
		if err := f2.Load(state); err != nil {
			t.Fatal(err)
		}
	}
	if res := f2.process(t, again, raw(audit.SourceDLP, "a")); len(res.Outputs) != 1 {
		t.Errorf("got %d outputs, want that of the DLP record", len(res.Outputs))
	}
	if err := testutil.GatherAndCompare(f.registry, strings.NewReader(`
# HELP millrace_normalizer_records_total Raw records by what became of them: published, variant (published, marked), repeat (dropped), refused (dead letter).
# TYPE millrace_normalizer_records_total counter
millrace_normalizer_records_total{outcome="published",workload="sharepoint"} 1
millrace_normalizer_records_total{outcome="repeat",workload="sharepoint"} 3
millrace_normalizer_records_total{outcome="variant",workload="sharepoint"} 2
`), "millrace_normalizer_records_total"); err != nil {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	foreign := raw(audit.SourceSharePoint, "z")
	foreign.Headers = nil
	tests := []struct {
		name   string
		in     kafkatx.Record
		reason wire.Reason
		topic  string
	}{
		{"no JSON", rawBytes(audit.SourceExchange, audit.DomainAudit, []byte(`{"Id":`)), wire.ReasonInvalidJSON, "m365.deadletter.general.v1"},
		{"a list", rawBytes(audit.SourceExchange, audit.DomainAudit, []byte(`[]`)), wire.ReasonInvalidJSON, "m365.deadletter.general.v1"},
		{"invalid UTF-8", rawBytes(audit.SourceExchange, audit.DomainAudit, []byte("{\"Id\":\"\xff\"}")), wire.ReasonInvalidJSON, "m365.deadletter.general.v1"},
		{"nothing", rawBytes(audit.SourceExchange, audit.DomainAudit, nil), wire.ReasonInvalidJSON, "m365.deadletter.general.v1"},
		{"no id", raw(audit.SourceSharePoint, ""), wire.ReasonNoID, "m365.deadletter.general.v1"},
		{"refused by the mapping", raw(audit.SourceSharePoint, "a", "Operation=Refuse"), wire.ReasonNoTime, "m365.deadletter.general.v1"},
		{"of the DLP domain", raw(audit.SourceDLP, "a", "Operation=Refuse"), wire.ReasonNoTime, "m365.deadletter.dlp.v1"},
		{"panic", raw(audit.SourceSharePoint, "a", "Operation=Panic"), wire.ReasonMappingFailed, "m365.deadletter.general.v1"},
		{"panic of the runtime", raw(audit.SourceSharePoint, "a", "Operation=NilPanic"), wire.ReasonMappingFailed, "m365.deadletter.general.v1"},
		{"unknown error", raw(audit.SourceSharePoint, "a", "Operation=Broken"), wire.ReasonMappingFailed, "m365.deadletter.general.v1"},
		{"second event too large", raw(audit.SourceSharePoint, "a", "Operation=Large"), wire.ReasonTooLarge, "m365.deadletter.general.v1"},
		{"written by someone else", foreign, wire.ReasonNoProvenance, "m365.deadletter.general.v1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			for range 2 { // a refused record is not remembered: it is refused again, not dropped
				res := f.process(t, test.in)
				if len(res.Outputs) != 1 || res.State != nil {
					t.Fatalf("%d outputs, %d state records, want one dead letter", len(res.Outputs), len(res.State))
				}
				out := res.Outputs[0]
				if out.Topic != test.topic || wire.Header(out, wire.HeaderReason) != string(test.reason) {
					t.Errorf("on %s because of %s, want %s, %s", out.Topic, wire.Header(out, wire.HeaderReason), test.topic, test.reason)
				}
				if !bytes.Equal(out.Value, test.in.Value) {
					t.Error("the bytes differ")
				}
				for _, h := range out.Headers {
					if bytes.Contains(h.Value, []byte("ada@example.org")) && h.Key != "ce_subject" {
						t.Errorf("header %s shows the record's content", h.Key)
					}
				}
				res.Change.Merge()
			}
			if strings.Contains(f.log.String(), "ada@example.org") {
				t.Errorf("the log shows the record's content: %s", f.log)
			}
		})
	}
}

func TestRedrivenIsPublishedOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	res := f.process(t, raw(audit.SourceSharePoint, "a", "Operation=Panic"))
	res.Change.Merge()
	redriven, err := wire.Redrive(names, res.Outputs[0])
	if err != nil {
		t.Fatal(err)
	}
	fixed := bytes.Replace(redriven.Value, []byte("Panic"), []byte("Fixed"), 1) // stands for a mapping without the defect
	redriven.Value = fixed
	res = f.process(t, redriven, redriven)
	if got := values(res, ".events."); len(got) != 1 {
		t.Errorf("%d events, want one", len(got))
	}
}

func TestFullMemoryStopsAndNamesTheRecord(t *testing.T) {
	t.Parallel()
	metrics, err := normalize.NewMetrics(nil, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	h, err := normalize.New(3, normalize.Config{
		Names: names, Partitions: partitions, Horizon: seen.DefaultHorizon, Budget: seen.NewBudget(10), Mapper: fakeMapper{t}, Metrics: metrics,
		Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err = h.Process(context.Background(), []kafkatx.Record{raw(audit.SourceSharePoint, "a")})
		if !errors.Is(err, seen.ErrFull) || !strings.Contains(err.Error(), "m365.raw.sharepoint.v1") || !strings.Contains(err.Error(), "seen.memory") {
			t.Errorf("got %v", err)
		}
	}
}

func TestLoadNamesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	err := f.Load(kafkatx.Record{Topic: "m365.seen.v1", Partition: 3, Offset: 17, Value: []byte{9}})
	if !errors.Is(err, seen.ErrVersion) || !strings.Contains(err.Error(), "m365.seen.v1/3 offset 17") {
		t.Errorf("got %v", err)
	}
}
