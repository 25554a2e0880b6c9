package normalize_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"millrace/normalizer/internal/mapping"
	"millrace/normalizer/internal/normalize"
	"millrace/normalizer/internal/seen"
	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
)

// BenchmarkProcess is the stage without Kafka: parse, digest, look up, map, make the record for the events topic.
func BenchmarkProcess(b *testing.B) {
	mapper, err := mapping.New(mapping.Options{})
	if err != nil {
		b.Fatal(err)
	}
	metrics, err := normalize.NewMetrics(nil, nil, false)
	if err != nil {
		b.Fatal(err)
	}
	h, err := normalize.New(3, normalize.Config{
		Names: names, Partitions: partitions, Horizon: seen.DefaultHorizon, Budget: seen.NewBudget(1 << 40), Mapper: mapper, Metrics: metrics,
		Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	if err != nil {
		b.Fatal(err)
	}
	const size = 4000
	in := make([]kafkatx.Record, size)
	bytes := 0
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		bytes = 0
		for i := range in {
			n++
			in[i] = raw(audit.SourceSharePoint, fmt.Sprintf("6f0c4b1e-0001-4c1e-9c00-%012d", n), "Extra=https://example.sharepoint.com/sites/finance/Shared Documents/Q1.xlsx")
			bytes += len(in[i].Value)
		}
		b.StartTimer()
		res, err := h.Process(b.Context(), in)
		if err != nil {
			b.Fatal(err)
		}
		res.Change.Merge()
	}
	b.SetBytes(int64(bytes))
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/record")
}
