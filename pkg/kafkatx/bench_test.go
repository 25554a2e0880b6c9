//go:build integration

package kafkatx

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/testkit"
)

const benchPartitions = 12

// sampleValue is a value of about 1.5 kB that compresses like JSON does.
func sampleValue(r *rand.Rand) []byte {
	b := []byte(`{"CreationTime":"2026-01-01T00:00:00","Operation":"FileAccessed","Workload":"SharePoint"`)
	for i := 0; len(b) < 1450; i++ {
		b = fmt.Appendf(b, `,"Property%d":"%x"`, i, r.Uint32())
	}
	return append(b, '}')
}

func sampleRecords(n int) []Record {
	r := rand.New(rand.NewPCG(1, 2))
	recs := make([]Record, n)
	for i := range recs {
		recs[i] = Record{Topic: "bench", Partition: int32(i % benchPartitions), Key: strconv.AppendInt(nil, int64(i), 10), Value: sampleValue(r)}
	}
	return recs
}

// reportRecords reports records per second and this process's own CPU per record: the broker is another process.
func reportRecords(b *testing.B, perOp int, run func()) {
	b.Helper()
	cpu := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	b.ReportAllocs()
	began, n := cpu(), 0
	for b.Loop() {
		run()
		n += perOp
	}
	b.ReportMetric(float64((cpu()-began).Microseconds())/float64(n), "cpu-µs/record")
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkKafkaProduce writes 6,000 records an operation over 12 partitions, zstd, acknowledged by all replicas.
func BenchmarkKafkaProduce(b *testing.B) {
	k := testkit.StartKafka(b, testkit.KafkaConfig{Properties: kafkaProperties})
	createTopics(b, k.Brokers, benchPartitions, "bench")
	recs := sampleRecords(6000)
	b.Run("ours", func(b *testing.B) {
		p := newProducer(b, newClient(b, k.Brokers), "bench", "zstd")
		reportRecords(b, len(recs), func() {
			if err := commitAll(b.Context(), p, recs); err != nil {
				b.Fatal(err)
			}
		})
	})
	b.Run("franz-go transactional", func(b *testing.B) {
		cl, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers...), kgo.TransactionalID("bench-kgo"), kgo.RecordPartitioner(kgo.ManualPartitioner()),
			kgo.ProducerBatchCompression(kgo.ZstdCompression()))
		if err != nil {
			b.Fatal(err)
		}
		defer cl.Close()
		reportRecords(b, len(recs), func() {
			if err := cl.BeginTransaction(); err != nil {
				b.Fatal(err)
			}
			for i := range recs {
				cl.Produce(b.Context(), &kgo.Record{Topic: recs[i].Topic, Partition: recs[i].Partition, Key: recs[i].Key, Value: recs[i].Value}, nil)
			}
			if err := cl.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
			if err := cl.EndTransaction(b.Context(), kgo.TryCommit); err != nil {
				b.Fatal(err)
			}
		})
	})
	b.Run("kafka-go Writer", func(b *testing.B) { // without transactions
		w := &kafka.Writer{
			Addr: kafka.TCP(k.Brokers...), Topic: "bench", Balancer: &kafka.RoundRobin{}, BatchSize: 500, BatchBytes: 1 << 20,
			BatchTimeout: 5 * time.Millisecond, RequiredAcks: kafka.RequireAll, Compression: kafka.Zstd,
		}
		defer func() { _ = w.Close() }()
		msgs := make([]kafka.Message, len(recs))
		reportRecords(b, len(recs), func() {
			for i := range recs {
				msgs[i] = kafka.Message{Key: recs[i].Key, Value: recs[i].Value}
			}
			if err := w.WriteMessages(b.Context(), msgs...); err != nil {
				b.Fatal(err)
			}
		})
	})
}

// BenchmarkKafkaFetch reads 120,000 records of 12 partitions an operation.
func BenchmarkKafkaFetch(b *testing.B) {
	const n = 120000
	k := testkit.StartKafka(b, testkit.KafkaConfig{Properties: kafkaProperties})
	createTopics(b, k.Brokers, benchPartitions, "bench")
	c := newClient(b, k.Brokers)
	p := newProducer(b, c, "bench", "zstd")
	recs := sampleRecords(n / 20)
	for range 20 {
		if err := commitAll(b.Context(), p, recs); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("ours", func(b *testing.B) {
		reportRecords(b, n, func() { fetchAll(b, c, n) })
	})
	b.Run("franz-go", func(b *testing.B) {
		reportRecords(b, n, func() {
			cl, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers...), kgo.ConsumeTopics("bench"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
				kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
			if err != nil {
				b.Fatal(err)
			}
			defer cl.Close()
			for got := 0; got < n; {
				got += cl.PollFetches(b.Context()).NumRecords()
			}
		})
	})
	b.Run("kafka-go Reader", func(b *testing.B) { // shows aborted records, too
		reportRecords(b, n, func() {
			var got atomic.Int64
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			var wg sync.WaitGroup
			for i := range benchPartitions {
				wg.Go(func() {
					r := kafka.NewReader(kafka.ReaderConfig{Brokers: k.Brokers, Topic: "bench", Partition: i, MaxBytes: 10 << 20})
					for {
						if _, err := r.ReadMessage(ctx); err != nil {
							break
						}
						if got.Add(1) >= n {
							cancel()
						}
					}
					_ = r.Close()
				})
			}
			wg.Wait()
		})
	})
}

// fetchAll reads n records of all partitions as the owners of a stage do.
func fetchAll(b *testing.B, c *Client, n int) {
	ctx, cancel := context.WithCancel(b.Context())
	f := newFetcher(c)
	var wg sync.WaitGroup
	wg.Go(func() { f.run(ctx) })
	var got atomic.Int64
	for i := range benchPartitions {
		wg.Go(func() {
			in := f.open(map[topicPartition]int64{{"bench", int32(i)}: 0}, 8<<20)
			defer in.close()
			for got.Load() < int64(n) {
				t, err := in.take(4000, 4<<20)
				if err != nil {
					b.Error(err)
				}
				if got.Add(int64(len(t.recs))) >= int64(n) {
					cancel()
				}
				if len(t.recs) == 0 {
					select {
					case <-in.ready:
					case <-ctx.Done():
					}
				}
			}
		})
	}
	wg.Wait()
	cancel()
}

// BenchmarkKafkaTransactions measures consume-produce transactions: producers, each with its partition of 4 topics and its offsets.
func BenchmarkKafkaTransactions(b *testing.B) {
	k := testkit.StartKafka(b, testkit.KafkaConfig{Properties: kafkaProperties})
	topics := []string{"a", "b", "c", "d"}
	createTopics(b, k.Brokers, benchPartitions, append(topics, "in")...)
	c := newClient(b, k.Brokers)
	for _, tc := range []struct{ producers, records int }{{1, 1}, {12, 1}, {12, 500}, {12, 2000}} {
		b.Run(fmt.Sprintf("%d producers of %d records", tc.producers, tc.records), func(b *testing.B) {
			recs := make([][]Record, tc.producers)
			producers := make([]*Producer, tc.producers)
			for n := range producers {
				producers[n] = newProducer(b, c, fmt.Sprint("bench-", n), "zstd")
				recs[n] = sampleRecords(tc.records)
				for i := range recs[n] {
					recs[n][i].Topic, recs[n][i].Partition = topics[i*len(topics)/tc.records], int32(n)
				}
			}
			var mu sync.Mutex
			var took []time.Duration
			reportRecords(b, tc.producers*tc.records, func() {
				var wg sync.WaitGroup
				for n, p := range producers {
					wg.Go(func() {
						began := time.Now()
						offsets := []Offset{{Topic: "in", Partition: int32(n), Next: 1}}
						if _, err := p.ProduceAndSend(b.Context(), recs[n], GroupSession{Group: "bench", Generation: -1}, offsets); err != nil {
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
			})
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}
