//go:build integration

package app_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/internal/testkit"
)

// TestReplicasComeAndGo carries records with repeats and variants on Apache Kafka while replicas of the normalizer join and leave every 1.5 s. Run by
// make test-kafka; TestReplicasComeAndGoEvery20s is the long form.
func TestReplicasComeAndGo(t *testing.T) {
	replicasComeAndGo(t, newFeed(t, 2, 12_000, 10), 1500*time.Millisecond, 60*time.Millisecond)
}

// replicasComeAndGo serves a feed of many days, with a pause after each hundred records, while one to three replicas run.
func replicasComeAndGo(t *testing.T, f feed, every, pause time.Duration) {
	t.Helper()
	cluster := testkit.StartKafka(t, testkit.KafkaConfig{})
	p := newPipeOn(t, cluster.Brokers, 20*time.Minute)
	churned, stop := make(chan int, 1), make(chan struct{})
	go func() { churned <- p.churn(stop, every) }()
	for batch := range slices.Chunk(f.served, 100) {
		p.produce(batch...)
		time.Sleep(pause)
	}
	close(stop)
	joins := <-churned
	p.start(p.config())
	p.caughtUp()
	p.stop()
	if diff := cmp.Diff(f.want, p.ids(names.EventsAll()...)); diff != "" {
		t.Errorf("after %d joins: %s", joins, diff)
	}
	t.Logf("%d copies, %d events after %d joins and as many leaves", len(f.served), len(f.want), joins)
	if n := len(p.committed(names.DeadLetter(false))); n > 0 {
		t.Errorf("%d dead letters", n)
	}
}

// churn keeps one to three replicas running, each for a while, and says how many there were.
func (p *pipe) churn(stop <-chan struct{}, every time.Duration) int {
	var replicas []*running
	leave := func() {
		r := replicas[0]
		replicas = replicas[1:]
		r.cancel()
		if err := r.stopped(); err != nil {
			p.t.Errorf("a replica left with: %v", err)
		}
	}
	joins := 0
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		replicas = append(replicas, p.launch(p.config()))
		joins++
		for len(replicas) > 3 || joins%4 == 0 && len(replicas) > 1 {
			leave()
		}
		select {
		case <-stop:
			for len(replicas) > 0 {
				leave()
			}
			return joins
		case <-ticker.C:
		}
	}
}

// TestRedriveUnderKillsOnKafka is TestRedriveUnderKills on Apache Kafka.
func TestRedriveUnderKillsOnKafka(t *testing.T) {
	cluster := testkit.StartKafka(t, testkit.KafkaConfig{Properties: map[string]string{"group.min.session.timeout.ms": "1000"}})
	redriveUnderKills(t, newPipeOn(t, cluster.Brokers, 10*time.Minute), 20)
}

// BenchmarkStageOnKafka is BenchmarkStage on Apache Kafka, whose CPU time is not counted: make bench-mapping.
func BenchmarkStageOnKafka(b *testing.B) {
	benchmarkStage(b, 200_000, func(t testing.TB) *pipe {
		return newPipeOn(t, testkit.StartKafka(t, testkit.KafkaConfig{}).Brokers, 10*time.Minute)
	})
}

// TestCheckOnKafka reads the settings of a real broker, whose defaults forget offsets after a week.
func TestCheckOnKafka(t *testing.T) {
	cluster := testkit.StartKafka(t, testkit.KafkaConfig{Properties: map[string]string{"offsets.retention.minutes": "10080"}})
	p := newPipeOn(t, cluster.Brokers, 2*time.Minute)
	out := p.mustRun("-check")
	for _, want := range []string{"topics: ok", "offsets.retention.minutes is 10080 (7 days)", "set it to 43200", "transactional.id.expiration.ms is 604800000"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
}
