package kafkatx

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestStaleEndOfStateIsNotBelieved answers questions for the end of the state partition as a broker does that was stopped and does not know yet that
// another one leads now (see TestKafkaReplacedLeaderIsNotBelieved): with the end of some time ago.
func TestStaleEndOfStateIsNotBelieved(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 1, kfake.SeedTopics(1, "in", "out", "state", "status"))
	sent := map[string]int{}
	for range 3 {
		fill(t, k.ListenAddrs(), "in", 1, 0, 20)
		for key := range 20 {
			sent[fmt.Sprint(key)]++
		}
		total := 20 * sent["0"]
		sight := startSight(t, k.ListenAddrs(), "out", nil)
		r := start(t, k.ListenAddrs(), censusStage("stale", "in", "state", "out", "a"))
		eventually(t, "all are out", func() bool { return sight.count() >= total })
		r.stop(t)
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
