package wire

import (
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/pkg/kafkatx"
)

func TestKafkaValidate(t *testing.T) {
	t.Parallel()
	if err := DefaultKafka().Validate(); err != nil {
		t.Fatalf("the default: %v", err)
	}
	tests := []struct {
		name  string
		spoil func(*Kafka)
		want  string
	}{
		{"no broker", func(k *Kafka) { k.Brokers = nil }, "kafka.brokers"},
		{"dot in the prefix", func(k *Kafka) { k.Prefix = "a.b" }, "kafka.prefix"},
		{"no prefix", func(k *Kafka) { k.Prefix = "" }, "kafka.prefix"},
		{"no partitions", func(k *Kafka) { k.Partitions = 0 }, "kafka.partitions"},
		{"too many control partitions", func(k *Kafka) { k.ControlPartitions = 5000 }, "kafka.control_partitions"},
		{"negative replication", func(k *Kafka) { k.Replication = -1 }, "kafka.replication"},
		{"unknown codec", func(k *Kafka) { k.Codec = "brotli" }, "kafka.codec"},
		{"short retention", func(k *Kafka) { k.Topics.RawRetention = time.Minute }, "kafka.topics"},
		{"short horizon", func(k *Kafka) { k.Topics.SeenHorizon = time.Hour }, "kafka.topics.seen_horizon"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			k := DefaultKafka()
			tt.spoil(&k)
			if err := k.Validate(); err == nil || !strings.HasPrefix(err.Error(), tt.want+":") {
				t.Errorf("got %v, want an error of %s", err, tt.want)
			}
		})
	}
}

func TestSpecs(t *testing.T) {
	t.Parallel()
	k := DefaultKafka()
	all := map[string]int{}
	for _, s := range k.Specs("") {
		all[s.Name] = s.Partitions
	}
	if got, want := len(all), 9+13+13+2+5; got != want {
		t.Errorf("got %d topics, want %d", got, want)
	}
	for topic, want := range map[string]int{
		"m365.raw.entra.v1": 12, "m365.enriched.other.v1": 12, "m365.deadletter.dlp.v1": 12, "m365.seen.v1": 12,
		"m365.checkpoints.v1": 12, "m365.status.v1": 1,
	} {
		if all[topic] != want {
			t.Errorf("%s: got %d partitions, want %d", topic, all[topic], want)
		}
	}
	covered := map[string]bool{}
	for _, stage := range []string{StageIngester, StageImport, StageNormalizer, StageRedrive, StageEnricher} {
		for _, s := range k.Specs(stage) {
			covered[s.Name] = true
		}
	}
	if len(covered) != len(all) {
		t.Errorf("the stages use %d topics of %d", len(covered), len(all))
	}
	if slices.ContainsFunc(k.Specs(StageEnricher), func(s kafkatx.TopicSpec) bool { return strings.Contains(s.Name, ".raw.") }) {
		t.Error("the enricher has nothing to do with raw topics")
	}
	k.CombinedTopics = true
	if got, want := len(k.Specs("")), 9+2+2+2+5; got != want {
		t.Errorf("combined: got %d topics, want %d", got, want)
	}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	text := DefaultKafka().Commands(StageNormalizer, StageRedrive)
	for _, want := range []string{
		"--create --if-not-exists --topic m365.seen.v1 --partitions 12 --replication-factor 3 --config min.insync.replicas=2",
		"--operation Read --topic m365.raw.entra.v1",
		"--operation Write --topic m365.raw.redrive.v1",
		"--group m365.normalizer",
		"--transactional-id m365.redrive. --resource-pattern-type prefixed",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if n := strings.Count(text, "--create --if-not-exists --topic m365.raw.redrive.v1 "); n != 1 {
		t.Errorf("one topic is created %d times", n)
	}
	text = DefaultKafka().AuditorCommands()
	for _, topic := range []string{"raw.dlp", "deadletter.dlp", "checkpoints", "ledger", "status"} {
		if !strings.Contains(text, "$AUDITOR --operation Describe --operation Read --topic m365."+topic+".v1\n") {
			t.Errorf("no right to read %s in\n%s", topic, text)
		}
	}
	for _, never := range []string{"Write", "--group", "--transactional-id", "$PRINCIPAL", "events", "enriched", "seen", "directory"} {
		if strings.Contains(text, never) {
			t.Errorf("an auditor is given %s in\n%s", never, text)
		}
	}
}
