package proof

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

// compareRaw checks that each copy lies on raw once, with its bytes, and works out which events each distinct record must become.
func (c *check) compareRaw(ctx context.Context) error {
	var topics []string
	for _, s := range audit.Sources() {
		if s != audit.SourceRedrive { // what lies there was refused before and counts where it was refused
			topics = append(topics, c.cfg.Names.Raw(s))
		}
	}
	return Read(ctx, c.cfg.Brokers, topics, func(r *kgo.Record) error {
		cp, name := c.copyAt(r)
		if cp == nil {
			c.report.add(audit.WorkloadOther, Unexpected, "raw", "record %s at %s", name, where(r))
			return nil
		}
		rec := &c.records[cp.record]
		cp.raw++
		switch {
		case hashOf(r.Value) != cp.sha:
			c.report.add(rec.workload, Altered, "raw", "record %s of %s at %s", rec.id, name, where(r))
		case rec.large:
			c.report.add(rec.workload, Unexpected, "raw", "record %s of %s at %s is too large", rec.id, name, where(r))
		case cp.raw > cp.want:
			c.report.add(rec.workload, Repeated, "raw", "record %s of %s at %s", rec.id, name, where(r))
		case !rec.refused:
			return c.mapCopy(r, cp.record)
		}
		return nil
	})
}

// mapCopy notes the events that this copy of a record would become. Which copy the pipeline met first is not known, and only the
// first becomes events: so each copy's bytes are allowed, and the uids, which are the same for all, count.
func (c *check) mapCopy(r *kgo.Record, index int) error {
	rec := &c.records[index]
	raw, err := wire.ParseRaw(fromKgo(r))
	if err != nil {
		c.report.add(rec.workload, Altered, "raw", "record %s: %v", rec.id, err)
		return nil
	}
	mapped, err := c.cfg.Map(raw)
	if err != nil {
		c.report.add(rec.workload, Altered, "raw", "record %s at %s should be mapped: %v", rec.id, where(r), err)
		return nil
	}
	for _, m := range mapped {
		c.want[hashOf(m.Value)] = index
		uid := hashOf([]byte(m.UID))
		known := c.events[uid]
		if known == nil {
			c.events[uid] = &event{record: index}
			rec.events = append(rec.events, uid)
		} else if known.record != index {
			c.report.add(rec.workload, Repeated, "event", "metadata.uid %s names records %s and %s", m.UID, rec.id, c.records[known.record].id)
		}
		if m.ClassUID == 2006 {
			rec.workload = audit.WorkloadDLP
		}
	}
	return nil
}

func fromKgo(r *kgo.Record) kafkatx.Record {
	out := kafkatx.Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Time: r.Timestamp, Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, kafkatx.Header{Key: h.Key, Value: h.Value})
	}
	return out
}

// compareDeadLetters checks that each copy of a refused record lies there once, with its bytes, and nothing else.
func (c *check) compareDeadLetters(ctx context.Context) error {
	topics := []string{c.cfg.Names.DeadLetter(false), c.cfg.Names.DeadLetter(true)}
	parts := assembly{}
	err := Read(ctx, c.cfg.Brokers, topics, func(r *kgo.Record) error {
		r = parts.add(r)
		if r == nil {
			return nil
		}
		cp, name := c.copyAt(r)
		if cp == nil {
			c.report.row(audit.WorkloadOther).DeadLetters++
			c.report.add(audit.WorkloadOther, Unexpected, "dead letter", "%s at %s (%s)", name, where(r), header(r, wire.HeaderReason))
			return nil
		}
		rec := &c.records[cp.record]
		c.report.row(rec.workload).DeadLetters++
		cp.dead++
		switch {
		case !rec.refused:
			c.report.add(rec.workload, Unexpected, "dead letter", "record %s of %s at %s (%s)", rec.id, name, where(r), header(r, wire.HeaderReason))
		case cp.dead > cp.want:
			c.report.add(rec.workload, Repeated, "dead letter", "record %s of %s at %s", rec.id, name, where(r))
		case hashOf(r.Value) != cp.sha:
			c.report.add(rec.workload, Altered, "dead letter", "record %s of %s at %s", rec.id, name, where(r))
		}
		return nil
	})
	for at := range parts {
		c.report.add(audit.WorkloadOther, Unexpected, "dead letter", "parts of %s that make no whole", at)
	}
	return err
}

// assembly puts dead letters together that came in parts, by the place of the record in the feed.
type assembly map[string][]*kgo.Record

// add takes a dead letter or a part of one, and returns the whole when it is complete.
func (a assembly) add(r *kgo.Record) *kgo.Record {
	if header(r, wire.HeaderParts) == "" {
		return r
	}
	at := header(r, wire.HeaderTenant) + "/" + header(r, wire.HeaderContentID) + "/" + header(r, wire.HeaderBlobIndex)
	a[at] = append(a[at], r)
	if strconv.Itoa(len(a[at])) != header(r, wire.HeaderParts) {
		return nil
	}
	whole := *r
	whole.Value = nil
	for i := range a[at] {
		for _, part := range a[at] {
			if header(part, wire.HeaderPart) == strconv.Itoa(i+1) {
				whole.Value = append(whole.Value, part.Value...)
			}
		}
	}
	delete(a, at)
	return &whole
}

// compareEvents goes partition by partition over the events of a workload and their enriched forms, so that only the events of one
// partition whose enriched form has not come yet are held.
func (c *check) compareEvents(ctx context.Context) error {
	events, enriched := c.cfg.Names.EventsAll(), c.cfg.Names.EnrichedAll()
	for i := range events {
		both, err := newReader(ctx, c.cfg.Brokers, []string{events[i], enriched[i]})
		if err != nil {
			return err
		}
		for _, partition := range both.partitions() {
			p := &pairs{check: c, events: map[hash][]byte{}, enriched: map[hash]*kgo.Record{}}
			err := both.only(partition).read(ctx, dataOnly(func(r *kgo.Record) error {
				if r.Topic == events[i] {
					p.event(r)
				} else {
					p.enrichedEvent(r)
				}
				return nil
			}))
			if err != nil {
				return err
			}
			for _, r := range p.enriched {
				if c.late(r) {
					continue // its event came after events were read
				}
				id := header(r, wire.HeaderID)
				c.report.add(workloadOf(r.Topic), Unexpected, "enriched event", "%s at %s", id, where(r))
			}
		}
	}
	return nil
}

// pairs matches enriched events with the events that they were made from.
type pairs struct {
	check    *check
	events   map[hash][]byte      // read, enriched form not met yet
	enriched map[hash]*kgo.Record // met before its event
}

func (p *pairs) event(r *kgo.Record) {
	c, w := p.check, workloadOf(r.Topic)
	c.report.row(w).Events++
	id := header(r, wire.HeaderID)
	uid := hashOf([]byte(id))
	ev := c.events[uid]
	if ev == nil {
		if c.late(r) {
			return
		}
		c.report.add(w, Unexpected, "event", "%s (record %s) at %s", id, header(r, wire.HeaderRecordID), where(r))
		return
	}
	rec := &c.records[ev.record]
	ev.events++
	if ev.events > 1 {
		c.report.add(w, Repeated, "event", "%s (record %s) at %s", id, rec.id, where(r))
		return
	}
	if from, ok := c.want[hashOf(r.Value)]; !ok || from != ev.record {
		c.report.add(w, Altered, "event", "%s (record %s) at %s", id, rec.id, where(r))
	}
	if w != rec.workload && !c.cfg.Names.Combined {
		c.report.add(w, Unexpected, "event", "%s (record %s) at %s, belongs to %s", id, rec.id, where(r), rec.workload)
	}
	if early := p.enriched[uid]; early != nil {
		delete(p.enriched, uid)
		p.compare(ev, r.Value, early)
		return
	}
	p.events[uid] = r.Value
}

func (p *pairs) enrichedEvent(r *kgo.Record) {
	c, w := p.check, workloadOf(r.Topic)
	c.report.row(w).Enriched++
	id := header(r, wire.HeaderID)
	uid := hashOf([]byte(id))
	ev := c.events[uid]
	switch {
	case ev == nil && c.late(r):
	case ev == nil:
		c.report.add(w, Unexpected, "enriched event", "%s (record %s) at %s", id, header(r, wire.HeaderRecordID), where(r))
	case ev.enriched > 0 || p.enriched[uid] != nil:
		c.report.add(w, Repeated, "enriched event", "%s (record %s) at %s", id, c.records[ev.record].id, where(r))
	case p.events[uid] != nil:
		value := p.events[uid]
		delete(p.events, uid)
		p.compare(ev, value, r)
	default:
		p.enriched[uid] = r
	}
}

func (p *pairs) compare(ev *event, value []byte, r *kgo.Record) {
	ev.enriched++
	if path, ok := contains(r.Value, value); !ok {
		rec := &p.check.records[ev.record]
		p.check.report.add(workloadOf(r.Topic), Altered, "enriched event", "%s (record %s) at %s: %s", header(r, wire.HeaderID), rec.id, where(r), path)
	}
}

// workloadOf reads the workload from the name of an events or enriched topic.
func workloadOf(topic string) audit.Workload {
	parts := strings.Split(topic, ".")
	if len(parts) < 2 {
		panic(fmt.Sprintf("topic %q is not one of ours", topic))
	}
	return audit.Workload(parts[len(parts)-2])
}
