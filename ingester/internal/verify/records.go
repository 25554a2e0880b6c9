package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

// served is how long after its creation a blob can still be fetched, and some more.
const served = 8 * 24 * time.Hour

// span is the part of a partition to read, with what the ledger says about it.
type span struct {
	topic       string
	partition   int32
	first, last int64 // what is held
	from, to    int64 // what is read
	raw         bool
	ranges      map[string]*expected // by content id
}

// expected is one blob's range on one partition.
type expected struct {
	b      *blob
	at     wire.OffsetRange
	count  int
	digest wire.RangeDigest
}

// records reads the data topics and holds them against the ledger.
func (c *check) records(ctx context.Context) error {
	spans, err := c.spans(ctx)
	if err != nil {
		return err
	}
	for _, s := range spans {
		c.total += max(0, s.to-s.from)
	}
	unknown := make(map[string]Problem)
	for _, s := range spans {
		if err := c.read1(ctx, s, unknown); err != nil {
			return err
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	if err := c.justWritten(ctx, unknown); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(unknown)) {
		c.report.add(unknown[id])
	}
	return nil
}

// spans are the parts of the partitions that can hold records of the range.
func (c *check) spans(ctx context.Context) ([]*span, error) {
	var topics []string
	for _, source := range slices.Sorted(maps.Keys(c.sources())) {
		topics = append(topics, c.cfg.Names.Raw(audit.Source(source)))
	}
	raws := len(topics)
	topics = append(topics, c.cfg.Names.DeadLetter(false), c.cfg.Names.DeadLetter(true))
	byTopic := make(map[string][]*span)
	var all []*span
	for i, topic := range topics {
		first, last, err := c.r.Offsets(ctx, topic)
		if err != nil {
			return nil, err
		}
		from, err := c.r.OffsetsAt(ctx, topic, c.report.From.Add(-slack))
		if err != nil {
			return nil, err
		}
		to, err := c.r.OffsetsAt(ctx, topic, c.report.To.Add(served))
		if err != nil {
			return nil, err
		}
		for p := range first {
			s := &span{topic: topic, partition: int32(p), first: first[p], last: last[p], raw: i < raws, ranges: make(map[string]*expected)}
			s.from, s.to = last[p], 0
			if s.raw {
				s.from, s.to = from[p], to[p]
			}
			byTopic[topic] = append(byTopic[topic], s)
			all = append(all, s)
		}
	}
	c.place(byTopic)
	for _, s := range all {
		s.from, s.to = max(s.from, s.first), min(s.to, s.last)
	}
	return all, nil
}

// place puts what the ledger says where it belongs, and widens the spans to it.
func (c *check) place(byTopic map[string][]*span) {
	for id, b := range c.blobs {
		for _, o := range b.entry.Offsets {
			parts := byTopic[o.Topic]
			if int(o.Partition) >= len(parts) || o.Partition < 0 {
				c.report.add(Problem{
					Finding: LedgerDiffers, Source: b.source, ContentID: id, Topic: o.Topic, Partition: o.Partition,
					Detail: "the ledger names a partition that is not there",
				})
				b.worse(wrong)
				continue
			}
			s := parts[o.Partition]
			s.ranges[id] = &expected{b: b, at: o, digest: wire.NewRangeDigest()}
			s.from, s.to = min(s.from, o.First), max(s.to, o.Last+1)
		}
	}
}

// sources are those whose raw topic can hold records of the tenant.
func (c *check) sources() map[string]bool {
	out := make(map[string]bool)
	for _, ct := range audit.ContentTypes() {
		out[string(ct.Source())] = true
	}
	for source := range c.streams {
		out[source] = true
	}
	return out
}

// read1 reads one span.
func (c *check) read1(ctx context.Context, s *span, unknown map[string]Problem) error {
	began, at := c.read, s.from
	err := c.r.ReadRange(ctx, s.topic, s.partition, s.from, s.to, func(r kafkatx.Record) error {
		if c.cfg.Progress != nil && r.Offset-at >= 4096 {
			at = r.Offset
			c.cfg.Progress(Progress{Topic: s.topic, Read: began + at - s.from, Total: c.total})
		}
		if wire.Header(r, wire.HeaderTenant) == string(c.cfg.Tenant) {
			c.record(s, r, unknown)
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.read = began + max(0, s.to-s.from)
	for id, e := range s.ranges {
		c.range1(s, id, e)
	}
	return nil
}

// record finds the range that a record belongs to.
func (c *check) record(s *span, r kafkatx.Record, unknown map[string]Problem) {
	id := wire.Header(r, wire.HeaderContentID)
	if e := s.ranges[id]; e != nil && r.Offset >= e.at.First && r.Offset <= e.at.Last {
		if s.raw || ours(r) {
			e.count++
			e.digest.Add(r.Value)
		}
		return
	}
	if !s.raw {
		return // a dead letter of a later stage has the same provenance
	}
	b := c.blobs[id]
	if b == nil {
		created, err := time.Parse(time.RFC3339, wire.Header(r, wire.HeaderContentCreated))
		if _, there := unknown[id]; !there && err == nil && c.inRange(created) {
			unknown[id] = Problem{
				Finding: LedgerMissing, ContentID: id, Topic: r.Topic, Partition: r.Partition, Offset: r.Offset,
				Detail: "records of this blob are on the raw topic, and the ledger does not have it",
			}
		}
		return
	}
	b.worse(wrong)
	c.report.add(Problem{
		Finding: RecordsUnknown, Source: b.source, ContentID: id, Topic: r.Topic, Partition: r.Partition, Offset: r.Offset,
		Detail: "a record of this blob lies where the ledger does not name it: there twice, or put there by somebody else",
	})
}

// ours reports whether a dead letter was written by the stages that write the ledger.
func ours(r kafkatx.Record) bool {
	stage := wire.Header(r, wire.HeaderStage)
	return stage == wire.StageIngester || stage == wire.StageImport
}

// range1 judges a range after its partition was read.
func (c *check) range1(s *span, id string, e *expected) {
	problem := Problem{
		Source: e.b.source, ContentID: id, Topic: s.topic, Partition: s.partition, Offset: e.at.First,
		Detail: fmt.Sprintf("%d of %d records at offsets %d to %d", e.count, e.at.Count, e.at.First, e.at.Last),
	}
	switch {
	case e.at.First < s.first:
		e.b.worse(notHeld)
	case e.count != e.at.Count:
		problem.Finding = RecordsMissing
		e.b.worse(wrong)
		c.report.add(problem)
	case e.at.SHA256 == "":
		e.b.worse(counted)
	case e.digest.Sum() != e.at.SHA256:
		problem.Finding = RecordsChanged
		problem.Detail += ": their bytes or their order are not what was written"
		e.b.worse(wrong)
		c.report.add(problem)
	}
}

// justWritten drops blobs from unknown that were committed while this ran: their entry came to the ledger after it had been read.
func (c *check) justWritten(ctx context.Context, unknown map[string]Problem) error {
	_, last, err := c.offsets(ctx, c.cfg.Names.Ledger())
	if err != nil {
		return err
	}
	return c.r.ReadRange(ctx, c.cfg.Names.Ledger(), c.number, c.ends, last, func(r kafkatx.Record) error {
		var e wire.LedgerEntry
		if c.mine(r.Key) && json.Unmarshal(r.Value, &e) == nil && e.Blob != nil {
			delete(unknown, wire.HeaderText(e.Blob.ContentID))
		}
		return nil
	})
}
