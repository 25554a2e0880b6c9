package mapping

import (
	"testing"

	"millrace/pkg/audit"
)

var benchRecord = []byte(`{"CreationTime":"2026-03-02T09:12:07","Id":"00000012-1111-4222-8333-444455556666","Operation":"FileDownloaded","OrganizationId":"7c0e2a55-6f0b-4c58-9d6b-1b7a2f1d9e10","RecordType":6,"UserKey":"i:0h.f|membership|10032000a1b2c3d4@live.com","UserType":0,"Version":1,"Workload":"SharePoint","UserId":"ada@example.org","ObjectId":"https://example.sharepoint.com/sites/fin/Shared Documents/Q1/forecast.xlsx","ItemType":"File","EventSource":"SharePoint","SiteUrl":"https://example.sharepoint.com/sites/fin/","SourceRelativeUrl":"Shared Documents/Q1","SourceFileName":"forecast.xlsx","SourceFileExtension":"xlsx","Site":"00000084-1111-4222-8333-444455556666","WebId":"00000085-1111-4222-8333-444455556666","ListId":"00000086-1111-4222-8333-444455556666","ListItemUniqueId":"00000087-1111-4222-8333-444455556666","UserAgent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36","ClientIP":"198.51.100.23","CorrelationId":"00000088-1111-4222-8333-444455556666","MachineId":"00000089-1111-4222-8333-444455556666","ApplicationDisplayName":"OneDrive SyncEngine","ApplicationId":"ab9b8c07-8f02-4f72-87fa-80105867a763"}`)

func BenchmarkMap(b *testing.B) {
	m, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	rec := recordOf(benchRecord, "Audit.SharePoint")
	var g audit.Digester
	digest, err := g.Sum(rec.Raw)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(rec.Raw)))
	b.ReportAllocs()
	var dst []Event
	for b.Loop() {
		if dst, err = m.Map(dst[:0], rec, digest); err != nil {
			b.Fatal(err)
		}
	}
}
