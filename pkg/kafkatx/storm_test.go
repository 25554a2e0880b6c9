package kafkatx

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// storm runs a pipeline of two stages, a counter and behind it a relay, each by several workers that are crashed again and again while records come in.
// In the end every record has to be counted, and passed on, exactly once.
type storm struct {
	brokers    []string
	partitions int
	keys       int
	session    time.Duration
	workers    int // of each stage
	batch      int // records of a transaction at most
	faults     bool
	ghosts     bool // the broker keeps members for ever whose JoinGroup was answered in vain, as kfake does
	judges     []judge

	live    func(ctx context.Context, t *testing.T, s *storm, stage stormStage) (end string) // is one worker's life, and says how it ended
	disturb func(ctx context.Context)                                                        // does one disturbance and waits until the next one may come; nil = none

	// The storm is over when all of these are reached. It fails where that takes longer than limit.
	records, crashes, disturbances int
	limit                          time.Duration
}

// stormStage is one stage of a storm.
type stormStage struct {
	Name, In, State, Out string
	Session              time.Duration
	Batch                int
}

// config is a counter if the stage has a state topic, a relay if not. The functions are those of counter.
func (g *stormStage) config(loaded, merge func()) StageConfig {
	cfg := testStage(g.Name, []string{g.In}, g.State, g.Out)
	cfg.SessionTimeout, cfg.RebalanceBound, cfg.MaxBatchRecords = g.Session, 2*g.Session, g.Batch
	cfg.New = func(int32) (Handler, error) {
		if g.State == "" {
			return &relay{out: g.Out, loaded: loaded}, nil
		}
		return &counter{out: g.Out, counts: map[string]int{}, loaded: loaded, merge: merge}, nil
	}
	return cfg
}

// stormNet loses one request or answer in 200 if there are to be faults.
func stormNet(faults bool) *faultNet {
	n := newFaultNet()
	if faults {
		n.set(func(key int16) fault {
			if key == 18 || rand.IntN(200) != 0 { // ApiVersions opens a connection
				return faultNone
			}
			return faultNotApplied + fault(rand.IntN(2))
		})
	}
	return n
}

// liveInside is the life of a worker inside the test's process.
func liveInside(mean time.Duration) func(context.Context, *testing.T, *storm, stormStage) string {
	return func(ctx context.Context, t *testing.T, s *storm, stage stormStage) string {
		w := startWorker(t, s.brokers, stage.config(nil, nil), stormNet(s.faults))
		if !pause(ctx, time.Duration(rand.ExpFloat64()*float64(mean))) {
			<-ctx.Done()
		}
		if err := w.crash(); err != nil {
			t.Logf("worker ended: %v", err)
		}
		return "inside"
	}
}

func (s *storm) stages() [2]stormStage {
	return [2]stormStage{
		{Name: "first", In: "in", State: "state", Out: "mid", Session: s.session, Batch: s.batch},
		{Name: "second", In: "mid", Out: "out", Session: s.session, Batch: s.batch},
	}
}

// progress is what a storm has done so far.
type progress struct {
	mu           sync.Mutex // guards what follows
	deaths       map[string]int
	crashes      int
	disturbances int
	records      int
}

func (s *storm) over(p *progress) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.records >= s.records && p.crashes >= s.crashes && p.disturbances >= s.disturbances
}

func (s *storm) run(t *testing.T) {
	began := time.Now()
	p := &progress{deaths: map[string]int{}}
	ctx, calm := context.WithCancel(t.Context())
	defer calm()
	var wg sync.WaitGroup
	if s.disturb != nil {
		wg.Go(func() {
			for s.disturb(ctx); ctx.Err() == nil; s.disturb(ctx) {
				p.mu.Lock()
				p.disturbances++
				p.mu.Unlock()
			}
		})
	}
	for _, stage := range s.stages() {
		for range s.workers {
			wg.Go(func() {
				for ctx.Err() == nil {
					end := s.live(ctx, t, s, stage)
					p.mu.Lock()
					p.deaths[end]++
					p.crashes++
					p.mu.Unlock()
				}
			})
		}
	}
	s.feed(t, p)
	calm()
	wg.Wait()
	s.settle(t)
	in := checkCounts(t, s.brokers, s.judges)
	if in < s.records {
		t.Errorf("%d records went in, %d were meant to", in, s.records)
	}
	t.Logf("%d records in %v, %d crashes, %d disturbances", in, time.Since(began).Round(time.Second), p.crashes, p.disturbances)
	for _, end := range slices.Sorted(maps.Keys(p.deaths)) {
		t.Logf("  %d workers ended %s", p.deaths[end], end)
	}
}

// feed writes records until the storm is over, and not faster than the workers get them through.
func (s *storm) feed(t *testing.T, p *progress) {
	backlog := int64(max(20000, s.records/40))
	c, adm := newClient(t, s.brokers), admin(t, s.brokers)
	source := newProducer(t, c, "source", "zstd")
	began, moved := time.Now(), time.Now()
	var pos position
	for n := 0; !s.over(p); {
		if now, err := whereabouts(t, c, adm); err == nil && now.passed > pos.passed { // an error: a broker is away
			pos, moved = now, time.Now()
		}
		if time.Since(began) > s.limit || time.Since(moved) > 2*deadline {
			autopsy(t, s.brokers)
			t.Fatalf("the storm is stuck or too slow: %+v, the last move %v ago, %v", pos, time.Since(moved).Round(time.Second), p)
		}
		burst := 2000
		if pos.left > backlog || n >= s.records {
			burst = 20 // the workers are to have something to do until the rest is reached
			pause(t.Context(), 200*time.Millisecond)
		}
		s.write(t, source, n, burst)
		n += burst
		p.mu.Lock()
		p.records = n
		p.mu.Unlock()
	}
}

// write writes count records in one transaction. Where its outcome is unknown it does it again: how often a key came is what the judges find on the topic.
func (s *storm) write(t *testing.T, source *Producer, from, count int) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*deadline)
	defer cancel()
	recs := make([]Record, count)
	for i := range recs {
		key := (from + i) % s.keys
		recs[i] = Record{Topic: "in", Partition: int32(key % s.partitions), Key: fmt.Append(nil, key), Value: fmt.Append(nil, from+i)}
	}
	for err := commitAll(ctx, source, recs); err != nil; err = commitAll(ctx, source, recs) {
		t.Logf("source: %v", err)
		if err := source.Init(ctx); err != nil {
			t.Fatalf("source: %v", err)
		}
	}
}

// settle lets one worker a stage finish, and abort by fencing what the dead ones left open.
func (s *storm) settle(t *testing.T) {
	if s.ghosts {
		evict(t, s.brokers, "test.first", "test.second")
	}
	var workers []*worker
	for _, stage := range s.stages() {
		workers = append(workers, startWorker(t, s.brokers, stage.config(nil, nil), nil))
	}
	c, adm := newClient(t, s.brokers), admin(t, s.brokers)
	for end := time.Now().Add(2 * deadline); ; time.Sleep(100 * time.Millisecond) {
		pos, err := whereabouts(t, c, adm)
		if err == nil && pos.left == 0 {
			break
		}
		if time.Now().After(end) {
			autopsy(t, s.brokers)
			for _, w := range workers {
				w.logFeeds(t)
			}
			t.Fatalf("the last workers do not finish: %+v, %v; ready: %t, %t", pos, err, workers[0].Ready(), workers[1].Ready())
		}
	}
	for _, w := range workers {
		if err := w.finish(); err != nil {
			t.Errorf("last worker: %v", err)
		}
	}
}

// evict makes groups forget all of their members, who are dead.
func evict(t *testing.T, brokers []string, groups ...string) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	described, err := kadm.NewClient(cl).DescribeGroups(testContext(t), groups...)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range described {
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Group = g.Group
		for _, m := range g.Members {
			member := kmsg.NewLeaveGroupRequestMember()
			member.MemberID = m.MemberID
			req.Members = append(req.Members, member)
		}
		if _, err := req.RequestWith(testContext(t), cl); err != nil {
			t.Fatal(err)
		}
	}
}

// position is how far a pipeline is, in offsets of all partitions of in and mid. Markers count: an idle owner passes them after a while.
type position struct{ passed, left int64 }

// whereabouts asks the brokers what the two groups have committed.
func whereabouts(t *testing.T, c *Client, adm *kadm.Client) (position, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var pos position
	for _, g := range []struct{ group, topic string }{{"test.first", "in"}, {"test.second", "mid"}} {
		at, err := adm.FetchOffsets(ctx, g.group)
		if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			return pos, err
		}
		_, ends, err := c.Offsets(ctx, g.topic)
		if err != nil {
			return pos, err
		}
		for p, end := range ends {
			o, _ := at.Lookup(g.topic, int32(p))
			pos.passed += o.At
			pos.left += end - o.At
		}
	}
	return pos, nil
}

func commitAll(ctx context.Context, p *Producer, recs []Record) error {
	if _, err := p.Produce(ctx, recs); err != nil {
		return err
	}
	return p.Commit(ctx)
}

// kfakeStorm is a storm on three brokers inside the test's process whose leaders and coordinators move all the time.
func kfakeStorm(t *testing.T) *storm {
	const partitions = 8
	k := newCluster(t, 3, kfake.SeedTopics(partitions, "in", "mid", "out", "state"), kfake.SeedTopics(1, "status"))
	return &storm{
		brokers: k.ListenAddrs(), partitions: partitions, keys: 2000, session: time.Second, workers: 2, batch: 200, faults: true, ghosts: true, limit: 10 * time.Minute,
		judges: judges()[:1], live: liveInside(4 * time.Second),
		disturb: func(ctx context.Context) {
			k.ShufflePartitionLeaders()
			k.RehashCoordinators()
			pause(ctx, 500*time.Millisecond)
		},
	}
}

func TestStorm(t *testing.T) {
	t.Parallel()
	s := kfakeStorm(t)
	s.records, s.crashes, s.disturbances = 8000, 8, 10
	s.run(t)
}
