package kafkatx

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// roster remembers which worker made which number's handler last.
type roster struct {
	mu      sync.Mutex
	owner   map[int32]string
	moved   int // numbers that came to another worker
	reloads int // numbers that a worker loaded again though nobody else had them in between
}

// watch makes a stage tell the roster of its handlers.
func (r *roster) watch(cfg StageConfig, by string) StageConfig {
	inner := cfg.New
	cfg.New = func(number int32) (Handler, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.owner[number] == by {
			r.reloads++
		} else {
			r.moved++
		}
		r.owner[number] = by
		return inner(number)
	}
	return cfg
}

// joinAndLeave lets workers join and leave at a pace for a while, in turn, while records come in. bound is the stage's rebalance bound. It returns the
// longest time that a number's output stood still.
func joinAndLeave(t *testing.T, brokers []string, pace, span, bound time.Duration) (stall time.Duration) {
	const partitions = 12
	createTopics(t, brokers, partitions, "in", "out", "state")
	createTopics(t, brokers, 1, "status")
	var mu sync.Mutex
	last := map[int32]time.Time{}
	sight := startSight(t, brokers, "out", func(p int32, s seen) {
		mu.Lock()
		defer mu.Unlock()
		if before, ok := last[p]; ok {
			stall = max(stall, s.at.Sub(before))
		}
		last[p] = s.at
	})
	r := &roster{owner: map[int32]string{}}
	launch := func(i int) *worker {
		by := fmt.Sprint("w", i)
		cfg := censusStage("turns", "in", "state", "out", by)
		cfg.SessionTimeout, cfg.RebalanceBound = bound/2, bound
		return startWorker(t, brokers, r.watch(cfg, by), nil)
	}
	workers := []*worker{launch(0), launch(1)}
	eventually(t, "the first two are ready", func() bool { return workers[0].Ready() && workers[1].Ready() && workers[1].owns() > 0 })
	s := startStream(t, brokers, "in", partitions, 50*time.Millisecond)
	ctx := t.Context()
	rebalances := 0
	for began := time.Now(); time.Since(began) < span && pause(ctx, pace); rebalances++ {
		if rebalances%2 == 0 {
			workers = append(workers, launch(2+rebalances))
			continue
		}
		if err := workers[0].finish(); err != nil {
			t.Errorf("worker: %v", err)
		}
		workers = workers[1:]
	}
	sent := s.stop()
	sight.await(t, s)
	for _, w := range workers {
		if err := w.finish(); err != nil {
			t.Errorf("worker: %v", err)
		}
	}
	checkCensus(t, brokers, "out", sent)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reloads > 0 {
		t.Errorf("%d numbers were loaded again though they stayed with their worker", r.reloads)
	}
	mu.Lock()
	defer mu.Unlock()
	t.Logf("%d times a worker joined or left, %d numbers moved, %d loaded again without need, longest stall of a number %v (bound %v)", rebalances,
		r.moved, r.reloads, stall.Round(time.Millisecond), bound)
	return stall
}

func TestWorkersJoinAndLeave(t *testing.T) {
	t.Parallel()
	joinAndLeave(t, newCluster(t, 2).ListenAddrs(), time.Second, 6*time.Second, 10*time.Second)
}

// TestSlowProcessing has a worker whose batches take longer than the rebalance bound while another one joins.
func TestSlowProcessing(t *testing.T) {
	t.Parallel()
	testSlowProcessing(t, newCluster(t, 2).ListenAddrs())
}

func testSlowProcessing(t *testing.T, brokers []string) {
	const partitions = 2
	createTopics(t, brokers, partitions, "in", "out", "state")
	createTopics(t, brokers, 1, "status")
	sight := startSight(t, brokers, "out", nil)
	s := startStream(t, brokers, "in", partitions, 20*time.Millisecond)
	release := make(chan struct{})
	unblock := sync.OnceFunc(func() { close(release) })
	defer unblock()
	entered := make(chan struct{}, 8*partitions)
	cfg := censusStage("slow", "in", "state", "out", "slow")
	cfg.SessionTimeout, cfg.RebalanceBound = time.Second, 2*time.Second
	cfg.New = func(int32) (Handler, error) {
		batches := 0
		return &census{out: "out", by: "slow", reads: 1, writes: 1, counts: map[string]int{}, delay: func() {
			if batches++; batches == 5 {
				entered <- struct{}{}
				<-release
			}
		}}, nil
	}
	slow := startWorker(t, brokers, cfg, nil)
	for range partitions {
		<-entered
	}
	quick := censusStage("slow", "in", "state", "out", "quick")
	quick.SessionTimeout, quick.RebalanceBound = cfg.SessionTimeout, cfg.RebalanceBound
	other := startWorker(t, brokers, quick, nil)
	eventually(t, "the other one has a number", func() bool { return other.Ready() && other.owns() == 1 })
	at := sight.count()
	eventually(t, "its number goes on", func() bool { return sight.count() > at+20 })
	pause(t.Context(), cfg.RebalanceBound) // one batch of the slow one takes longer than this
	if slow.owns() == 0 {
		t.Error("the slow one was thrown out, though it sends heartbeats")
	}
	unblock()
	sent := s.stop()
	sight.await(t, s)
	for _, w := range []*worker{slow, other} {
		if err := w.finish(); err != nil {
			t.Error(err)
		}
	}
	checkCensus(t, brokers, "out", sent)
}

// TestLogCutWhileRunning removes records before a running stage has read them.
func TestLogCutWhileRunning(t *testing.T) {
	t.Parallel()
	testLogCut(t, newCluster(t, 1).ListenAddrs())
}

func testLogCut(t *testing.T, brokers []string) {
	createTopics(t, brokers, 1, "in", "out", "status")
	cfg := testStage("cut", []string{"in"}, "", "out")
	net := newFaultNet()
	out := watchOut(t, brokers)
	fill(t, brokers, "in", 1, 0, 10)
	w := startWorker(t, brokers, cfg, net)
	eventually(t, "the first are out", func() bool { return out.distinct() == 10 })
	thaw := net.freeze()
	pause(t.Context(), 3*fetchWait) // the fetch that waits at the broker ends, and takes nothing along
	fill(t, brokers, "in", 1, 10, 30)
	var trim kadm.Offsets
	trim.Add(kadm.Offset{Topic: "in", Partition: 0, At: 25})
	if _, err := admin(t, brokers).DeleteRecords(testContext(t), trim); err != nil {
		t.Fatal(err)
	}
	thaw()
	select {
	case err := <-w.done:
		w.done <- err
		var gone *OutOfRangeError
		if !errors.As(err, &gone) || gone.First != 25 {
			t.Errorf("Run: %v", err)
		}
		wantError(t, err, fmt.Sprintf("offsets %d to 24 (%d)", gone.Want, 25-gone.Want), "removed by retention before they were read", "--reset-offsets")
	case <-time.After(deadline):
		t.Fatal("the stage goes on without the records that were removed")
	}
	_ = w.finish()
}

// TestLogEndsBeforePosition has a stage whose position lies behind the end of a log that was cut, or belongs to a topic that was made anew.
func TestLogEndsBeforePosition(t *testing.T) {
	t.Parallel()
	testLogEndsBeforePosition(t, newCluster(t, 1).ListenAddrs())
}

func testLogEndsBeforePosition(t *testing.T, brokers []string) {
	createTopics(t, brokers, 1, "in", "out", "status")
	cfg := testStage("anew", []string{"in"}, "", "out")
	fill(t, brokers, "in", 1, 0, 10)
	runOnce(t, brokers, cfg, 10)
	adm := admin(t, brokers)
	if _, err := adm.DeleteTopics(testContext(t), "in"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the topic is made again", func() bool {
		_, err := adm.CreateTopic(testContext(t), 1, 1, nil, "in")
		return err == nil
	})
	fill(t, brokers, "in", 1, 10, 13)
	// The broker has forgotten the position together with the topic.
	wantError(t, start(t, brokers, cfg).fails(t), "no committed offset", "the stage has run on number 0")

	var at kadm.Offsets
	at.Add(kadm.Offset{Topic: "in", Partition: 0, At: 10, LeaderEpoch: -1})
	if err := adm.CommitAllOffsets(testContext(t), "test.anew", at); err != nil {
		t.Fatal(err)
	}
	err := start(t, brokers, cfg).fails(t)
	var gone *OutOfRangeError
	if !errors.As(err, &gone) || gone.Want != 10 || gone.Last != 3 {
		t.Errorf("Run: %v", err)
	}
	wantError(t, err, "the next offset to read is 10 but the log ends at 3")
	checkOnce(t, brokers, "out", 10)
}
