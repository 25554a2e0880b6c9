//go:build long

package kafkatx

import (
	"testing"
	"time"

	"millrace/internal/testkit"
)

// TestLongStormOfBrokers kills a broker of three, of three replicas, every 15 s.
func TestLongStormOfBrokers(t *testing.T) {
	s := brokerStorm(t, 15*time.Second)
	s.records, s.crashes, s.disturbances, s.limit = 900000, 300, 15, 30*time.Minute
	s.run(t)
}

func TestLongStorm(t *testing.T) {
	for _, version := range []string{testkit.KafkaNewest, testkit.KafkaOldest} {
		t.Run(version, func(t *testing.T) {
			s, _ := kafkaStorm(t, testkit.KafkaConfig{Version: version, Properties: kafkaProperties})
			s.records, s.crashes = 150000, 60
			s.run(t)
		})
	}
}

func TestLongKfakeStorm(t *testing.T) {
	for range 30 {
		t.Run("run", func(t *testing.T) {
			s := kfakeStorm(t)
			s.records, s.crashes, s.disturbances, s.judges = 40000, 8, 10, judges()
			s.run(t)
		})
	}
}
