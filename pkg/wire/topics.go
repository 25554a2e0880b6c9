package wire

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace/pkg/kafkatx"
)

// The stages, as in groups, transactional ids and metrics.
const (
	StageIngester   = "ingester"
	StageImport     = "import"
	StageNormalizer = "normalizer"
	StageRedrive    = "redrive"
	StageEnricher   = "enricher"
)

// Auditor is no stage: an operator who reads what the ingester has done (`ingester status`, `ingester verify`) and writes nothing.
const Auditor = "auditor"

// access says what a stage does with a topic.
type access struct {
	spec        kafkatx.TopicSpec
	read, write bool
}

// Specs describes the topics that a stage reads or writes; with "" those of the whole deployment.
func (k Kafka) Specs(stage string) []kafkatx.TopicSpec {
	var specs []kafkatx.TopicSpec
	for _, a := range k.access(stage) {
		specs = append(specs, a.spec)
	}
	return specs
}

func (k Kafka) access(stage string) []access {
	n, t := k.Names(), k.Topics
	var list []access
	add := func(topic string, partitions int, configs map[string]string, readers, writers string) {
		a := access{spec: kafkatx.TopicSpec{Name: topic, Partitions: partitions, Replication: k.Replication, Configs: configs}}
		a.read, a.write = uses(readers, stage), uses(writers, stage)
		if stage == "" || a.read || a.write {
			list = append(list, a)
		}
	}
	for _, topic := range n.RawAll() {
		add(topic, k.Partitions, kept(t.RawRetention, MaxRaw), "normalizer auditor", "ingester import redrive")
	}
	for _, topic := range n.EventsAll() {
		add(topic, k.Partitions, kept(t.EventsRetention, MaxEvent), "enricher", "normalizer")
	}
	for _, topic := range n.EnrichedAll() {
		add(topic, k.Partitions, kept(t.EnrichedRetention, MaxEvent), "", "enricher")
	}
	for _, topic := range []string{n.DeadLetter(false), n.DeadLetter(true)} {
		add(topic, k.Partitions, kept(t.DeadLetterRetention, MaxDeadLetter), "redrive auditor", "ingester import normalizer enricher")
	}
	// A record may be read from raw until the end of its retention, and its repeat until the horizon has passed after that.
	add(n.Seen(), k.Partitions, kept(t.RawRetention+t.SeenHorizon+day, MaxRaw), "normalizer", "normalizer")
	add(n.Checkpoints(), k.ControlPartitions, compacted(), "ingester import auditor", "ingester import")
	add(n.Directory(), k.ControlPartitions, compacted(), "enricher ingester", "ingester")
	add(n.Ledger(), k.ControlPartitions, kept(t.LedgerRetention, MaxRaw), "auditor", "ingester import")
	add(n.Status(), 1, compacted(), "ingester import normalizer enricher auditor", "ingester import normalizer enricher")
	return list
}

func uses(stages, stage string) bool { return slices.Contains(strings.Fields(stages), stage) }

// headroom is what headers, key and the batch's own fields may add to a value of the largest size.
const headroom = 128 << 10

func kept(retention time.Duration, maxValue int) map[string]string {
	return map[string]string{
		"cleanup.policy":                 "delete",
		"retention.ms":                   strconv.FormatInt(retention.Milliseconds(), 10),
		"max.message.bytes":              strconv.Itoa(maxValue + headroom),
		"unclean.leader.election.enable": "false",
	}
}

func compacted() map[string]string {
	return map[string]string{
		"cleanup.policy":                 "compact",
		"segment.bytes":                  strconv.Itoa(32 << 20),
		"segment.ms":                     strconv.FormatInt(time.Hour.Milliseconds(), 10),
		"min.cleanable.dirty.ratio":      "0.1",
		"max.message.bytes":              strconv.Itoa(MaxRaw + headroom),
		"unclean.leader.election.enable": "false",
	}
}

// Commands is the text that -topics prints: the commands with which an administrator creates the topics and grants the rights
// that the stages of a binary need. $BOOTSTRAP and $PRINCIPAL are left to the administrator.
func (k Kafka) Commands(stages ...string) string {
	var b strings.Builder
	b.WriteString("# topics\n")
	done := map[string]bool{}
	for _, stage := range stages {
		for _, a := range k.access(stage) {
			if !done[a.spec.Name] {
				done[a.spec.Name] = true
				k.writeCreate(&b, a.spec)
			}
		}
	}
	b.WriteString("\n# rights\n")
	for _, stage := range stages {
		for _, a := range k.access(stage) {
			writeACL(&b, a)
		}
		id := k.Prefix + "." + stage
		fmt.Fprintf(&b, addACL+"$PRINCIPAL --operation Read --operation Describe --group %s\n", id)
		fmt.Fprintf(&b, addACL+"$PRINCIPAL --operation Write --operation Describe --transactional-id %s. --resource-pattern-type prefixed\n", id)
	}
	return b.String()
}

// AuditorCommands is the part of -topics that grants an Auditor's rights. $AUDITOR may be another principal than those of the stages.
func (k Kafka) AuditorCommands() string {
	var b strings.Builder
	b.WriteString("\n# rights of an auditor, who runs `ingester status` and `ingester verify` and writes nothing\n")
	for _, a := range k.access(Auditor) {
		fmt.Fprintf(&b, addACL+"$AUDITOR --operation Describe --operation Read --topic %s\n", a.spec.Name)
	}
	return b.String()
}

const addACL = "kafka-acls.sh --bootstrap-server $BOOTSTRAP --add --allow-principal "

func (k Kafka) writeCreate(b *strings.Builder, s kafkatx.TopicSpec) {
	replication := k.Replication
	if replication == 0 {
		replication = 3
	}
	fmt.Fprintf(b, "kafka-topics.sh --bootstrap-server $BOOTSTRAP --create --if-not-exists --topic %s --partitions %d --replication-factor %d", s.Name, s.Partitions, replication)
	if replication >= 3 {
		b.WriteString(" --config min.insync.replicas=2")
	}
	for _, key := range slices.Sorted(maps.Keys(s.Configs)) {
		fmt.Fprintf(b, " --config %s=%s", key, s.Configs[key])
	}
	b.WriteByte('\n')
}

func writeACL(b *strings.Builder, a access) {
	b.WriteString(addACL + "$PRINCIPAL --operation Describe --operation DescribeConfigs")
	if a.read {
		b.WriteString(" --operation Read")
	}
	if a.write {
		b.WriteString(" --operation Write")
	}
	fmt.Fprintf(b, " --topic %s\n", a.spec.Name)
}
