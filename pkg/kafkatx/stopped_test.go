//go:build integration

package kafkatx

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"millrace/internal/testkit"
)

// TestKafkaHandoverWithStoppedBroker is the short form of TestLongHandoverWithStoppedBroker.
func TestKafkaHandoverWithStoppedBroker(t *testing.T) {
	handoverWithStoppedBroker(t, 25)
}

// justNow is how long after it goes on a broker counts as one that was stopped: it hears in this time what it has missed.
const justNow = 3 * time.Second

// stops notes when a broker was stopped.
type stops struct {
	mu      sync.Mutex
	n       int
	stopped bool
	resumed time.Time
}

// one stops a broker for a while: for less or for more than it takes until it is replaced.
func (s *stops) one(ctx context.Context, t *testing.T, k *testkit.Cluster) {
	s.mu.Lock()
	victim := s.n % 3
	s.n++
	s.stopped = true
	s.mu.Unlock()
	if err := k.PauseNode(victim); err != nil {
		t.Error(err)
	}
	pause(ctx, time.Duration(1000+rand.IntN(6000))*time.Millisecond)
	if err := k.ResumeNode(victim); err != nil {
		t.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped, s.resumed = false, time.Now()
}

// during says whether a broker was stopped at some moment since then, or had gone on just before.
func (s *stops) during(since time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped || s.resumed.After(since.Add(-justNow))
}

// loads judges each state that an incarnation has loaded by the input, in which the keys of a number come in turn: before offset n there were n records.
type loads struct {
	t     *testing.T
	out   *sight
	stops *stops

	mu        sync.Mutex
	owner     map[int32]string // who loaded it last
	handovers int              // numbers that another worker loaded than the one before
	counted   int              // of these, with a broker stopped at that moment or just before
	total     int
}

// stage has the loads of a stage judged.
func (l *loads) stage(cfg StageConfig, by string) StageConfig {
	inner := cfg.New
	cfg.New = func(number int32) (Handler, error) {
		h, err := inner(number)
		if err != nil {
			return nil, err
		}
		began := time.Now()
		out := l.out.of(number) // before the state is loaded: so much has to be in it
		return &judged{census: h.(*census), loaded: func(h *census, first Record) { l.judge(h, first, by, began, out) }}, nil
	}
	return cfg
}

// judged is a census whose first batch shows the state that it begins with.
type judged struct {
	*census
	loaded func(h *census, first Record)
}

func (h *judged) Process(ctx context.Context, in []Record) (Result, error) {
	if h.loaded != nil {
		h.loaded(h.census, in[0])
		h.loaded = nil
	}
	return h.census.Process(ctx, in)
}

func (l *loads) judge(h *census, first Record, by string, began time.Time, out int) {
	const keys = 3 // of a stream
	for k := range keys {
		key := fmt.Sprintf("%s-%d-%d", first.Topic, first.Partition, k)
		if got, want := h.counts[key], (int(first.Offset)+keys-1-k)/keys; got != want {
			l.t.Errorf("number %d, to read from offset %d: the state says that %s came %d times, and it came %d times", first.Partition, first.Offset, key, got, want)
		}
	}
	if int(first.Offset) < out {
		l.t.Errorf("number %d is read from offset %d, and %d are out", first.Partition, first.Offset, out)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total++
	if before, ok := l.owner[first.Partition]; ok && before != by {
		l.handovers++
		if l.stops.during(began) {
			l.counted++
		}
	}
	l.owner[first.Partition] = by
}

func (l *loads) count() (counted int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counted
}

// handoverWithStoppedBroker lets workers come and go while one broker after the other is stopped for a while. Only those handovers count during which, or
// just before which, one was.
func handoverWithStoppedBroker(t *testing.T, handovers int) {
	const partitions = 24
	k := threeBrokers(t)
	handoverTopics(t, k.Brokers, partitions)
	began := time.Now()
	s := &stops{}
	l := &loads{t: t, out: startSight(t, k.Brokers, "out", nil), stops: s, owner: map[int32]string{}}
	input := startStream(t, k.Brokers, "in", partitions, 50*time.Millisecond)
	ctx, calm := context.WithCancel(t.Context())
	defer calm()
	var wg sync.WaitGroup
	wg.Go(func() {
		for pause(ctx, 500*time.Millisecond) {
			s.one(ctx, t, k)
			awaitReplicas(t, k.Brokers)
		}
	})
	launch := func(i int) *worker {
		by := fmt.Sprint("w", i)
		cfg := censusStage("handover", "in", "state", "out", by)
		cfg.SessionTimeout, cfg.RebalanceBound = 1500*time.Millisecond, 3*time.Second
		return startWorker(t, k.Brokers, l.stage(cfg, by), nil)
	}
	workers := []*worker{launch(0), launch(1)}
	for i := 2; l.count() < handovers; i++ {
		workers = append(workers, launch(i))
		eventually(t, "the new one has numbers and has loaded them", func() bool { return workers[2].owns() > 0 && workers[2].Ready() })
		leave := workers[0].finish
		if i%2 == 0 {
			leave = workers[0].crash
		}
		if err := leave(); err != nil && !errors.Is(err, errClosed) {
			t.Errorf("worker %d: %v", i-2, err)
		}
		workers = workers[1:]
	}
	calm()
	wg.Wait()
	sent := input.stop()
	l.out.await(t, input)
	for _, w := range workers {
		if err := w.finish(); err != nil {
			t.Error(err)
		}
	}
	checkCensus(t, k.Brokers, "out", sent)
	t.Logf("%v, a broker was stopped %d times: %d states judged, %d numbers handed over, %d of them while a broker was stopped or at most %v later",
		time.Since(began).Round(time.Second), s.n, l.total, l.handovers, l.counted, justNow)
}
