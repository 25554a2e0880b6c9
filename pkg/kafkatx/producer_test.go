package kafkatx

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func newProducer(t testing.TB, c *Client, id, codec string) *Producer {
	t.Helper()
	p, err := c.NewProducer(ProducerConfig{TransactionalID: id, Codec: codec, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatalf("NewProducer: %v", err)
	}
	if err := p.Init(testContext(t)); err != nil {
		t.Fatalf("Init: %v", err)
	}
	return p
}

func TestCommittedIsVisibleAndAbortedIsNot(t *testing.T) {
	t.Parallel()
	testVisibility(t, newCluster(t, 3).ListenAddrs())
}

func testVisibility(t *testing.T, brokers []string) {
	const topic, partitions = "visible", 3
	createTopics(t, brokers, partitions, topic)
	c := newClient(t, brokers)
	ctx := testContext(t)
	want := map[string]bool{}
	for i, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		p := newProducer(t, c, "visible-"+codec, codec)
		for txn := range 6 {
			commit := txn%3 != i%3
			var recs []Record
			for n := range 20 {
				v := fmt.Sprintf("%s/%d/%d", codec, txn, n)
				recs = append(recs, Record{
					Topic: topic, Partition: int32(n % partitions), Key: []byte(codec), Value: []byte(v),
					Headers: []Header{{Key: "a", Value: []byte(v)}, {Key: "empty", Value: []byte{}}, {Key: "null"}},
				})
				want[v] = want[v] || commit
			}
			offsets, err := p.Produce(ctx, recs)
			if err != nil {
				t.Fatalf("Produce: %v", err)
			}
			if len(offsets) != len(recs) || offsets[partitions]-offsets[0] != 1 {
				t.Fatalf("Produce: offsets %v", offsets)
			}
			end := p.Commit
			if !commit {
				end = p.Abort
			}
			if err := end(ctx); err != nil {
				t.Fatalf("end transaction (commit %t): %v", commit, err)
			}
		}
	}
	seen, ours := map[string]int{}, map[string]int{}
	for _, r := range witness(t, brokers, topic) {
		seen[string(r.Value)]++
	}
	errStop := errors.New("caught up")
	err := c.Tail(ctx, topic, func(r Record) error {
		ours[string(r.Value)]++
		if diff := cmp.Diff([]Header{{Key: "a", Value: r.Value}, {Key: "empty", Value: []byte{}}, {Key: "null"}}, r.Headers); diff != "" {
			t.Errorf("headers: %s", diff)
		}
		if len(ours) == 400 {
			return errStop
		}
		return nil
	}, nil)
	if !errors.Is(err, errStop) {
		t.Fatalf("Tail: %v", err)
	}
	wantCount := map[string]int{}
	for v, committed := range want {
		if committed {
			wantCount[v] = 1
		}
	}
	if diff := cmp.Diff(wantCount, seen); diff != "" {
		t.Errorf("what kgo reads (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantCount, ours); diff != "" {
		t.Errorf("what Tail reads (-want +got):\n%s", diff)
	}
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 1)
	c := newClient(t, k.ListenAddrs())
	ctx := testContext(t)
	if _, err := c.EnsureTopics(ctx, []TopicSpec{
		{Name: "small", Partitions: 1, Configs: map[string]string{"max.message.bytes": "20000"}},
		{Name: "large", Partitions: 1, Configs: map[string]string{"max.message.bytes": "20000000"}},
	}, true); err != nil {
		t.Fatal(err)
	}
	p := newProducer(t, c, "large", "none")
	// 100 records of 3 kB do not fit a batch of 20 kB: the producer finds out and splits.
	recs := make([]Record, 100)
	for i := range recs {
		recs[i] = Record{Topic: "small", Key: fmt.Append(nil, i), Value: make([]byte, 3000)}
	}
	at, err := p.Produce(ctx, append(recs, Record{Topic: "large", Key: []byte("100"), Value: make([]byte, 16<<20)}))
	if err != nil {
		t.Fatalf("Produce: %v", err)
	}
	for i := range recs {
		if at[i] != int64(i) {
			t.Fatalf("record %d is at %d", i, at[i])
		}
	}
	if err := p.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	// A single record that is too large is an error with name and size, and the producer lives on.
	_, err = p.Produce(ctx, []Record{{Topic: "small", Value: make([]byte, 30000)}})
	var tooLarge *TooLargeError
	if !errors.As(err, &tooLarge) || tooLarge.Topic != "small" || tooLarge.Size < 30000 || tooLarge.Records != 1 {
		t.Errorf("Produce: %v", err)
	}
	if err := p.Abort(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Produce(ctx, []Record{{Topic: "small", Key: []byte("101")}}); err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, r := range witness(t, k.ListenAddrs(), "small", "large") {
		got[string(r.Key)]++
	}
	for i := range 102 {
		if got[fmt.Sprint(i)] != 1 {
			t.Errorf("record %d is there %d times", i, got[fmt.Sprint(i)])
		}
	}
}

func TestSequencesWrap(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		seq  int32
		n    int
		want int32
	}{{0, 1, 1}, {1<<31 - 2, 1, 1<<31 - 1}, {1<<31 - 1, 1, 0}, {1<<31 - 5, 10, 5}} {
		if got := advance(tc.seq, tc.n); got != tc.want {
			t.Errorf("advance(%d, %d) = %d, want %d", tc.seq, tc.n, got, tc.want)
		}
	}
}

// TestTail checks that what was there is passed before caughtUp, and what comes later after it.
func TestTail(t *testing.T) {
	t.Parallel()
	k := newCluster(t, 2)
	createTopics(t, k.ListenAddrs(), 3, "tail", "empty")
	c := newClient(t, k.ListenAddrs())
	fill(t, k.ListenAddrs(), "tail", 3, 0, 100)
	errStop := errors.New("enough")
	seen, caught := 0, make(chan int, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- c.Tail(testContext(t), "tail", func(Record) error {
			if seen++; seen == 150 {
				return errStop
			}
			return nil
		}, func() { caught <- seen })
	}()
	at := <-caught
	fill(t, k.ListenAddrs(), "tail", 3, 100, 150)
	if err := <-ended; !errors.Is(err, errStop) || at != 100 || seen != 150 {
		t.Errorf("Tail: %v, caught up after %d, saw %d", err, at, seen)
	}
	ctx, cancel := context.WithCancel(testContext(t))
	err := c.Tail(ctx, "empty", func(Record) error { return nil }, cancel)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Tail of an empty topic: %v", err)
	}
}
