package kafkatx

import (
	"context"
	"math"
	"sync"
)

// ReadRange calls fn for each committed record of one partition with from <= offset < to, in order. It waits for records up to to that
// are not there or not committed yet. Records that are no longer there are an *OutOfRangeError.
func (c *Client) ReadRange(ctx context.Context, topic string, partition int32, from, to int64, fn func(Record) error) error {
	refuse := func(e *OutOfRangeError) error { return e }
	return withRight(c.scan(ctx, topicPartition{topic, partition}, from, to, refuse, each(fn)))
}

// readState calls fn for each committed record that a partition holds before end, the offset that it has reached, waiting for the last
// stable offset where that lags: the last stable offset of now would miss the last transaction of a predecessor, whose markers reach
// partitions independently.
func (c *Client) readState(ctx context.Context, topic string, partition int32, end int64, fn func(Record) error) error {
	first, _, err := c.bounds(ctx, topic, partition)
	if err != nil {
		return err
	}
	return c.scan(ctx, topicPartition{topic, partition}, first, end, c.skipGap, each(fn))
}

// skipGap goes on behind what retention removed while it was being read: it would have been gone a moment earlier, too.
func (c *Client) skipGap(e *OutOfRangeError) error {
	if e.Want > e.Last {
		return e
	}
	c.log.Info("records expired while they were read", "topic", e.Topic, "partition", e.Partition, "offset", e.Want, "first", e.First)
	return nil
}

// Tail calls fn for each committed record of all partitions of a topic, from the oldest, and goes on with new ones until ctx ends or fn
// fails. Calls are never concurrent; the order within a partition is kept. caughtUp, if not nil, is called once, when what the topic
// held at the start has been passed to fn.
func (c *Client) Tail(ctx context.Context, topic string, fn func(Record) error, caughtUp func()) error {
	first, last, err := c.Offsets(ctx, topic)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t := tail{fn: fn, caughtUp: caughtUp}
	for p := range last {
		if first[p] < last[p] {
			t.behind++
		}
	}
	t.report()
	var wg sync.WaitGroup
	for p := range last {
		wg.Go(func() {
			done := first[p] >= last[p]
			err := c.scan(ctx, topicPartition{topic, int32(p)}, first[p], math.MaxInt64, c.skipGap, func(recs []Record, next int64) error {
				reached := !done && next >= last[p]
				done = done || reached
				return t.pass(recs, reached)
			})
			cancel(err)
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// tail serializes what the partitions of a Tail deliver.
type tail struct {
	fn       func(Record) error
	caughtUp func()

	mu     sync.Mutex // guards behind and calls of fn
	behind int        // partitions that have not reached the end noted at the start
}

func (t *tail) pass(recs []Record, reached bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range recs {
		if err := t.fn(recs[i]); err != nil {
			return err
		}
	}
	if reached {
		t.behind--
		t.report()
	}
	return nil
}

func (t *tail) report() {
	if t.behind == 0 && t.caughtUp != nil {
		t.caughtUp()
		t.caughtUp = nil
	}
}

func each(fn func(Record) error) func([]Record, int64) error {
	return func(recs []Record, _ int64) error {
		var err error
		for i := 0; i < len(recs) && err == nil; i++ {
			err = fn(recs[i])
		}
		return err
	}
}
