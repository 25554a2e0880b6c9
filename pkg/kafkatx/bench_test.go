//go:build integration

package kafkatx

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"millrace/internal/testkit"
)

// sampleValue is a value of about 1.5 kB that compresses like JSON does.
func sampleValue(r *rand.Rand) []byte {
	b := []byte(`{"CreationTime":"2026-01-01T00:00:00","Operation":"FileAccessed","Workload":"SharePoint"`)
	for i := 0; len(b) < 1450; i++ {
		b = fmt.Appendf(b, `,"Property%d":"%x"`, i, r.Uint64())
	}
	return append(b, '}')
}

// BenchmarkKafkaTransactions measures transactions on a real broker: 12 producers, each with its partition of 4 topics.
func BenchmarkKafkaTransactions(b *testing.B) {
	k := testkit.StartKafka(b, testkit.KafkaConfig{Properties: kafkaProperties})
	topics := []string{"a", "b", "c", "d"}
	createTopics(b, k.Brokers, 12, append(topics, "in")...)
	c := newClient(b, k.Brokers)
	for _, tc := range []struct{ producers, records int }{{1, 1}, {12, 1}, {12, 500}, {12, 2000}} {
		b.Run(fmt.Sprintf("%d producers, %d records", tc.producers, tc.records), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 2))
			recs := make([][]Record, tc.producers)
			producers := make([]*Producer, tc.producers)
			for n := range producers {
				producers[n] = newProducer(b, c, fmt.Sprint("bench-", n), "zstd")
				for i := range tc.records {
					recs[n] = append(recs[n], Record{Topic: topics[i*len(topics)/tc.records], Partition: int32(n), Key: []byte("key"), Value: sampleValue(r)})
				}
			}
			b.SetBytes(int64(tc.producers * tc.records * 1500))
			b.ReportAllocs()
			var mu sync.Mutex
			var took []time.Duration
			for b.Loop() {
				var wg sync.WaitGroup
				for n, p := range producers {
					wg.Go(func() {
						began := time.Now()
						if _, err := p.Produce(b.Context(), recs[n]); err != nil {
							b.Error(err)
						}
						if err := p.SendOffsets(b.Context(), GroupSession{Group: "bench", Generation: -1}, []Offset{{"in", int32(n), 1}}); err != nil {
							b.Error(err)
						}
						if err := p.Commit(b.Context()); err != nil {
							b.Error(err)
						}
						mu.Lock()
						took = append(took, time.Since(began))
						mu.Unlock()
					})
				}
				wg.Wait()
			}
			slices.Sort(took)
			b.ReportMetric(float64(len(took)*tc.records)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}
