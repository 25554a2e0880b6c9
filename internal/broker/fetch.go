package broker

import (
	"math"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// boundFetches keeps fetches from reaching the bound of a whole answer, by giving each partition a bound of its own. Where kfake reaches the former in the middle
// of a partition, it sends what it has of it and leaves out which transactions were aborted: a reader takes their records for committed.
//
// It also declines fetch sessions, as a broker may: with them a request says what has changed since the last one, not what is asked for.
func boundFetches(c *kfake.Cluster) {
	c.ControlKey(int16(kmsg.Fetch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		req := kreq.(*kmsg.FetchRequest)
		if req.SessionEpoch > 0 {
			return nil, nil, false // of a session with the broker before this one: refused by kfake, which knows none
		}
		if req.Version >= 7 {
			req.SessionID, req.SessionEpoch = 0, -1
		}
		left := req.MaxBytes
		for i := range req.Topics {
			t := &req.Topics[i]
			name := t.Topic
			if req.Version >= 13 { // since then a topic is named by its id
				if info := c.TopicIDInfo(t.TopicID); info != nil {
					name = info.Topic
				}
			}
			infos := c.PartitionInfos(name)
			for j := range t.Partitions {
				p := &t.Partitions[j]
				p.PartitionMaxBytes = min(p.PartitionMaxBytes, left)
				if n := int(p.Partition); n >= 0 && n < len(infos) { // numbered without holes
					left -= min(p.PartitionMaxBytes, unread(infos[n], p.FetchOffset))
				}
			}
		}
		req.MaxBytes = math.MaxInt32
		return nil, nil, false
	})
}

// unread estimates how many bytes a partition holds from an offset on.
func unread(p *kfake.PartitionInfo, from int64) int32 {
	records := p.HighWatermark - p.LogStartOffset
	if records <= 0 || from >= p.HighWatermark {
		return 0
	}
	perRecord := float64(p.NumBytes) / float64(records)
	return int32(min(perRecord*float64(p.HighWatermark-max(from, p.LogStartOffset)), math.MaxInt32))
}
