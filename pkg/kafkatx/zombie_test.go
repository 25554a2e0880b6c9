//go:build integration

package kafkatx

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"millrace/internal/testkit"
)

// TestKafkaZombieAtEachStep stops a worker process at a step for longer than its session and lets it go on when another one has done its work.
func TestKafkaZombieAtEachStep(t *testing.T) {
	k := testkit.StartKafka(t, testkit.KafkaConfig{Properties: kafkaProperties})
	createTopics(t, k.Brokers, 1, "status")
	for _, tc := range []struct {
		step string
		nth  int // each of the two numbers has a transaction of its own at the first start
	}{
		{stepInit, 1},
		{stepLoad, 1},
		{stepProduce, 7},
		{stepOffsets, 7},
		{stepCommit, 7},
		{stepDone, 7},
		{stepMerge, 5},
	} {
		t.Run(tc.step, func(t *testing.T) {
			name := strings.ReplaceAll(tc.step, " ", "-")
			zombieAt(t, name, twist{Brokers: k.Brokers, Session: time.Second, By: "zombie", Step: tc.step, Nth: tc.nth, Signal: syscall.SIGSTOP})
		})
	}
}

func zombieAt(t *testing.T, name string, w twist) {
	const partitions = 2
	w.Name, w.In, w.State, w.Out = name, "in-"+name, "state-"+name, "out-"+name
	createTopics(t, w.Brokers, partitions, w.In, w.State, w.Out)
	s := startStream(t, w.Brokers, w.In, partitions, 10*time.Millisecond)
	sight := startSight(t, w.Brokers, w.Out, nil)
	zombie := startProcess(t, w)
	awaitOutput(t, zombie, stepReached)

	heir := startWorker(t, w.Brokers, w.config(), nil)
	eventually(t, "the heir has all numbers", func() bool { return heir.Ready() && heir.owns() == partitions })
	sight.await(t, s)
	if strings.Contains(zombie.Output(), ErrFenced.Error()) {
		t.Error("the zombie was not stopped")
	}
	before := len(zombie.Output())
	if err := zombie.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	// It meets the fence on a number that the group leaves with it, or before it hears of that.
	awaitOutput(t, zombie, ErrFenced.Error())
	sight.await(t, s)
	if err := heir.finish(); err != nil {
		t.Errorf("heir: %v", err)
	}
	sight.await(t, s) // the zombie is the only one left
	sent := s.stop()
	sight.await(t, s)
	if loaded := zombie.Output()[before:]; !strings.Contains(loaded, "number loaded") {
		t.Errorf("the zombie did not take part again:\n%s", loaded)
	}
	zombie.Kill()
	checkCensus(t, w.Brokers, w.Out, sent)
}
