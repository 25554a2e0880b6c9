// Package normalize turns the raw records of one partition number into events.
//
// What a record becomes is decided in this order: a dead letter if it is no record of ours or no JSON object; nothing if its id and
// content were published before; else what the mapping makes of it, events or a dead letter. A refused record is not remembered,
// so that it can be redriven once the reason is gone, and is published once however often it was refused.
package normalize

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"millrace/normalizer/internal/mapping"
	"millrace/normalizer/internal/seen"
	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

// Layout is the version of the state layout; normalizers of two layouts refuse to share a group.
const Layout = 1

// Mapper maps one record: *mapping.Mapper. It appends to dst, and its error is a *mapping.Refusal. It may be called concurrently.
type Mapper interface {
	Map(dst []mapping.Event, rec audit.Record, digest uint64) ([]mapping.Event, error)
}

// Config is what the handlers of all numbers of a process share.
type Config struct {
	Names      wire.Names
	Partitions int
	Horizon    time.Duration
	Budget     *seen.Budget
	CacheDir   string // for what the budget has no room for; "" = stop then
	Mapper     Mapper
	Metrics    *Metrics
	Log        *slog.Logger
	Now        func() time.Time // for the delay metric only
	MaxEvent   int              // largest encoded event; 0 = wire.MaxEvent
}

// Handler is the kafkatx.Processor of one number.
type Handler struct {
	cfg      Config
	set      *seen.Set
	key      []byte // of state records: the number
	digester audit.Digester
	events   []mapping.Event // scratch
	change   change
}

// New makes the handler of a number with empty memory; Load fills it.
func New(number int32, cfg Config) (*Handler, error) {
	set, err := seen.New(seen.Options{Horizon: cfg.Horizon, Budget: cfg.Budget, Dir: cfg.CacheDir})
	if err != nil {
		return nil, err
	}
	if cfg.MaxEvent == 0 {
		cfg.MaxEvent = wire.MaxEvent
	}
	h := &Handler{cfg: cfg, set: set, key: strconv.AppendInt(nil, int64(number), 10)}
	h.change = change{h: h, tally: newTally()}
	return h, nil
}

// Load implements kafkatx.Handler.
func (h *Handler) Load(r kafkatx.Record) error {
	if err := h.set.Load(r.Value, h.cfg.Partitions); err != nil {
		return fmt.Errorf("%s/%d offset %d: %w", r.Topic, r.Partition, r.Offset, err)
	}
	return nil
}

// Close implements kafkatx.Handler.
func (h *Handler) Close() {
	if err := h.set.Close(); err != nil {
		h.cfg.Log.Warn("close the files of the seen set", "err", err)
	}
}

// change is what a batch alters: the seen set, and the counters.
type change struct {
	h     *Handler
	batch *seen.Batch
	tally tally
}

// Merge implements kafkatx.Change.
func (c *change) Merge() {
	c.batch.Merge()
	c.h.cfg.Metrics.add(&c.tally, c.h.cfg.Now())
	c.tally.reset()
}

// Discard implements kafkatx.Change.
func (c *change) Discard() {
	c.batch.Discard()
	c.tally.reset()
}

// Process implements kafkatx.Processor.
func (h *Handler) Process(_ context.Context, in []kafkatx.Record) (kafkatx.Result, error) {
	batch, err := h.set.Begin()
	if err != nil {
		return kafkatx.Result{}, err
	}
	h.change.batch = batch
	res := kafkatx.Result{Outputs: make([]kafkatx.Record, 0, len(in)), Change: &h.change}
	for i := range in {
		if err := h.record(&in[i], &res); err != nil {
			h.change.Discard()
			return kafkatx.Result{}, fmt.Errorf("%s/%d offset %d: %w", in[i].Topic, in[i].Partition, in[i].Offset, err)
		}
	}
	if value := batch.Encode(h.cfg.Partitions); value != nil {
		res.State = []kafkatx.Record{{Key: h.key, Value: value}}
	}
	return res, nil
}

// reading is a raw record as far as it is understood before it is mapped.
type reading struct {
	audit.Record
	id       string
	digest   uint64
	workload audit.Workload // of the counters
}

// read parses a record; the refusal is nil if it can be looked up and mapped.
func (h *Handler) read(in *kafkatx.Record) (r reading, refusal *mapping.Refusal) {
	r.workload = audit.WorkloadOther
	refuse := func(reason wire.Reason, detail string) (reading, *mapping.Refusal) {
		return r, &mapping.Refusal{Reason: string(reason), Detail: detail}
	}
	var err error
	if r.Record, err = wire.ParseRaw(*in); err != nil {
		return refuse(wire.ReasonNoProvenance, err.Error())
	}
	env, digest, err := h.digester.Read(r.Raw)
	r.digest, r.id, r.workload = digest, env.ID, wire.WorkloadOf(env.RecordType, env.Workload, r.Domain, 0)
	if err != nil {
		return refuse(wire.ReasonInvalidJSON, err.Error())
	}
	if r.id == "" {
		return refuse(wire.ReasonNoID, "the record has no Id")
	}
	return r, nil
}

// record decides one record. Its error is none of the record's: the memory for repeats is full.
func (h *Handler) record(in *kafkatx.Record, res *kafkatx.Result) error {
	r, refusal := h.read(in)
	if refusal != nil {
		h.refuse(in, r.workload, refusal, res)
		return nil
	}
	entry := audit.NewEntry(r.Tenant, r.Domain, r.id, r.digest)
	verdict := h.change.batch.Look(entry, r.Fetched)
	if verdict == seen.Repeat {
		h.count(r.workload, repeat)
		return nil
	}
	if refusal := h.publish(in, r, verdict == seen.Variant, res); refusal != nil {
		h.refuse(in, r.workload, refusal, res)
		return nil
	}
	if err := h.change.batch.Add(entry, r.Created, r.Fetched); err != nil {
		return err
	}
	became := published
	if verdict == seen.Variant {
		became = variant
	}
	h.count(r.workload, became)
	h.change.tally.created = append(h.change.tally.created, r.Created)
	return nil
}

// publish appends the record's events. A record is published whole or not at all.
func (h *Handler) publish(in *kafkatx.Record, r reading, isVariant bool, res *kafkatx.Result) *mapping.Refusal {
	var refusal *mapping.Refusal
	if h.events, refusal = h.mapSafely(in, r); refusal != nil {
		return refusal
	}
	before := len(res.Outputs)
	for i := range h.events {
		ev := &h.events[i]
		out := wire.EventRecord(h.cfg.Names, *in, wire.Event{
			UID: ev.UID, ClassUID: ev.ClassUID, TypeUID: ev.TypeUID, SeverityID: ev.SeverityID, TimeMillis: ev.TimeMillis,
			Workload: wire.WorkloadOf(ev.RecordType, ev.Workload, r.Domain, ev.ClassUID), Variant: isVariant, Value: ev.Value,
		})
		if size := encodedSize(&out); size > h.cfg.MaxEvent {
			res.Outputs = res.Outputs[:before]
			return &mapping.Refusal{
				Reason: string(wire.ReasonTooLarge),
				Detail: fmt.Sprintf("event %d of %d takes %d bytes, the limit is %d", i+1, len(h.events), size, h.cfg.MaxEvent),
			}
		}
		res.Outputs = append(res.Outputs, out)
		*ev = mapping.Event{} // the scratch space must not hold on to what is published
	}
	return nil
}

// mapSafely keeps a defect of the mapping to the record that shows it: that record becomes a dead letter, which can be redriven after
// the fix, and the number goes on.
func (h *Handler) mapSafely(in *kafkatx.Record, r reading) (events []mapping.Event, refusal *mapping.Refusal) {
	defer func() {
		if p := recover(); p != nil {
			// What was panicked with may hold content of the record, unless it is the runtime's own.
			cause := fmt.Sprintf("%T", p)
			var re runtime.Error
			if err, ok := p.(error); ok && errors.As(err, &re) {
				cause = re.Error()
			}
			h.cfg.Log.Error("the mapping panicked; the record is now a dead letter",
				"topic", in.Topic, "partition", in.Partition, "offset", in.Offset, "err", cause, "stack", string(debug.Stack()))
			events, refusal = h.events[:0], &mapping.Refusal{Reason: string(wire.ReasonMappingFailed), Detail: "panic: " + cause}
		}
	}()
	events, err := h.cfg.Mapper.Map(h.events[:0], r.Record, r.digest)
	if err == nil {
		return events, nil
	}
	if !errors.As(err, &refusal) {
		h.cfg.Log.Error("the mapping failed; the record is now a dead letter",
			"topic", in.Topic, "partition", in.Partition, "offset", in.Offset, "err", fmt.Sprintf("%T", err))
		refusal = &mapping.Refusal{Reason: string(wire.ReasonMappingFailed), Detail: fmt.Sprintf("%T", err)}
	}
	return events, refusal
}

func (h *Handler) refuse(in *kafkatx.Record, workload audit.Workload, why *mapping.Refusal, res *kafkatx.Result) {
	reason := wire.Reason(why.Reason)
	res.Outputs = append(res.Outputs, wire.DeadLetter(h.cfg.Names, *in, Stage, reason, why.Detail)...)
	h.change.tally.reasons[reason]++
	h.count(workload, refused)
}

func (h *Handler) count(workload audit.Workload, o outcome) {
	h.change.tally.records[counted{workload, o}]++
}

// encodedSize bounds what a record takes in a batch from above: its parts, and a few bytes of lengths for each.
func encodedSize(r *kafkatx.Record) int {
	n := 64 + len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += 8 + len(h.Key) + len(h.Value)
	}
	return n
}
