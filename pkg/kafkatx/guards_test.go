package kafkatx

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/testkit"
)

func admin(t testing.TB, brokers []string) *kadm.Client {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatalf("kgo: %v", err)
	}
	t.Cleanup(cl.Close)
	return kadm.NewClient(cl)
}

// runOnce runs a stage until n records are out, and stops it.
func runOnce(t *testing.T, brokers []string, cfg StageConfig, n int) {
	t.Helper()
	out := watchOut(t, brokers)
	r := start(t, brokers, cfg)
	eventually(t, "records are out", func() bool { return out.distinct() >= n })
	r.stop(t)
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("error does not say %q: %v", p, err)
		}
	}
}

func TestRetentionPassedUnreadRecords(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 1, kfake.SeedTopics(1, "in", "out", "status"))
	cfg := testStage("late", []string{"in"}, "", "out")
	fill(t, k.ListenAddrs(), "in", 1, 0, 10)
	runOnce(t, k.ListenAddrs(), cfg, 10)
	fill(t, k.ListenAddrs(), "in", 1, 10, 30)
	var trim kadm.Offsets
	trim.Add(kadm.Offset{Topic: "in", Partition: 0, At: 25})
	if _, err := admin(t, k.ListenAddrs()).DeleteRecords(testContext(t), trim); err != nil {
		t.Fatal(err)
	}
	err := start(t, k.ListenAddrs(), cfg).fails(t)
	var gone *OutOfRangeError
	if !errors.As(err, &gone) || gone.Want != 10 || gone.First != 25 {
		t.Errorf("Run: %v", err)
	}
	wantError(t, err, "offsets 10 to 24 (15)", "--reset-offsets")
	checkOnce(t, k.ListenAddrs(), "out", 10)
}

func TestForgottenOffsetsStopTheStage(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 1, kfake.SeedTopics(1, "in", "in2", "out", "status"))
	cfg := testStage("away", []string{"in"}, "", "out")
	fill(t, k.ListenAddrs(), "in", 1, 0, 10)
	runOnce(t, k.ListenAddrs(), cfg, 10)

	// A topic that is new to the stage has no offset either, and that is as it should be.
	cfg.Inputs = []string{"in", "in2"}
	fill(t, k.ListenAddrs(), "in2", 1, 10, 20)
	runOnce(t, k.ListenAddrs(), cfg, 20)
	checkOnce(t, k.ListenAddrs(), "out", 20)

	if _, err := admin(t, k.ListenAddrs()).DeleteGroups(testContext(t), "test.away"); err != nil {
		t.Fatal(err)
	}
	wantError(t, start(t, k.ListenAddrs(), cfg).fails(t), "no committed offset", "offsets.retention.minutes", "stage:test.away:0")
	checkOnce(t, k.ListenAddrs(), "out", 20)
}

// TestStartBesideTheDead: a process that died while it started numbers for the first time has left transactions open on the status topic. The one that
// shall take its numbers over, and thereby end them, must not wait for them before it joins; nor must a stage that has long started wait for another's.
func TestStartBesideTheDead(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 1, kfake.SeedTopics(2, "in", "out"), kfake.SeedTopics(1, "status"))
	fill(t, k.ListenAddrs(), "in", 2, 0, 20)
	die := func(stage string, number int) {
		t.Helper()
		p, err := newClient(t, k.ListenAddrs()).NewProducer(ProducerConfig{TransactionalID: fmt.Sprintf("test.%s.%d", stage, number), Timeout: 10 * time.Minute})
		if err == nil {
			err = p.Init(testContext(t))
		}
		if err == nil {
			_, err = p.Produce(testContext(t), []Record{{Topic: "status", Key: fmt.Appendf(nil, "stage:test.%s:%d", stage, number), Value: []byte("{}")}})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cfg := testStage("heir", []string{"in"}, "", "out")
	die(cfg.Name, 0)
	die(cfg.Name, 1)
	runOnce(t, k.ListenAddrs(), cfg, 20)
	die("other", 0)
	fill(t, k.ListenAddrs(), "in", 2, 20, 40)
	runOnce(t, k.ListenAddrs(), cfg, 40)
	checkOnce(t, k.ListenAddrs(), "out", 40)
}

// TestFirstStartOvertaken: a process that was frozen between its look at the offsets and its look at the status finds a status without offsets, if another one
// has started the number in the meantime. That is no lost memory.
func TestFirstStartOvertaken(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 1, kfake.SeedTopics(1, "in", "out", "status"))
	cfg := testStage("overtaken", []string{"in"}, "", "out")
	fill(t, k.ListenAddrs(), "in", 1, 0, 10)
	s, err := NewStage(newClient(t, k.ListenAddrs()), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.checkTopics(testContext(t)); err != nil {
		t.Fatal(err)
	}
	p := newProducer(t, s.c, cfg.transactionalID(0), "none")
	runOnce(t, k.ListenAddrs(), cfg, 10)
	s.m.update(func() { s.m.settled = true })
	frozen := &incarnation{owner: &owner{s: s}, p: p, committed: committed{{"in", 0}: -1}}
	if err := frozen.admit(testContext(t), testContext(t)); !errors.Is(err, ErrFenced) {
		t.Errorf("admit: %v", err)
	}
}

func TestChangedPartitionCountStopsTheStage(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 1, kfake.SeedTopics(2, "in", "out"), kfake.SeedTopics(1, "status"))
	cfg := testStage("grown", []string{"in"}, "", "out")
	fill(t, k.ListenAddrs(), "in", 2, 0, 10)
	runOnce(t, k.ListenAddrs(), cfg, 10)
	if _, err := admin(t, k.ListenAddrs()).CreatePartitions(testContext(t), 2, "in"); err != nil {
		t.Fatal(err)
	}
	wantError(t, start(t, k.ListenAddrs(), cfg).fails(t), "once ran with 2 partitions", "for life")
}

// TestNewerStatusStopsTheStage: a newer build may have written down what this one would overlook.
func TestNewerStatusStopsTheStage(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 1, kfake.SeedTopics(2, "in", "out"), kfake.SeedTopics(1, "status"))
	p := newProducer(t, newClient(t, k.ListenAddrs()), "newer", "none")
	newer := Record{Topic: "status", Key: []byte("stage:test.old:1"), Value: []byte(`{"version":2,"partitions":2}`)}
	if err := commitAll(testContext(t), p, []Record{newer}); err != nil {
		t.Fatal(err)
	}
	wantError(t, start(t, k.ListenAddrs(), testStage("old", []string{"in"}, "", "out")).fails(t), "stage:test.old:1", "version 2", "run the newer build again")
}

func TestTwoLayoutsRefuseToShareAGroup(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 1, kfake.SeedTopics(2, "in", "out"), kfake.SeedTopics(1, "status"))
	cfg := testStage("layout", []string{"in"}, "", "out")
	first := start(t, k.ListenAddrs(), cfg)
	eventually(t, "first is ready", first.Ready)
	cfg.Layout = 2
	wantError(t, start(t, k.ListenAddrs(), cfg).fails(t), "another state layout", "stop all members")
	if !first.Ready() {
		t.Error("the first member was disturbed")
	}
	first.stop(t)
}

func TestTwoDeploymentsUnderOnePrefix(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 1, kfake.SeedTopics(1, "in", "out", "status"))
	r := start(t, k.ListenAddrs(), testStage("shared", []string{"in"}, "", "out"))
	other := newProducer(t, newClient(t, k.ListenAddrs()), "test.shared.0", "none")
	ctx, cancel := context.WithCancel(testContext(t))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; pause(ctx, 20*time.Millisecond); i++ {
			fill(t, k.ListenAddrs(), "in", 1, i, i+1)
			if err := other.Init(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("Init: %v", err)
			}
		}
	}()
	err := r.fails(t)
	cancel()
	<-done
	if !errors.Is(err, ErrFenced) {
		t.Errorf("Run: %v", err)
	}
	wantError(t, err, "another deployment", `"test"`)
}

// TestZombieIsFenced stops a process for longer than its session: another one takes over, and what the first has open is aborted.
func TestZombieIsFenced(t *testing.T) {
	t.Parallel()
	testZombie(t, newCluster(t, 2).ListenAddrs())
}

func testZombie(t *testing.T, brokers []string) {
	const n = 200
	createTopics(t, brokers, 2, "in", "out", "state")
	createTopics(t, brokers, 1, "status")
	cfg := testStage("zombie", []string{"in"}, "state", "out")
	cfg.SessionTimeout, cfg.RebalanceBound, cfg.MaxBatchRecords = time.Second, 2*time.Second, 5
	net := newFaultNet()
	out := watchOut(t, brokers)
	zombie := startWorker(t, brokers, cfg, net)
	for i := range 3 { // in turn: the one that is frozen is the one that had all numbers
		fill(t, brokers, "in", 2, i*n, (i+1)*n)
		eventually(t, "some are out", func() bool { return out.distinct() > i*n+n/4 })
		thaw := net.freeze()
		heir := startWorker(t, brokers, cfg, nil)
		eventually(t, "the heir did the rest", func() bool { return out.distinct() == (i+1)*n })
		thaw()
		eventually(t, "both are in the group", func() bool { return zombie.Ready() && heir.Ready() })
		if err := heir.finish(); err != nil {
			t.Errorf("heir: %v", err)
		}
		eventually(t, "the zombie has all numbers again", func() bool {
			zombie.mu.Lock()
			owned := len(zombie.owners)
			zombie.mu.Unlock()
			return zombie.Ready() && owned == 2
		})
	}
	if err := zombie.finish(); err != nil {
		t.Errorf("zombie: %v", err)
	}
	checkOnce(t, brokers, "out", 3*n)
}

func TestProducerIsFencedByItsSuccessor(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 1, kfake.SeedTopics(1, "out"))
	c := newClient(t, k.ListenAddrs())
	ctx := testContext(t)
	old := newProducer(t, c, "same", "zstd")
	if _, err := old.Produce(ctx, []Record{{Topic: "out", Value: []byte("old")}}); err != nil {
		t.Fatal(err)
	}
	heir := newProducer(t, c, "same", "zstd")
	if err := old.Commit(ctx); !errors.Is(err, ErrFenced) {
		t.Errorf("Commit of the old: %v", err)
	}
	if _, err := heir.Produce(ctx, []Record{{Topic: "out", Value: []byte("new")}}); err != nil {
		t.Fatal(err)
	}
	if err := heir.Commit(ctx); err != nil {
		t.Errorf("Commit of the heir: %v", err)
	}
	if got := witness(t, k.ListenAddrs(), "out"); len(got) != 1 || string(got[0].Value) != "new" {
		t.Errorf("visible: %d records", len(got))
	}
}

// TestRequestVersions asserts that no request is older than what Apache Kafka 4.0 still serves (KIP-896).
func TestRequestVersions(t *testing.T) {
	t.Parallel()
	least := map[int16]int16{0: 3, 1: 4, 2: 1, 3: 0, 8: 2, 9: 1, 10: 0, 11: 2, 12: 0, 13: 0, 14: 0, 18: 0, 19: 2, 20: 1, 22: 0, 24: 0, 25: 0, 26: 0, 28: 0, 32: 1}
	k := newCluster(t, 1)
	seen := map[int16]bool{}
	k.Control(func(req kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		seen[req.Key()] = true
		if low, ok := least[req.Key()]; !ok || req.GetVersion() < low {
			t.Errorf("request %d has version %d, below %d", req.Key(), req.GetVersion(), low)
		}
		return nil, nil, false
	})
	c := newClient(t, k.ListenAddrs())
	ctx := testContext(t)
	if _, err := c.EnsureTopics(ctx, []TopicSpec{
		{Name: "in", Partitions: 2, Configs: map[string]string{"retention.ms": "1"}}, {Name: "out", Partitions: 2}, {Name: "status", Partitions: 1},
	}, true); err != nil {
		t.Fatal(err)
	}
	w := startWorker(t, k.ListenAddrs(), testStage("versions", []string{"in"}, "", "out"), nil)
	eventually(t, "ready", w.Ready)
	p := newProducer(t, c, "other", "lz4")
	if _, err := p.Produce(ctx, []Record{{Topic: "in", Key: []byte("a")}, {Topic: "in", Partition: 1, Key: []byte("b")}}); err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	err := c.ReadRange(ctx, "out", 0, 0, 1, func(Record) error { return nil })
	if err := errors.Join(err, w.finish()); err != nil {
		t.Error(err)
	}
	k.Close()
	for _, key := range []int16{0, 1, 2, 3, 9, 10, 11, 13, 14, 18, 19, 22, 24, 25, 26, 28, 32} {
		if !seen[key] {
			t.Errorf("request %d was never sent", key)
		}
	}
}

func TestNoGoroutineOutlivesAStage(t *testing.T) {
	testkit.NoLeaks(t)
	k := newCluster(t, 2, kfake.SeedTopics(4, "in", "out", "state"), kfake.SeedTopics(1, "status"))
	for range 2 {
		w := startWorker(t, k.ListenAddrs(), testStage("leak", []string{"in"}, "state", "out"), nil)
		fill(t, k.ListenAddrs(), "in", 4, 0, 100)
		eventually(t, "ready", w.Ready)
		if err := w.finish(); err != nil {
			t.Error(err)
		}
	}
	k.Close()
}

// TestAGenerousBrokerBringsNobodyBack: the in-process broker gives a new epoch to whoever asks with an old one.
func TestAGenerousBrokerBringsNobodyBack(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 1, kfake.SeedTopics(1, "out"))
	c := newClient(t, k.ListenAddrs())
	old := newProducer(t, c, "same", "zstd")
	newProducer(t, c, "same", "zstd")
	old.suspect.Store(true) // an answer was lost
	if _, err := old.Produce(testContext(t), []Record{{Topic: "out"}}); !errors.Is(err, ErrFenced) {
		t.Errorf("Produce: %v", err)
	}
}

// TestMissingOutputTopic has a stage whose output topic is not there: it says so and waits, and goes on when the topic is made.
func TestMissingOutputTopic(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 1, kfake.SeedTopics(1, "in", "state", "status"))
	fill(t, k.ListenAddrs(), "in", 1, 0, 10)
	cfg := censusStage("waits", "in", "state", "out", "a")
	cfg.TxnTimeout = time.Second
	w, book := startLogged(t, ClientConfig{Brokers: k.ListenAddrs()}, cfg)
	eventually(t, "the stage says what is missing", func() bool { return book.says("topic out", "[3] Unknown Topic Or Partition") })
	if !w.Ready() {
		t.Error("the stage does not wait")
	}
	createTopics(t, k.ListenAddrs(), 1, "out")
	sight := startSight(t, k.ListenAddrs(), "out", nil)
	eventually(t, "all are out", func() bool { return sight.count() >= 10 })
	if err := w.finish(); err != nil {
		t.Errorf("Run: %v", err)
	}
	sent := map[string]int{}
	for i := range 10 {
		sent[fmt.Sprint(i)] = 1
	}
	checkCensus(t, k.ListenAddrs(), "out", sent)
}

// TestTopicGoneWhileRunning deletes an output topic. The stage's look at its topics names it; what grew is named as well.
func TestTopicGoneWhileRunning(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 1, kfake.SeedTopics(1, "in", "out", "grows", "status"))
	cfg := testStage("present", []string{"in"}, "", "out")
	cfg.Topics = []TopicSpec{{Name: "in", Partitions: 1}, {Name: "out", Partitions: 1}, {Name: "grows", Partitions: 1}}
	s, err := NewStage(newClient(t, k.ListenAddrs()), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.checkPresent(testContext(t)); err != nil {
		t.Errorf("all are there: %v", err)
	}
	if _, err := admin(t, k.ListenAddrs()).DeleteTopics(testContext(t), "out"); err != nil {
		t.Fatal(err)
	}
	s.c.layout.suspect("out")                                       // else it is asked about again when what is known of it is old
	ctx, cancel := context.WithTimeout(testContext(t), time.Second) // shorter than its patience
	defer cancel()
	wantError(t, s.checkPresent(ctx), "out", "who deleted them", "-topics prints")
	cfg.Topics = cfg.Topics[2:]
	if s, err = NewStage(s.c, cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := admin(t, k.ListenAddrs()).CreatePartitions(testContext(t), 1, "grows"); err != nil {
		t.Fatal(err)
	}
	s.c.layout.suspect("grows")
	wantError(t, s.checkPresent(testContext(t)), "topic grows has 2 partitions", "for life")
}
