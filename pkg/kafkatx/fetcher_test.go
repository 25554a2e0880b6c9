package kafkatx

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// TestWaitingHoldsUpNothing lets fetches of quiet partitions wait at the broker for as long as the test lasts: what another partition holds
// has to come all the same, over several fetches, and so has what comes to a quiet one.
func TestWaitingHoldsUpNothing(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 1, kfake.SeedTopics(4, "in"))
	brokers := k.ListenAddrs()
	f := newFetcher(newClient(t, brokers))
	f.pollWait = time.Hour
	ctx, cancel := context.WithCancel(testContext(t))
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		f.run(ctx)
	}()
	defer func() {
		cancel()
		<-stopped
	}()
	var quiet *intake
	for i := range int32(3) {
		quiet = f.open(map[topicPartition]int64{{"in", i}: 0}, 1<<20)
		defer quiet.close()
		eventually(t, "a poll is under way", func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			return quiet.feeds[0].quiet && f.inflight[line{0, true}] == 1
		})
	}
	const n = 400
	recs := make([]Record, n)
	for i := range recs {
		recs[i] = Record{Topic: "in", Partition: 3, Value: make([]byte, 4*partFetchBytes/n)}
	}
	if err := commitAll(ctx, newProducer(t, f.c, "fill", "none"), recs); err != nil {
		t.Fatal(err)
	}
	full := f.open(map[topicPartition]int64{{"in", 3}: 0}, partFetchBytes)
	defer full.close()
	got := 0
	eventually(t, "the full partition is read", func() bool {
		b, err := full.take(n, partFetchBytes)
		if err != nil {
			t.Fatal(err)
		}
		got += len(b.recs)
		return got == n
	})
	recs = recs[:1]
	recs[0].Partition = 0 // the first that was quiet, and so the one that is being waited for
	if err := commitAll(ctx, newProducer(t, f.c, "more", "zstd"), recs); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the quiet partition is read", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.feeds[0].next > 0
	})
}
