package kafkatx

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// faultKeys are the requests that a stage sends.
var faultKeys = map[string]kmsg.Key{
	"Produce": kmsg.Produce, "Fetch": kmsg.Fetch, "ListOffsets": kmsg.ListOffsets, "Metadata": kmsg.Metadata,
	"OffsetFetch": kmsg.OffsetFetch, "FindCoordinator": kmsg.FindCoordinator, "JoinGroup": kmsg.JoinGroup, "Heartbeat": kmsg.Heartbeat,
	"SyncGroup": kmsg.SyncGroup, "InitProducerID": kmsg.InitProducerID, "AddPartitionsToTxn": kmsg.AddPartitionsToTxn,
	"AddOffsetsToTxn": kmsg.AddOffsetsToTxn, "EndTxn": kmsg.EndTxn, "TxnOffsetCommit": kmsg.TxnOffsetCommit,
}

// faultRun runs the stateful stage over a few hundred records, each of them twice, until all are out and hit has been reached.
func faultRun(t *testing.T, brokers []string, fn *faultNet, hits func() int) {
	t.Helper()
	const n, partitions = 240, 2
	out := watchOut(t, brokers)
	cfg := testStage("faulty", []string{"in"}, "state", "out")
	cfg.SessionTimeout, cfg.RebalanceBound, cfg.MaxBatchRecords = 500*time.Millisecond, time.Second, 10
	fill(t, brokers, "in", partitions, 0, n)
	w := startWorker(t, brokers, cfg, fn)
	fill(t, brokers, "in", partitions, 0, n)
	eventually(t, "the fault is hit", func() bool { return hits() > 0 })
	eventually(t, "all records are out", func() bool { return out.distinct() == n && w.Ready() && w.Lag()["in"] == 0 })
	if err := w.finish(); err != nil {
		t.Errorf("Run: %v", err)
	}
	checkOnce(t, brokers, "out", n)
}

func faultCluster(t *testing.T) *kfake.Cluster {
	return newCluster(t, 2, kfake.SeedTopics(2, "in", "out", "state"), kfake.SeedTopics(1, "status"))
}

// TestLostRequestsAndAnswers breaks the connection of every third request of a kind, before or after it was carried out.
func TestLostRequestsAndAnswers(t *testing.T) {
	t.Parallel()
	for name, key := range faultKeys {
		for _, f := range []fault{faultNotApplied, faultAnswerLost} {
			t.Run(fmt.Sprint(name, " ", f), func(t *testing.T) {
				t.Parallel()
				fn := newFaultNet()
				var seen atomic.Int64
				fn.set(func(k int16) fault {
					if n := seen.Load(); kmsg.Key(k) != key || n >= 30 || seen.Add(1)%3 != 1 {
						return faultNone
					}
					return f
				})
				faultRun(t, faultCluster(t).ListenAddrs(), fn, fn.count)
			})
		}
	}
}

// TestErrorCodes answers requests with an error instead of carrying them out.
func TestErrorCodes(t *testing.T) {
	t.Parallel()
	coordinator := []*kerr.Error{kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.NotCoordinator}
	codes := map[string][]*kerr.Error{
		"Produce": {
			kerr.NotLeaderForPartition, kerr.NotEnoughReplicas, kerr.RequestTimedOut, kerr.KafkaStorageError, kerr.OutOfOrderSequenceNumber,
			kerr.UnknownProducerID, kerr.InvalidProducerEpoch, kerr.InvalidTxnState, kerr.TransactionAbortable,
		},
		"Fetch":              {kerr.NotLeaderForPartition, kerr.UnknownTopicOrPartition, kerr.OffsetOutOfRange, kerr.FencedLeaderEpoch, kerr.KafkaStorageError},
		"ListOffsets":        {kerr.NotLeaderForPartition, kerr.OffsetNotAvailable, kerr.UnknownTopicOrPartition},
		"OffsetFetch":        append(coordinator, kerr.UnstableOffsetCommit),
		"JoinGroup":          append(coordinator, kerr.UnknownMemberID),
		"SyncGroup":          append(coordinator, kerr.UnknownMemberID, kerr.RebalanceInProgress, kerr.IllegalGeneration),
		"Heartbeat":          append(coordinator, kerr.UnknownMemberID, kerr.RebalanceInProgress, kerr.IllegalGeneration),
		"FindCoordinator":    {kerr.CoordinatorNotAvailable},
		"InitProducerID":     append(coordinator, kerr.ConcurrentTransactions),
		"AddPartitionsToTxn": append(coordinator, kerr.ConcurrentTransactions, kerr.ProducerFenced, kerr.InvalidTxnState, kerr.TransactionAbortable),
		"AddOffsetsToTxn":    append(coordinator, kerr.ConcurrentTransactions, kerr.ProducerFenced, kerr.InvalidTxnState),
		"TxnOffsetCommit":    append(coordinator, kerr.IllegalGeneration, kerr.UnknownMemberID, kerr.ProducerFenced, kerr.InvalidProducerEpoch),
		"EndTxn":             append(coordinator, kerr.ConcurrentTransactions, kerr.InvalidTxnState, kerr.ProducerFenced, kerr.InvalidProducerIDMapping),
	}
	for name, errs := range codes {
		for _, err := range errs {
			t.Run(fmt.Sprint(name, " ", err.Message), func(t *testing.T) {
				t.Parallel()
				k := faultCluster(t)
				var seen atomic.Int64
				h := k.Fault(kfake.Fault{
					Keys: []kmsg.Key{faultKeys[name]}, Err: err, Count: 2, Group: groupOf(name), Topic: topicOf(name),
					When: func(kmsg.Request) bool { return seen.Add(1)%2 == 1 },
				})
				faultRun(t, k.ListenAddrs(), nil, h.Hits)
			})
		}
	}
}

// groupOf keeps a fault off the requests of the test's own clients.
func groupOf(request string) string {
	switch request {
	case "OffsetFetch", "JoinGroup", "SyncGroup", "Heartbeat", "TxnOffsetCommit":
		return "test.faulty"
	}
	return ""
}

func topicOf(request string) string {
	if request == "Produce" {
		return "out"
	}
	return ""
}
