//go:build integration

package kafkatx

import (
	"fmt"
	"testing"
	"time"
)

// TestKafkaReplacedCoordinatorIsNotBelieved is TestKafkaReplacedLeaderIsNotBelieved for positions: the coordinator of the group is stopped until it has
// been replaced and the next one has committed more. A reader that still thinks that it is the coordinator asks it, and gets an answer when it goes on.
func TestKafkaReplacedCoordinatorIsNotBelieved(t *testing.T) {
	k := threeBrokers(t)
	ctx := testContext(t)
	if _, err := newClient(t, k.Brokers).EnsureTopics(ctx, []TopicSpec{{Name: "in", Partitions: 1}}, true); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		group := fmt.Sprint("group", i)
		session := GroupSession{Group: group, Generation: -1}
		tp := topicPartition{"in", 0}
		write := func(c *Client, next int64) {
			t.Helper()
			p := newProducer(t, c, "writer of "+group, "zstd")
			if err := p.SendOffsets(testContext(t), session, []Offset{{Topic: "in", Next: next}}); err != nil {
				t.Fatal(err)
			}
			if err := p.Commit(testContext(t)); err != nil {
				t.Fatal(err)
			}
		}
		write(newClient(t, k.Brokers), 1)
		reader := newClient(t, k.Brokers)
		old, err := reader.coordinator(testContext(t), 0, group)
		if err != nil {
			t.Fatal(err)
		}
		c := withoutBroker(t, k, old)
		eventually(t, "another coordinator", func() bool {
			c.mu.Lock()
			clear(c.coordinators)
			c.mu.Unlock()
			node, err := c.coordinator(testContext(t), 0, group)
			return err == nil && node != old
		})
		write(c, 2)
		time.AfterFunc(time.Second, func() { _ = k.ResumeNode(int(old) - 1) })
		var got committed
		eventually(t, "an answer", func() bool { // a probe that is refused is done again from the start, as an owner does
			heir := newProducer(t, reader, "heir of "+group, "zstd")
			_, err := heir.probe(testContext(t), nil, session, []Offset{{Topic: "in"}})
			if err == nil {
				got, err = reader.committedOffsets(testContext(t), heir.coordinator, group, []topicPartition{tp})
			}
			return err == nil
		})
		if got[tp] != 2 {
			t.Errorf("committed is %v", got)
		}
		awaitReplicas(t, k.Brokers)
	}
}
