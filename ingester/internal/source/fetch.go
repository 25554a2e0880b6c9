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
	live, past line
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
		q.live.add(j)
	} else {
		q.past.add(j)
	}
}

// due moves what is due again into line and says how long to wait for something to fetch; 0 = there is something.
func (q *queue) due(now time.Time) time.Duration {
	wait := time.Minute
	q.later = slices.DeleteFunc(q.later, func(j *blobJob) bool {
		left := j.b.due.Sub(now)
		if left > 0 {
			wait = min(wait, left)
			return false
		}
		q.add(j)
		return true
	})
	if q.live.jobs+q.past.jobs > 0 {
		return 0
	}
	return wait
}

// next takes the job whose turn it is; nil = there is none.
func (q *queue) next() *blobJob {
	if j := q.live.next(); j != nil {
		return j
	}
	return q.past.next()
}

// line lets the streams of a tenant take turns, so that a busy content type does not make a quiet one wait for all it has.
type line struct {
	streams []waiting
	turn    int
	jobs    int // of all streams
}

type waiting struct {
	st   *stream
	jobs []*blobJob
}

func (l *line) add(j *blobJob) {
	l.jobs++
	i := slices.IndexFunc(l.streams, func(w waiting) bool { return w.st == j.st })
	if i < 0 {
		i = len(l.streams)
		l.streams = append(l.streams, waiting{st: j.st})
	}
	l.streams[i].jobs = append(l.streams[i].jobs, j)
}

func (l *line) next() *blobJob {
	for range l.streams {
		w := &l.streams[l.turn%len(l.streams)]
		l.turn++
		if len(w.jobs) > 0 {
			j := w.jobs[0]
			w.jobs[0] = nil
			w.jobs = w.jobs[1:]
			l.jobs--
			return j
		}
	}
	return nil
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
		j, turn := t.nextJob(ctx)
		if j == nil {
			return
		}
		t.wg.Go(func() {
			defer func() { <-slots }()
			j.st.fetch(turn, j)
		})
	}
}

// nextJob waits for a blob to fetch and for the tenant's next request, in this order, and then takes the blob whose turn it is: a live one
// that was found meanwhile goes first, and nothing that other tenants want is held while the tenant's bucket is empty. The context is
// the request's; the job is nil once ctx has ended.
func (t *tenant) nextJob(ctx context.Context) (*blobJob, context.Context) {
	for ctx.Err() == nil {
		t.o.mu.Lock()
		wait := t.queue.due(t.o.s.cfg.Now())
		t.o.mu.Unlock()
		if wait > 0 {
			pause(ctx, wait, t.queue.changed)
			continue
		}
		turn, err := t.Feed.Turn(ctx)
		if err != nil {
			break
		}
		t.o.mu.Lock()
		j := t.queue.next()
		t.o.mu.Unlock()
		return j, turn // nobody else takes from the queue
	}
	return nil, ctx
}

// fetch downloads one blob and offers it, or says when to try again. A blob is complete and checked before it is offered.
func (st *stream) fetch(ctx context.Context, j *blobJob) {
	s, b := st.o.s, j.b
	held, err := s.memory.begin(ctx)
	if err != nil {
		st.o.mu.Lock()
		defer st.o.mu.Unlock()
		st.o.flying--
		return
	}
	b.held = held
	sp := newSpool(s.cfg.SpoolDir, &s.chunks, held.grow)
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
		held.keep(0)
		b.held = nil
		if ctx.Err() == nil {
			st.missed(j, err)
		}
		return
	}
	held.keep(int64(u.size))
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
	if m365.ClassOf(err) != m365.ClassThrottled { // which says nothing about the blob
		b.attempts++
	}
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
	wait := o.s.retryWait(err, b.attempts, longestWait)
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
	u := st.gapUnit(wireGap(b.Created, b.Created.Add(time.Millisecond), wire.GapBlobExpired, b.ContentID))
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
