package kafkatx

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
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
func (s *Stage) statusKey(number string) string {
	return "stage:" + s.cfg.group() + ":" + number
}

func (o *owner) statusKey() string { return o.s.statusKey(strconv.Itoa(int(o.number))) }

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
		// Up to the high watermark: the status of this number is decided, but it may lie behind another's transaction that is open.
		_, end, err := o.s.c.bounds(taking, o.s.cfg.StatusTopic, 0)
		if err != nil {
			return err
		}
		found, err := o.s.statuses(taking, end)
		if err != nil {
			return err
		}
		before := found[o.statusKey()]
		for _, tp := range missing {
			if !slices.Contains(before.Inputs, tp.topic) {
				continue
			}
			// Forgotten, unless another one has started the number since we looked, while we were frozen or cut off. It has fenced us then.
			if err := o.survey(taking); err != nil {
				return err
			}
			return o.forgotten(tp)
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
	session, err := o.s.m.current(taking)
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

// statuses reads what the status topic says of the stage's numbers before an offset.
func (s *Stage) statuses(ctx context.Context, end int64) (map[string]status, error) {
	found := map[string]status{}
	prefix := s.statusKey("")
	err := s.c.readState(ctx, s.cfg.StatusTopic, 0, end, func(r Record) error {
		key := string(r.Key)
		if !strings.HasPrefix(key, prefix) {
			return nil
		}
		delete(found, key)
		if r.Value == nil {
			return nil
		}
		var v status
		if err := json.Unmarshal(r.Value, &v); err != nil {
			return fmt.Errorf("status record %s at offset %d: %w", key, r.Offset, err)
		}
		if v.Version > statusVersion {
			return fmt.Errorf("status record %s at offset %d has version %d and this build reads versions up to %d: run the newer build again", key, r.Offset,
				v.Version, statusVersion)
		}
		found[key] = v
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	return found, nil
}

// checkStatus makes sure that the stage has always run with the partition count that its topics have now. It takes what is stable and does not wait
// for more: this comes before joining the group, and a transaction that a dead member has left open may be one that only our joining ends.
func (s *Stage) checkStatus(ctx context.Context) error {
	if s.cfg.StatusTopic == "" {
		return nil
	}
	end, err := s.c.stableEnd(ctx, s.cfg.StatusTopic, 0)
	if err != nil {
		return fmt.Errorf("read status: %w", err)
	}
	found, err := s.statuses(ctx, end)
	if err != nil {
		return err
	}
	for key, v := range found {
		if v.Partitions != s.count {
			return fmt.Errorf("the stage once ran with %d partitions a topic (record %q of topic %s), and now there are %d: partition counts "+
				"are for life, because keys stay with their number in every topic and in the state; make topics with the old count under "+
				"another prefix", v.Partitions, key, s.cfg.StatusTopic, s.count)
		}
	}
	return nil
}

func (o *incarnation) forgotten(tp topicPartition) error {
	return fmt.Errorf("group %s has no committed offset for topic %s, partition %d, but topic %s says that the stage has run on number %d "+
		"(record %q). Kafka forgets the offsets of a group that is away for longer than offsets.retention.minutes. Where to go on is for "+
		"you to say: stop the stage, set the group's offsets by hand (kafka-consumer-groups --reset-offsets: --to-earliest reads again what is "+
		"still kept, --to-latest skips what was not read), raise offsets.retention.minutes, and start again",
		o.s.cfg.group(), tp.topic, tp.partition, o.s.cfg.StatusTopic, o.number, o.statusKey())
}
