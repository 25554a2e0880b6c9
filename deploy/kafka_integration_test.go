//go:build integration

package deploy_test

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/testkit"
)

// TestKafkaTakesTheSettingsOfTheStack starts Apache Kafka with the settings that the compose file gives its image, apart from addresses, and reads one back.
func TestKafkaTakesTheSettingsOfTheStack(t *testing.T) {
	service := loadCompose(t).Services["kafka"]
	settings := map[string]string{}
	for key, value := range service.Environment {
		name := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(key, "KAFKA_")), "_", ".")
		if !strings.Contains(name, "listener") && name != "controller.quorum.voters" && name != "log.dirs" {
			settings[name] = *value
		}
	}
	version := strings.TrimPrefix(service.Image, "apache/kafka:")
	cluster := testkit.StartKafka(t, testkit.KafkaConfig{Version: version, Properties: settings})
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	configs, err := kadm.NewClient(client).DescribeBrokerConfigs(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, config := range configs[0].Configs {
		got[config.Key] = config.MaybeValue()
	}
	for key, want := range settings {
		if got[key] != want {
			t.Errorf("broker says %s = %q, want %q", key, got[key], want)
		}
	}
}
