package wire_test

import (
	"testing"

	"millrace/pkg/audit"
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
