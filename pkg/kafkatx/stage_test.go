package kafkatx

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// once is a Processor that passes on the first record with each key and drops those that follow, as a stage with a memory does. A record
// that it lost or repeated shows at once.
type once struct {
	out   string
	state bool
	seen  map[string]bool
	delay func() // called in Process, if set
	close func()
}

func (h *once) Load(r Record) error { h.seen[string(r.Value)] = true; return nil }
func (h *once) Close() {
	if h.close != nil {
		h.close()
	}
}

func (h *once) Process(_ context.Context, in []Record) (Result, error) {
	if h.delay != nil {
		h.delay()
	}
	var res Result
	c := &onceChange{h: h, seen: map[string]bool{}}
	for _, r := range in {
		id := string(r.Key)
		if h.seen[id] || c.seen[id] {
			continue
		}
		c.seen[id] = true
		res.Outputs = append(res.Outputs, Record{Topic: h.out, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers})
		if h.state {
			res.State = append(res.State, Record{Value: r.Key})
		}
	}
	res.Change = c
	return res, nil
}

type onceChange struct {
	h    *once
	seen map[string]bool
	done bool
}

func (c *onceChange) end() {
	if c.done {
		panic("change merged or discarded twice")
	}
	c.done = true
}

func (c *onceChange) Merge() {
	c.end()
	for id := range c.seen {
		c.h.seen[id] = true
	}
}
func (c *onceChange) Discard() { c.end() }

// testStage is a stage with timeouts fit for a test.
func testStage(name string, inputs []string, state, out string) StageConfig {
	return StageConfig{
		Prefix: "test", Name: name, Inputs: inputs, StateTopic: state, StatusTopic: "status",
		SessionTimeout: 3 * time.Second, RebalanceBound: 5 * time.Second, TxnTimeout: 20 * time.Second, DrainTimeout: 10 * time.Second,
		New: func(int32) (Handler, error) {
			return &once{out: out, state: state != "", seen: map[string]bool{}}, nil
		},
	}
}

// running is a stage in the background.
type running struct {
	*Stage
	cancel context.CancelFunc
	err    chan error
	client *Client
}

func start(t testing.TB, brokers []string, cfg StageConfig) *running {
	t.Helper()
	c := newClient(t, brokers)
	s, err := NewStage(c, cfg)
	if err != nil {
		t.Fatalf("NewStage: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{Stage: s, cancel: cancel, err: make(chan error, 1), client: c}
	go func() { r.err <- s.Run(ctx) }()
	t.Cleanup(func() { r.stop(t) })
	return r
}

// stop stops the stage, once, and fails the test if it ended with an error.
func (r *running) stop(t testing.TB) {
	t.Helper()
	r.cancel()
	if err, ok := <-r.err; ok {
		close(r.err)
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

// fails waits for the stage to end with an error.
func (r *running) fails(t testing.TB) error {
	t.Helper()
	select {
	case err := <-r.err:
		close(r.err)
		if err == nil {
			t.Fatal("Run: ended without an error")
		}
		return err
	case <-time.After(deadline):
		t.Fatal("Run: did not end")
		return nil
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("waited too long: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// fill writes n records, keyed 0 to n-1, with an independent client.
func fill(t testing.TB, brokers []string, topic string, partitions, from, to int) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatalf("kgo: %v", err)
	}
	defer cl.Close()
	var failed atomic.Pointer[error]
	for i := from; i < to; i++ {
		cl.Produce(testContext(t), &kgo.Record{Topic: topic, Partition: int32(i % partitions), Key: fmt.Append(nil, i), Value: fmt.Append(nil, "v", i)},
			func(_ *kgo.Record, err error) {
				if err != nil {
					failed.Store(&err)
				}
			})
	}
	if err := cl.Flush(testContext(t)); err != nil {
		t.Fatalf("fill: %v", err)
	}
	if err := failed.Load(); err != nil {
		t.Fatalf("fill: %v", *err)
	}
}

// tally counts what a read_committed reader sees on the topic "out".
type tally struct {
	mu    sync.Mutex
	count map[string]int
}

func watchOut(t testing.TB, brokers []string) *tally {
	t.Helper()
	ta := &tally{count: map[string]int{}}
	follow(t, brokers, "out", func(r *kgo.Record) {
		ta.mu.Lock()
		defer ta.mu.Unlock()
		ta.count[string(r.Key)]++
	})
	return ta
}

func (ta *tally) distinct() int {
	ta.mu.Lock()
	defer ta.mu.Unlock()
	return len(ta.count)
}

// checkOnce fails the test unless keys 0 to n-1 are on the topic, once each.
func checkOnce(t testing.TB, brokers []string, topic string, n int) {
	t.Helper()
	got := map[string]int{}
	for _, r := range witness(t, brokers, topic) {
		got[string(r.Key)]++
	}
	missing, repeated := 0, 0
	for i := range n {
		switch got[fmt.Sprint(i)] {
		case 0:
			missing++
		case 1:
		default:
			repeated++
		}
		delete(got, fmt.Sprint(i))
	}
	if missing != 0 || repeated != 0 || len(got) != 0 {
		t.Errorf("topic %s: of %d keys %d are missing, %d repeated; %d are unexpected", topic, n, missing, repeated, len(got))
	}
}

func TestStageProcessesEverythingOnce(t *testing.T) {
	t.Parallel()
	testOnce(t, newCluster(t, 3).ListenAddrs())
}

func testOnce(t *testing.T, brokers []string) {
	const partitions, n = 6, 3000
	createTopics(t, brokers, partitions, "in", "in2", "out", "state")
	createTopics(t, brokers, 1, "status")
	out := watchOut(t, brokers)
	fill(t, brokers, "in", partitions, 0, n/2)
	cfg := testStage("pass", []string{"in", "in2"}, "state", "out")
	cfg.MaxBatchRecords = 100
	a := start(t, brokers, cfg)
	eventually(t, "first stage ready", a.Ready)
	fill(t, brokers, "in2", partitions, n/4, n/4*3) // half of it repeats what was on the other topic
	b := start(t, brokers, cfg)
	eventually(t, "second stage ready", func() bool { return b.Ready() && a.Ready() })
	fill(t, brokers, "in", partitions, 0, n)
	eventually(t, "all records are out", func() bool { return out.distinct() == n })
	a.stop(t)
	fill(t, brokers, "in", partitions, 0, n+partitions)
	eventually(t, "the rest is out", func() bool { return out.distinct() == n+partitions })
	b.stop(t)
	checkOnce(t, brokers, "out", n+partitions)
}

// ticker is a Feeder that offers the numbers from 0 on, one at a time, and remembers in its state how far it is.
type ticker struct {
	number int32
	next   int
	last   int
}

func (h *ticker) Load(r Record) error {
	_, err := fmt.Sscan(string(r.Value), &h.next)
	return err
}
func (h *ticker) Close() {}

func (h *ticker) Next(ctx context.Context) (Result, error) {
	if h.next >= h.last {
		<-ctx.Done()
		return Result{}, ctx.Err()
	}
	n := h.next
	return Result{
		Outputs: []Record{{Topic: "out", Partition: h.number, Key: fmt.Append(nil, n*2+int(h.number))}},
		Follow: func(offsets []int64) []Record {
			return []Record{{Topic: "ledger", Partition: h.number, Key: fmt.Append(nil, n*2+int(h.number)), Value: fmt.Append(nil, offsets[0])}}
		},
		State:  []Record{{Key: []byte("next"), Value: fmt.Append(nil, n+1)}},
		Change: &tick{h},
	}, nil
}

type tick struct{ h *ticker }

func (c *tick) Merge()   { c.h.next++ }
func (c *tick) Discard() {}

func TestFeederKeepsItsPlace(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 1, kfake.SeedTopics(2, "out", "state", "ledger"), kfake.SeedTopics(1, "status"))
	out := watchOut(t, k.ListenAddrs())
	cfg := testStage("feed", nil, "state", "")
	last := 50
	cfg.New = func(n int32) (Handler, error) { return &ticker{number: n, last: last}, nil }
	r := start(t, k.ListenAddrs(), cfg)
	eventually(t, "first half", func() bool { return out.distinct() == 2*last })
	r.stop(t)
	last = 100
	r = start(t, k.ListenAddrs(), cfg)
	eventually(t, "second half", func() bool { return out.distinct() == 2*last })
	r.stop(t)
	checkOnce(t, k.ListenAddrs(), "out", 2*last)
	at := map[string]int64{}
	for _, r := range witness(t, k.ListenAddrs(), "out") {
		at[string(r.Key)] = r.Offset
	}
	ledger := map[string]int64{}
	for _, r := range witness(t, k.ListenAddrs(), "ledger") {
		var o int64
		if _, err := fmt.Sscan(string(r.Value), &o); err != nil {
			t.Fatal(err)
		}
		ledger[string(r.Key)] = o
	}
	if diff := cmp.Diff(at, ledger); diff != "" {
		t.Errorf("offsets in the ledger (-of the records +in the ledger):\n%s", diff)
	}
}

func TestStageRefusesMissingTopics(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 1, kfake.SeedTopics(1, "in", "status"))
	status := testStage("status", []string{"in"}, "", "out")
	status.StatusTopic = "nothing"
	for _, cfg := range []StageConfig{
		testStage("input", []string{"in", "nothing"}, "", "out"),
		testStage("state", []string{"in"}, "nothing", "out"),
		status,
	} {
		t.Run(cfg.Name, func(t *testing.T) {
			t.Parallel()
			wantError(t, start(t, k.ListenAddrs(), cfg).fails(t), "nothing")
		})
	}
}

func TestStageRefusesUnequalTopics(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 1, kfake.SeedTopics(3, "in"), kfake.SeedTopics(4, "in2"), kfake.SeedTopics(1, "status"))
	r := start(t, k.ListenAddrs(), testStage("unequal", []string{"in", "in2"}, "", "out"))
	if err := r.fails(t); errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
}
