package source

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"millrace/ingester/internal/checkpoint"
	"millrace/ingester/internal/plan"
	"millrace/pkg/kafkatx"
	"millrace/pkg/wire"
)

// hugeBlob is the size from which on a blob is worth a garbage collection of its own.
const hugeBlob = 16 << 20

// batch is the change of one transaction: the units in it and what they change in the book.
type batch struct {
	o     *owner
	units []*unit
	ck    *checkpoint.Change
	large bool // the process's one place for a large blob is held
	// written notes that the status records of the batch are on their topic.
	written func()
}

// result turns units into one transaction; ok is false if there is nothing to write. No progress of the owner's memory changes before the
// batch is merged.
func (o *owner) result(ctx context.Context, units []*unit) (res kafkatx.Result, ok bool, err error) {
	b := &batch{o: o, units: units}
	if err := b.load(ctx); err != nil {
		b.Discard()
		return res, false, err
	}
	for _, u := range units {
		res.Outputs = append(res.Outputs, u.outputs...)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.s.cfg.Now()
	b.ck = o.book.Begin()
	b.stage(now)
	records, err := b.ck.Records()
	if err != nil {
		return res, false, err
	}
	for _, r := range records {
		res.State = append(res.State, kafkatx.Record{Key: r.Key, Value: r.Value})
	}
	status, written := o.statusRecords(now)
	b.written = written
	res.Follow = func(offsets []int64) []kafkatx.Record { return append(b.ledger(offsets), status...) }
	res.Change = b
	return res, len(units)+len(res.State)+len(status) > 0, nil
}

// load brings a large blob into memory and makes its outputs, when its turn has come.
func (b *batch) load(ctx context.Context) error {
	for _, u := range b.units {
		if u.spool == nil {
			continue
		}
		if err := b.o.s.large.Acquire(ctx, 1); err != nil {
			return err
		}
		b.large = true
		if u.blob.bytes >= hugeBlob {
			runtime.GC() // or the last huge blob, which is garbage by now, would still be there beside this one
		}
		body, err := u.spool.bytes()
		if err == nil {
			err = b.o.s.fill(u, body)
		}
		if err != nil {
			return fmt.Errorf("read a spooled blob of %d bytes: %w", u.blob.bytes, err)
		}
	}
	return nil
}

// stage collects what the units and the streams change in the checkpoints. The lock is held.
func (b *batch) stage(now time.Time) {
	o := b.o
	all := !now.Before(o.persist)
	touched := make(map[string]bool, 4)
	committing := make(map[checkpoint.Hash]bool, len(b.units))
	seen := make(map[string][]*blob, 4)
	naming := make(map[string]plan.Ranges)
	for _, u := range b.units {
		touched[u.stream] = true
		naming[u.stream] = naming[u.stream].With(u.names)
		if u.blob != nil {
			committing[u.blob.hash] = true
			seen[u.stream] = append(seen[u.stream], u.blob)
		}
		if u.stage != nil {
			u.stage(b.ck)
		}
	}
	for _, st := range o.streams {
		if !touched[st.id] && (st.plan == nil || !all) {
			continue
		}
		for _, found := range seen[st.id] {
			st.see(found.seen, found.Created)
		}
		if st.ct != "" { // a directory's units stage all that it has
			state := st.durable(committing, naming[st.id])
			for _, u := range b.units {
				if u.stream == st.id && u.note != nil {
					u.note(&state)
				}
			}
			if state != o.book.State(st.id) {
				b.ck.Set(st.id, state)
			}
		}
		if all && st.plan != nil {
			st.status.value.Cursor, st.status.value.Open = st.plan.Cursor(), len(st.open)
			st.status.changed()
		}
	}
	if all {
		o.persist = now.Add(persistEvery)
	}
	if !now.Before(o.forget) {
		o.forget = now.Add(forgetEvery)
		for _, st := range o.streams {
			if b.ck.Forget(st.id, now.Add(-forgetAge), forgetLimit) == forgetLimit {
				o.forget = now // there is more
			}
		}
	}
}

// ledger makes the ledger's records, now that the offsets of the outputs are known.
func (b *batch) ledger(offsets []int64) []kafkatx.Record {
	var out []kafkatx.Record
	at := 0
	for _, u := range b.units {
		n := len(u.outputs)
		if u.ledger != nil {
			e := *u.ledger
			e.Offsets = wire.Ranges(u.outputs, offsets[at:at+n])
			out = append(out, b.o.s.ledgerRecord(u.stream, e, b.o.number))
		}
		out = append(out, u.follow...)
		at += n
	}
	return out
}

// Merge implements kafkatx.Change: the transaction is committed, so the blobs of its units are done for good.
func (b *batch) Merge() {
	o := b.o
	o.mu.Lock()
	defer o.mu.Unlock()
	b.ck.Merge()
	b.written()
	now := o.s.cfg.Now()
	for _, u := range b.units {
		if u.merged != nil {
			u.merged()
		}
		b.count(u, now)
		o.release(u)
		if u.done != nil {
			close(u.done)
		}
	}
	b.leave()
}

// Discard implements kafkatx.Change: nothing of the transaction is visible, or nobody knows and the owner is about to be closed. The units are
// offered again.
func (b *batch) Discard() {
	o := b.o
	o.mu.Lock()
	defer o.mu.Unlock()
	if b.ck != nil {
		b.ck.Discard()
	}
	for _, u := range b.units {
		if u.spool != nil {
			u.outputs = nil
		}
	}
	o.putBack(b.units)
	b.leave()
}

func (b *batch) leave() {
	if b.large {
		b.o.s.large.Release(1)
		b.large = false
	}
}

// count tells the metrics what was committed. The lock is held.
func (b *batch) count(u *unit, now time.Time) {
	m := b.o.s.metrics
	switch {
	case u.ledger == nil:
	case u.ledger.Gap != nil:
		m.gaps.WithLabelValues(u.ledger.Tenant, u.ledger.Gap.Reason).Inc()
		b.o.s.cfg.Log.Warn("the feed gives no more of this", "tenant_id", u.ledger.Tenant, "content_type", u.ledger.ContentType,
			"window_start", u.ledger.Gap.Start, "window_end", u.ledger.Gap.End, "reason", u.ledger.Gap.Reason)
	case u.blob != nil:
		m.blobs.WithLabelValues(u.blob.via.String(), "committed").Inc()
		m.records.WithLabelValues(string(u.blob.Tenant), string(u.blob.ContentType)).Add(float64(u.blob.records))
		if u.blob.refused > 0 {
			reason := wire.ReasonTooLarge
			if u.partial {
				reason = wire.ReasonCutShort
			}
			b.o.s.shared.Refused(reason, u.blob.refused)
		}
		b.o.s.shared.Delay(u.blob.Created, now)
	}
}
