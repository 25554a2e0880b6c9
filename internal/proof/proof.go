// Package proof compares what a tenant has with what lies on the topics, record by record, through a client that the pipeline does
// not use.
package proof

import (
	"context"
	"crypto/sha256"
	"fmt"

	"millrace/pkg/audit"
	"millrace/pkg/wire"
)

// Item is one record that ought to be on the topics.
type Item struct {
	Tenant    string // its id; not needed with ByContent
	ContentID string // of its blob; for an import the name of the file
	Index     int    // position in its blob or file
	Domain    audit.Domain
	Raw       []byte // valid during the call only
	// Fresh is a record so new that the pipeline may have carried it or not, or as far as some stage. Nothing of it is missed; what is there
	// must be right, and once.
	Fresh bool
}

// Source lists the records that a tenant has, in any order, the same ones at each call.
type Source func(ctx context.Context, fn func(Item) error) error

// Config says what to compare.
type Config struct {
	Brokers []string
	Names   wire.Names
	Source  Source
	// Map is the mapping under which the events were made, as normalizer/app offers it; a refused record gives an error. It is called for
	// one record at a time.
	Map func(audit.Record) ([]wire.Event, error)
	// ByContent compares by the bytes of records instead of by their place in the feed, for imports, whose units are not known here. A
	// record that cannot be mapped may then have gone to a dead-letter topic without having been on raw.
	ByContent bool
	Named     int // how many problems are named one by one, the others are only counted; default 20
}

// Run reads every topic from its beginning to its end and compares. What the pipeline would still publish is reported as missing, so it
// must be at rest, or the source must call fresh what is. An error means that no verdict was reached.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if cfg.Named == 0 {
		cfg.Named = 20
	}
	c := &check{
		cfg: cfg, report: newReport(cfg.Named),
		copies: map[hash]*copyOf{}, want: map[hash]int{}, events: map[hash]*event{},
	}
	steps := []struct {
		name string
		run  func(context.Context) error
	}{
		{"list what the tenant has", c.expect},
		{"compare raw records", c.compareRaw},
		{"compare dead letters", c.compareDeadLetters},
		{"compare events", c.compareEvents},
	}
	for _, step := range steps {
		if err := step.run(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	c.conclude()
	return c.report, nil
}

type hash [16]byte

func hashOf(b []byte) hash {
	sum := sha256.Sum256(b)
	return hash(sum[:16])
}

// copyOf is one copy of a record: one position of the feed. With ByContent it is all copies that have the same bytes.
type copyOf struct {
	name   string // content id / index
	want   int    // how often it ought to be there
	sha    hash   // of the bytes
	record int    // in check.records
	fresh  bool
	raw    int // how often it lies on raw
	dead   int // how often it lies on a dead-letter topic
}

// record is one distinct record: all copies of one content under one id.
type record struct {
	id       string
	workload audit.Workload // the topic that its events belong on
	refused  bool           // it must end as a dead letter, once for each copy
	large    bool           // and it is too large for raw
	variant  bool           // other content has the same id
	due      bool           // one of its copies is not fresh
	copies   int
	events   []hash // uids of the events it must become
}

// event is one event that must be there exactly once, by the hash of its uid.
type event struct {
	record   int
	events   int
	enriched int
}

type check struct {
	cfg     Config
	report  *Report
	records []record
	copies  map[hash]*copyOf // by hash of the position or, with ByContent, of the bytes
	want    map[hash]int     // by hash of an event's bytes: the record it stems from; each copy of a record allows its own bytes
	events  map[hash]*event  // by hash of the uid
}

// conclude reports what ought to have been met and was not.
func (c *check) conclude() {
	for _, cp := range c.copies {
		rec := &c.records[cp.record]
		if cp.fresh && cp.raw == 0 && cp.dead == 0 {
			continue
		}
		row := c.report.row(rec.workload)
		row.Has += cp.want
		row.Raw += cp.raw
		switch {
		case cp.fresh:
		case rec.refused && cp.dead < cp.want:
			c.report.add(rec.workload, Missing, "dead letter", "refused record %s of %s", rec.id, cp.name)
		case cp.raw < cp.want && !rec.large && (!rec.refused || !c.cfg.ByContent):
			c.report.add(rec.workload, Missing, "raw", "record %s of %s", rec.id, cp.name)
		}
	}
	for i := range c.records {
		c.concludeRecord(&c.records[i])
	}
}

func (c *check) concludeRecord(rec *record) {
	if rec.refused {
		return
	}
	row := c.report.row(rec.workload)
	row.Repeats += rec.copies - 1
	if rec.variant {
		row.Variants++
	}
	if !rec.due {
		return
	}
	for _, uid := range rec.events {
		ev := c.events[uid]
		if ev.events == 0 {
			c.report.add(rec.workload, Missing, "event", "of record %s", rec.id)
		} else if ev.enriched == 0 {
			c.report.add(rec.workload, Missing, "enriched event", "of record %s", rec.id)
		}
	}
}
