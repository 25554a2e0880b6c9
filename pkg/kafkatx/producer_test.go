package kafkatx

import (
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
