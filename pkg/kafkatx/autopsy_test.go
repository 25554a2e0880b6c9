package kafkatx

import (
	"bytes"
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// autopsy logs what can be known about a pipeline that does not go on: goroutines of this process that wait in this package, and what the brokers say of
// groups, open transactions, leaders and positions.
func autopsy(t testing.TB, brokers []string) {
	t.Helper()
	stacks := make([]byte, 4<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range bytes.SplitSeq(stacks, []byte("\n\n")) {
		if bytes.Contains(stack, []byte("millrace/pkg/kafkatx.")) {
			t.Logf("%s", stack)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	defer cancel()
	adm := admin(t, brokers)
	if m, err := adm.Metadata(ctx); err != nil {
		t.Logf("metadata: %v", err)
	} else {
		m.Topics.EachPartition(func(p kadm.PartitionDetail) {
			if p.Leader < 0 || len(p.ISR) < len(p.Replicas) {
				t.Logf("topic %s, partition %d: leader %d, in sync %v of %v, %v", p.Topic, p.Partition, p.Leader, p.ISR, p.Replicas, p.Err)
			}
		})
	}
	groups, err := adm.DescribeGroups(ctx, "test.first", "test.second")
	for _, g := range groups {
		t.Logf("group %s: %s at broker %d, %d members, %v", g.Group, g.State, g.Coordinator.NodeID, len(g.Members), g.Err)
	}
	logError(t, "describe groups", err)
	list, err := adm.ListTransactions(ctx, nil, nil)
	logError(t, "list transactions", err)
	txns, err := adm.DescribeTransactions(ctx, list.TransactionalIDs()...)
	logError(t, "describe transactions", err)
	for _, x := range txns {
		t.Logf("transaction %s: %s, producer %d/%d at broker %d, %v", x.TxnID, x.State, x.ProducerID, x.ProducerEpoch, x.Coordinator, x.Err)
	}
	topics := []string{"in", "mid", "out", "state"}
	ends, err := adm.ListEndOffsets(ctx, topics...)
	logError(t, "list end offsets", err)
	stable, err := adm.ListCommittedOffsets(ctx, topics...)
	logError(t, "list last stable offsets", err)
	ends.Each(func(o kadm.ListedOffset) {
		if s, _ := stable.Lookup(o.Topic, o.Partition); s.Offset != o.Offset || o.Err != nil || s.Err != nil {
			t.Logf("topic %s, partition %d: stable to %d of %d, %v, %v", o.Topic, o.Partition, s.Offset, o.Offset, o.Err, s.Err)
		}
	})
	for _, g := range []string{"test.first", "test.second"} {
		at, err := adm.FetchOffsets(ctx, g)
		logError(t, "fetch offsets of "+g, err)
		at.Each(func(o kadm.OffsetResponse) {
			if e, _ := ends.Lookup(o.Topic, o.Partition); e.Offset != o.At {
				t.Logf("group %s, topic %s, partition %d: at %d of %d, %v", g, o.Topic, o.Partition, o.At, e.Offset, o.Err)
			}
		})
	}
}

// logFeeds logs what a worker's fetcher is up to.
func (w *worker) logFeeds(t testing.TB) {
	t.Helper()
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	t.Logf("group %s: %d bytes buffered, requests under way by broker: %v", w.cfg.group(), w.f.buffered, w.f.inflight)
	for _, fd := range w.f.feeds {
		t.Logf("  topic %s, partition %d: taken %d, next %d, stable %d of %d, %d chunks, busy %t, not before %v, %v",
			fd.tp.topic, fd.tp.partition, fd.taken, fd.next, fd.stable, fd.end, len(fd.chunks), fd.busy, fd.after, fd.in.err)
	}
}

func logError(t testing.TB, what string, err error) {
	if err != nil {
		t.Logf("%s: %v", what, err)
	}
}
