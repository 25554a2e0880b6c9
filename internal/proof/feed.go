package proof

import (
	"context"
	"time"

	"millrace/internal/m365sim/tenant"
	"millrace/pkg/audit"
)

// Feed is the source of a simulated tenant's week, by its seed and origin alone: not what was served, but what it has.
func Feed(t *tenant.Tenant) Source {
	return func(ctx context.Context, fn func(Item) error) error {
		return t.Blobs(ctx, time.Time{}, func(b tenant.Blob) error {
			domain := audit.DomainAudit
			if b.ContentType == tenant.DLP {
				domain = audit.DomainDLP
			}
			for i, raw := range b.Records {
				if err := fn(Item{Tenant: t.ID(), ContentID: b.ContentID, Index: i, Domain: domain, Raw: raw}); err != nil {
					return err
				}
			}
			return nil
		})
	}
}
