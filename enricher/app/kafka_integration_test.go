//go:build integration

package app

import (
	"fmt"
	"testing"
	"time"

	"millrace/internal/testkit"
	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

// TestReplicasComeAndGo enriches on Apache Kafka while replicas join and leave and the directory changes. Run by make test-kafka.
func TestReplicasComeAndGo(t *testing.T) {
	cluster := testkit.StartKafka(t, testkit.KafkaConfig{})
	p := newPipeline(t, cluster.Brokers[0])
	first := p.start()
	p.produce(p.ada("Research"), p.directory(wire.KindDomain, "example.org", `{"id":"example.org"}`), p.complete())
	eventually(t, "ready", func() bool { return first.Ready() == nil })
	want := map[string]kafkatx.Record{}
	replicas := []*enricher{first}
	joins := 1
	last := time.Now()
	for round := range 40 {
		var recs []kafkatx.Record
		for i := range 250 {
			n := round*250 + i
			r := p.event(n)
			want[fmt.Sprintf("uid-%d", n)] = r
			recs = append(recs, r)
		}
		p.produce(append(recs, p.ada(fmt.Sprintf("Department %d", round)))...)
		if time.Since(last) < time.Second {
			continue
		}
		last = time.Now()
		replicas = append(replicas, p.start())
		joins++
		if len(replicas) > 3 || joins%4 == 0 {
			replicas[0].stop(t)
			replicas = replicas[1:]
		}
	}
	eventually(t, "all events", func() bool { return p.countEnriched() >= len(want) })
	for _, r := range replicas {
		r.stop(t)
	}
	p.checkOnce(want)
	t.Logf("%d events, each once, over %d joins", len(want), joins)
}
