//go:build integration

package kafkatx

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"

	"millrace/internal/testkit"
)

// The names of the benchmarks are made for benchstat -col /client: a line for each kind of work, a column for each client, and how each compares with ours.

const benchPartitions = 12

// benchBrokerEnv makes the test binary an in-memory broker, so that its CPU time is not that of the client.
const benchBrokerEnv = "KAFKATX_TEST_BROKER"

// benchBroker serves until its standard input ends.
func benchBroker() error {
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.BrokerConfigs(map[string]string{"message.max.bytes": "2000000"}))
	if err != nil {
		return err
	}
	defer k.Close()
	if _, err := fmt.Fprintln(os.Stdout, k.ListenAddrs()[0]); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func startBenchBroker(b *testing.B) []string {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), benchBrokerEnv+"=1")
	stdin, err := cmd.StdinPipe() // it ends with us
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	address, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return []string{strings.TrimSpace(address)}
}

// sampleValue is a value of about 1.5 kB that compresses like JSON does.
func sampleValue(r *rand.Rand) []byte {
	b := []byte(`{"CreationTime":"2026-01-01T00:00:00","Operation":"FileAccessed","Workload":"SharePoint"`)
	for i := 0; len(b) < 1450; i++ {
		b = fmt.Appendf(b, `,"Property%d":"%x"`, i, r.Uint32())
	}
	return append(b, '}')
}

func sampleRecords(topic string, n int) []Record {
	r := rand.New(rand.NewPCG(1, 2))
	recs := make([]Record, n)
	for i := range recs {
		recs[i] = Record{Topic: topic, Partition: int32(i % benchPartitions), Key: strconv.AppendInt(nil, int64(i), 10), Value: sampleValue(r)}
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
	run() // connections, producer ids, buffers
	b.ReportAllocs()
	began, n := cpu(), 0
	for b.Loop() {
		run()
		n += perOp
	}
	b.ReportMetric(float64((cpu()-began).Microseconds())/float64(n), "cpu-µs/record")
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(0, "ns/op") // says the same, less plainly
}

// BenchmarkKafka measures all that a stage does against the other clients: producing, reading, small transactions, many numbers.
func BenchmarkKafka(b *testing.B) {
	b.Run("broker=kfake", func(b *testing.B) { benchmarkBroker(b, startBenchBroker(b)) })
	b.Run("broker=kafka", func(b *testing.B) {
		k := testkit.StartKafka(b, testkit.KafkaConfig{Properties: kafkaProperties})
		warm(b, k.Brokers)
		benchmarkBroker(b, k.Brokers)
		b.Run("work=one_record", func(b *testing.B) { benchmarkLatency(b, k.Brokers) })
		b.Run("work=numbers", func(b *testing.B) { benchmarkNumbers(b, k.Brokers) })
	})
}

func benchmarkBroker(b *testing.B, brokers []string) {
	for _, codec := range []string{"lz4", "zstd"} {
		b.Run("work=produce/codec="+codec, func(b *testing.B) { benchmarkProduce(b, brokers, codec) })
		b.Run("work=fetch/codec="+codec, func(b *testing.B) { benchmarkFetch(b, brokers, codec) })
	}
}

// warm gives a new broker some work to compile its code at, which would else be at the cost of the client that comes first.
func warm(b *testing.B, brokers []string) {
	c := newClient(b, brokers)
	for _, codec := range []string{"lz4", "zstd"} {
		topic := benchTopic(b, brokers, "warm-"+codec)
		p, recs := newProducer(b, c, topic, codec), sampleRecords(topic, 6000)
		const rounds = 40
		for range rounds {
			if err := commitAll(b.Context(), p, recs); err != nil {
				b.Fatal(err)
			}
		}
		fetchAll(b, c, topic, rounds*len(recs))
	}
}

// benchTopic makes a topic for the duration of b.
func benchTopic(b *testing.B, brokers []string, name string) string {
	b.Helper()
	createTopics(b, brokers, benchPartitions, name)
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(b.Context()), deadline)
		defer cancel()
		if _, err := admin(b, brokers).DeleteTopics(ctx, name); err != nil {
			b.Error(err)
		}
	})
	return name
}

// benchmarkProduce writes 6,000 records an operation over 12 partitions, acknowledged by all replicas.
func benchmarkProduce(b *testing.B, brokers []string, codec string) {
	topic := benchTopic(b, brokers, "produce-"+codec)
	recs := sampleRecords(topic, 6000)
	b.Run("client=ours", func(b *testing.B) {
		p := newProducer(b, newClient(b, brokers), "bench-"+codec, codec)
		reportRecords(b, len(recs), func() {
			if err := commitAll(b.Context(), p, recs); err != nil {
				b.Fatal(err)
			}
		})
	})
	comp := map[string]kgo.CompressionCodec{"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}[codec]
	b.Run("client=franz-go_transactional", func(b *testing.B) {
		cl := benchKgo(b, brokers, kgo.TransactionalID("bench-kgo-"+codec), kgo.ProducerBatchCompression(comp))
		reportRecords(b, len(recs), func() {
			if err := cl.BeginTransaction(); err != nil {
				b.Fatal(err)
			}
			produceKgo(b, cl, recs)
			if err := cl.EndTransaction(b.Context(), kgo.TryCommit); err != nil {
				b.Fatal(err)
			}
		})
	})
	b.Run("client=franz-go_idempotent", func(b *testing.B) {
		cl := benchKgo(b, brokers, kgo.ProducerBatchCompression(comp))
		reportRecords(b, len(recs), func() { produceKgo(b, cl, recs) })
	})
	b.Run("client=kafka-go_Writer", func(b *testing.B) { // without transactions
		w := &kafka.Writer{
			Addr: kafka.TCP(brokers...), Topic: topic, Balancer: &kafka.RoundRobin{}, BatchSize: 500, BatchBytes: 1 << 20,
			BatchTimeout: 5 * time.Millisecond, RequiredAcks: kafka.RequireAll,
			Compression: map[string]compress.Compression{"lz4": kafka.Lz4, "zstd": kafka.Zstd}[codec],
		}
		defer func() { _ = w.Close() }()
		for try := 0; ; try++ { // it may hear late of a topic that was just made
			if err := w.WriteMessages(b.Context(), kafka.Message{}); err == nil {
				break
			} else if try == 20 || !pause(b.Context(), 500*time.Millisecond) {
				b.Fatal(err)
			}
		}
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

// benchKgo makes a franz-go client that does not wait for more records, as ours does not.
func benchKgo(b *testing.B, brokers []string, opts ...kgo.Opt) *kgo.Client {
	b.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
	}, opts...)...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(cl.Close)
	return cl
}

func produceKgo(b *testing.B, cl *kgo.Client, recs []Record) {
	for i := range recs {
		cl.Produce(b.Context(), &kgo.Record{Topic: recs[i].Topic, Partition: recs[i].Partition, Key: recs[i].Key, Value: recs[i].Value},
			func(_ *kgo.Record, err error) {
				if err != nil {
					b.Error(err)
				}
			})
	}
	if err := cl.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// benchmarkFetch reads 120,000 records of 12 partitions an operation.
func benchmarkFetch(b *testing.B, brokers []string, codec string) {
	const n = 120000
	topic := benchTopic(b, brokers, "fetch-"+codec)
	c := newClient(b, brokers)
	p := newProducer(b, c, "fill-"+codec, codec)
	recs := sampleRecords(topic, n/20)
	for range 20 {
		if err := commitAll(b.Context(), p, recs); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("client=ours", func(b *testing.B) {
		reportRecords(b, n, func() { fetchAll(b, c, topic, n) })
	})
	b.Run("client=franz-go", func(b *testing.B) {
		reportRecords(b, n, func() {
			cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
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
	b.Run("client=kafka-go_Reader", func(b *testing.B) { // shows aborted records, too
		reportRecords(b, n, func() { readAll(b, brokers, topic, n) })
	})
}

// fetchAll reads n records of all partitions as the owners of a stage do.
func fetchAll(b *testing.B, c *Client, topic string, n int) {
	ctx, cancel := context.WithCancel(b.Context())
	f := newFetcher(c)
	var wg sync.WaitGroup
	wg.Go(func() { f.run(ctx) })
	var got atomic.Int64
	for i := range benchPartitions {
		wg.Go(func() {
			in := f.open(map[topicPartition]int64{{topic, int32(i)}: 0}, 8<<20)
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

// readAll reads n records with a kafka-go Reader for each partition.
func readAll(b *testing.B, brokers []string, topic string, n int) {
	var got atomic.Int64
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	context.AfterFunc(ctx, b.StopTimer) // closing a Reader waits for its last fetch
	defer b.StartTimer()
	var wg sync.WaitGroup
	for i := range benchPartitions {
		wg.Go(func() {
			r := kafka.NewReader(kafka.ReaderConfig{Brokers: brokers, Topic: topic, Partition: i, MaxBytes: 10 << 20, MaxWait: 250 * time.Millisecond})
			for {
				if _, err := r.ReadMessage(ctx); err != nil {
					break
				}
				if got.Add(1) >= int64(n) {
					cancel()
				}
			}
			_ = r.Close()
		})
	}
	wg.Wait()
}

// benchmarkLatency measures transactions of one record, one after the other. The pinned franz-go speaks the versions that ours does, in which a partition is
// added to a transaction by a request of its own; its newest do without.
func benchmarkLatency(b *testing.B, brokers []string) {
	topic := benchTopic(b, brokers, "latency")
	recs := sampleRecords(topic, 1)
	b.Run("client=ours", func(b *testing.B) {
		p := newProducer(b, newClient(b, brokers), "bench-latency", "zstd")
		reportLatency(b, func() {
			if err := commitAll(b.Context(), p, recs); err != nil {
				b.Fatal(err)
			}
		})
	})
	pinned := kversion.V3_9_0()
	for key, version := range map[int16]int16{0: 8, 22: 4, 24: 3, 25: 3, 26: 3, 28: 3} {
		pinned.SetMaxKeyVersion(key, version)
	}
	for name, versions := range map[string]*kversion.Versions{"pinned": pinned, "newest": kversion.Stable()} {
		b.Run("client=franz-go_"+name, func(b *testing.B) {
			cl := benchKgo(b, brokers, kgo.TransactionalID("bench-latency-"+name), kgo.MaxVersions(versions))
			reportLatency(b, func() {
				if err := cl.BeginTransaction(); err != nil {
					b.Fatal(err)
				}
				produceKgo(b, cl, recs)
				if err := cl.EndTransaction(b.Context(), kgo.TryCommit); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

func reportLatency(b *testing.B, run func()) {
	b.Helper()
	run() // as in reportRecords
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		run()
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(0, "ns/op")
}

// benchmarkNumbers compares one producer for 12 partitions of 4 topics with the 12 producers of 12 numbers, at batches of equal size, offsets included.
func benchmarkNumbers(b *testing.B, brokers []string) {
	topics := []string{"a", "b", "c", "d"}
	for _, t := range append(topics, "numbers-in") {
		benchTopic(b, brokers, t)
	}
	c := newClient(b, brokers)
	for _, producers := range []int{1, 12} {
		perTxn := 12000 / producers
		b.Run(fmt.Sprintf("client=%d_producers", producers), func(b *testing.B) {
			numbers := make([]*Producer, producers)
			recs := make([][]Record, producers)
			for n := range numbers {
				numbers[n] = newProducer(b, c, fmt.Sprintf("bench-%d-of-%d", n, producers), "zstd")
				recs[n] = sampleRecords("", perTxn)
				for i := range recs[n] {
					recs[n][i].Topic = topics[i*len(topics)/perTxn]
					if producers > 1 {
						recs[n][i].Partition = int32(n)
					}
				}
			}
			reportRecords(b, producers*perTxn, func() {
				var wg sync.WaitGroup
				for n, p := range numbers {
					wg.Go(func() {
						offsets := []Offset{{Topic: "numbers-in", Partition: int32(n), Next: 1}}
						_, err := p.ProduceAndSend(b.Context(), recs[n], GroupSession{Group: "bench", Generation: -1}, offsets)
						if err == nil {
							err = p.Commit(b.Context())
						}
						if err != nil {
							b.Error(err)
						}
					})
				}
				wg.Wait()
			})
		})
	}
}
