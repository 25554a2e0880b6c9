//go:build integration

package app_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/internal/testkit"
	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
)

// TestReplicasComeAndGo carries records with repeats and variants on Apache Kafka while replicas of the normalizer join and leave. Run by
// make test-kafka.
func TestReplicasComeAndGo(t *testing.T) {
	cluster := testkit.StartKafka(t, testkit.KafkaConfig{})
	p := newPipeOn(t, cluster.Brokers, 10*time.Minute)
	rng := rand.New(rand.NewPCG(1, 2))
	var ids, want []string
	churned := make(chan int, 1)
	stop := make(chan struct{})
	go func() { churned <- p.churn(stop) }()
	for round := range 40 {
		var batch []kafkatx.Record
		for i := range 500 {
			id := fmt.Sprintf("id-%02d-%03d", round, i)
			ids, want = append(ids, id), append(want, id)
			batch = append(batch, record(audit.SourceSharePoint, id, ""))
			if i%5 == 0 { // a repeat of something earlier, in another content type
				batch = append(batch, record(audit.SourceGeneral, ids[rng.IntN(len(ids))], ""))
			}
			if i%50 == 0 {
				batch = append(batch, record(audit.SourceSharePoint, id, `,"ItemType":"File"`))
				want = append(want, id+"*")
			}
		}
		p.produce(batch...)
	}
	close(stop)
	joins := <-churned
	p.start(p.config())
	p.caughtUp()
	p.stop()
	got := p.ids(names.Events(audit.WorkloadSharePoint))
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after %d joins: %s", joins, diff)
	}
	t.Logf("%d events after %d joins and leaves", len(got), joins)
	if n := len(p.committed(names.DeadLetter(false))); n > 0 {
		t.Errorf("%d dead letters", n)
	}
}

// churn keeps one to three replicas running, each for a few seconds, and says how many there were.
func (p *pipe) churn(stop <-chan struct{}) int {
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
	ticker := time.NewTicker(1500 * time.Millisecond)
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
