//go:build integration

package kafkatx

import (
	"testing"
	"time"

	"millrace/internal/testkit"
)

// kafkaProperties shorten what a test would otherwise wait for.
var kafkaProperties = map[string]string{"group.min.session.timeout.ms": "500", "group.initial.rebalance.delay.ms": "0"}

func TestKafkaStorm(t *testing.T) {
	for _, version := range []string{testkit.KafkaNewest, testkit.KafkaOldest} {
		t.Run(version, func(t *testing.T) {
			const partitions = 8
			k := testkit.StartKafka(t, testkit.KafkaConfig{Version: version, Properties: kafkaProperties})
			createTopics(t, k.Brokers, partitions, "in", "mid", "out", "state")
			createTopics(t, k.Brokers, 1, "status")
			(&storm{
				brokers: k.Brokers, partitions: partitions, records: 40000, workers: 2, life: 4 * time.Second, session: time.Second, faults: true,
			}).run(t)
		})
	}
}

func TestKafkaCommittedIsVisibleAndAbortedIsNot(t *testing.T) {
	k := testkit.StartKafka(t, testkit.KafkaConfig{Properties: kafkaProperties})
	testVisibility(t, k.Brokers)
}

func TestKafkaStage(t *testing.T) {
	k := testkit.StartKafka(t, testkit.KafkaConfig{Properties: kafkaProperties})
	testOnce(t, k.Brokers)
}

func TestKafkaZombieIsFenced(t *testing.T) {
	k := testkit.StartKafka(t, testkit.KafkaConfig{Properties: kafkaProperties})
	testZombie(t, k.Brokers)
}
