package app_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/m365sim/tenant"
	"millrace/pkg/audit"
	"millrace/pkg/wire"
)

// BenchmarkStage carries a tenant's week from the raw topics to the events topics, exactly once, broker in the same process included.
func BenchmarkStage(b *testing.B) { benchmarkStage(b, 60_000, newPipe) }

// benchmarkStage measures from the start of a normalizer until it has caught up; the CPU time is that of this process.
func benchmarkStage(b *testing.B, records int, newPipe func(testing.TB) *pipe) {
	b.Helper()
	for b.Loop() {
		b.StopTimer()
		p := newPipe(b)
		total := p.produceWeek(records)
		began, cpu := time.Now(), cpuTime(b)
		b.StartTimer()
		p.start(p.config())
		p.caughtUp()
		b.StopTimer()
		b.ReportMetric(float64(total)/time.Since(began).Seconds(), "records/s")
		b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/float64(total), "µs-CPU/record")
		p.stop()
		b.StartTimer()
	}
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// produceWeek puts the records of an invented tenant on the raw topics and says how many they were, repeats included.
func (p *pipe) produceWeek(records int) int {
	p.t.Helper()
	cfg := tenant.Config{Seed: 1, Records: records, Origin: began, LiveRate: -1}
	world, err := tenant.New(cfg)
	if err != nil {
		p.t.Fatal(err)
	}
	id, err := audit.ParseTenantID(world.ID())
	if err != nil {
		p.t.Fatal(err)
	}
	total := 0
	failed := make(chan error, 1) // one: the first error is enough
	err = world.Blobs(p.ctx, began, func(blob tenant.Blob) error {
		contentType := audit.ContentType(blob.ContentType)
		domain := audit.DomainAudit
		if contentType == audit.DLP {
			domain = audit.DomainDLP
		}
		for i, body := range blob.Records {
			total++
			body = append([]byte(nil), body...)
			env, _ := audit.ParseEnvelope(body) // of what is no record the empty envelope
			r := wire.RawRecord(names, partitions, audit.Record{Raw: body, Provenance: audit.Provenance{
				Tenant: id, Source: contentType.Source(), Domain: domain, ContentType: blob.ContentType, ContentID: blob.ContentID, Index: i,
				Created: blob.Created, Fetched: blob.Created.Add(time.Minute),
			}}, env)
			p.client.Produce(p.ctx, kgoRecord(r), func(_ *kgo.Record, err error) {
				if err != nil {
					select {
					case failed <- err:
					default:
					}
				}
			})
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.client.Flush(p.ctx); err != nil {
		p.t.Fatal(err)
	}
	select {
	case err := <-failed:
		p.t.Fatal(err)
	default:
	}
	return total
}
