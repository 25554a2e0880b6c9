//go:build integration

package kafkatx

import (
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"millrace/internal/testkit"
)

// threeBrokers is a cluster that survives the loss of one of its brokers.
func threeBrokers(t *testing.T) *testkit.Cluster {
	return testkit.StartKafka(t, testkit.KafkaConfig{Nodes: 3, HeapMiB: 512, Properties: kafkaProperties})
}

// awaitOtherLeader asks the cluster until partition 0 of a topic is led by another broker.
func awaitOtherLeader(t *testing.T, c *Client, topic string, old int32) {
	t.Helper()
	eventually(t, "another leader", func() bool {
		c.layout.suspect(topic)
		node, err := c.leader(testContext(t), topic, 0)
		return err == nil && node != old
	})
}

// withoutBroker stops a broker and returns a client that knows the others.
func withoutBroker(t *testing.T, k *testkit.Cluster, node int32) *Client {
	t.Helper()
	stopped := int(node) - 1
	if err := k.PauseNode(stopped); err != nil {
		t.Fatal(err)
	}
	return newClient(t, slices.Delete(slices.Clone(k.Brokers), stopped, stopped+1))
}

// TestKafkaReplacedLeaderIsNotBelieved stops the leader of a state partition until it has been replaced and the next one has taken more. A reader that
// still thinks that it is the leader asks it where the state ends, and gets an answer when it goes on.
func TestKafkaReplacedLeaderIsNotBelieved(t *testing.T) {
	k := threeBrokers(t)
	for i := range 3 {
		topic := fmt.Sprint("state", i)
		reader := newClient(t, k.Brokers)
		if _, err := reader.EnsureTopics(testContext(t), []TopicSpec{{Name: topic, Partitions: 1}}, true); err != nil {
			t.Fatal(err)
		}
		awaitReplicas(t, k.Brokers)
		write := func(c *Client, key string) {
			p := newProducer(t, c, "writer", "zstd")
			if err := commitAll(testContext(t), p, []Record{{Topic: topic, Key: []byte(key)}}); err != nil {
				t.Fatal(err)
			}
		}
		write(newClient(t, k.Brokers), "before")
		old, err := reader.leader(testContext(t), topic, 0)
		if err != nil {
			t.Fatal(err)
		}
		c := withoutBroker(t, k, old)
		awaitOtherLeader(t, c, topic, old)
		write(c, "after")
		time.AfterFunc(time.Second, func() { _ = k.ResumeNode(int(old) - 1) })
		var got []string
		eventually(t, "an answer", func() bool { // one that is refused is asked for again from the start, as an owner does
			heir := newProducer(t, reader, "heir of "+topic, "zstd") // does not ask the leader
			ends, err := heir.probe(testContext(t), []Record{{Topic: topic, Key: []byte("probe")}}, GroupSession{}, nil)
			if err != nil {
				t.Logf("asked again: %v", err)
				return false
			}
			got = nil
			err = reader.readState(testContext(t), topic, 0, ends[0]+1, func(r Record) error {
				got = append(got, string(r.Key))
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			return true
		})
		if len(got) != 2 {
			t.Errorf("state is %q", got)
		}
		awaitReplicas(t, k.Brokers)
	}
}

// handover is a stage whose numbers change hands, and what a reader downstream sees of it.
type handover struct {
	brokers    []string
	partitions int
	stream     *stream
	sight      *sight

	mu      sync.Mutex
	by      map[int32]string    // of each number, who wrote its newest record
	waiting map[int32]time.Time // numbers whose owner was killed, and when
	stalls  []time.Duration     // from there to the first record of somebody else
}

// handoverTopics makes the topics of a stage under test, replicated where there are brokers for it.
func handoverTopics(t *testing.T, brokers []string, partitions int) {
	t.Helper()
	specs := []TopicSpec{{Name: "status", Partitions: 1}}
	for _, name := range []string{"in", "out", "state"} {
		specs = append(specs, TopicSpec{Name: name, Partitions: partitions})
	}
	if _, err := newClient(t, brokers).EnsureTopics(testContext(t), specs, true); err != nil {
		t.Fatal(err)
	}
}

func startHandover(t *testing.T, brokers []string, partitions int) *handover {
	handoverTopics(t, brokers, partitions)
	h := &handover{brokers: brokers, partitions: partitions, by: map[int32]string{}, waiting: map[int32]time.Time{}}
	h.sight = startSight(t, brokers, "out", func(p int32, s seen) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.by[p] != s.by {
			if since, ok := h.waiting[p]; ok {
				h.stalls = append(h.stalls, s.at.Sub(since))
				delete(h.waiting, p)
			}
		}
		h.by[p] = s.by
	})
	h.stream = startStream(t, brokers, "in", partitions, 50*time.Millisecond)
	return h
}

// killed notes that a worker is no more.
func (h *handover) killed(by string, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for p, who := range h.by {
		if who == by {
			h.waiting[p] = at
		}
	}
}

func (h *handover) settled() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.waiting) == 0
}

func (h *handover) owned(by string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, who := range h.by {
		if who == by {
			n++
		}
	}
	return n
}

// finish stops the stream, waits until all of it is out and judges it.
func (h *handover) finish(t *testing.T) {
	t.Helper()
	sent := h.stream.stop()
	h.sight.await(t, h.stream)
	checkCensus(t, h.brokers, "out", sent)
}

// TestKafkaHandoverTime measures how long the numbers of a worker that was killed are without a commit, as a reader downstream sees it: killed at any
// moment, and with a transaction open. The bound is the session timeout plus 5 s; on a machine that is busy with other things it is only reported.
func TestKafkaHandoverTime(t *testing.T) {
	k := testkit.StartKafka(t, testkit.KafkaConfig{Properties: kafkaProperties})
	handoverTime(t, k.Brokers, 6, false)
}

func handoverTime(t *testing.T, brokers []string, kills int, strict bool) {
	const session = 3 * time.Second
	h := startHandover(t, brokers, 8)
	launch := func(i int, step string) (string, *testkit.Process) {
		w := twist{Brokers: brokers, Name: "handover", In: "in", State: "state", Out: "out", Session: session, By: fmt.Sprint("w", i)}
		w.Step, w.Nth, w.Signal = step, 40, syscall.SIGKILL
		return w.By, startProcess(t, w)
	}
	names, workers := make([]string, 3), make([]*testkit.Process, 3)
	for i := range workers {
		names[i], workers[i] = launch(i, "")
	}
	for i := range kills {
		by, victim := names[0], workers[0]
		if i%2 == 1 { // a fourth one, which dies with a transaction open
			by, victim = launch(3+i, stepProduce)
			select {
			case <-victim.Done():
			case <-time.After(deadline):
				t.Fatalf("the worker did not get there:\n%s", victim.Output())
			}
			h.killed(by, time.Now())
		} else {
			eventually(t, "the worker has numbers", func() bool { return h.owned(by) > 0 })
			at := time.Now()
			victim.Kill()
			h.killed(by, at)
			name, next := launch(3+i, "")
			names, workers = append(names[1:], name), append(workers[1:], next)
		}
		eventually(t, "all numbers are taken over", h.settled)
	}
	h.finish(t)
	slices.Sort(h.stalls)
	if len(h.stalls) == 0 {
		t.Fatal("nothing was handed over")
	}
	worst := h.stalls[len(h.stalls)-1]
	t.Logf("session timeout %v, %d kills, %d numbers handed over: p50 %v, max %v", session, kills, len(h.stalls),
		h.stalls[len(h.stalls)/2].Round(10*time.Millisecond), worst.Round(10*time.Millisecond))
	if strict && worst > session+5*time.Second {
		t.Errorf("a number was without a commit for %v", worst)
	}
}
