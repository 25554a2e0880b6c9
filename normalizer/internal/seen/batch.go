package seen

import (
	"errors"
	"time"

	"millrace/pkg/audit"
)

// errOpen is a broken invariant of the caller.
var errOpen = errors.New("a batch was begun before the one before it was merged or discarded")

// Batch is what one batch of records adds to a set: seen by this batch alone until Merge. It is a kafkatx.Change.
type Batch struct {
	set      *Set
	open     bool
	pairs    map[audit.Entry]struct{}
	ids      map[uint64]struct{}
	added    []addition // in order of records
	perShard [shardCount]int
	lowest   int64 // earliest fetch hour of the batch's records; 0 = none yet
}

type addition struct {
	audit.Entry
	hour int64
}

// Begin opens a batch. A set has one batch at a time.
func (s *Set) Begin() (*Batch, error) {
	b := &s.batch
	if b.open {
		return nil, errOpen
	}
	b.open = true
	return b, nil
}

// Look tells what a record fetched at a time is, to what was published before and to what the batch has added so far.
func (b *Batch) Look(e audit.Entry, fetched time.Time) Verdict {
	e.ID = nonZero(e.ID)
	hour := hourOf(fetched)
	if b.lowest == 0 || hour < b.lowest {
		b.lowest = hour
	}
	if _, known := b.pairs[e]; known {
		return Repeat
	}
	verdict := b.set.verdict(e, hour)
	if _, known := b.ids[e.ID]; known && verdict == Unseen {
		return Variant
	}
	return verdict
}

// Add enters a record that is published. An error wraps ErrFull; then nothing was entered.
func (b *Batch) Add(e audit.Entry, created, fetched time.Time) error {
	e.ID = nonZero(e.ID)
	at := shardOf(e.ID)
	// The room is made now, so that Merge, which comes after the commit, cannot fail.
	if err := b.set.room(at, b.perShard[at]+1); err != nil {
		return err
	}
	b.perShard[at]++
	b.pairs[e] = struct{}{}
	b.ids[e.ID] = struct{}{}
	b.added = append(b.added, addition{e, b.set.startHour(created, fetched)})
	return nil
}

// Merge makes the batch part of the set: its transaction is committed.
func (b *Batch) Merge() {
	for _, a := range b.added {
		b.set.insert(a.Entry, b.set.stamp(a.hour))
	}
	if b.lowest > 0 {
		b.set.raise(b.lowest)
	}
	b.reset()
}

// Discard forgets the batch: its transaction is aborted.
func (b *Batch) Discard() { b.reset() }

func (b *Batch) reset() {
	clear(b.pairs)
	clear(b.ids)
	b.perShard = [shardCount]int{}
	b.added = b.added[:0]
	b.open, b.lowest = false, 0
}
