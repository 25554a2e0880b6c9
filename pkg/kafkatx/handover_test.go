//go:build integration

package kafkatx

import (
	"fmt"
	"testing"
	"time"

	"millrace/internal/testkit"
)

// threeBrokers is a cluster that survives the loss of one of its brokers.
func threeBrokers(t *testing.T) *testkit.Cluster {
	return testkit.StartKafka(t, testkit.KafkaConfig{Nodes: 3, HeapMiB: 512, Properties: kafkaProperties})
}

// awaitOtherLeader asks the cluster until partition 0 of a topic is led by another broker.
func awaitOtherLeader(t *testing.T, c *Client, topic string, old int32) {
	t.Helper()
	eventually(t, "another leader", func() bool {
		c.layout.suspect(topic)
		node, err := c.leader(testContext(t), topic, 0)
		return err == nil && node != old
	})
}

// TestKafkaReplacedLeaderIsNotBelieved stops the leader of a state partition until it has been replaced and the next one has taken more. A reader that
// still thinks that it is the leader asks it where the state ends, and gets an answer when it goes on.
func TestKafkaReplacedLeaderIsNotBelieved(t *testing.T) {
	k := threeBrokers(t)
	for i := range 3 {
		topic := fmt.Sprint("state", i)
		reader := newClient(t, k.Brokers)
		if _, err := reader.EnsureTopics(testContext(t), []TopicSpec{{Name: topic, Partitions: 1}}, true); err != nil {
			t.Fatal(err)
		}
		awaitReplicas(t, k.Brokers, 3)
		write := func(c *Client, key string) {
			p := newProducer(t, c, "writer", "zstd")
			if err := commitAll(testContext(t), p, []Record{{Topic: topic, Key: []byte(key)}}); err != nil {
				t.Fatal(err)
			}
		}
		write(newClient(t, k.Brokers), "before")
		old, err := reader.leader(testContext(t), topic, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.PauseNode(int(old) - 1); err != nil {
			t.Fatal(err)
		}
		var others []string
		for n, b := range k.Brokers {
			if n != int(old)-1 {
				others = append(others, b)
			}
		}
		c := newClient(t, others)
		awaitOtherLeader(t, c, topic, old)
		write(c, "after")
		time.AfterFunc(time.Second, func() { _ = k.ResumeNode(int(old) - 1) })
		heir := newProducer(t, reader, "writer", "zstd") // does not ask the leader
		var got []string
		end, err := heir.probe(testContext(t), topicPartition{topic, 0})
		if err == nil {
			err = reader.readState(testContext(t), topic, 0, end, func(r Record) error {
				got = append(got, string(r.Key))
				return nil
			})
		}
		if err != nil || len(got) != 2 {
			t.Errorf("state is %q, %v", got, err)
		}
		awaitReplicas(t, k.Brokers, 3)
	}
}
