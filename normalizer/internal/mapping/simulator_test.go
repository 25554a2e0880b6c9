package mapping

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"millrace/internal/m365sim/tenant"
	"millrace/pkg/audit"
	"millrace/pkg/ocsf"
)

// TestSimulatedTenant maps the week of a simulated tenant: every record becomes valid events, nothing is lost, and few fall to the
// class of the unknown.
func TestSimulatedTenant(t *testing.T) {
	t.Parallel()
	tn, err := tenant.New(tenant.Config{Seed: 7, Records: *rounds, Origin: time.Date(2026, 3, 9, 0, 0, 0, 0, time.UTC), LiveRate: -1})
	if err != nil {
		t.Fatal(err)
	}
	m := newMapper(t, Options{DLPClear: true})
	var g audit.Digester
	var sample bytes.Buffer
	counts := map[string]int{}
	n, unknown, vague, refused := 0, 0, 0, 0
	err = tn.Blobs(t.Context(), tn.Config().Origin, func(b tenant.Blob) error {
		for i, raw := range b.Records {
			rec := audit.Record{Raw: raw, Provenance: audit.Provenance{
				Tenant: audit.TenantID(tn.ID()), Domain: audit.DomainAudit, ContentType: b.ContentType, ContentID: b.ContentID, Index: i,
				Created: b.Created, Fetched: b.Created,
			}}
			digest, err := g.Sum(raw)
			if err != nil {
				counts["no JSON"]++
				continue
			}
			events, err := m.Map(nil, rec, digest)
			if refusal, ok := errors.AsType[*Refusal](err); ok { // the tenant has a few records that nobody can map
				counts["refused: "+refusal.Reason]++
				refused++
				continue
			}
			checkLeaves(t, raw, events)
			for _, e := range events {
				if p, ok := ocsf.Valid(e.Value); !ok {
					return fmt.Errorf("%v\n%s\n%s", p, raw, e.Value)
				}
				if n++; n%5 == 0 {
					sample.Write(e.Value)
					sample.WriteByte('\n')
				}
				if e.ClassUID == int(ocsf.ClassAPIActivity) {
					unknown++
				}
				if e.ActivityID == ocsf.Other {
					vague++
				}
				counts[fmt.Sprintf("%d %d %s", e.RecordType, e.TypeUID, e.Workload)]++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%6d %s", counts[k], k)
	}
	if refused*100 > n {
		t.Errorf("got %d of %d records refused", refused, n)
	}
	t.Logf("%d events, %.1f %% in class 6003, %.1f %% with activity 99", n, 100*float64(unknown)/float64(n), 100*float64(vague)/float64(n))
	checkWithTool(t, sample.Bytes())
}
