package kafkatx

import (
	"context"
	"errors"
	"fmt"
	"time"

	kafka "github.com/segmentio/kafka-go"
)

// topicPartition names one partition.
type topicPartition struct {
	topic     string
	partition int32
}

const (
	atStart = -2 // timestamps of ListOffsets: the first offset there is,
	atEnd   = -1 // and the one after the last
)

const (
	readUncommitted int8 = 0 // isolation levels: the end is the high watermark,
	readCommitted   int8 = 1 // or the last stable offset
)

// Offsets returns for each partition of a topic the first offset that is still there and the high watermark.
func (c *Client) Offsets(ctx context.Context, topic string) (first, last []int64, err error) {
	if _, err := c.Partitions(ctx, topic); err != nil {
		return nil, nil, err
	}
	err = c.retry(ctx, "list offsets of "+topic, func() error {
		t, err := c.topic(ctx, topic)
		if err != nil {
			return err
		}
		all := make([]int32, len(t.leaders))
		for i := range all {
			all[i] = int32(i)
		}
		// The start is asked for first: it only grows, so that first <= last holds however long this takes.
		if first, err = c.listOffsets(ctx, topic, all, atStart, readUncommitted); err != nil {
			return err
		}
		last, err = c.listOffsets(ctx, topic, all, atEnd, readUncommitted)
		return err
	})
	return first, last, err
}

// OffsetsAt returns for each partition of a topic the offset of the first record whose timestamp is not before at; the high watermark
// where there is none.
func (c *Client) OffsetsAt(ctx context.Context, topic string, at time.Time) ([]int64, error) {
	first, last, err := c.Offsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	all := make([]int32, len(first))
	for i := range all {
		all[i] = int32(i)
	}
	var found []int64
	err = c.retry(ctx, "list offsets of "+topic, func() error {
		var err error
		found, err = c.listOffsets(ctx, topic, all, at.UnixMilli(), readUncommitted)
		return err
	})
	for i, o := range found {
		if o < 0 {
			found[i] = last[i]
		}
	}
	return found, err
}

// bounds returns the first offset and the high watermark of one partition.
func (c *Client) bounds(ctx context.Context, topic string, partition int32) (first, last int64, err error) {
	err = c.retry(ctx, fmt.Sprintf("list offsets of %s, partition %d", topic, partition), func() error {
		f, err := c.listOffsets(ctx, topic, []int32{partition}, atStart, readUncommitted)
		if err != nil {
			return err
		}
		l, err := c.listOffsets(ctx, topic, []int32{partition}, atEnd, readUncommitted)
		if err != nil {
			return err
		}
		first, last = f[0], l[0]
		return nil
	})
	return first, last, err
}

// stableEnd returns the last stable offset of one partition: nothing before it is undecided.
func (c *Client) stableEnd(ctx context.Context, topic string, partition int32) (end int64, err error) {
	err = c.retry(ctx, fmt.Sprintf("list offsets of %s, partition %d", topic, partition), func() error {
		at, err := c.listOffsets(ctx, topic, []int32{partition}, atEnd, readCommitted)
		if err == nil {
			end = at[0]
		}
		return err
	})
	return end, err
}

// listOffsets asks the leaders of the partitions, once, for their offset at a time; what the end is depends on the isolation level.
func (c *Client) listOffsets(ctx context.Context, topic string, partitions []int32, at int64, isolation int8) ([]int64, error) {
	byLeader := map[int32][]listOffsetsPartition{}
	for _, p := range partitions {
		node, err := c.leader(ctx, topic, p)
		if err != nil {
			return nil, err
		}
		byLeader[node] = append(byLeader[node], listOffsetsPartition{Index: p, LeaderEpoch: -1, Timestamp: at})
	}
	found := map[int32]int64{}
	for node, ps := range byLeader {
		req := &listOffsetsRequest{routed: routed{node}, ReplicaID: -1, IsolationLevel: isolation, Topics: []listOffsetsTopic{{Name: topic, Partitions: ps}}}
		res, err := call[*listOffsetsResponse](ctx, c, requestTimeout, req)
		if err != nil {
			c.layout.suspect(topic)
			return nil, err
		}
		for _, t := range res.Topics {
			for _, p := range t.Partitions {
				if err := codeError(p.ErrorCode); err != nil {
					c.layout.suspect(topic)
					return nil, fmt.Errorf("topic %s, partition %d: %w", topic, p.Index, err)
				}
				found[p.Index] = p.Offset
			}
		}
	}
	out := make([]int64, len(partitions))
	for i, p := range partitions {
		o, ok := found[p]
		if !ok {
			return nil, fmt.Errorf("topic %s, partition %d: no offset in the answer", topic, p)
		}
		out[i] = o
	}
	return out, nil
}

// committed is a group's committed offset; -1 = none.
type committed map[topicPartition]int64

// committedOffsets asks a broker for the stable committed offsets of a group: those of open transactions are waited for. ErrRefused: it could not be asked,
// or is not the group's coordinator any more.
func (c *Client) committedOffsets(ctx context.Context, node int32, group string, parts []topicPartition) (committed, error) {
	out := committed{}
	err := c.retry(ctx, "fetch committed offsets of "+group, func() error {
		err := c.fetchCommitted(ctx, node, group, parts, out)
		if err == nil || classify(err) != classRetry || errors.Is(err, kafka.UnstableOffsetCommit) {
			return err
		}
		return permanentError{fmt.Errorf("%w: %w", ErrRefused, err)}
	})
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		if _, ok := out[p]; !ok {
			out[p] = -1
		}
	}
	return out, nil
}

func (c *Client) fetchCommitted(ctx context.Context, node int32, group string, parts []topicPartition, out committed) error {
	res, err := call[*offsetFetchResponse](ctx, c, requestTimeout, &offsetFetchRequest{
		routed: routed{node}, GroupID: group, RequireStable: true,
		Topics: groupByTopic(parts, func(name string, ps []int32) offsetFetchTopic { return offsetFetchTopic{Name: name, Partitions: ps} }),
	})
	if err == nil {
		err = codeError(res.ErrorCode)
	}
	if err != nil {
		return err
	}
	for _, t := range res.Topics {
		for _, p := range t.Partitions {
			if err := codeError(p.ErrorCode); err != nil {
				return fmt.Errorf("topic %s, partition %d: %w", t.Name, p.Index, err)
			}
			out[topicPartition{t.Name, p.Index}] = p.Offset
		}
	}
	return nil
}

// groupByTopic builds the nested form that requests want: topics in order of appearance, each with its partitions.
func groupByTopic[T any](parts []topicPartition, build func(topic string, partitions []int32) T) []T {
	var order []string
	byTopic := map[string][]int32{}
	for _, p := range parts {
		if _, ok := byTopic[p.topic]; !ok {
			order = append(order, p.topic)
		}
		byTopic[p.topic] = append(byTopic[p.topic], p.partition)
	}
	out := make([]T, 0, len(order))
	for _, name := range order {
		out = append(out, build(name, byTopic[name]))
	}
	return out
}
