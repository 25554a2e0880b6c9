package source

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"millrace/ingester/internal/checkpoint"
	"millrace/ingester/internal/plan"
	"millrace/pkg/audit"
	"millrace/pkg/m365"
	"millrace/pkg/msauth"
	"millrace/pkg/wire"
)

// stream is one source of one tenant as its owner runs it. The owner's lock guards everything that changes.
type stream struct {
	o      *owner
	t      *tenant
	id     string
	log    *slog.Logger
	status *status

	// Of a content type; zero for a directory.
	ct      audit.ContentType
	plan    *plan.Plan // nil until the subscription is known to be on
	open    map[checkpoint.Hash]*blob
	state   checkpoint.State // what durable starts from: the parts that the plan does not know
	unnamed plan.Ranges      // gaps that the plan found, until their records are committed
	off     plan.Window      // when the subscription was off, as a gap record says
	history history          // how far the judgement of a new subscription's past is
	enabled chan struct{}    // closed once the subscription is on
	nudge   chan struct{}    // capacity 1: something may have changed for the lister
	fails   [2]int           // listings failed in a row: live ones, others
	hinted  time.Time        // when a hint made it list last
}

// history says what was done to find out what the feed has of the time before a new subscription.
type history int

const (
	unknown  history = iota
	relisted         // all of it is listed once more
	judged           // the record is on its way
)

// tenant is one tenant as its owner runs it.
type tenant struct {
	*Tenant
	o       *owner
	log     *slog.Logger
	streams []*stream
	queue   queue
	recheck chan struct{} // capacity 1: look at the subscriptions again
	stop    context.CancelFunc
	wg      sync.WaitGroup
}

// now is the time by the service's clock, which windows are cut by.
func (st *stream) now() time.Time {
	now := st.o.s.cfg.Now()
	if skew := st.t.Feed.Skew(); skew > 2*time.Second || skew < -2*time.Second { // the Date header has whole seconds
		now = now.Add(skew)
	}
	return now.UTC()
}

// run waits for the subscription and then lists windows: two listers, so that a long listing of the past holds up no live one.
func (st *stream) run(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-st.enabled:
	}
	st.o.mu.Lock()
	now := st.now()
	if st.state.Begun.IsZero() {
		st.state.Begun = now.Truncate(time.Second)
	}
	st.plan = plan.New(st.o.s.cfg.Plan, progressOf(st.state), now)
	st.plan.Excuse(st.off)
	if st.state.History.IsZero() && !st.state.Started.IsZero() {
		st.plan.Excuse(plan.Window{End: st.state.Started.Add(-backfillMost)}) // judgeHistory names it
	}
	// Written soon, so that a stream that ran once is not taken for new after a crash.
	st.o.offer(&unit{stream: st.id})
	st.o.mu.Unlock()
	st.t.wg.Go(func() { st.list(ctx) })
	st.list(ctx)
}

// list takes jobs from the plan until ctx ends.
func (st *stream) list(ctx context.Context) {
	for ctx.Err() == nil {
		st.o.mu.Lock()
		now := st.now()
		job, ok, wake := st.plan.Next(now)
		for _, g := range st.joined(st.plan.Gaps()) {
			st.offerGap(g)
		}
		st.o.mu.Unlock()
		if ok {
			st.do(ctx, job)
			continue
		}
		pause(ctx, wake.Sub(now), st.nudge)
	}
}

// pause waits for a while, or until there is something on nudge, or until ctx ends.
func pause(ctx context.Context, wait time.Duration, nudge <-chan struct{}) {
	timer := time.NewTimer(max(wait, 10*time.Millisecond))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-nudge:
	case <-timer.C:
	}
}

// poke makes whoever waits on a channel of capacity 1 look again.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // a look is due already
	}
}

// do lists one window.
func (st *stream) do(ctx context.Context, job plan.Job) {
	fresh := 0
	err := st.t.Feed.Content(ctx, st.ct, job.Start, job.End, func(blobs []audit.Blob) error {
		n, full := st.found(blobs, job.Kind)
		fresh += n
		if full && job.Kind != plan.Live {
			return st.waitForRoom(ctx)
		}
		return nil
	})
	if ctx.Err() != nil {
		return
	}
	st.o.mu.Lock()
	defer st.o.mu.Unlock()
	now := st.now()
	fails := &st.fails[min(job.Kind, 1)]
	if err == nil {
		*fails = 0
		st.plan.Listed(job, fresh, now)
		st.listed(now)
		return
	}
	*fails++
	st.status.failed(err, now)
	longest := longestWait
	if job.Kind == plan.Live {
		longest = longestLiveWait
	}
	wait := st.o.s.retryWait(err, *fails, longest)
	switch class := m365.ClassOf(err); {
	case class == m365.ClassWindow && *fails < 3:
		st.plan.Refused(job, now)
	case class == m365.ClassPage && *fails < 3:
		st.plan.Failed(job, st.o.s.cfg.RetryWait, now) // from its first page
	case class == m365.ClassNotStarted, class == m365.ClassDisabled:
		poke(st.t.recheck)
		st.plan.Failed(job, wait, now)
	default:
		st.plan.Failed(job, wait, now)
	}
	st.log.Warn("listing failed", "window_start", job.Start, "window_end", job.End, "attempt", *fails, "wait", wait, "err", err)
}

// listed notes a success. The lock is held.
func (st *stream) listed(now time.Time) {
	st.status.ok(!st.status.value.LastBlob.IsZero() || st.o.book.Blobs(st.id) > 0, now)
	st.o.s.metrics.cursor.WithLabelValues(string(st.t.ID), string(st.ct)).Set(float64(st.plan.Cursor().Unix()))
	st.o.s.metrics.open.WithLabelValues(string(st.t.ID), string(st.ct)).Set(float64(len(st.open)))
	if st.state.History.IsZero() && st.history != judged && st.plan.CaughtUp() {
		st.judgeHistory(now)
	}
	if st.o.statusDue() {
		st.o.signal()
	}
}

// A new subscription may list nothing for 12 hours, and then has content from up to a day before it was started.
const (
	firstContent = 13 * time.Hour
	backfillMost = 24 * time.Hour
)

// judgeHistory records, once in a stream's life, which part of the first week the feed does not have because the subscription is
// younger: when all that it can have is there and was listed once more. The lock is held.
func (st *stream) judgeHistory(now time.Time) {
	note := func(s *checkpoint.State) { s.History = now.Truncate(time.Second) }
	u, started := st.noteUnit(note), st.state.Started
	switch {
	case started.IsZero(): // the subscription was there before us
		st.history = judged
		st.o.offer(u)
		return
	case now.Sub(started) < firstContent:
		return
	case st.history == unknown:
		st.history = relisted
		st.plan.Again(plan.Window{Start: started.Add(-7 * 24 * time.Hour), End: now})
		poke(st.nudge)
		return
	}
	from, to := st.state.Begun.Add(-7*24*time.Hour), started
	st.o.book.Each(st.id, func(_ checkpoint.Hash, created time.Time) {
		if created.Before(to) {
			to = created
		}
	})
	for _, b := range st.open {
		if b.Created.Before(to) {
			to = b.Created
		}
	}
	if to.Sub(from) >= time.Hour {
		gap := st.gapUnit(wireGap(from, to, wire.GapBeforeSubscription, ""))
		gap.note, gap.merged = u.note, u.merged
		u = gap
	}
	st.history = judged
	st.o.offer(u)
}

// joined makes one gap of those between which nothing was had, as of blobs that were listed one after another and not fetched. The lock is held.
func (st *stream) joined(gaps []plan.Window) []plan.Window {
	if len(gaps) < 2 || !st.off.End.IsZero() { // another record names what lies between
		return gaps
	}
	var done []int64
	st.o.book.Each(st.id, func(_ checkpoint.Hash, created time.Time) { done = append(done, created.Unix()) })
	slices.Sort(done)
	out := gaps[:1]
	for _, g := range gaps[1:] {
		last := &out[len(out)-1]
		next, _ := slices.BinarySearch(done, last.End.Unix()) // they are in whole seconds
		if next < len(done) && done[next] <= g.Start.Unix() {
			out = append(out, g)
			continue
		}
		last.End = g.End
	}
	return out
}

// offerGap records a range that was lost to an outage of ours. The lock is held.
func (st *stream) offerGap(g plan.Window) {
	u := st.gapUnit(wireGap(g.Start, g.End, wire.GapOutage, ""))
	st.unnamed = st.unnamed.With(g)
	u.names, u.merged = g, func() { st.unnamed = st.unnamed.Without(g) }
	st.o.offer(u)
}

// progressOf is what the plan of a stream goes on from.
func progressOf(s checkpoint.State) plan.Progress {
	owed, err := plan.ParseRanges(s.Owed)
	again, err2 := plan.ParseRanges(s.Again)
	from := plan.Progress{Cursor: s.Cursor, Owed: owed, Again: again}
	if err != nil || err2 != nil || from.Done().Truncate(time.Second).After(s.Resume) && !s.Resume.IsZero() {
		from.Owed = owed.With(plan.Window{Start: s.Resume, End: s.Cursor}) // written by a version that did not say what of it is owed
	}
	return from
}

// durable is the state that a restart goes on from, once the blobs of committing are committed and the gaps of naming are on the ledger.
// The lock is held.
func (st *stream) durable(committing map[checkpoint.Hash]bool, naming plan.Ranges) checkpoint.State {
	s := st.state
	s.Seen = formatSeen(st.status.value.FirstSeen)
	if st.plan == nil {
		return s
	}
	open := make([]int64, 0, len(st.open))
	for h, b := range st.open {
		if !committing[h] {
			open = append(open, b.Created.UnixMilli())
		}
	}
	at := st.plan.Progress(open)
	at.Owed = at.Owed.With(st.unnamed.Without(naming...)...)
	s.Cursor, s.Resume, s.Owed, s.Again = at.Cursor, at.Done().Truncate(time.Second), at.Owed.String(), at.Again.String()
	return s
}

// The longest waits between two tries, in first waits: a live window must not stay behind for long once the trouble is over.
const (
	longestWait     = 100
	longestLiveWait = 10
)

// retryWait is how long to wait after so many failures in a row. That the service throttles is no reason to wait longer: the tenant's
// bucket sees to the pace.
func (s *Sources) retryWait(err error, fails, longest int) time.Duration {
	_, signIn := errors.AsType[*msauth.AuthError](err)
	if needsOperator(err) && !signIn && m365.ClassOf(err) != m365.ClassAuth {
		return s.cfg.RefusedWait // asking more often mends nothing; a credential may be replaced at any moment
	}
	if m365.ClassOf(err) == m365.ClassThrottled {
		fails = 1
	}
	wait := s.cfg.RetryWait * time.Duration(min(1<<min(max(fails-1, 0), 10), longest))
	wait = wait/2 + rand.N(wait/2+1) //nolint:gosec // G404: spreads retries, keeps no secret
	return max(wait, retryAfter(err))
}
