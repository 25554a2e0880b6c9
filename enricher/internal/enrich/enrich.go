// Package enrich is the enricher's work on one number: a batch of normalized events becomes enriched events and dead letters.
package enrich

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"time"
	"unicode/utf8"

	"millrace/enricher/internal/join"
	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

// Shared are the measurements that all stages have in common.
type Shared interface {
	Refused(reason wire.Reason, n int)
	Delay(created, now time.Time)
}

// Config is what every number's processor is made from.
type Config struct {
	Names wire.Names
	// Lookups returns the newest lookups. It is asked once a batch, so a batch sees one state of them.
	Lookups func() *join.Lookups
	Metrics *Metrics
	Shared  Shared
	Now     func() time.Time
	Log     *slog.Logger
}

// Processor enriches the events of one number. It has no memory between batches that could change what an event becomes.
type Processor struct {
	cfg  Config
	join joinFunc
}

// joinFunc appends an event with its joins to dst, as join.Joiner does.
type joinFunc func(dst, event []byte, tenant audit.TenantID, l *join.Lookups) ([]byte, join.Report, error)

// New makes the processor of one number.
func New(cfg Config) *Processor { return &Processor{cfg: cfg, join: join.NewJoiner().Join} }

// Load is never called: the stage has no state topic.
func (p *Processor) Load(kafkatx.Record) error { return nil }

// Close ends nothing: a processor starts nothing.
func (p *Processor) Close() {}

// Process joins each event with the lookups. What is no event goes to the dead letters; a lookup that finds nothing never drops one.
func (p *Processor) Process(_ context.Context, in []kafkatx.Record) (kafkatx.Result, error) {
	lookups := p.cfg.Lookups()
	done := &batch{p: p, refused: map[wire.Reason]int{}}
	res := kafkatx.Result{Outputs: make([]kafkatx.Record, 0, len(in)), Change: done}
	buf := make([]byte, 0, roomFor(in))
	for i, rec := range in {
		from := len(buf)
		out, report, err := p.joinSafely(done, buf, &in[i], lookups)
		switch {
		case err != nil:
			res.Outputs = append(res.Outputs, p.refuse(done, rec, wire.ReasonInvalidEvent, "not an OCSF event in JSON")...)
			continue
		case len(rec.Value) > wire.MaxEvent:
			res.Outputs = append(res.Outputs, p.refuse(done, rec, wire.ReasonTooLarge, "larger than an event may be")...)
			continue
		case len(out)-from > wire.MaxEvent: // too large by its joins only: better without them than not at all
			out, report = append(buf, rec.Value...), join.Report{}
			done.unjoined++
		}
		buf = out
		// The capacity ends with the value, so that nobody can write into the next one.
		res.Outputs = append(res.Outputs, wire.EnrichedRecord(p.cfg.Names, rec, buf[from:len(buf):len(buf)]))
		done.events++
		done.lookups.Add(report)
		if created, ok := createdAt(rec); ok {
			done.created = append(done.created, created)
		}
	}
	return res, nil
}

// joinSafely keeps a defect of the joins to the event that shows it: that event passes as it came, and the number goes on.
func (p *Processor) joinSafely(done *batch, dst []byte, rec *kafkatx.Record, l *join.Lookups) (out []byte, report join.Report, err error) {
	defer func() {
		cause := recover()
		if cause == nil {
			return
		}
		// What was panicked with may hold content of the event, unless it is the runtime's own.
		what := fmt.Sprintf("%T", cause)
		if re, ok := cause.(runtime.Error); ok {
			what = re.Error()
		}
		p.cfg.Log.Error("the join panicked; the event passes without it", slog.String("topic", rec.Topic), slog.Int("partition", int(rec.Partition)),
			slog.Int64("offset", rec.Offset), slog.String("err", what), slog.String("stack", string(debug.Stack())))
		p.join = join.NewJoiner().Join // the old one stopped in the middle of something
		if out, report, err = dst, (join.Report{}), join.ErrNotEvent; utf8.Valid(rec.Value) && json.Valid(rec.Value) {
			out, err = append(dst, rec.Value...), nil
			done.unjoined++
		}
	}()
	return p.join(dst, rec.Value, audit.TenantID(wire.Header(*rec, wire.HeaderTenant)), l)
}

func (p *Processor) refuse(done *batch, rec kafkatx.Record, reason wire.Reason, detail string) []kafkatx.Record {
	done.refused[reason]++
	return wire.DeadLetter(p.cfg.Names, rec, wire.StageEnricher, reason, detail)
}

// roomFor guesses the size of a batch with its joins; a wrong guess costs a copy.
func roomFor(in []kafkatx.Record) int {
	n := 0
	for _, rec := range in {
		n += len(rec.Value) + 1536
	}
	return n
}

// createdAt is when the vendor made the record available.
func createdAt(rec kafkatx.Record) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, wire.Header(rec, wire.HeaderContentCreated))
	return t, err == nil
}

// batch counts what a batch did. It is told to the metrics once the transaction is known to be committed, so that a redo counts once.
type batch struct {
	p        *Processor
	lookups  join.Counts
	events   int
	unjoined int
	refused  map[wire.Reason]int
	created  []time.Time
}

// Merge tells the metrics.
func (b *batch) Merge() {
	m := b.p.cfg.Metrics
	m.events.Add(float64(b.events))
	m.unjoined.Add(float64(b.unjoined))
	for _, s := range join.Sources() {
		for _, o := range join.Outcomes() {
			if n := b.lookups[s][o]; n > 0 {
				m.lookups[s][o].Add(float64(n))
			}
		}
	}
	for reason, n := range b.refused {
		b.p.cfg.Shared.Refused(reason, n)
	}
	now := b.p.cfg.Now()
	for _, t := range b.created {
		b.p.cfg.Shared.Delay(t, now)
	}
}

// Discard forgets what was counted.
func (b *batch) Discard() {}
