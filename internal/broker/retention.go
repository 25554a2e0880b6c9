package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// keepRetention drops records that outlived their topic's retention.ms until the broker stops.
//
// It does not use kfake's own retention, for two reasons. That one also empties compacted topics, which are state and have no age. And it may drop the last
// record of a partition: after a kill nothing would remember where the partition's offsets were, they would start again at 0 below the committed offsets of
// its readers, and what was written there would never be read.
func (b *Broker) keepRetention(every time.Duration) {
	defer close(b.retentionDone)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-b.stopRetention:
			cancel()
		case <-ctx.Done():
		}
	}()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-b.stopRetention:
			return
		case <-tick.C:
			if err := b.dropExpired(ctx, time.Now()); err != nil && ctx.Err() == nil {
				b.log.Warn("retention", "err", err)
			}
		}
	}
}

// dropExpired goes over all topics once.
func (b *Broker) dropExpired(ctx context.Context, now time.Time) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.addr))
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	topics, err := admin.ListTopics(ctx)
	if err != nil {
		return fmt.Errorf("list topics: %w", err)
	}
	var errs []error
	for _, topic := range topics.Names() {
		info := b.cluster.TopicInfo(topic)
		if info == nil {
			continue // deleted meanwhile
		}
		if retention, limited := retentionOf(info.Configs); limited {
			errs = append(errs, b.dropBefore(ctx, admin, topic, now.Add(-retention)))
		}
	}
	return errors.Join(errs...)
}

// retentionOf reads how long a topic's records are kept. A topic is limited only if it says so and is not state.
func retentionOf(configs map[string]*string) (retention time.Duration, limited bool) {
	if policy := configs["cleanup.policy"]; policy != nil && !strings.Contains(*policy, "delete") {
		return 0, false
	}
	value := configs["retention.ms"]
	if value == nil {
		return 0, false
	}
	ms, err := strconv.ParseInt(*value, 10, 64)
	if err != nil || ms < 0 || ms > int64(1<<62/time.Millisecond) {
		return 0, false
	}
	return time.Duration(ms) * time.Millisecond, true
}

// dropBefore drops the records of a topic up to the first one that is not older than limit. The last record of each partition stays, and so does whatever
// belongs to an open transaction.
func (b *Broker) dropBefore(ctx context.Context, admin *kadm.Client, topic string, limit time.Time) error {
	firsts, err := admin.ListOffsetsAfterMilli(ctx, limit.UnixMilli(), topic)
	if err != nil {
		return fmt.Errorf("offsets of %s: %w", topic, err)
	}
	var errs []error
	for _, p := range b.cluster.PartitionInfos(topic) {
		first, ok := firsts.Lookup(topic, p.Partition)
		if !ok || first.Err != nil {
			continue
		}
		upTo := min(first.Offset, p.LastStableOffset, p.HighWatermark-1)
		if upTo > p.LogStartOffset {
			errs = append(errs, b.cluster.DeleteRecords(topic, p.Partition, upTo))
		}
	}
	return errors.Join(errs...)
}
