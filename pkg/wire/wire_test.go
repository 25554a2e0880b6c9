package wire

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	kafkace "github.com/cloudevents/sdk-go/protocol/kafka_sarama/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/google/go-cmp/cmp"

	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
)

var names = Names{Prefix: "m365"}

func sample(raw string) audit.Record {
	return audit.Record{Raw: []byte(raw), Provenance: audit.Provenance{
		Tenant: "3f1c0b6e-6a0e-4a36-9d57-0f5b8f0b7a11", Source: audit.SourceEntra, Domain: audit.DomainAudit, ContentType: string(audit.Entra),
		ContentID: "2026$0302$audit_azureactivedirectory$na0001", Index: 7,
		Created: time.Date(2026, 3, 2, 10, 7, 33, 120e6, time.UTC), Fetched: time.Date(2026, 3, 2, 10, 9, 0, 5e6, time.UTC),
	}}
}

const logon = `{"Id":"5f0c0b6e-6a0e-4a36-9d57-0f5b8f0b7a11","CreationTime":"2026-03-02T08:00:10","Operation":"UserLoggedIn","RecordType":15,` +
	`"Workload":"AzureActiveDirectory","UserId":"Ana@example.org","UserType":0}`

func rawRecord(t *testing.T, raw string) kafkatx.Record {
	t.Helper()
	env, err := audit.ParseEnvelope([]byte(raw))
	if err != nil {
		t.Log(err) // a record that is no JSON travels all the same
	}
	return RawRecord(names, 12, sample(raw), env)
}

func TestRawRecordRoundTrip(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{logon, `{}`, `no JSON`, `{"Operation":"a\r\nb","Id":"` + strings.Repeat("é", 2000) + `"}`} {
		rec := rawRecord(t, raw)
		got, err := ParseRaw(rec)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(sample(raw), got); diff != "" {
			t.Errorf("%.40s: (-want +got)\n%s", raw, diff)
		}
		for _, h := range rec.Headers {
			if len(h.Value) > maxHeader || bytes.ContainsAny(h.Value, "\r\n\x00") {
				t.Errorf("%.40s: header %s is unfit: %d bytes", raw, h.Key, len(h.Value))
			}
		}
	}
}

// TestTraceParent holds that all records of a blob, and what comes of them on any topic, carry one trace of W3C form, and those of another blob another one.
func TestTraceParent(t *testing.T) {
	t.Parallel()
	raw := rawRecord(t, logon)
	trace := Header(raw, HeaderTraceParent)
	if !regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-00$`).MatchString(trace) {
		t.Fatalf("traceparent %q", trace)
	}
	event := EventRecord(names, raw, Event{UID: "u", Workload: audit.WorkloadEntra, Value: []byte("{}")})
	dead := DeadLetter(names, raw, StageNormalizer, ReasonNoID, "")[0]
	redriven, err := Redrive(names, dead)
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range []kafkatx.Record{rawRecord(t, `{}`), event, EnrichedRecord(names, event, []byte("{}")), dead, redriven} {
		if got := Header(rec, HeaderTraceParent); got != trace {
			t.Errorf("%s: traceparent %q, want %q", rec.Topic, got, trace)
		}
	}
	other := sample(logon)
	other.ContentID += "x"
	if got := Header(RawRecord(names, 12, other, audit.Envelope{}), HeaderTraceParent); got == trace {
		t.Error("another blob has the same trace")
	}
}

func TestParseRawRefuses(t *testing.T) {
	t.Parallel()
	good := rawRecord(t, logon)
	for i, h := range good.Headers {
		switch h.Key {
		case HeaderTenant, HeaderDomain, HeaderContentID, HeaderBlobIndex, HeaderContentCreated, HeaderFetched:
			bad := good
			bad.Headers = append(append([]kafkatx.Header(nil), good.Headers[:i]...), good.Headers[i+1:]...)
			if _, err := ParseRaw(bad); err == nil {
				t.Errorf("without %s: got no error", h.Key)
			}
		}
	}
	good.Topic = "m365.events.entra.v1"
	if _, err := ParseRaw(good); err == nil {
		t.Error("on an events topic: got no error")
	}
}

// TestOneKeyForOneUser holds that a user's records of all workloads are on one partition number on raw, events and enriched.
func TestOneKeyForOneUser(t *testing.T) {
	t.Parallel()
	records := map[audit.Workload]string{
		audit.WorkloadEntra:    logon,
		audit.WorkloadExchange: `{"Id":"2","RecordType":2,"Workload":"Exchange","UserId":"ana@example.org","UserType":0}`,
		audit.WorkloadOneDrive: `{"Id":"3","RecordType":6,"Workload":"OneDrive","UserId":"ANA@EXAMPLE.ORG","UserType":0}`,
		audit.WorkloadTeams:    `{"Id":"4","RecordType":25,"Workload":"MicrosoftTeams","UserId":"ana@example.org"}`,
		audit.WorkloadPowerBI:  `{"Id":"5","RecordType":20,"Workload":"PowerBI","UserId":"ana@example.org","UserType":0}`,
		audit.WorkloadDynamics: `{"Id":"6","RecordType":21,"Workload":"CRM","UserId":"ana@example.org","UserType":2}`,
	}
	first := rawRecord(t, logon)
	for want, raw := range records {
		env, err := audit.ParseEnvelope([]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		in := rawRecord(t, raw)
		w := WorkloadOf(env.RecordType, env.Workload, audit.DomainAudit, 6003)
		ev := EventRecord(names, in, Event{UID: "u", Workload: w, Value: []byte("{}")})
		enriched := EnrichedRecord(names, ev, []byte("{}"))
		if w != want || ev.Topic != "m365.events."+string(want)+".v1" || enriched.Topic != "m365.enriched."+string(want)+".v1" {
			t.Errorf("%s: got topics %s and %s", want, ev.Topic, enriched.Topic)
		}
		for _, r := range []kafkatx.Record{in, ev, enriched} {
			if !bytes.Equal(r.Key, first.Key) || r.Partition != first.Partition {
				t.Errorf("%s: got key %s on %d, want %s on %d", r.Topic, r.Key, r.Partition, first.Key, first.Partition)
			}
		}
	}
}

func TestWorkloadOf(t *testing.T) {
	t.Parallel()
	tests := []struct {
		recordType int
		workload   string
		domain     audit.Domain
		class      int
		want       audit.Workload
	}{
		{6, "SharePoint", audit.DomainAudit, 6006, audit.WorkloadSharePoint},
		{6, "onedrive", audit.DomainAudit, 6006, audit.WorkloadOneDrive},
		{11, "SharePoint", audit.DomainDLP, 6003, audit.WorkloadDLP},
		{63, "Endpoint", audit.DomainAudit, 2006, audit.WorkloadDLP},
		{28, "ThreatIntelligence", audit.DomainAudit, 4009, audit.WorkloadDefender},
		{-1, "MicrosoftTeams", audit.DomainAudit, 6003, audit.WorkloadTeams},
		{9999, "Tomorrow", audit.DomainAudit, 6003, audit.WorkloadOther},
		{30, "", audit.DomainAudit, 3004, audit.WorkloadPowerPlatform},
	}
	known := map[audit.Workload]bool{}
	for _, w := range audit.Workloads() {
		known[w] = true
	}
	for _, tt := range tests {
		if got := WorkloadOf(tt.recordType, tt.workload, tt.domain, tt.class); got != tt.want {
			t.Errorf("%d %s: got %s, want %s", tt.recordType, tt.workload, got, tt.want)
		}
	}
	table := workloads()
	for _, w := range table.byType {
		if !known[w] {
			t.Errorf("workloads.csv names a topic %q that does not exist", w)
		}
	}
}

// TestCloudEvents has the official SDK read one message of each kind of topic.
func TestCloudEvents(t *testing.T) {
	t.Parallel()
	raw := rawRecord(t, logon)
	event := EventRecord(names, raw, Event{
		UID: "0d1e0b6e-6a0e-5a36-9d57-0f5b8f0b7a11", ClassUID: 3002, TypeUID: 300201, SeverityID: 1,
		TimeMillis: time.Date(2026, 3, 2, 8, 0, 10, 0, time.UTC).UnixMilli(), Workload: audit.WorkloadEntra, Variant: true, Value: []byte(`{"class_uid":3002}`),
	})
	foreign := kafkatx.Record{Topic: "m365.raw.entra.v1", Partition: 3, Offset: 9, Value: []byte("x")}
	tests := []struct {
		rec          kafkatx.Record
		typ, id, sub string
	}{
		{raw, typeRaw, "2026$0302$audit_azureactivedirectory$na0001/7", "UserLoggedIn"},
		{event, typeEvent, "0d1e0b6e-6a0e-5a36-9d57-0f5b8f0b7a11", "UserLoggedIn"},
		{EnrichedRecord(names, event, event.Value), typeEnriched, "0d1e0b6e-6a0e-5a36-9d57-0f5b8f0b7a11", "UserLoggedIn"},
		{DeadLetter(names, raw, "normalizer", ReasonNoID, "no Id")[0], typeDeadLetter, "2026$0302$audit_azureactivedirectory$na0001/7", "UserLoggedIn"},
		{DeadLetter(names, foreign, "normalizer", ReasonNoProvenance, "")[0], typeDeadLetter, "m365.raw.entra.v1/3/9", ""},
	}
	for _, tt := range tests {
		msg := &sarama.ConsumerMessage{Topic: tt.rec.Topic, Key: tt.rec.Key, Value: tt.rec.Value}
		for _, h := range tt.rec.Headers {
			msg.Headers = append(msg.Headers, &sarama.RecordHeader{Key: []byte(h.Key), Value: h.Value})
		}
		ev, err := binding.ToEvent(context.Background(), kafkace.NewMessageFromConsumerMessage(msg))
		if err != nil {
			t.Errorf("%s: %v", tt.typ, err)
			continue
		}
		if err := ev.Validate(); err != nil {
			t.Errorf("%s: %v", tt.typ, err)
		}
		if ev.Type() != tt.typ || ev.ID() != tt.id || ev.Subject() != tt.sub || !bytes.Equal(ev.Data(), tt.rec.Value) {
			t.Errorf("got type %s, id %s, subject %s, data %s; want %s, %s, %s", ev.Type(), ev.ID(), ev.Subject(), ev.Data(), tt.typ, tt.id, tt.sub)
		}
	}
}

func TestDeadLetterParts(t *testing.T) {
	t.Parallel()
	raw := rawRecord(t, logon)
	raw.Value = bytes.Repeat([]byte("0123456789"), 2_000_000)
	parts := DeadLetter(names, raw, "ingester", ReasonTooLarge, "20000000 bytes")
	var whole []byte
	for _, p := range parts {
		if len(p.Value) > MaxDeadLetter {
			t.Errorf("a part of %d bytes", len(p.Value))
		}
		whole = append(whole, p.Value...)
	}
	if len(parts) != 3 || !bytes.Equal(whole, raw.Value) || Header(parts[2], HeaderPart) != "3" || Header(parts[2], HeaderParts) != "3" {
		t.Errorf("got %d parts of %d bytes in all, the last numbered %s", len(parts), len(whole), Header(parts[2], HeaderPart))
	}
	if _, err := Redrive(names, parts[0]); err == nil {
		t.Error("a part was redriven")
	}
}

func TestRedrive(t *testing.T) {
	t.Parallel()
	in := rawRecord(t, `{"CreationTime":"2026-03-02T08:00:10"}`)
	once := DeadLetter(names, in, "normalizer", ReasonNoID, "no Id")[0]
	again, err := Redrive(names, once)
	if err != nil {
		t.Fatal(err)
	}
	if again.Topic != "m365.raw.redrive.v1" || again.Partition != in.Partition || !bytes.Equal(again.Value, in.Value) || !bytes.Equal(again.Key, in.Key) {
		t.Errorf("got %s/%d", again.Topic, again.Partition)
	}
	want, err := ParseRaw(in)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseRaw(again)
	if err != nil {
		t.Fatal(err)
	}
	want.Source = audit.SourceRedrive
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("provenance: (-want +got)\n%s", diff)
	}
	twice := DeadLetter(names, again, "normalizer", ReasonNoTime, "again")[0]
	count := 0
	for _, h := range twice.Headers {
		if h.Key == HeaderReason {
			count++
		}
	}
	if count != 1 || Header(twice, HeaderReason) != string(ReasonNoTime) {
		t.Errorf("refused again: %d reasons, the last %s", count, Header(twice, HeaderReason))
	}
}

func TestRedriveRefusesEvents(t *testing.T) {
	t.Parallel()
	event := EventRecord(names, rawRecord(t, logon), Event{UID: "u", Workload: audit.WorkloadEntra, Value: []byte("{")})
	if _, err := Redrive(names, DeadLetter(names, event, StageEnricher, ReasonInvalidEvent, "")[0]); err == nil {
		t.Error("an event was put back as if it were a record")
	}
}

func TestDLPStaysApart(t *testing.T) {
	t.Parallel()
	r := sample(logon)
	r.Source, r.Domain = audit.SourceDLP, audit.DomainDLP
	rec := RawRecord(names, 12, r, audit.Envelope{})
	if got := DeadLetter(names, rec, "normalizer", ReasonNoID, "")[0].Topic; got != "m365.deadletter.dlp.v1" {
		t.Errorf("got %s", got)
	}
	again, err := Redrive(names, DeadLetter(names, rec, "normalizer", ReasonNoID, "")[0])
	if err != nil {
		t.Fatal(err)
	}
	if got := DeadLetter(names, again, "normalizer", ReasonNoID, "")[0].Topic; got != "m365.deadletter.dlp.v1" {
		t.Errorf("after a redrive: got %s", got)
	}
}

func BenchmarkRawRecord(b *testing.B) {
	r := sample(logon)
	env, err := audit.ParseEnvelope(r.Raw)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		RawRecord(names, 12, r, env)
	}
}
