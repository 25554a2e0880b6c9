package kafkatx

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// census is a Processor whose memory says how often each key came, and whose outputs carry that number: "key#number". Whatever is lost,
// repeated or forgotten, in the data or in the memory, shows as a number that is missing, comes twice or is out of order.
type census struct {
	out    string
	by     string // who wrote it, as a header
	reads  int    // newest format of state records that this build can read
	writes int    // the format that it writes
	counts map[string]int
	delay  func() // called in Process, if set
	merge  func() // called before a merge, if set
}

// Load takes a state record: format, colon, count; the count is decimal in format 1 and hexadecimal in format 2.
func (h *census) Load(r Record) error {
	format, count, _ := strings.Cut(string(r.Value), ":")
	f, err := strconv.Atoi(format)
	switch {
	case err != nil:
		return fmt.Errorf("state record %q: %w", r.Value, err)
	case f > h.reads:
		return fmt.Errorf("the state has records of format %d and this build reads formats up to %d: run the newer build again", f, h.reads)
	}
	n, err := strconv.ParseInt(count, censusBase(f), 64)
	if err != nil {
		return fmt.Errorf("state record %q: %w", r.Value, err)
	}
	h.counts[string(r.Key)] = int(n)
	return nil
}

func censusBase(format int) int {
	if format == 1 {
		return 10
	}
	return 16
}

func (h *census) Close() {}

func (h *census) Process(_ context.Context, in []Record) (Result, error) {
	if h.delay != nil {
		h.delay()
	}
	var res Result
	c := &censusChange{h: h, counts: map[string]int{}}
	for _, r := range in {
		key := string(r.Key)
		if _, ok := c.counts[key]; !ok {
			c.counts[key] = h.counts[key]
		}
		c.counts[key]++
		res.Outputs = append(res.Outputs, Record{
			Topic: h.out, Partition: r.Partition, Key: r.Key, Value: fmt.Appendf(nil, "%s#%d", key, c.counts[key]),
			Headers: []Header{{Key: "by", Value: []byte(h.by)}},
		})
	}
	for key, n := range c.counts {
		value := strconv.AppendInt(fmt.Appendf(nil, "%d:", h.writes), int64(n), censusBase(h.writes))
		res.State = append(res.State, Record{Key: []byte(key), Value: value})
	}
	res.Change = c
	return res, nil
}

type censusChange struct {
	h      *census
	counts map[string]int
}

func (c *censusChange) Merge() {
	if c.h.merge != nil {
		c.h.merge()
	}
	maps.Copy(c.h.counts, c.counts)
}
func (c *censusChange) Discard() {}

// censusStage is a stage of census handlers; by names the worker.
func censusStage(name, in, state, out, by string) StageConfig {
	cfg := testStage(name, []string{in}, state, out)
	cfg.New = func(int32) (Handler, error) {
		return &census{out: out, by: by, reads: 1, writes: 1, counts: map[string]int{}}, nil
	}
	return cfg
}

// stream writes records of the same few keys of each partition for as long as it is not stopped, with an independent client.
type stream struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu   sync.Mutex
	sent map[string]int // by key; read it after stop, or with the lock
	n    int
}

// startStream writes a record into each partition at every interval.
func startStream(t testing.TB, brokers []string, topic string, partitions int, interval time.Duration) *stream {
	t.Helper()
	// Idempotent: what was acknowledged is there once, and what was not is tried until it is.
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
		kgo.DefaultProduceTopic(topic), kgo.RequestTimeoutOverhead(5*time.Second))
	if err != nil {
		t.Fatalf("kgo: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s := &stream{cancel: cancel, done: make(chan struct{}), sent: map[string]int{}}
	go func() {
		defer close(s.done)
		defer cl.Close()
		const keys = 3
		for i := 0; pause(ctx, interval); i++ {
			s.mu.Lock()
			for p := range partitions {
				key := fmt.Sprintf("%s-%d-%d", topic, p, i%keys)
				s.sent[key]++
				s.n++
				cl.Produce(context.WithoutCancel(ctx), &kgo.Record{Partition: int32(p), Key: []byte(key)}, func(_ *kgo.Record, err error) {
					if err != nil {
						t.Errorf("stream: %v", err)
					}
				})
			}
			s.mu.Unlock()
		}
		flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), deadline)
		defer cancel()
		if err := cl.Flush(flush); err != nil {
			t.Errorf("stream: %v", err)
		}
	}()
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *stream) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// stop ends the stream, waits until all of it is acknowledged and returns how often each key was sent.
func (s *stream) stop() map[string]int {
	s.cancel()
	<-s.done
	return s.sent
}

// sight follows a topic as a read_committed reader does.
type sight struct {
	mu   sync.Mutex
	n    int
	by   map[int32]int  // n of each partition
	last map[int32]seen // by partition
}

// seen is the newest record of a partition: who wrote it, and when it was first seen.
type seen struct {
	by string
	at time.Time
}

// startSight starts a reader of a topic; each, if set, is called for each record as it comes.
func startSight(t testing.TB, brokers []string, topic string, each func(partition int32, s seen)) *sight {
	t.Helper()
	g := &sight{by: map[int32]int{}, last: map[int32]seen{}}
	follow(t, brokers, topic, func(r *kgo.Record) {
		s := seen{at: time.Now()}
		for _, h := range r.Headers {
			s.by = string(h.Value)
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.n++
		g.by[r.Partition]++
		g.last[r.Partition] = s
		if each != nil {
			each(r.Partition, s)
		}
	})
	return g
}

func (g *sight) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.n
}

// of counts the records of one partition.
func (g *sight) of(partition int32) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.by[partition]
}

// await waits until as many records are visible as were sent when it was called.
func (g *sight) await(t testing.TB, s *stream) {
	t.Helper()
	n := s.count()
	eventually(t, fmt.Sprintf("%d records are out", n), func() bool { return g.count() >= n })
}

// checkCensus fails the test unless a topic says of each key that it came as often as it was sent, counted from 1 without gap or repeat.
func checkCensus(t testing.TB, brokers []string, topic string, sent map[string]int) {
	t.Helper()
	got := map[string]int{}
	wrong, total := 0, 0
	for _, r := range witness(t, brokers, topic) {
		key := string(r.Key)
		total++
		if want := fmt.Sprintf("%s#%d", key, got[key]+1); string(r.Value) != want {
			if wrong++; wrong <= 10 {
				t.Errorf("topic %s, partition %d, offset %d: %s where %s should be", topic, r.Partition, r.Offset, r.Value, want)
			}
		}
		got[key]++
	}
	for key, n := range sent {
		if got[key] != n {
			t.Errorf("topic %s: key %s was sent %d times and came out %d times", topic, key, n, got[key])
		}
		delete(got, key)
	}
	for key := range got {
		t.Errorf("topic %s: unexpected key %q", topic, key)
	}
	t.Logf("topic %s: %d records judged, %d wrong", topic, total, wrong)
}
