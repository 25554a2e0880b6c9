package kafkatx

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	kafka "github.com/segmentio/kafka-go"
)

const (
	// fetchWait is how long a broker may hold a fetch of one partition back when it has nothing. It answers at once when something comes.
	fetchWait = 250 * time.Millisecond

	// fetchSlack is what a fetch may take beyond that before it counts as lost.
	fetchSlack = 10 * time.Second

	// partFetchBytes and nodeFetchBytes bound one fetch, compressed; the first batch comes whole whatever its size. Apache Kafka cuts off right there, and
	// what it cuts is read again: 1 MiB of batches of 350 kB would be a third for nothing.
	partFetchBytes = 2 << 20
	nodeFetchBytes = 4 << 20

	// leaderPatience is how long a broker may take to hear that it no longer leads a partition.
	leaderPatience = 5 * time.Second
)

// fetch sends one fetch request to a broker, which waits for data if there is none. The parts are filled in their order until the bound is reached.
func (c *Client) fetch(ctx context.Context, node int32, wait time.Duration, parts []topicPartition, offsets []int64) (*fetchResponse, error) {
	at := make(map[topicPartition]int64, len(parts))
	for i, p := range parts {
		at[p] = offsets[i]
	}
	req := &fetchRequest{
		routed: routed{node}, ReplicaID: -1, MaxWaitMs: int32(wait.Milliseconds()), MinBytes: 1, MaxBytes: nodeFetchBytes,
		IsolationLevel: readCommitted, SessionEpoch: -1, // no fetch session
		Topics: groupByTopic(parts, func(name string, ps []int32) fetchTopic {
			t := fetchTopic{Name: name}
			for _, p := range ps {
				t.Partitions = append(t.Partitions, fetchPartition{
					Index: p, LeaderEpoch: -1, Offset: at[topicPartition{name, p}], LogStartOffset: -1, MaxBytes: partFetchBytes,
				})
			}
			return t
		}),
	}
	res, err := call[*fetchResponse](ctx, c, wait+fetchSlack, req)
	if err == nil {
		err = codeError(res.ErrorCode)
	}
	if err != nil {
		return nil, fmt.Errorf("fetch from broker %d: %w", node, err)
	}
	return res, nil
}

// visible decodes one partition's part of a fetch at offset from. It returns the records that are committed and the offset to go on at,
// which lies behind aborted records and markers as well.
//
// The filter is that of the Java client: the broker lists aborted transactions by producer and first offset; a producer's transactional
// batches are dropped from there to its abort marker.
func (c *Client) visible(topic string, p *fetchedPartition, from int64) (recs []Record, next int64, err error) {
	waiting := slices.Clone(p.Aborted)
	slices.SortFunc(waiting, func(a, b abortedTxn) int { return cmp.Compare(a.FirstOffset, b.FirstOffset) })
	aborted := map[int64]struct{}{}
	spare := maxDecoded
	next = from
	for set := p.Records.b; len(set) > 0; {
		b, rest, err := nextBatch(set)
		if errors.Is(err, errPartial) {
			break
		}
		if err != nil {
			return nil, from, fmt.Errorf("topic %s, partition %d: %w", topic, p.Index, err)
		}
		set = rest
		for len(waiting) > 0 && waiting[0].FirstOffset <= b.last() {
			aborted[waiting[0].ProducerID] = struct{}{}
			waiting = waiting[1:]
		}
		if b.last() < from {
			continue // the fetch began in the middle of a larger run
		}
		_, drop := aborted[b.producer]
		switch {
		case b.control():
			abort, err := c.codecs.markerIsAbort(&b)
			if err != nil {
				return nil, from, fmt.Errorf("topic %s, partition %d: %w", topic, p.Index, err)
			}
			if abort {
				delete(aborted, b.producer)
			}
		case b.transactional() && drop:
		default:
			if recs == nil {
				recs = make([]Record, 0, expected(p.Records.b))
			}
			more, err := c.codecs.records(recs, &b, topic, p.Index, from, &spare)
			if errors.Is(err, errHeavy) && next > from {
				return recs, next, nil // the rest in another fetch
			}
			if err != nil {
				return nil, from, fmt.Errorf("topic %s, partition %d: %w", topic, p.Index, err)
			}
			recs = more
		}
		next = max(next, b.last()+1)
	}
	if next == from && len(p.Records.b) > 0 { // reading on would read the same for ever
		return nil, from, fmt.Errorf("topic %s, partition %d: a fetch at offset %d brought %d bytes and nothing whole at or behind it",
			topic, p.Index, from, len(p.Records.b))
	}
	return recs, next, nil
}

// expected adds up how many records the batches of a set say that they hold, within reason: it is a hint for one allocation.
func expected(set []byte) int {
	const reason = 1 << 14
	n := 0
	for len(set) >= headerSize && n < reason {
		n += int(binary.BigEndian.Uint32(set[atCount:]) & math.MaxInt32)
		size := int64(binary.BigEndian.Uint32(set[atLength:])) + lengthSkips
		set = set[min(size, int64(len(set))):]
	}
	return min(n, reason)
}

// outOfRange finds out what OFFSET_OUT_OF_RANGE for want means: nil = it has gone away, else an *OutOfRangeError or why it cannot be told.
// That the log ends before want has to be said for a while: a broker that does not know yet that it was replaced as the leader says so, too.
func (c *Client) outOfRange(ctx context.Context, topic string, partition int32, want int64) error {
	var b backoff
	for doubt := time.Now().Add(leaderPatience); ; {
		first, last, err := c.bounds(ctx, topic, partition)
		switch {
		case err != nil:
			return err
		case want >= first && want <= last:
			return nil
		case want < first || time.Now().After(doubt):
			return &OutOfRangeError{Topic: topic, Partition: partition, Want: want, First: first, Last: last}
		}
		c.layout.suspect(topic)
		if !b.wait(ctx, kafka.OffsetOutOfRange) {
			return ctx.Err()
		}
	}
}

// scan reads the committed records of one partition in [from, to), waiting for what is not committed yet, and returns where it stopped.
// gap is asked whether reading may go on at a later offset when retention or compaction has removed records.
func (c *Client) scan(ctx context.Context, tp topicPartition, from, to int64, gap func(*OutOfRangeError) error, fn func([]Record, int64) error) error {
	var b backoff
	slow := patience{log: c.log}
	for empty := 0; from < to; {
		part, err := c.fetchOne(ctx, tp, from)
		switch {
		case err == nil:
			b = backoff{}
		case errors.Is(err, kafka.OffsetOutOfRange):
			var out *OutOfRangeError
			if err := c.outOfRange(ctx, tp.topic, tp.partition, from); err == nil {
				continue
			} else if !errors.As(err, &out) {
				return err
			} else if err := gap(out); err != nil {
				return err
			}
			from = out.First
			continue
		case classify(err) == classFatal:
			return err
		default:
			c.metrics.retry("fetch", err)
			c.layout.suspect(tp.topic)
			if !b.wait(ctx, err) {
				return fmt.Errorf("fetch: %w; last error: %w", context.Cause(ctx), err)
			}
			continue
		}
		recs, next, err := c.visible(tp.topic, part, from)
		if err != nil {
			return err
		}
		if i, _ := slices.BinarySearchFunc(recs, to, func(r Record, to int64) int { return cmp.Compare(r.Offset, to) }); i < len(recs) {
			recs = recs[:i]
		}
		if next > from || len(recs) > 0 {
			if err := fn(recs, min(next, to)); err != nil {
				return err
			}
			from, empty, slow.next = next, 0, time.Time{}
			continue
		}
		if part.LastStableOffset < min(part.HighWatermark, to) {
			slow.complain("an open transaction holds up reading", "topic", tp.topic, "partition", tp.partition, "offset", from,
				"last_stable", part.LastStableOffset, "high_watermark", part.HighWatermark)
		}
		// Compaction can leave nothing at all between here and the end: then the broker has no batch to move us on.
		if empty++; part.LastStableOffset >= to && empty >= 2 {
			return fn(nil, to)
		}
	}
	return nil
}

// fetchOne fetches one partition from its leader, once.
func (c *Client) fetchOne(ctx context.Context, tp topicPartition, from int64) (*fetchedPartition, error) {
	node, err := c.leader(ctx, tp.topic, tp.partition)
	if err != nil {
		return nil, err
	}
	res, err := c.fetch(ctx, node, fetchWait, []topicPartition{tp}, []int64{from})
	if err != nil {
		return nil, err
	}
	for i := range res.Topics {
		for j := range res.Topics[i].Partitions {
			if p := &res.Topics[i].Partitions[j]; res.Topics[i].Name == tp.topic && p.Index == tp.partition {
				if err := codeError(p.ErrorCode); err != nil {
					return nil, fmt.Errorf("fetch topic %s, partition %d at %d: %w", tp.topic, tp.partition, from, err)
				}
				return p, nil
			}
		}
	}
	return nil, fmt.Errorf("fetch topic %s, partition %d: not in the answer: %w", tp.topic, tp.partition, kafka.ThrottlingQuotaExceeded)
}
