//go:build integration

package kafkatx

import (
	"testing"

	"millrace/internal/testkit"
)

// kafkaProperties shorten what a test would otherwise wait for.
var kafkaProperties = map[string]string{"group.min.session.timeout.ms": "500", "group.initial.rebalance.delay.ms": "0"}

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
