//go:build integration

package kafkatx

import (
	"crypto/rand"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/testkit"
)

// outlives runs the census over a fault of the cluster: the stage has to say what is wrong, wait, and go on when it is mended.
func outlives(t *testing.T, brokers []string, harm, mend func(), parts ...string) {
	t.Helper()
	const partitions = 4
	handoverTopics(t, brokers, partitions)
	sight := startSight(t, brokers, "out", nil)
	s := startStream(t, brokers, "in", partitions, 20*time.Millisecond)
	cfg := censusStage("faulty", "in", "state", "out", "a")
	cfg.TxnTimeout = 10 * time.Second
	w, book := startLogged(t, ClientConfig{Brokers: brokers}, cfg)
	eventually(t, "some are out", func() bool { return sight.count() > 50 })
	harm()
	eventually(t, "the stage says what is wrong", func() bool { return book.says(parts...) })
	select {
	case err := <-w.done:
		t.Fatalf("the stage did not wait: %v", err)
	default:
	}
	mend()
	sight.await(t, s)
	sent := s.stop()
	sight.await(t, s)
	if err := w.finish(); err != nil {
		t.Errorf("Run: %v", err)
	}
	checkCensus(t, brokers, "out", sent)
}

func TestKafkaBrokerRestarts(t *testing.T) {
	k := testkit.StartKafka(t, testkit.KafkaConfig{Properties: kafkaProperties})
	outlives(t, k.Brokers, func() { k.KillNode(0) }, func() {
		if err := k.StartNode(0); err != nil {
			t.Fatal(err)
		}
	}, "tried again and again", "connection refused")
}

// TestKafkaTooFewReplicas asks for more replicas in sync than there are, and mends it.
func TestKafkaTooFewReplicas(t *testing.T) {
	k := threeBrokers(t)
	three := "3"
	harm := func() {
		set := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: minInSync, Value: &three}}
		if _, err := admin(t, k.Brokers).AlterTopicConfigs(testContext(t), set, "out"); err != nil {
			t.Fatal(err)
		}
		k.KillNode(2)
	}
	outlives(t, k.Brokers, harm, func() {
		if err := k.StartNode(2); err != nil {
			t.Fatal(err)
		}
	}, "topic out", "[19]")
}

// TestKafkaDiskFull fills the broker's log directory until the broker halts, and starts it again on a larger one.
func TestKafkaDiskFull(t *testing.T) {
	dir := t.TempDir()
	mounted := mount(t, dir, "size=48m")
	var data []string
	if mounted {
		data = []string{dir + "/data"}
	}
	k := testkit.StartKafka(t, testkit.KafkaConfig{Properties: kafkaProperties, Dirs: data})
	harm := func() {
		if !mounted { // the same for the broker: a write that fails
			t.Log("mounting is not permitted here: the broker's files are limited in size instead")
			limit := exec.CommandContext(t.Context(), "prlimit", "--pid", strconv.Itoa(k.NodePID(0)), "--fsize=65536:65536")
			if out, err := limit.CombinedOutput(); err != nil {
				t.Fatalf("prlimit: %v: %s", err, out)
			}
		}
		litter(t, k)
	}
	mend := func() {
		if mounted {
			mount(t, dir, "remount,size=1g")
		}
		if err := k.StartNode(0); err != nil {
			t.Fatal(err)
		}
	}
	outlives(t, k.Brokers, harm, mend, "tried again and again", "connection refused")
}

// mount mounts a file system in memory, or remounts it, and says whether that is permitted.
func mount(t *testing.T, dir, options string) bool {
	err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", options, "tmpfs", dir).Run()
	if err == nil && !strings.HasPrefix(options, "remount") {
		t.Cleanup(func() {
			if err := exec.Command("umount", "-l", dir).Run(); err != nil {
				t.Errorf("umount: %v", err)
			}
		})
	}
	return err == nil
}

// litter writes to a topic of its own until the broker is gone.
func litter(t *testing.T, k *testkit.Cluster) {
	createTopics(t, k.Brokers, 1, "litter")
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers...), kgo.DefaultProduceTopic("litter"), kgo.RecordRetries(2), kgo.RecordDeliveryTimeout(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	value := make([]byte, 512<<10)
	_, _ = rand.Read(value)
	for end := time.Now().Add(deadline); k.NodeRunning(0); {
		_ = cl.ProduceSync(t.Context(), &kgo.Record{Value: value}).FirstErr() // the broker's end is what is waited for
		if time.Now().After(end) {
			t.Fatalf("the broker goes on with a full disk:\n%s", k.NodeOutput(0))
		}
	}
	t.Logf("the broker halted: %s", lastLine(k.NodeOutput(0)))
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// TestKafkaRightRevoked takes one right after the other from a running stage: it has to stop and say which, and go on without loss when it has it back.
func TestKafkaRightRevoked(t *testing.T) {
	k := testkit.StartKafka(t, testkit.KafkaConfig{ACL: true, Users: map[string]string{"stage": "stage-password"}, Properties: kafkaProperties})
	const partitions = 2
	handoverTopics(t, k.Open, partitions)
	adm := admin(t, k.Open)
	grants := func() *kadm.ACLBuilder {
		return kadm.NewACLs().Allow("User:stage").AllowHosts("*").ResourcePatternType(kadm.ACLPatternLiteral)
	}
	rights := []struct {
		acl  *kadm.ACLBuilder
		want []string
	}{
		{grants().Topics("in").Operations(kadm.OpRead), []string{"topic in", "[29]", "Read"}},
		{grants().Topics("out").Operations(kadm.OpWrite), []string{"topic out", "[29]", "Write"}},
		{grants().Topics("state").Operations(kadm.OpWrite), []string{"topic state", "[29]", "Write"}},
		{grants().Groups("test.rights").Operations(kadm.OpRead), []string{"test.rights", "[30]", "Read"}},
		{grants().TransactionalIDs("test.rights.0", "test.rights.1").Operations(kadm.OpWrite), []string{"test.rights.", "[53]", "Write"}},
	}
	always := grants().Topics("state", "status").Operations(kadm.OpRead, kadm.OpDescribe)
	grant := func(acl *kadm.ACLBuilder) {
		if _, err := adm.CreateACLs(testContext(t), acl); err != nil {
			t.Fatal(err)
		}
	}
	grant(always)
	grant(grants().Topics("status").Operations(kadm.OpWrite))
	for _, r := range rights {
		grant(r.acl)
	}
	client := ClientConfig{Brokers: k.Brokers}
	if err := (Security{SASLMechanism: "SCRAM-SHA-512", Username: "stage", Password: "stage-password"}).Apply(&client); err != nil {
		t.Fatal(err)
	}
	sight := startSight(t, k.Open, "out", nil)
	s := startStream(t, k.Open, "in", partitions, 20*time.Millisecond)
	cfg := censusStage("rights", "in", "state", "out", "a")
	for _, r := range rights {
		w, _ := startLogged(t, client, cfg)
		sight.await(t, s)
		if _, err := adm.DeleteACLs(testContext(t), r.acl); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-w.done:
			t.Logf("without %s: %v", strings.Join(r.want, " "), err)
			wantError(t, err, r.want...)
			w.done <- err
		case <-time.After(deadline):
			t.Fatalf("the stage goes on without %v", r.want)
		}
		_ = w.finish()
		// A start without the right says the same.
		w, _ = startLogged(t, client, cfg)
		err := <-w.done
		wantError(t, err, r.want...)
		w.done <- err
		_ = w.finish()
		grant(r.acl)
	}
	w, _ := startLogged(t, client, cfg)
	sight.await(t, s)
	sent := s.stop()
	sight.await(t, s)
	if err := w.finish(); err != nil {
		t.Error(err)
	}
	checkCensus(t, k.Open, "out", sent)
}

// TestKafkaHugeRecord has one record, larger than all of the stage's own bounds, between small ones.
func TestKafkaHugeRecord(t *testing.T) {
	k := testkit.StartKafka(t, testkit.KafkaConfig{Properties: map[string]string{"message.max.bytes": "33554432", "group.min.session.timeout.ms": "500"}})
	createTopics(t, k.Brokers, 1, "in", "out", "state", "status")
	value := make([]byte, 20<<20)
	_, _ = rand.Read(value)
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers...), kgo.DefaultProduceTopic("in"), kgo.ProducerBatchMaxBytes(32<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	sent := map[string]int{}
	for i := range 30 {
		r := &kgo.Record{Key: fmt.Append(nil, "key", i%10)}
		if i == 15 {
			r.Key, r.Value = []byte("huge"), value
		}
		sent[string(r.Key)]++
		if err := cl.ProduceSync(testContext(t), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	sight := startSight(t, k.Brokers, "out", nil)
	w := startWorker(t, k.Brokers, censusStage("huge", "in", "state", "out", "a"), nil)
	eventually(t, "all are out", func() bool { return sight.count() == 30 })
	if err := w.finish(); err != nil {
		t.Error(err)
	}
	checkCensus(t, k.Brokers, "out", sent)
}

func TestKafkaSlowProcessing(t *testing.T) {
	testSlowProcessing(t, testkit.StartKafka(t, testkit.KafkaConfig{Properties: kafkaProperties}).Brokers)
}

func TestKafkaLogCut(t *testing.T) {
	k := testkit.StartKafka(t, testkit.KafkaConfig{Properties: kafkaProperties})
	testLogCut(t, k.Brokers)
}

func TestKafkaLogEndsBeforePosition(t *testing.T) {
	k := testkit.StartKafka(t, testkit.KafkaConfig{Properties: kafkaProperties})
	testLogEndsBeforePosition(t, k.Brokers)
}
