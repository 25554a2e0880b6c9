//go:build integration

package testkit

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

func client(t *testing.T, c *Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(c.Brokers...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.MetadataMinAge(100 * time.Millisecond), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func createTopic(t *testing.T, cl *kgo.Client, topic string, replicas int16) {
	t.Helper()
	if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), 4, replicas, nil, topic); err != nil {
		t.Fatalf("create topic: %v", err)
	}
}

func produce(t *testing.T, cl *kgo.Client, topic string, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for range n {
		if err := cl.ProduceSync(ctx, kgo.StringRecord("a value")).FirstErr(); err != nil {
			t.Fatalf("produce to %s: %v", topic, err)
		}
	}
}

func consume(t *testing.T, cl *kgo.Client, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	got := 0
	for got < want {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("read %d of %d records", got, want)
		}
		got += fetches.NumRecords()
	}
}

func TestKafkaSingleKillAndRestart(t *testing.T) {
	for _, version := range []string{KafkaNewest, KafkaOldest} {
		t.Run(version, func(t *testing.T) {
			c := StartKafka(t, KafkaConfig{Version: version})
			cl := client(t, c, kgo.DefaultProduceTopic("kept"), kgo.ConsumeTopics("kept"))
			createTopic(t, cl, "kept", 1)
			produce(t, cl, "kept", 20)
			c.KillNode(0)
			if c.NodeRunning(0) {
				t.Error("node runs after KillNode")
			}
			if err := c.StartNode(0); err != nil {
				t.Fatal(err)
			}
			produce(t, cl, "kept", 20)
			consume(t, cl, 40)
		})
	}
}

func TestKafkaThreeNodesLoseOne(t *testing.T) {
	c := StartKafka(t, KafkaConfig{Nodes: 3, HeapMiB: 512})
	cl := client(t, c, kgo.DefaultProduceTopic("replicated"), kgo.ConsumeTopics("replicated"))
	createTopic(t, cl, "replicated", 3)
	produce(t, cl, "replicated", 10)
	c.KillNode(1)
	produce(t, cl, "replicated", 10)
	if err := c.StartNode(1); err != nil {
		t.Fatal(err)
	}
	if err := c.PauseNode(2); err != nil {
		t.Fatal(err)
	}
	if err := c.ResumeNode(2); err != nil {
		t.Fatal(err)
	}
	consume(t, cl, 20)
}

func TestKafkaUsersAndACLs(t *testing.T) {
	c := StartKafka(t, KafkaConfig{ACL: true, Users: map[string]string{"reader": "reader-password"}})
	admin := client(t, c, kgo.SASL(scram.Auth{User: AdminUser, Pass: AdminPassword}.AsSha512Mechanism()))
	createTopic(t, admin, "guarded", 1)
	reader := client(t, c, kgo.SASL(scram.Auth{User: "reader", Pass: "reader-password"}.AsSha256Mechanism()), kgo.DefaultProduceTopic("guarded"))
	_, err := kadm.NewClient(reader).CreateTopic(t.Context(), 1, 1, nil, "refused")
	if !strings.Contains(errText(err), kerr.TopicAuthorizationFailed.Message) {
		t.Errorf("create by a user without rights: %v, want %s", err, kerr.TopicAuthorizationFailed.Message)
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestKafkaEndsWithItsParent kills a process that holds a cluster and sees the broker's port close.
func TestKafkaEndsWithItsParent(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "kafka")
	if out, err := exec.Command("go", "build", "-o", bin, "./cmd/kafka").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	cmd := exec.Command(bin)
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("no address: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	cl := client(t, &Cluster{Brokers: []string{strings.TrimSpace(addr)}})
	deadline := time.Now().Add(time.Minute)
	for cl.Ping(t.Context()) == nil {
		if time.Now().After(deadline) {
			t.Fatal("the broker serves a minute after its parent was killed")
		}
		time.Sleep(50 * time.Millisecond)
	}
}
