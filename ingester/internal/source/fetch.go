package source

import (
	"context"
	"errors"
	"slices"
	"time"

	"millrace/ingester/internal/checkpoint"
	"millrace/ingester/internal/plan"
	"millrace/pkg/audit"
	"millrace/pkg/m365"
	"millrace/pkg/wire"
)

const (
	maxOpen      = 20_000           // listed and uncommitted blobs of a stream at which listing of the past waits
	lostAfter    = 4                // times that a blob may be unknown to the service until it counts as lost,
	lostNotUntil = 10 * time.Minute // and how long: some proxy may answer 404 for a while
	lastChance   = time.Hour        // before a blob expires it is taken even if it is cut short
	cutAfter     = 4                // times that it was cut short before
	expiredAfter = 90 * time.Minute // behind its expiration a blob is given up even if the service still has trouble
)

// defaultFetches keeps the quota busy at a latency of several hundred milliseconds.
const defaultFetches = 16

// queue holds a tenant's blobs that are to be fetched: live ones go first, those that failed when they are due. The owner's lock guards it.
type queue struct {
	live, past []*blobJob
	later      []*blobJob
	flying     *int          // of the owner: fetches under way or due
	changed    chan struct{} // capacity 1
}

type blobJob struct {
	st *stream
	b  *blob
}

func (q *queue) add(j *blobJob) {
	*q.flying++
	if j.b.via == plan.Live || j.b.via == plan.Overlap {
		q.live = append(q.live, j)
	} else {
		q.past = append(q.past, j)
	}
}

// next takes the job that is due, or says how long to wait for one.
func (q *queue) next(now time.Time) (*blobJob, time.Duration) {
	wait := time.Minute
	for i := 0; i < len(q.later); {
		j := q.later[i]
		if left := j.b.due.Sub(now); left > 0 {
			wait = min(wait, left)
			i++
			continue
		}
		q.add(j)
		q.later = slices.Delete(q.later, i, i+1)
	}
	for _, line := range []*[]*blobJob{&q.live, &q.past} {
		if len(*line) > 0 {
			j := (*line)[0]
			(*line)[0] = nil
			*line = (*line)[1:]
			return j, 0
		}
	}
	return nil, wait
}

// found takes in one page of a listing and returns how many blobs were not known before, and whether too many are open.
func (st *stream) found(blobs []audit.Blob, via plan.Kind) (fresh int, full bool) {
	o := st.o
	o.mu.Lock()
	defer o.mu.Unlock()
	now := st.now()
	for _, b := range blobs {
		h := checkpoint.HashOf(b.ContentID)
		if st.open[h] != nil || o.book.Done(st.id, h) {
			continue
		}
		if st.oldest.IsZero() || b.Created.Before(st.oldest) {
			st.oldest = b.Created
		}
		if st.state.History.IsZero() && !now.Before(b.Expiration) {
			continue // on a first run it was gone before we came
		}
		job := &blobJob{st: st, b: &blob{Blob: b, hash: h, listed: now, via: via, due: now}}
		st.open[h] = job.b
		st.t.queue.add(job)
		fresh++
		if b.Created.After(st.status.value.LastBlob) {
			st.status.value.LastBlob = b.Created
		}
	}
	if fresh > 0 {
		poke(st.t.queue.changed)
	}
	return fresh, len(st.open) > maxOpen
}

// waitForRoom holds up a listing of the past until fewer blobs are open.
func (st *stream) waitForRoom(ctx context.Context) error {
	for {
		st.o.mu.Lock()
		n := len(st.open)
		st.o.mu.Unlock()
		if n <= maxOpen {
			return nil
		}
		pause(ctx, 200*time.Millisecond, nil)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// dispatch starts fetches, at most so many at a time, until ctx ends.
func (t *tenant) dispatch(ctx context.Context) {
	n := t.Fetches
	if n <= 0 {
		n = defaultFetches
	}
	slots := make(chan struct{}, n) // one for each fetch
	for {
		select {
		case <-ctx.Done():
			return
		case slots <- struct{}{}:
		}
		j := t.nextJob(ctx)
		if j == nil {
			return
		}
		t.o.wg.Go(func() {
			defer func() { <-slots }()
			j.st.fetch(ctx, j)
		})
	}
}

func (t *tenant) nextJob(ctx context.Context) *blobJob {
	for ctx.Err() == nil {
		t.o.mu.Lock()
		j, wait := t.queue.next(t.o.s.cfg.Now())
		t.o.mu.Unlock()
		if j != nil {
			return j
		}
		pause(ctx, wait, t.queue.changed)
	}
	return nil
}

// fetch downloads one blob and offers it, or says when to try again. A blob is complete and checked before it is offered.
func (st *stream) fetch(ctx context.Context, j *blobJob) {
	s, b := st.o.s, j.b
	if err := s.memory.Acquire(ctx, spoolMemory); err != nil {
		return
	}
	b.held = spoolMemory
	sp := newSpool(s.cfg.SpoolDir, &s.chunks)
	n, err := st.t.Feed.Fetch(ctx, b.Blob, sp)
	b.bytes, b.fetched = n, st.now().Truncate(time.Millisecond)
	var u *unit
	if err == nil {
		err = sp.join()
	}
	if err == nil {
		b.sha = sp.sha()
		u, err = st.finish(b, sp)
	}
	st.o.mu.Lock()
	defer st.o.mu.Unlock()
	st.o.flying--
	defer st.o.signal() // the owner may have waited for this one
	if err != nil {
		sp.drop()
		s.memory.Release(b.held)
		b.held = 0
		if ctx.Err() == nil {
			st.missed(j, err)
		}
		return
	}
	if keep := min(b.held, int64(u.size)); keep < b.held {
		s.memory.Release(b.held - keep)
		b.held = keep
	}
	st.o.offer(u)
}

// finish makes the unit of a fetched blob; of a large one it only checks that it is whole.
func (st *stream) finish(b *blob, sp *spool) (*unit, error) {
	u := &unit{stream: st.id, blob: b}
	u.partial = b.Expiration.Sub(b.fetched) < lastChance && b.attempts >= cutAfter
	u.stage = func(c *checkpoint.Change) { c.Done(st.id, b.hash, b.Created) }
	u.merged = func() { delete(st.open, b.hash) }
	if sp.file == nil {
		return u, st.o.s.fill(u, sp.buf)
	}
	u.spool = sp
	u.size = int(min(b.bytes, 1<<30))
	if u.partial {
		return u, nil
	}
	r, err := sp.reader()
	if err != nil {
		return u, err
	}
	return u, whole(r)
}

// missed decides what becomes of a blob that could not be fetched whole. The lock is held.
func (st *stream) missed(j *blobJob, err error) {
	o, b, now := st.o, j.b, st.now()
	b.attempts++
	via := b.via.String()
	api, _ := errors.AsType[*m365.APIError](err)
	gone := api != nil && api.Class == m365.ClassLost &&
		(api.Code == "AF20051" || api.Status == 410 || b.attempts >= lostAfter && now.Sub(b.listed) > lostNotUntil)
	if gone || now.After(b.Expiration.Add(expiredAfter)) {
		o.s.metrics.blobs.WithLabelValues(via, "lost").Inc()
		st.lose(b)
		return
	}
	o.s.metrics.blobs.WithLabelValues(via, "failed").Inc()
	wait := o.s.retryWait(err, b.attempts)
	if left := b.Expiration.Sub(now); left > 0 && wait > left/2 {
		wait = max(left/2, o.s.cfg.RetryWait) // it must not expire while it waits
	}
	if needsOperator(err) {
		st.status.failed(err, now)
	}
	b.due = o.s.cfg.Now().Add(wait)
	st.t.queue.later = append(st.t.queue.later, j)
	poke(st.t.queue.changed)
	st.log.Info("blob failed, it comes again", "content_id", b.ContentID, "attempt", b.attempts, "wait", wait, "err", err)
}

// lose records that a blob cannot be had any more. The lock is held.
func (st *stream) lose(b *blob) {
	st.status.value.Gaps++
	st.status.value.DataLoss = true
	st.status.changed()
	u := gapUnit(st.id, st.t.ID, st.ct, wireGap(b.Created, b.Created.Add(time.Millisecond), "blob_expired", b.ContentID))
	u.stage = func(c *checkpoint.Change) { c.Done(st.id, b.hash, b.Created) }
	u.merged = func() { delete(st.open, b.hash) }
	st.o.offer(u)
}

func wireGap(from, to time.Time, reason, contentID string) wire.Gap {
	return wire.Gap{Start: from.UTC(), End: to.UTC(), Reason: reason, ContentID: contentID}
}

func retryAfter(err error) time.Duration {
	if api, ok := errors.AsType[*m365.APIError](err); ok {
		return api.RetryAfter
	}
	return 0
}
