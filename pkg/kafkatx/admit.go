package kafkatx

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
)

// status is what the status topic remembers of a number: that the stage once ran on it, reading these topics.
type status struct {
	Version    int      `json:"version"`
	Inputs     []string `json:"inputs"`
	Partitions int      `json:"partitions"`
	Layout     int      `json:"layout"`
}

const statusVersion = 1

// statusKey is the key of a number in the status topic.
func (o *owner) statusKey() string {
	return fmt.Sprintf("stage:%s:%d", o.s.cfg.group(), o.number)
}

// admit makes sure that there is a committed offset for everything that the number reads. At the very first start there is none: then the
// beginnings of the topics are committed, in one transaction with a status record which says that this was the first start. A missing
// offset later on is lost memory, not a beginning: Kafka forgets the offsets of a group that is away for offsets.retention.minutes.
func (o *incarnation) admit(ctx, taking context.Context) error {
	var missing []topicPartition
	for _, t := range o.s.topics {
		if tp := (topicPartition{t, o.number}); o.committed[tp] < 0 {
			missing = append(missing, tp)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	var recs []Record
	if o.s.cfg.StatusTopic != "" {
		before, err := o.readStatus(taking)
		if err != nil {
			return err
		}
		for _, tp := range missing {
			if before != nil && slices.Contains(before.Inputs, tp.topic) {
				return o.forgotten(tp)
			}
		}
		value, err := json.Marshal(status{Version: statusVersion, Inputs: o.s.topics, Partitions: o.s.count, Layout: o.s.cfg.Layout})
		if err != nil {
			return fmt.Errorf("encode status: %w", err)
		}
		recs = []Record{{Topic: o.s.cfg.StatusTopic, Key: []byte(o.statusKey()), Value: value}}
	}
	offsets := make([]Offset, len(missing))
	for i, tp := range missing {
		first, _, err := o.s.c.bounds(taking, tp.topic, tp.partition)
		if err != nil {
			return err
		}
		offsets[i] = Offset{Topic: tp.topic, Partition: tp.partition, Next: first}
	}
	session, err := o.s.m.current(taking, GroupSession{})
	if err != nil {
		return err
	}
	if err := o.begin(ctx, recs, session, offsets); err != nil {
		return err // the next incarnation's Init aborts what is open
	}
	for i, tp := range missing {
		o.committed[tp] = offsets[i].Next
	}
	return nil
}

// begin commits the first offsets and the status record.
func (o *incarnation) begin(ctx context.Context, recs []Record, session GroupSession, offsets []Offset) error {
	if _, err := o.p.Produce(ctx, recs); err != nil {
		return err
	}
	if err := o.p.SendOffsets(ctx, session, offsets); err != nil {
		return err
	}
	return o.p.Commit(ctx)
}

// readStatus returns the number's status record, or nil if there is none.
func (o *incarnation) readStatus(ctx context.Context) (*status, error) {
	var found *status
	key := o.statusKey()
	_, err := o.s.c.readState(ctx, o.s.cfg.StatusTopic, 0, func(r Record) error {
		if string(r.Key) != key {
			return nil
		}
		if found = nil; r.Value == nil {
			return nil
		}
		found = new(status)
		if err := json.Unmarshal(r.Value, found); err != nil {
			return fmt.Errorf("status record %s at offset %d: %w", key, r.Offset, err)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	if found != nil && found.Partitions != o.s.count {
		return nil, fmt.Errorf("the stage once ran with %d partitions a topic, and now there are %d: partition counts are for life; "+
			"restore the old count by new topics under another prefix", found.Partitions, o.s.count)
	}
	return found, nil
}

func (o *incarnation) forgotten(tp topicPartition) error {
	return fmt.Errorf("group %s has no committed offset for topic %s, partition %d, but topic %s says that the stage has run on number %d "+
		"(record %q). Kafka forgets the offsets of a group that is away for longer than offsets.retention.minutes. Where to go on is for "+
		"you to say: stop the stage, set the group's offsets by hand (kafka-consumer-groups --reset-offsets: --to-earliest reads again what is "+
		"still kept, --to-latest skips what was not read), raise offsets.retention.minutes, and start again",
		o.s.cfg.group(), tp.topic, tp.partition, o.s.cfg.StatusTopic, o.number, o.statusKey())
}
