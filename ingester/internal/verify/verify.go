// Package verify proves from the topics alone that what was listed for a tenant is on the raw topics.
//
// The checkpoints say which blobs were committed and up to when a stream is done, the ledger where each blob's records went and a digest
// of them, the raw and dead-letter topics have the records. The three were written in one transaction, so each must have what the others
// name. They are read in the order checkpoints, ledger, records: what is committed meanwhile can only be found later in that order, never
// missing.
package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"millrace/ingester/internal/checkpoint"
	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

// Reader reads committed records. *kafkatx.Client is one.
type Reader interface {
	// Offsets gives the first offset still held and the high watermark of each partition.
	Offsets(ctx context.Context, topic string) (first, last []int64, err error)
	// OffsetsAt gives the first offset of each partition that was written at a time or later.
	OffsetsAt(ctx context.Context, topic string, at time.Time) ([]int64, error)
	// ReadRange calls fn for each committed record of a range of offsets, in order.
	ReadRange(ctx context.Context, topic string, partition int32, from, to int64, fn func(kafkatx.Record) error) error
}

// Config says what to verify.
type Config struct {
	Names    wire.Names
	Control  int // partitions of the checkpoint and ledger topics
	Tenant   audit.TenantID
	From, To time.Time // of blob creation; a zero To is now, and then no stream has to be done up to it
	Now      time.Time
	Progress func(Progress) // called now and then; nil = not wanted
}

// slack is how far the clocks of service, ingester and brokers may be apart.
const slack = time.Hour

// check is one run.
type check struct {
	cfg     Config
	r       Reader
	report  *Report
	number  int32
	streams map[string]*Stream
	book    *checkpoint.Book
	blobs   map[string]*blob // by content id
	ends    int64            // of the ledger partition, as far as it was read
	read    int64            // offsets of data topics, for the progress
	total   int64
}

// blob is a ledger entry of the range on its way to being proved.
type blob struct {
	source string
	entry  *wire.LedgerEntry
	state  state
}

// state is the worst that was found of a blob.
type state int

const (
	proved state = iota
	counted
	notHeld
	wrong
)

func (b *blob) worse(s state) { b.state = max(b.state, s) }

// Run reads the topics and reports.
func Run(ctx context.Context, r Reader, cfg Config) (*Report, error) {
	if !cfg.To.IsZero() && !cfg.From.Before(cfg.To) {
		return nil, errors.New("verify: the range begins at or after its end")
	}
	c := &check{
		cfg: cfg, r: r, number: kafkatx.Partition([]byte(cfg.Tenant), cfg.Control), streams: make(map[string]*Stream),
		book: checkpoint.NewBook(cfg.Control), blobs: make(map[string]*blob),
		report: &Report{Tenant: string(cfg.Tenant), From: cfg.From.UTC(), To: cfg.To.UTC(), Streams: []*Stream{}, Problems: []Problem{}},
	}
	if cfg.To.IsZero() {
		c.report.To = cfg.Now.UTC()
	}
	for _, step := range []func(context.Context) error{c.checkpoints, c.ledger, c.records} {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("verify: %w", err)
		}
	}
	c.judge()
	return c.report, nil
}

func (c *check) inRange(t time.Time) bool { return !t.Before(c.report.From) && t.Before(c.report.To) }

// stream is the row of a source.
func (c *check) stream(source string) *Stream {
	s := c.streams[source]
	if s == nil {
		s = &Stream{Source: source, Gaps: []Gap{}}
		c.streams[source] = s
	}
	return s
}

func (c *check) mine(key []byte) bool {
	return strings.HasPrefix(string(key), string(c.cfg.Tenant)+"/")
}

// checkpoints reads the progress of the tenant's streams.
func (c *check) checkpoints(ctx context.Context) error {
	topic := c.cfg.Names.Checkpoints()
	first, last, err := c.offsets(ctx, topic)
	if err != nil {
		return err
	}
	return c.r.ReadRange(ctx, topic, c.number, first, last, func(r kafkatx.Record) error {
		if !c.mine(r.Key) {
			return nil
		}
		return c.book.Load(r.Key, r.Value)
	})
}

// offsets are the bounds of the tenant's partition of a control topic.
func (c *check) offsets(ctx context.Context, topic string) (first, last int64, err error) {
	firsts, lasts, err := c.r.Offsets(ctx, topic)
	if err != nil {
		return 0, 0, err
	}
	if len(firsts) != c.cfg.Control {
		return 0, 0, fmt.Errorf("topic %s has %d partitions, kafka.control_partitions says %d", topic, len(firsts), c.cfg.Control)
	}
	return firsts[c.number], lasts[c.number], nil
}

// ledger reads what was carried, and the gaps.
func (c *check) ledger(ctx context.Context) error {
	topic := c.cfg.Names.Ledger()
	first, last, err := c.offsets(ctx, topic)
	if err != nil {
		return err
	}
	at, err := c.r.OffsetsAt(ctx, topic, c.report.From.Add(-slack))
	if err != nil {
		return err
	}
	from := max(first, min(at[c.number], last))
	if first > 0 && from == first {
		c.report.add(Problem{
			Finding: LedgerNotHeld, Topic: topic, Partition: c.number, Offset: first,
			Detail: "the ledger is not kept that far back: begin the range later",
		})
	}
	acks := make(map[string]time.Time)
	err = c.r.ReadRange(ctx, topic, c.number, from, last, func(r kafkatx.Record) error {
		if c.mine(r.Key) {
			c.entry(r, acks)
		}
		return nil
	})
	c.ends = last
	for _, s := range c.streams {
		for i := range s.Gaps {
			s.Gaps[i].Acknowledged = acks[gapKey(s.Source, s.Gaps[i].Gap)]
		}
	}
	return err
}

func gapKey(source string, g wire.Gap) string {
	return fmt.Sprintf("%s %s %d %d %s", source, g.Reason, g.Start.UnixNano(), g.End.UnixNano(), g.ContentID)
}

// entry takes in one entry of the ledger.
func (c *check) entry(r kafkatx.Record, acks map[string]time.Time) {
	var e wire.LedgerEntry
	if err := json.Unmarshal(r.Value, &e); err != nil {
		c.report.add(Problem{
			Finding: LedgerDiffers, Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Detail: "a value on the ledger is not understood",
		})
		return
	}
	switch {
	case e.Kind == wire.LedgerKindAck && e.Gap != nil && e.Ack != nil:
		acks[gapKey(e.Source, *e.Gap)] = e.Ack.At
	case e.Gap != nil:
		if e.Gap.Start.Before(c.report.To) && e.Gap.End.After(c.report.From) {
			s := c.stream(e.Source)
			s.ContentType = e.ContentType
			s.Gaps = append(s.Gaps, Gap{Gap: *e.Gap})
		}
	case e.Blob != nil && c.inRange(e.Blob.Created):
		c.blob(r, &e)
	}
}

// blob takes in a blob of the range and sees whether the entry's numbers fit one another.
func (c *check) blob(r kafkatx.Record, e *wire.LedgerEntry) {
	s := c.stream(e.Source)
	s.ContentType = e.ContentType
	b := e.Blob
	problem := Problem{Finding: LedgerTwice, Source: e.Source, ContentID: b.ContentID, Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}
	id := wire.HeaderText(b.ContentID) // as the records' headers have it
	if c.blobs[id] != nil {
		problem.Detail = "the ledger has this blob more than once: its records were carried twice"
		c.report.add(problem)
		return
	}
	known := &blob{source: e.Source, entry: e}
	c.blobs[id] = known
	s.Blobs++
	s.Bytes += b.Bytes
	s.Records += b.Records
	s.DeadLetters += b.DeadLetters
	raw, letters := 0, 0
	for _, o := range e.Offsets {
		if o.Topic == c.cfg.Names.Raw(audit.Source(e.Source)) {
			raw += o.Count
		} else {
			letters += o.Count
		}
	}
	if raw != b.OnRaw() || letters < b.DeadLetters {
		problem.Finding = LedgerDiffers
		problem.Detail = fmt.Sprintf("%d records, of them %d dead letters, but offsets of %d and %d", b.Records, b.DeadLetters, raw, letters)
		c.report.add(problem)
		known.worse(wrong)
	}
}

// judge sums up.
func (c *check) judge() {
	for _, id := range c.book.Streams() {
		_, source, _ := strings.Cut(id, "/")
		if source == "directory" {
			continue // it is a mirror, without blobs
		}
		s := c.stream(source)
		s.DoneUntil = c.book.State(id).Resume
		known := make(map[checkpoint.Hash]bool)
		for _, b := range c.blobs {
			if b.source == source {
				known[checkpoint.HashOf(b.entry.Blob.ContentID)] = true
			}
		}
		for _, g := range s.Gaps { // a lost blob is checkpointed, too: it is not asked for again
			known[checkpoint.HashOf(g.ContentID)] = true
		}
		c.book.Each(id, func(h checkpoint.Hash, created time.Time) {
			// Checkpoints have whole seconds: a blob of the first or last second may belong to the range or not.
			if !known[h] && c.inRange(created) && c.inRange(created.Add(time.Second)) {
				c.report.add(Problem{
					Finding: LedgerMissing, Source: source,
					Detail: fmt.Sprintf("a blob created %s with hash %x is checkpointed as done, and the ledger does not have it", created.Format(time.RFC3339), h),
				})
			}
		})
	}
	for _, source := range slices.Sorted(maps.Keys(c.streams)) {
		s := c.streams[source]
		c.report.Streams = append(c.report.Streams, s)
		if source != string(audit.SourceImport) && !c.cfg.To.IsZero() && s.DoneUntil.Before(c.cfg.To) {
			c.report.add(Problem{Finding: NotDone, Source: source, Detail: "done up to " + s.DoneUntil.Format(time.RFC3339) + " only"})
		}
		for _, g := range s.Gaps {
			if g.Acknowledged.IsZero() {
				c.report.add(Problem{
					Finding: OpenGap, Source: source, ContentID: g.ContentID,
					Detail: fmt.Sprintf("nothing of %s to %s: %s", g.Start.Format(time.RFC3339), g.End.Format(time.RFC3339), g.Reason),
				})
			}
		}
	}
	for _, b := range c.blobs {
		switch s := c.streams[b.source]; b.state {
		case proved:
			s.Proved++
		case counted:
			s.Counted++
		case notHeld:
			s.NotHeld++
		case wrong:
		}
	}
	for _, s := range c.report.Streams {
		if s.NotHeld > 0 {
			c.report.add(Problem{Finding: RawNotHeld, Source: s.Source, Detail: fmt.Sprintf("retention has passed over records of %d blobs", s.NotHeld)})
		}
	}
	c.report.Complete = c.report.Found == 0
}
