package broker

import (
	"context"
	"crypto/rand"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestFullAnswersNameAbortedTransactions reads aborted records in answers that have no room for all of them: whatever the bounds, nobody sees one.
func TestFullAnswersNameAbortedTransactions(t *testing.T) {
	const batches, size = 40, 50_000
	b := openBroker(t, Config{Dir: t.TempDir()})
	createTopicOf(t, b.Addr(), 2)
	writer := newClient(t, b.Addr(), kgo.TransactionalID("writer"), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	write := func(n int, end kgo.TransactionEndTry) {
		t.Helper()
		if err := writer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for range n {
			value := make([]byte, size)
			_, _ = rand.Read(value)
			for p := range int32(2) {
				produce(t, writer, &kgo.Record{Topic: txTopic, Partition: p, Value: value})
			}
		}
		if err := writer.EndTransaction(ctx, end); err != nil {
			t.Fatal(err)
		}
	}
	write(batches, kgo.TryAbort)
	write(1, kgo.TryCommit)
	for _, bound := range []int32{size, 3 * size, 10 * size, 33 * size, batches * size, (batches + 10) * size} {
		reader := newClient(t, b.Addr(), kgo.ConsumeTopics(txTopic), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
			kgo.FetchMaxBytes(bound), kgo.FetchMaxPartitionBytes(bound))
		seen := 0
		for markers := 0; markers < 4; {
			reader.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
				if r.Attrs.IsControl() {
					markers++
				} else {
					seen++
				}
			})
			if ctx.Err() != nil {
				t.Fatal("the markers were not read")
			}
		}
		if seen != 2 {
			t.Errorf("bound %d: %d records are seen, and 2 are committed", bound, seen)
		}
		reader.Close()
	}
	ends, err := kadm.NewClient(writer).ListEndOffsets(ctx, txTopic)
	if err != nil {
		t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset != batches+3 {
			t.Errorf("partition %d ends at %d", o.Partition, o.Offset)
		}
	})
}
