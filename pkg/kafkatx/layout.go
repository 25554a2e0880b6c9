package kafkatx

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	kafka "github.com/segmentio/kafka-go"
)

const (
	// layoutTTL bounds the age of what we believe about a topic. A wrong belief is found out earlier, by the broker's answer.
	layoutTTL = 30 * time.Second

	// layoutPace is the least time between two questions for metadata, however many partitions move at once.
	layoutPace = 50 * time.Millisecond
)

// layout knows partitions and leaders of the topics that were asked for. kafka-go's transport has such a cache too, but one that cannot be
// told that it is wrong, which costs up to seconds when a leader moves.
type layout struct {
	asking chan struct{} // held by the one who asks the cluster; a semaphore so that waiting for it ends with a context

	mu     sync.Mutex // guards what follows
	topics map[string]*topicLayout
	wanted map[string]struct{}
	nodes  int
	asked  time.Time
}

type topicLayout struct {
	err     error
	leaders []int32 // by partition; -1 = none
	asked   time.Time
	stale   bool
}

func (l *layout) init() {
	l.asking = make(chan struct{}, 1)
	l.topics = map[string]*topicLayout{}
	l.wanted = map[string]struct{}{}
}

// suspect says that an answer contradicted the layout of a topic.
func (l *layout) suspect(topic string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.topics[topic]; t != nil {
		t.stale = true
	}
}

// fresh returns the layout of a topic if it can be trusted.
func (l *layout) fresh(topic string) *topicLayout {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wanted[topic] = struct{}{}
	if t := l.topics[topic]; t != nil && !t.stale && t.err == nil && time.Since(t.asked) < layoutTTL {
		return t
	}
	return nil
}

// topic returns the layout of a topic, asking the cluster if need be.
func (c *Client) topic(ctx context.Context, name string) (*topicLayout, error) {
	if t := c.layout.fresh(name); t != nil {
		return t, nil
	}
	if err := c.refreshLayout(ctx, name); err != nil {
		return nil, fmt.Errorf("metadata of topic %s: %w", name, err)
	}
	c.layout.mu.Lock()
	t := c.layout.topics[name]
	c.layout.mu.Unlock()
	if t == nil {
		return nil, fmt.Errorf("metadata of topic %s: %w", name, kafka.UnknownTopicOrPartition)
	}
	if t.err != nil {
		return nil, fmt.Errorf("topic %s: %w", name, t.err)
	}
	return t, nil
}

// refreshLayout asks the cluster about all topics that are in use, unless someone else just did.
func (c *Client) refreshLayout(ctx context.Context, name string) error {
	l := &c.layout
	select {
	case l.asking <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-l.asking }()
	if l.fresh(name) != nil {
		return nil
	}
	l.mu.Lock()
	wait := layoutPace - time.Since(l.asked)
	names := make([]string, 0, len(l.wanted))
	for n := range l.wanted {
		names = append(names, n)
	}
	l.mu.Unlock()
	slices.Sort(names)
	if wait > 0 && !pause(ctx, wait) {
		return ctx.Err()
	}
	res, err := call[*metadataResult](ctx, c, requestTimeout, &metadataCall{topics: names})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = time.Now()
	if err != nil {
		return err
	}
	l.nodes = len(res.Brokers)
	for i := range res.Topics {
		rt := &res.Topics[i]
		t := &topicLayout{err: codeError(rt.ErrorCode), asked: l.asked, leaders: make([]int32, len(rt.Partitions))}
		for j := range rt.Partitions {
			p := &rt.Partitions[j]
			if p.PartitionIndex < 0 || int(p.PartitionIndex) >= len(t.leaders) {
				t.err = fmt.Errorf("partition %d of %d in metadata", p.PartitionIndex, len(t.leaders))
				break
			}
			t.leaders[p.PartitionIndex] = p.LeaderID
			if p.ErrorCode != 0 && p.ErrorCode != int16(kafka.ReplicaNotAvailable) {
				t.leaders[p.PartitionIndex] = -1
			}
		}
		t.stale = slices.Contains(t.leaders, -1)
		l.topics[rt.Name] = t
	}
	return nil
}

// leader returns the id of the broker that leads a partition.
func (c *Client) leader(ctx context.Context, topic string, partition int32) (int32, error) {
	t, err := c.topic(ctx, topic)
	if err != nil {
		return 0, err
	}
	if partition < 0 || int(partition) >= len(t.leaders) {
		return 0, fmt.Errorf("topic %s has no partition %d: %w", topic, partition, kafka.UnknownTopicOrPartition)
	}
	if t.leaders[partition] < 0 {
		return 0, fmt.Errorf("topic %s, partition %d: %w", topic, partition, kafka.LeaderNotAvailable)
	}
	return t.leaders[partition], nil
}

// Partitions returns how many partitions a topic has.
func (c *Client) Partitions(ctx context.Context, topic string) (int, error) {
	var n int
	err := c.retry(ctx, "partitions of "+topic, func() error {
		t, err := c.topic(ctx, topic)
		if err == nil {
			n = len(t.leaders)
		}
		return permanentIfUnknown(err)
	})
	return n, err
}
