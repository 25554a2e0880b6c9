package proof

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Read gives every committed record of the topics, from the first offset kept to the end as it is when Read is called, to fn. Order is
// kept within a partition. A topic that does not exist is passed over.
func Read(ctx context.Context, brokers, topics []string, fn func(*kgo.Record) error) error {
	return read(ctx, brokers, topics, kgo.ReadCommitted(), func(r *kgo.Record) error {
		if r.Attrs.IsControl() {
			return nil
		}
		return fn(r)
	})
}

// read also gives the control records to fn.
func read(ctx context.Context, brokers, topics []string, level kgo.IsolationLevel, fn func(*kgo.Record) error) error {
	starts, ends, err := bounds(ctx, brokers, topics)
	if err != nil {
		return err
	}
	from := map[string]map[int32]kgo.Offset{}
	open := map[string]map[int32]int64{}
	left := 0
	ends.Each(func(end kadm.ListedOffset) {
		start, ok := starts.Lookup(end.Topic, end.Partition)
		if !ok || start.Offset >= end.Offset {
			return
		}
		if from[end.Topic] == nil {
			from[end.Topic], open[end.Topic] = map[int32]kgo.Offset{}, map[int32]int64{}
		}
		from[end.Topic][end.Partition] = kgo.NewOffset().At(start.Offset)
		open[end.Topic][end.Partition] = end.Offset
		left++
	})
	if left == 0 {
		return nil
	}
	// Control records are kept, because the last offset of a transactional partition is a marker and its end could not be told else.
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumePartitions(from), kgo.KeepControlRecords(),
		kgo.FetchIsolationLevel(level), kgo.FetchMaxBytes(32<<20), kgo.FetchMaxPartitionBytes(4<<20))
	if err != nil {
		return err
	}
	defer client.Close()
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return err
		}
		var failed error
		fetches.EachError(func(topic string, partition int32, err error) {
			failed = errors.Join(failed, fmt.Errorf("%s/%d: %w", topic, partition, err))
		})
		fetches.EachRecord(func(r *kgo.Record) {
			end, reading := open[r.Topic][r.Partition]
			if !reading || failed != nil {
				return
			}
			if r.Offset < end {
				failed = fn(r)
			}
			if r.Offset >= end-1 {
				delete(open[r.Topic], r.Partition)
				left--
			}
		})
		if failed != nil {
			return failed
		}
	}
	return nil
}

func bounds(ctx context.Context, brokers, topics []string) (starts, ends kadm.ListedOffsets, err error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return nil, nil, err
	}
	defer client.Close()
	adm := kadm.NewClient(client)
	all, err := adm.ListTopics(ctx, topics...)
	if err != nil {
		return nil, nil, fmt.Errorf("list topics: %w", err)
	}
	var there []string
	for _, t := range all {
		if t.Err == nil {
			there = append(there, t.Topic)
		}
	}
	if len(there) == 0 {
		return nil, nil, nil
	}
	if starts, err = adm.ListStartOffsets(ctx, there...); err != nil {
		return nil, nil, fmt.Errorf("list first offsets: %w", err)
	}
	if ends, err = adm.ListEndOffsets(ctx, there...); err != nil {
		return nil, nil, fmt.Errorf("list last offsets: %w", err)
	}
	return starts, ends, errors.Join(starts.Error(), ends.Error())
}

func header(r *kgo.Record, key string) string {
	for _, h := range slices.Backward(r.Headers) {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

func where(r *kgo.Record) string {
	return fmt.Sprintf("%s/%d offset %d", r.Topic, r.Partition, r.Offset)
}
