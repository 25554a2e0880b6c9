//go:build integration

package kafkatx

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	kafka "github.com/segmentio/kafka-go"
)

// faultCodes are the errors that each step is answered with, and what they mean to the one who gets them.
var faultCodes = []struct {
	err  *kerr.Error
	want class
}{
	{kerr.ConcurrentTransactions, classBusy},     // 51
	{kerr.NotCoordinator, classRetry},            // 16
	{kerr.CoordinatorLoadInProgress, classRetry}, // 14
	{kerr.CoordinatorNotAvailable, classRetry},   // 15
	{kerr.InvalidProducerEpoch, classFenced},     // 47
	{kerr.ProducerFenced, classFenced},           // 90
	{kerr.InvalidTxnState, classAbort},           // 48
	{kerr.MessageTooLarge, classAbort},           // 10
	{kerr.InvalidRecord, classFatal},             // 87
	{kerr.FencedLeaderEpoch, classRetry},         // 74
	{kerr.NotLeaderForPartition, classRetry},     // 6
	{kerr.NotEnoughReplicas, classRetry},         // 19
	{kerr.KafkaStorageError, classRetry},         // 56
	{kerr.TransactionAbortable, classAbort},      // 120
}

// faultSteps are the requests of a stage. nth is which of them is broken, counted over the number's life, so that it falls into a batch where there is a
// choice. stops are the codes at which the stage has to stop, because a human has to find out how the broker came to say that; at all others it goes on.
var faultSteps = []struct {
	name  string
	nth   int64
	fault kfake.Fault
	stops []int16
}{
	{"Init", 1, kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TxnID: "test.table.0"}, []int16{87}},
	{"AddPartitions", 3, kfake.Fault{Keys: []kmsg.Key{kmsg.AddPartitionsToTxn}, TxnID: "test.table.0"}, []int16{87}},
	{"Produce", 3, kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "out"}, []int16{87}},
	{"AddOffsets", 2, kfake.Fault{Keys: []kmsg.Key{kmsg.AddOffsetsToTxn}, TxnID: "test.table.0"}, []int16{87}},
	{"TxnOffsetCommit", 2, kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Group: "test.table"}, []int16{87}},
	{"EndTxn", 3, kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, TxnID: "test.table.0"}, []int16{87}},
	{"Fetch", 2, kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: "in"}, []int16{87}},
	{"OffsetFetch", 1, kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetFetch}, Group: "test.table"}, []int16{47, 90, 48, 10, 87, 120}}, // none of its own
	{"Join", 1, kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, Group: "test.table"}, []int16{87}},
	{"Sync", 1, kfake.Fault{Keys: []kmsg.Key{kmsg.SyncGroup}, Group: "test.table"}, []int16{87}},
	{"Heartbeat", 2, kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Group: "test.table"}, []int16{87}},
}

// TestFaultTable breaks each step with each code twice: answered instead of carried out, and carried out with the answer lost and the code for the
// repetition. The connection alone is broken by TestLostRequestsAndAnswers.
func TestFaultTable(t *testing.T) {
	t.Parallel()
	for _, code := range faultCodes {
		if got := classify(kafka.Error(code.err.Code)); got != code.want {
			t.Errorf("code %d: class %d, want %d", code.err.Code, got, code.want)
		}
	}
	for i := range faultSteps {
		for _, code := range faultCodes {
			for _, applied := range []bool{false, true} {
				step := faultSteps[i]
				step.fault.Err = code.err
				// A commit whose answer was lost is settled by the next Init, whatever the repetition is answered.
				stops := slices.Contains(step.stops, code.err.Code) && (step.name != "EndTxn" || !applied)
				t.Run(fmt.Sprintf("%s/%d/applied=%t", step.name, code.err.Code, applied), func(t *testing.T) {
					t.Parallel()
					faultCase(t, step.fault, step.nth, applied, stops)
				})
			}
		}
	}
}

func faultCase(t *testing.T, f kfake.Fault, nth int64, applied, stops bool) {
	k := newCluster(t, 1, kfake.SeedTopics(1, "in", "out", "state", "status"))
	const lost, due, done = 1, 2, 3
	var seen, state atomic.Int64
	var last kmsg.Request // this and hit are touched by the broker's goroutine only
	var hit bool
	net := newFaultNet()
	net.set(func(key int16) fault {
		switch {
		case kmsg.Key(key) != f.Keys[0] || seen.Add(1) != nth:
		case applied:
			state.Store(lost)
			return faultAnswerLost
		default:
			state.Store(due)
		}
		return faultNone
	})
	f.Count = -1
	f.When = func(req kmsg.Request) bool {
		if req != last { // it is asked for each part of a request, and again and again while a fetch waits
			last, hit = req, !state.CompareAndSwap(lost, due) && state.CompareAndSwap(due, done)
		}
		return hit
	}
	h := k.Fault(f)
	const n = 40
	sent := map[string]int{}
	for i := range n {
		sent[fmt.Sprint(i)] = 1
	}
	fill(t, k.ListenAddrs(), "in", 1, 0, n)
	cfg := censusStage("table", "in", "state", "out", "a")
	cfg.SessionTimeout, cfg.RebalanceBound, cfg.MaxBatchRecords = 2*time.Second, 4*time.Second, 10
	w := startWorker(t, k.ListenAddrs(), cfg, net)
	if stops {
		select {
		case err := <-w.done:
			wantError(t, err, fmt.Sprintf("[%d]", f.Err.Code))
			w.done <- err
		case <-time.After(deadline):
			t.Errorf("the stage goes on; the fault was hit %d times", h.Hits())
		}
		_ = w.finish()
		w = startWorker(t, k.ListenAddrs(), cfg, nil) // somebody else can go on
	}
	sight := startSight(t, k.ListenAddrs(), "out", nil)
	eventually(t, "the fault is hit and all are out", func() bool { return h.Hits() > 0 && sight.count() >= n })
	if err := w.finish(); err != nil {
		t.Errorf("Run: %v", err)
	}
	checkCensus(t, k.ListenAddrs(), "out", sent)
}
