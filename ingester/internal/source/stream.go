package source

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
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
	oldest  time.Time        // creation of the oldest blob ever listed in this life
	enabled chan struct{}    // closed once the subscription is on
	nudge   chan struct{}    // capacity 1: something may have changed for the lister
	fails   [2]int           // listings failed in a row: live ones, others
	hinted  time.Time        // when a hint made it list last
}

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
	st.plan = plan.New(st.o.s.cfg.Plan, st.state.Cursor, st.state.Resume, now)
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
		for _, g := range st.plan.Gaps() {
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
	st.status.ok(!st.oldest.IsZero() || st.o.book.Blobs(st.id) > 0, now)
	st.o.s.metrics.cursor.WithLabelValues(string(st.t.ID), string(st.ct)).Set(float64(st.plan.Cursor().Unix()))
	st.o.s.metrics.open.WithLabelValues(string(st.t.ID), string(st.ct)).Set(float64(len(st.open)))
	if st.state.History.IsZero() && st.plan.CaughtUp() {
		st.judgeHistory(now)
	}
	if st.o.statusDue() {
		st.o.signal()
	}
}

// judgeHistory records, once in a stream's life, which part of the first week the feed does not have because the subscription is
// younger. The lock is held.
func (st *stream) judgeHistory(now time.Time) {
	st.state.History = now.Truncate(time.Second)
	if st.state.Started.IsZero() {
		st.o.offer(&unit{stream: st.id}) // the subscription was there before us
		return
	}
	from, to := st.state.Begun.Add(-7*24*time.Hour), st.state.Started
	if !st.oldest.IsZero() && st.oldest.Before(to) {
		to = st.oldest
	}
	if to.Sub(from) < time.Hour {
		st.o.offer(&unit{stream: st.id})
		return
	}
	st.o.offer(st.gapUnit(wireGap(from, to, wire.GapBeforeSubscription, "")))
}

// offerGap records a range that was lost to an outage of ours. The lock is held.
func (st *stream) offerGap(g plan.Gap) {
	st.o.offer(st.gapUnit(wireGap(g.Start, g.End, wire.GapOutage, "")))
}

// durable is the state that a restart goes on from, once the blobs of committing are committed. The lock is held.
func (st *stream) durable(committing map[checkpoint.Hash]bool) checkpoint.State {
	var oldest time.Time
	for h, b := range st.open {
		if !committing[h] && (oldest.IsZero() || b.Created.Before(oldest)) {
			oldest = b.Created
		}
	}
	s := st.state
	s.Seen = formatSeen(st.status.value.FirstSeen)
	s.Cursor, s.Resume = st.plan.Cursor(), st.plan.Resume(oldest).Truncate(time.Second)
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
