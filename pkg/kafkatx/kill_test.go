//go:build integration

package kafkatx

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"millrace/internal/testkit"
)

// workerEnv makes the test binary a worker process instead: its value is a workerOrder.
const workerEnv = "MILLRACE_KAFKATX_WORKER"

type workerOrder struct {
	Brokers              []string
	Name, In, State, Out string
	Session              time.Duration
}

func (o *workerOrder) config() StageConfig {
	cfg := testStage(o.Name, []string{o.In}, o.State, o.Out)
	cfg.SessionTimeout, cfg.RebalanceBound, cfg.MaxBatchRecords = o.Session, 2*o.Session, 200
	return cfg
}

func TestMain(m *testing.M) {
	if order := os.Getenv(workerEnv); order != "" {
		if err := work(order); err != nil {
			fmt.Fprintln(os.Stderr, "worker:", err)
			os.Exit(1)
		}
		return
	}
	if order := os.Getenv(twistEnv); order != "" {
		os.Exit(twistedWorker(order))
	}
	os.Exit(m.Run())
}

func work(order string) error {
	var o workerOrder
	if err := json.Unmarshal([]byte(order), &o); err != nil {
		return err
	}
	c, err := NewClient(ClientConfig{Brokers: o.Brokers, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	return Run(context.Background(), c, o.config())
}

// TestKafkaKilledWorkers runs two stages by processes of their own that are killed with SIGKILL at random.
func TestKafkaKilledWorkers(t *testing.T) {
	killWorkers(t, testkit.StartKafka(t, testkit.KafkaConfig{Properties: kafkaProperties}), 60*time.Second, nil)
}

// TestKafkaKilledWorkersAndBrokers does the same on three brokers, of which one at a time is killed and started again.
func TestKafkaKilledWorkersAndBrokers(t *testing.T) {
	k := testkit.StartKafka(t, testkit.KafkaConfig{Nodes: 3, HeapMiB: 512, Properties: map[string]string{
		"group.min.session.timeout.ms": "500", "group.initial.rebalance.delay.ms": "0",
		"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500",
	}})
	killWorkers(t, k, 90*time.Second, func(ctx context.Context) {
		for n := 0; pause(ctx, 5*time.Second); n++ {
			k.KillNode(n % 3)
			pause(ctx, 5*time.Second)
			if err := k.StartNode(n % 3); err != nil {
				t.Errorf("start broker: %v", err)
			}
			awaitReplicas(t, k.Brokers, 3)
			t.Logf("broker %d was away", n%3)
		}
	})
}

// awaitReplicas waits until every partition has all its replicas in sync: only then may the next broker be lost.
func awaitReplicas(t *testing.T, brokers []string, n int) {
	adm := admin(t, brokers)
	for end := time.Now().Add(2 * deadline); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		m, err := adm.Metadata(ctx)
		cancel()
		if err != nil || len(m.Brokers) < n {
			continue
		}
		whole := true
		m.Topics.EachPartition(func(p kadm.PartitionDetail) { whole = whole && len(p.ISR) == len(p.Replicas) && p.Leader >= 0 })
		if whole {
			return
		}
	}
	t.Error("replicas did not come back")
}

func killWorkers(t *testing.T, k *testkit.Cluster, span time.Duration, disturb func(context.Context)) {
	const partitions = 8
	c := newClient(t, k.Brokers)
	var specs []TopicSpec
	for _, name := range []string{"in", "mid", "out", "state"} {
		specs = append(specs, TopicSpec{Name: name, Partitions: partitions})
	}
	if _, err := c.EnsureTopics(t.Context(), append(specs, TopicSpec{Name: "status", Partitions: 1}), true); err != nil {
		t.Fatal(err)
	}
	orders := []workerOrder{
		{Brokers: k.Brokers, Name: "first", In: "in", State: "state", Out: "mid", Session: time.Second},
		{Brokers: k.Brokers, Name: "second", In: "mid", Out: "out", Session: time.Second},
	}
	ctx, calm := context.WithTimeout(t.Context(), span)
	defer calm()
	var wg sync.WaitGroup
	if disturb != nil {
		wg.Go(func() { disturb(ctx) })
	}
	var mu sync.Mutex
	kills := 0
	for _, o := range orders {
		for range 2 {
			wg.Go(func() {
				for ctx.Err() == nil {
					killed := killOne(ctx, t, o)
					mu.Lock()
					kills += killed
					mu.Unlock()
				}
			})
		}
	}
	// Records come in for as long as the storm lasts, each of them twice.
	p := newProducer(t, c, "source", "zstd")
	records := 0
	for pause(ctx, 100*time.Millisecond) {
		var recs []Record
		for i := max(0, records-200); i < records+200; i++ {
			recs = append(recs, Record{Topic: "in", Partition: int32(i % partitions), Key: fmt.Append(nil, i), Value: fmt.Append(nil, "v", i)})
		}
		if err := commitAll(t.Context(), p, recs); err == nil {
			records += 200
		} else if err := p.Init(t.Context()); err != nil { // and again: the first stage drops repeats
			t.Logf("source: %v", err)
		}
	}
	wg.Wait()
	first, second := startWorker(t, k.Brokers, orders[0].config(), nil), startWorker(t, k.Brokers, orders[1].config(), nil)
	out := watchOut(t, k.Brokers)
	eventually(t, "all records are out", func() bool { return out.distinct() >= records })
	eventually(t, "nothing is left to do", func() bool {
		return first.Ready() && second.Ready() && first.Lag()["in"] == 0 && second.Lag()["mid"] == 0
	})
	for _, w := range []*worker{first, second} {
		if err := w.finish(); err != nil {
			t.Error(err)
		}
	}
	checkOnce(t, k.Brokers, "mid", records)
	checkOnce(t, k.Brokers, "out", records)
	t.Logf("%d records, %d kills of workers", records, kills)
}

func commitAll(ctx context.Context, p *Producer, recs []Record) error {
	if _, err := p.Produce(ctx, recs); err != nil {
		return err
	}
	return p.Commit(ctx)
}

// killOne runs one worker process for a while and kills it.
func killOne(ctx context.Context, t *testing.T, o workerOrder) int {
	order, err := json.Marshal(o)
	if err != nil {
		t.Error(err)
		return 0
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), os.Args[0])
	cmd.Env = append(os.Environ(), workerEnv+"="+string(order))
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return 0
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // killed, or it says why not on stderr
	}()
	life, cancel := context.WithTimeout(ctx, time.Duration(float64(time.Second)*(2+6*rand.Float64())))
	defer cancel()
	select {
	case <-ended:
		t.Error("a worker ended by itself")
		<-life.Done()
		return 0
	case <-life.Done():
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	<-ended
	return 1
}
