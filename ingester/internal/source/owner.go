package source

import (
	"context"
	"slices"
	"sync"
	"time"

	"millrace/ingester/internal/checkpoint"
	"millrace/pkg/audit"
	"millrace/pkg/kafkatx"
)

const (
	persistEvery = time.Minute      // how long the cursor of a quiet stream may go unwritten; what is lost is listed again
	forgetEvery  = 10 * time.Minute // between two looks for blobs that no window can list again
	forgetLimit  = 2000             // tombstones in one transaction
	forgetAge    = 7*24*time.Hour + time.Hour + 15*time.Minute
)

// owner is the kafkatx.Feeder of one number. Load, Next, Close and the change it hands out are called by kafkatx on one goroutine;
// everything else belongs to the owner's own goroutines. What they share is guarded by mu.
type owner struct {
	s      *Sources
	number int32

	mu      sync.Mutex // guards all below, and the streams' state
	book    *checkpoint.Book
	streams []*stream
	ready   []*unit // finished, oldest first
	size    int     // of ready
	since   time.Time
	flying  int       // fetches under way or due
	persist time.Time // when the cursors are written next even if nothing else is
	forget  time.Time
	look    time.Time // when to look next whether other replicas have other tenants
	listed  int       // generation of the list of tenants that is on the status topic

	tenants    map[audit.TenantID]*tenant // those that run; of the owner's goroutine
	generation int                        // of the list that they are of; written on the owner's goroutine, under mu

	wake chan struct{} // capacity 1: something became ready
}

func newOwner(s *Sources, number int32) *owner {
	o := &owner{
		s: s, number: number, book: checkpoint.NewBook(s.cfg.Control), tenants: make(map[audit.TenantID]*tenant), wake: make(chan struct{}, 1),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owners[number] = o
	return o
}

// Load implements kafkatx.Handler.
func (o *owner) Load(r kafkatx.Record) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.book.Load(r.Key, r.Value)
}

// Close implements kafkatx.Handler: it ends the owner's goroutines and waits for them.
func (o *owner) Close() {
	o.s.mu.Lock()
	if o.s.owners[o.number] == o {
		delete(o.s.owners, o.number)
	}
	o.s.mu.Unlock()
	for _, t := range o.tenants {
		t.stop() // all at once; endTenant waits for them
	}
	for _, t := range o.tenants {
		o.endTenant(t)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, u := range o.ready {
		o.release(u)
	}
	o.ready = nil
	for _, st := range o.streams { // those that only have a status
		o.s.board.remove(st.status.key())
	}
}

// Next implements kafkatx.Feeder: it waits until there is something to commit.
func (o *owner) Next(ctx context.Context) (kafkatx.Result, error) {
	for {
		o.reconcile(ctx)
		wait, units, due := o.take()
		if due {
			res, ok, err := o.result(ctx, units)
			if err != nil || ok {
				return res, err
			}
			continue // nothing had changed after all
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return kafkatx.Result{}, ctx.Err()
		case <-o.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// signal makes Next look at the queue.
func (o *owner) signal() {
	select {
	case o.wake <- struct{}{}:
	default: // it is about to look anyway
	}
}

// offer queues a finished unit. The lock is held.
func (o *owner) offer(u *unit) {
	if len(o.ready) == 0 {
		o.since = o.s.cfg.Now()
	}
	o.ready = append(o.ready, u)
	o.size += u.size
	o.signal()
}

// offerAndWait puts a unit before all others and waits until it is committed: who waits does one small thing after another, and would
// stand in line behind the blobs of a whole backfill each time.
func (o *owner) offerAndWait(ctx context.Context, u *unit) error {
	u.done = make(chan struct{})
	o.mu.Lock()
	o.ready = slices.Insert(o.ready, 0, u)
	o.size += u.size
	o.since = time.Time{} // at once
	o.signal()
	o.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-u.done:
		return nil
	}
}

// take decides whether a transaction is due: at once when nothing else is coming, otherwise when enough is ready or has waited long
// enough. It takes the units for it out of the queue.
func (o *owner) take() (wait time.Duration, units []*unit, due bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.s.cfg.Now()
	if len(o.ready) == 0 {
		if !now.Before(o.persist) || !now.Before(o.forget) || !now.Before(o.look) || o.statusDue() {
			return 0, nil, true
		}
		return max(min(o.persist.Sub(now), o.forget.Sub(now), o.look.Sub(now)), 10*time.Millisecond), nil, false
	}
	if left := o.since.Add(o.s.cfg.CommitWait).Sub(now); o.flying > 0 && o.size < o.s.cfg.CommitBytes && left > 0 {
		return left, nil, false
	}
	n, size := 0, 0
	for n < len(o.ready) && (n == 0 || size+o.ready[n].size <= o.s.cfg.CommitBytes) {
		if o.ready[n].spool != nil && n > 0 {
			break // a large blob has a transaction of its own
		}
		size += o.ready[n].size
		n++
		if o.ready[n-1].spool != nil {
			break
		}
	}
	units = append(units, o.ready[:n]...)
	o.ready = append(o.ready[:0:0], o.ready[n:]...)
	o.size -= size
	return 0, units, true
}

// putBack offers units again that were not committed. The lock is held.
func (o *owner) putBack(units []*unit) {
	o.ready = append(append([]*unit{}, units...), o.ready...)
	for _, u := range units {
		o.size += u.size
	}
	o.since = o.s.cfg.Now()
	o.signal()
}

// release gives up what a unit holds. The lock is held.
func (o *owner) release(u *unit) {
	if u.blob != nil {
		u.blob.held.keep(0)
		u.blob.held = nil
	}
	if u.spool != nil {
		u.spool.drop()
		u.spool = nil
	}
	u.outputs = nil
}
