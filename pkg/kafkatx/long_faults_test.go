//go:build long

package kafkatx

import (
	"testing"
	"time"

	"millrace/internal/testkit"
)

// TestLongHandoverTime is TestKafkaHandoverTime for longer, and insists on the bound.
func TestLongHandoverTime(t *testing.T) {
	k := testkit.StartKafka(t, testkit.KafkaConfig{Properties: kafkaProperties})
	handoverTime(t, k.Brokers, 40, true)
}

// TestLongJoinAndLeave has workers join and leave every 20 s for 10 minutes.
func TestLongJoinAndLeave(t *testing.T) {
	const bound = 10 * time.Second
	k := testkit.StartKafka(t, testkit.KafkaConfig{Properties: kafkaProperties})
	if stall := joinAndLeave(t, k.Brokers, 20*time.Second, 10*time.Minute, bound); stall > bound {
		t.Errorf("a number stood still for %v, longer than the rebalance bound of %v", stall, bound)
	}
}

// TestLongHandoverWithStoppedBroker hands 500 numbers over while a broker is stopped, or was until just before, and judges each state that is loaded.
func TestLongHandoverWithStoppedBroker(t *testing.T) {
	handoverWithStoppedBroker(t, 500)
}
