package wire_test

import (
	"testing"

	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

func TestDomainOf(t *testing.T) {
	t.Parallel()
	for recordType, want := range map[int]audit.Domain{
		11: audit.DomainDLP, 13: audit.DomainDLP, 63: audit.DomainDLP, 107: audit.DomainDLP, // ComplianceDLP…, DLPEndpoint
		6: audit.DomainAudit, 123: audit.DomainAudit, -1: audit.DomainAudit, 1 << 20: audit.DomainAudit,
	} {
		if got := wire.DomainOf(recordType); got != want {
			t.Errorf("record type %d: got %s, want %s", recordType, got, want)
		}
	}
}

func TestDeadLettersOfDLPMatchesLieApart(t *testing.T) {
	t.Parallel()
	n := wire.Names{Prefix: "m365"}
	for want, in := range map[string]kafkatx.Record{
		"m365.deadletter.general.v1": {Topic: "m365.raw.general.v1", Headers: []kafkatx.Header{{Key: wire.HeaderRecordType, Value: []byte("6")}}},
		"m365.deadletter.dlp.v1":     {Topic: "m365.raw.general.v1", Headers: []kafkatx.Header{{Key: wire.HeaderRecordType, Value: []byte("11")}}},
	} {
		if got := wire.DeadLetter(n, in, wire.StageNormalizer, wire.ReasonNoTime, "")[0].Topic; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
