package audit_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace/pkg/audit"
)

// sameInOnePass holds Read against ParseEnvelope and Sum.
func sameInOnePass(t *testing.T, g *audit.Digester, raw []byte) {
	t.Helper()
	env, err := audit.ParseEnvelope(raw)
	var sum uint64
	if err == nil {
		sum, err = g.Sum(raw)
	}
	gotEnv, gotSum, gotErr := g.Read(raw)
	if err != nil {
		if !errors.Is(gotErr, audit.ErrNotRecord) {
			t.Errorf("%q: got %v, want %v", raw, gotErr, err)
		}
		return
	}
	if gotErr != nil || gotSum != sum {
		t.Errorf("%q: got %x, %v, want %x", raw, gotSum, gotErr, sum)
	}
	if diff := cmp.Diff(env, gotEnv); diff != "" {
		t.Errorf("%q: %s", raw, diff)
	}
}

var oddRecords = []string{
	`{"Id":"a","RecordType":6,"UserType":"4","Operation":"\u0041dd","Workload":true,"UserId":17,"CreationTime":"2026-03-02T08:00:00Z"}`,
	`{"Id":"a","Id":{"x":1},"RecordType":"x","RecordType":null}`,
	`{"\u0049d":"a","Nested":{"Id":"b","List":[1,"2",{"Id":"c"}]},"AlertId":false,"IncidentId":[],"InvestigationId":1e5}`,
	`{"Id":"a"} `,
	`{"Id":"a"}x`,
	`{"Id":"a"}{}`,
	`{"Id":"\ud800"}`,
	`{"Id":"a","Id@odata.type":"x","RecordType":1.5}`,
	`[]`,
	``,
	`{`,
	`{"Id":tru}`,
	"{\"Id\":\"\xff\"}",
}

func TestReadIsEnvelopeAndDigestInOnePass(t *testing.T) {
	t.Parallel()
	var g audit.Digester
	for _, raw := range oddRecords {
		sameInOnePass(t, &g, []byte(raw))
	}
}

func FuzzRead(f *testing.F) {
	for _, raw := range oddRecords {
		f.Add([]byte(raw))
	}
	var g audit.Digester
	f.Fuzz(func(t *testing.T, raw []byte) { sameInOnePass(t, &g, raw) })
}

func BenchmarkRead(b *testing.B) {
	raw := []byte(`{"CreationTime":"2026-03-02T08:00:00","Id":"6f0c4b1e-0001-4c1e-9c00-000000000001","Operation":"FileAccessed","OrganizationId":"11111111-2222-3333-4444-555555555555","RecordType":6,"UserKey":"i:0h.f|membership|10032000a@live.com","UserType":0,"Version":1,"Workload":"SharePoint","ClientIP":"203.0.113.7","UserId":"ada@example.org","CorrelationId":"aaaaaaaa-0001-4c1e-9c00-000000000001","EventSource":"SharePoint","ItemType":"File","ListId":"bbbbbbbb-0001-4c1e-9c00-000000000001","Site":"cccccccc-0001-4c1e-9c00-000000000001","UserAgent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64)","AppAccessContext":{"AADSessionId":"dddddddd-0001-4c1e-9c00-000000000001","UniqueTokenId":"x"},"SourceFileName":"plan.docx","ObjectId":"https://example.sharepoint.com/sites/a/plan.docx"}`)
	b.Run("one pass", func(b *testing.B) {
		var g audit.Digester
		b.SetBytes(int64(len(raw)))
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := g.Read(raw); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("two passes", func(b *testing.B) {
		var g audit.Digester
		b.SetBytes(int64(len(raw)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := audit.ParseEnvelope(raw); err != nil {
				b.Fatal(err)
			}
			if _, err := g.Sum(raw); err != nil {
				b.Fatal(err)
			}
		}
	})
}
