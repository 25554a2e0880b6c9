package app

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"millrace/internal/m365sim"
	"millrace/internal/service"
)

// BenchmarkFeedToRaw carries a simulated week of 100,000 records to the raw topics of an embedded broker, exactly once, everything in one
// process. The figure to look at is records/s; the target of design.md §9 is 60,000 on two cores.
func BenchmarkFeedToRaw(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		w := newWorld(b, 100_000, func(c *m365sim.Config) { c.PageSize = 500 })
		want := float64(len(w.expected(time.Time{})))
		rt := w.runtime()
		b.StartTimer()
		began := time.Now()
		runUntil(b, w, rt, func() bool { return committed(b, rt.Registry) >= want })
		b.ReportMetric(want/time.Since(began).Seconds(), "records/s")
	}
}

// BenchmarkAllFaults carries a week while each kind of fault hits one request in twenty, everywhere, at the pace that an operator gets who
// says nothing. The figure to look at is s/op: a tenth of the requests is answered AF429, which must not bring a tenant to a stand.
func BenchmarkAllFaults(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		w := newWorld(b, 20_000, func(c *m365sim.Config) {
			c.Quota = m365sim.DefaultQuota
			for _, name := range m365sim.FaultNames() {
				c.Faults = append(c.Faults, m365sim.Fault{Name: name, Rate: 0.05})
			}
		})
		w.cfg.Limits = DefaultConfig().Limits
		w.cfg.Tenants[0].RequestsPerMinute = 0
		w.cfg.Tenants[0].Components = []string{componentActivities}
		want := float64(len(w.expected(time.Time{})))
		rt := w.runtime()
		b.StartTimer()
		runUntil(b, w, rt, func() bool { return committed(b, rt.Registry) >= want })
		blobs := 0
		for _, c := range w.sim.Ledger().Tenants[0].Content {
			blobs += c.Blobs
		}
		b.ReportMetric(float64(blobs), "blobs")
	}
}

func runUntil(b *testing.B, w *world, rt service.Runtime, done func() bool) {
	b.Helper()
	a, err := New(b.Context(), w.cfg, rt)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	for !done() {
		time.Sleep(5 * time.Millisecond)
	}
	b.StopTimer()
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	b.StartTimer()
}

// committed sums up millrace_ingester_records_total.
func committed(b *testing.B, reg *prometheus.Registry) float64 {
	b.Helper()
	families, err := reg.Gather()
	if err != nil {
		b.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == "millrace_ingester_records_total" {
			for _, m := range f.GetMetric() {
				sum += counter(m)
			}
		}
	}
	return sum
}

func counter(m *dto.Metric) float64 { return m.GetCounter().GetValue() }
