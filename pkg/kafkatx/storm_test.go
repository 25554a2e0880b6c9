package kafkatx

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// storm runs a pipeline of two stages, the first with a memory of what it has seen, each by several workers that are crashed at random,
// while records come in, each of them twice. In the end every record has to be on the last topic exactly once.
type storm struct {
	brokers    []string
	partitions int
	records    int
	workers    int           // of each stage
	life       time.Duration // of a worker, on average
	session    time.Duration
	disturb    func() // called every now and then, for leaders and coordinators to move
	faults     bool   // lose requests and answers on top
}

func (s *storm) stage(name, in, state, out string) StageConfig {
	cfg := testStage(name, []string{in}, state, out)
	cfg.SessionTimeout, cfg.RebalanceBound = s.session, 2*s.session
	cfg.MaxBatchRecords = 200
	return cfg
}

func (s *storm) run(t *testing.T) {
	out := watchOut(t, s.brokers)
	ctx, calm := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	if s.disturb != nil {
		wg.Go(func() {
			for pause(ctx, 500*time.Millisecond) {
				s.disturb()
			}
		})
	}
	var mu sync.Mutex
	crashes := 0
	for _, cfg := range []StageConfig{s.stage("first", "in", "state", "mid"), s.stage("second", "mid", "", "out")} {
		for range s.workers {
			wg.Go(func() {
				for ctx.Err() == nil {
					w := startWorker(t, s.brokers, cfg, s.net())
					crash := pause(ctx, time.Duration(rand.ExpFloat64()*float64(s.life)))
					if !crash {
						<-ctx.Done()
					}
					if err := w.crash(); err != nil {
						t.Logf("worker ended: %v", err)
					}
					mu.Lock()
					crashes++
					mu.Unlock()
				}
			})
		}
	}
	const steps = 10
	for i := range steps {
		fill(t, s.brokers, "in", s.partitions, i*s.records/steps, (i+1)*s.records/steps)
		fill(t, s.brokers, "in", s.partitions, 0, (i+1)*s.records/steps/4) // repeats
		time.Sleep(200 * time.Millisecond)
	}
	eventually(t, "half of the records are out in the storm", func() bool { return out.distinct() >= s.records/2 })
	calm()
	wg.Wait()
	// After the storm one worker a stage finishes, and aborts by fencing what the dead ones left open.
	first := startWorker(t, s.brokers, s.stage("first", "in", "state", "mid"), nil)
	second := startWorker(t, s.brokers, s.stage("second", "mid", "", "out"), nil)
	eventually(t, "all records are out", func() bool { return out.distinct() >= s.records })
	eventually(t, "nothing is left to do", func() bool {
		return first.Ready() && second.Ready() && first.Lag()["in"] == 0 && second.Lag()["mid"] == 0
	})
	for _, w := range []*worker{first, second} {
		if err := w.finish(); err != nil {
			t.Errorf("last worker: %v", err)
		}
	}
	checkOnce(t, s.brokers, "mid", s.records)
	checkOnce(t, s.brokers, "out", s.records)
	t.Logf("%d records, %d crashes", s.records, crashes)
}

func (s *storm) net() *faultNet {
	n := newFaultNet()
	if s.faults {
		n.set(func(key int16) fault {
			if key == 18 || rand.IntN(200) != 0 { // ApiVersions opens a connection
				return faultNone
			}
			return faultNotApplied + fault(rand.IntN(2))
		})
	}
	return n
}

func TestStorm(t *testing.T) {
	t.Parallel()
	const partitions = 8
	k := newCluster(t, 3, kfake.SeedTopics(partitions, "in", "mid", "out", "state"), kfake.SeedTopics(1, "status"))
	(&storm{
		brokers: k.ListenAddrs(), partitions: partitions, records: 8000, workers: 2, life: 4 * time.Second, session: time.Second, faults: true,
		disturb: func() { k.ShufflePartitionLeaders(); k.RehashCoordinators() },
	}).run(t)
}
