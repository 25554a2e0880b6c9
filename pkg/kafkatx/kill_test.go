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
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"millrace/internal/testkit"
)

// workerEnv makes the test binary a worker process instead: its value is a stormOrder.
const workerEnv = "KAFKATX_TEST_WORKER"

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
	if os.Getenv(benchBrokerEnv) != "" {
		if err := benchBroker(); err != nil {
			fmt.Fprintln(os.Stderr, "broker:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// deathSteps are the steps of docs/exactly-once.md, sections 2 and 3, at which a worker can be told to die.
var deathSteps = []string{"after Init", "after load", "after produce", "after offsets", "during commit", "after commit", "before merge"}

// stormOrder is what a worker process of a storm has to do.
type stormOrder struct {
	Brokers []string
	Stage   stormStage
	Faults  bool   // lose one request or answer in 200
	DieAt   string // "" or one of deathSteps
	DieOn   int    // the how-manieth time
}

func work(order string) error {
	var o stormOrder
	if err := json.Unmarshal([]byte(order), &o); err != nil {
		return err
	}
	c, err := NewClient(ClientConfig{Brokers: o.Brokers, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	var count atomic.Int64
	at := func(step string) {
		if o.DieAt == step && count.Add(1) == int64(o.DieOn) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way: nothing else may happen
		}
	}
	n := stormNet(o.Faults)
	n.sent = func(key int16) {
		if key == 26 {
			at("during commit")
		}
	}
	n.answered = func(key int16) {
		switch key {
		case 22:
			at("after Init")
		case 0:
			at("after produce")
		case 28:
			at("after offsets")
		case 26:
			at("after commit")
		}
	}
	n.install(c)
	return Run(context.Background(), c, o.Stage.config(func() { at("after load") }, func() { at("before merge") }))
}

// liveOutside is the life of a worker process. It ends by SIGKILL: that of every third at a random instant, within twice the mean, that of the others at one of
// deathSteps, if they get there.
func liveOutside(mean time.Duration) func(context.Context, *testing.T, *storm, stormStage) string {
	return func(ctx context.Context, t *testing.T, s *storm, stage stormStage) string {
		o := stormOrder{Brokers: s.brokers, Stage: stage, Faults: s.faults}
		span := time.Duration(2 * rand.Float64() * float64(mean))
		if rand.IntN(3) != 0 {
			o.DieAt, o.DieOn = deathSteps[rand.IntN(len(deathSteps))], 1+rand.IntN(6)
			span = 4 * mean
		}
		order, err := json.Marshal(o)
		if err != nil {
			t.Error(err)
			return "badly"
		}
		cmd := exec.CommandContext(context.WithoutCancel(ctx), os.Args[0])
		cmd.Env = append(os.Environ(), workerEnv+"="+string(order))
		p := testkit.StartProcess(t, cmd)
		life, cancel := context.WithTimeout(ctx, span)
		defer cancel()
		select {
		case <-p.Done():
			if code := p.ExitCode(t, time.Second); code != -1 {
				t.Errorf("a worker ended by itself with code %d:\n%s", code, p.Output())
				<-life.Done()
				return "by itself"
			}
			return o.DieAt
		case <-life.Done():
		}
		p.Kill()
		return "at a random instant"
	}
}

// kafkaStorm is a storm of worker processes on Apache Kafka.
func kafkaStorm(t *testing.T, cfg testkit.KafkaConfig) (*storm, *testkit.Cluster) {
	const partitions = 8
	k := testkit.StartKafka(t, cfg)
	var specs []TopicSpec
	for _, name := range []string{"in", "mid", "out", "state"} {
		specs = append(specs, TopicSpec{Name: name, Partitions: partitions})
	}
	if _, err := newClient(t, k.Brokers).EnsureTopics(testContext(t), append(specs, TopicSpec{Name: "status", Partitions: 1}), true); err != nil {
		t.Fatal(err)
	}
	return &storm{
		brokers: k.Brokers, partitions: partitions, keys: 20000, session: time.Second, workers: 2, batch: 1000, faults: true, limit: 15 * time.Minute,
		judges: judges(), live: liveOutside(4 * time.Second),
	}, k
}

// brokerStorm is one on three brokers, of which one at a time is killed, every so often, and started again.
func brokerStorm(t *testing.T, every time.Duration) *storm {
	s, k := kafkaStorm(t, testkit.KafkaConfig{Nodes: 3, HeapMiB: 512, Properties: map[string]string{
		"group.min.session.timeout.ms": "500", "group.initial.rebalance.delay.ms": "0",
		"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500",
	}})
	victim := 0
	s.disturb = func(ctx context.Context) {
		next := time.Now().Add(every)
		k.KillNode(victim)
		pause(ctx, every/3)
		if err := k.StartNode(victim); err != nil {
			t.Errorf("start broker: %v", err)
		}
		awaitReplicas(t, k.Brokers)
		t.Logf("broker %d was away", victim)
		victim = (victim + 1) % 3
		pause(ctx, time.Until(next))
	}
	return s
}

// awaitReplicas waits until all three brokers are there and every partition has all its replicas in sync: only then may the next broker be lost.
func awaitReplicas(t *testing.T, brokers []string) {
	adm := admin(t, brokers)
	for end := time.Now().Add(2 * deadline); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		m, err := adm.Metadata(ctx)
		cancel()
		if err != nil || len(m.Brokers) < 3 {
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

// TestKafkaStorm is the short form of what TestLongStorm does for longer; the same goes for the others.
func TestKafkaStorm(t *testing.T) {
	for _, version := range []string{testkit.KafkaNewest, testkit.KafkaOldest} {
		t.Run(version, func(t *testing.T) {
			s, _ := kafkaStorm(t, testkit.KafkaConfig{Version: version, Properties: kafkaProperties})
			s.records, s.crashes, s.keys = 40000, 25, 2000
			s.run(t)
		})
	}
}

func TestKafkaStormOfBrokers(t *testing.T) {
	s := brokerStorm(t, 10*time.Second)
	s.records, s.crashes, s.disturbances, s.keys = 40000, 30, 3, 2000
	s.run(t)
}

// TestKfakeStorm adds to TestStorm the number of records and the second judge.
func TestKfakeStorm(t *testing.T) {
	s := kfakeStorm(t)
	s.records, s.crashes, s.disturbances, s.judges = 40000, 8, 10, judges()
	s.run(t)
}
