package proof

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Read gives every committed record of the topics, from the first offset kept to the end as it is when Read is called, to fn. Order is
// kept within a partition. A topic that does not exist is passed over.
func Read(ctx context.Context, brokers, topics []string, fn func(*kgo.Record) error) error {
	r, err := newReader(ctx, brokers, topics)
	if err != nil {
		return err
	}
	return r.read(ctx, dataOnly(fn))
}

func dataOnly(fn func(*kgo.Record) error) func(*kgo.Record) error {
	return func(r *kgo.Record) error {
		if r.Attrs.IsControl() {
			return nil
		}
		return fn(r)
	}
}

// reader knows where partitions begin and end.
type reader struct {
	brokers []string
	ranges  map[place]span
}

type place struct {
	topic     string
	partition int32
}

// span is a range of offsets; it is not empty.
type span struct{ from, to int64 }

func newReader(ctx context.Context, brokers, topics []string) (*reader, error) {
	starts, ends, err := bounds(ctx, brokers, topics)
	if err != nil {
		return nil, err
	}
	r := &reader{brokers: brokers, ranges: map[place]span{}}
	ends.Each(func(end kadm.ListedOffset) {
		if start, ok := starts.Lookup(end.Topic, end.Partition); ok && start.Offset < end.Offset {
			r.ranges[place{end.Topic, end.Partition}] = span{start.Offset, end.Offset}
		}
	})
	return r, nil
}

// partitions lists the partition numbers that hold anything.
func (r *reader) partitions() []int32 {
	set := map[int32]bool{}
	for p := range r.ranges {
		set[p.partition] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// only is the part of the reader that has one partition number.
func (r *reader) only(partition int32) *reader {
	part := &reader{brokers: r.brokers, ranges: map[place]span{}}
	for p, s := range r.ranges {
		if p.partition == partition {
			part.ranges[p] = s
		}
	}
	return part
}

// fetchBytes bounds one answer of the broker. Audit records compress ten to one, so it is many times that in memory.
const fetchBytes = 4 << 20

// read gives all records, control records included, to fn. The latter are asked for because the last offset of a transactional
// partition is a marker, and its end could not be told else.
func (r *reader) read(ctx context.Context, fn func(*kgo.Record) error) error {
	if len(r.ranges) == 0 {
		return nil
	}
	from := map[string]map[int32]kgo.Offset{}
	for p, s := range r.ranges {
		if from[p.topic] == nil {
			from[p.topic] = map[int32]kgo.Offset{}
		}
		from[p.topic][p.partition] = kgo.NewOffset().At(s.from)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...), kgo.ConsumePartitions(from), kgo.KeepControlRecords(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxBytes(fetchBytes), kgo.FetchMaxPartitionBytes(fetchBytes/4))
	if err != nil {
		return err
	}
	defer client.Close()
	open := maps.Clone(r.ranges)
	for len(open) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return err
		}
		var failed error
		fetches.EachError(func(topic string, partition int32, err error) {
			failed = errors.Join(failed, fmt.Errorf("%s/%d: %w", topic, partition, err))
		})
		fetches.EachRecord(func(rec *kgo.Record) {
			p := place{rec.Topic, rec.Partition}
			s, reading := open[p]
			if !reading || failed != nil {
				return
			}
			if rec.Offset < s.to {
				failed = fn(rec)
			}
			if rec.Offset >= s.to-1 {
				delete(open, p)
				client.PauseFetchPartitions(map[string][]int32{p.topic: {p.partition}})
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
