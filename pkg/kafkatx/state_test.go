package kafkatx

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// countRound sends each of twenty keys once more and lets a stage that counts them come to the end.
func countRound(t *testing.T, brokers []string, name string, sent map[string]int) {
	t.Helper()
	fill(t, brokers, "in", 1, 0, 20)
	for key := range 20 {
		sent[fmt.Sprint(key)]++
	}
	sight := startSight(t, brokers, "out", nil)
	r := start(t, brokers, censusStage(name, "in", "state", "out", "a"))
	eventually(t, "all are out", func() bool { return r.Ready() && r.Lag()["in"] == 0 && sight.count() >= 20*sent["0"] })
	r.stop(t)
}

// TestStaleEndOfStateIsNotBelieved answers questions for the end of the state partition as a broker does that was stopped and does not know yet that
// another one leads now (see TestKafkaReplacedLeaderIsNotBelieved): with the end of some time ago.
func TestStaleEndOfStateIsNotBelieved(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 1, kfake.SeedTopics(1, "in", "out", "state", "status"))
	sent := map[string]int{}
	for range 3 {
		countRound(t, k.ListenAddrs(), "stale", sent)
		k.ControlKey(kmsg.ListOffsets.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
			k.KeepControl()
			q := req.(*kmsg.ListOffsetsRequest)
			if q.Topics[0].Topic != "state" || q.Topics[0].Partitions[0].Timestamp != atEnd {
				return nil, nil, false
			}
			res := q.ResponseKind().(*kmsg.ListOffsetsResponse)
			part := kmsg.NewListOffsetsResponseTopicPartition()
			part.Offset = 1
			topic := kmsg.NewListOffsetsResponseTopic()
			topic.Topic, topic.Partitions = "state", append(topic.Partitions, part)
			res.Topics = append(res.Topics, topic)
			return res, nil, true
		})
	}
	checkCensus(t, k.ListenAddrs(), "out", sent)
}

// TestStaleCoordinatorIsNotBelieved answers questions for positions as the coordinator of a group does that was stopped and does not know yet that another
// one coordinates now (see TestKafkaReplacedCoordinatorIsNotBelieved), unless it has just acknowledged positions to the one who asks.
func TestStaleCoordinatorIsNotBelieved(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 2, kfake.SeedTopics(1, "in", "out", "state", "status"))
	const nobody = -1
	shown := int32(nobody) // the node that has acknowledged positions since the last InitProducerID; controls are never concurrent
	for key, node := range map[kmsg.Key]func() int32{kmsg.InitProducerID: func() int32 { return nobody }, kmsg.TxnOffsetCommit: k.CurrentNode} {
		k.ControlKey(key.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
			k.KeepControl()
			shown = node()
			return nil, nil, false
		})
	}
	k.ControlKey(kmsg.OffsetFetch.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		if shown == k.CurrentNode() {
			return nil, nil, false
		}
		res := req.ResponseKind().(*kmsg.OffsetFetchResponse)
		part := kmsg.NewOffsetFetchResponseTopicPartition()
		topic := kmsg.NewOffsetFetchResponseTopic()
		topic.Topic, topic.Partitions = "in", append(topic.Partitions, part) // position 0
		res.Topics = append(res.Topics, topic)
		return res, nil, true
	})
	sent := map[string]int{}
	for range 2 {
		countRound(t, k.ListenAddrs(), "positions", sent)
	}
	checkCensus(t, k.ListenAddrs(), "out", sent)
}
