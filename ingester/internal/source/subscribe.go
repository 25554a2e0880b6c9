package source

import (
	"context"
	"errors"
	"time"

	"millrace/ingester/internal/checkpoint"
	"millrace/ingester/internal/plan"
	"millrace/pkg/audit"
	"millrace/pkg/m365"
	"millrace/pkg/wire"
)

// startEvery is the time that the service wants between two start requests of one content type.
const startEvery = 15 * time.Minute

// subscribe sees to it that the subscription of each stream is on, at the beginning and when a listing says that it is not. It never
// stops one: what the service makes until the next start would be lost.
func (t *tenant) subscribe(ctx context.Context) {
	fails := 0
	for ctx.Err() == nil {
		pending, err := t.startMissing(ctx)
		wait := time.Hour
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			fails++
			wait = t.o.s.retryWait(err, fails, longestWait)
			t.log.Warn("subscriptions are not all on", "attempt", fails, "wait", wait, "err", err)
		case pending > 0:
			wait = pending
		default:
			fails = 0
		}
		pause(ctx, wait, t.recheck)
	}
}

// fail tells the streams that wait for their subscription why.
func (t *tenant) fail(err error) {
	t.o.mu.Lock()
	defer t.o.mu.Unlock()
	for _, st := range t.streams {
		if st.plan == nil {
			st.status.failed(err, t.o.s.cfg.Now())
		}
	}
	t.o.signal()
}

// startMissing starts what is not on. pending is how long until a start is allowed that had to wait. One content type that is refused does not stop the others.
func (t *tenant) startMissing(ctx context.Context) (pending time.Duration, err error) {
	subs, err := t.Feed.Subscriptions(ctx)
	if err != nil {
		if ctx.Err() == nil {
			t.fail(err)
		}
		return 0, err
	}
	on, hooks := make(map[string]bool), make(map[string]*m365.Webhook)
	for _, s := range subs {
		on[string(s.ContentType)] = s.Status == "enabled" || s.Status == ""
		hooks[string(s.ContentType)] = s.Webhook
	}
	var errs []error
	for _, st := range t.streams {
		if err := st.allowed(ctx); err != nil {
			errs = append(errs, err)
			continue
		}
		if on[string(st.ct)] {
			st.backOn(st.startedBy())
			st.enable()
			st.rehook(ctx, hooks[string(st.ct)])
			continue
		}
		wait, err := st.start(ctx)
		if wait > 0 && (pending == 0 || wait < pending) {
			pending = wait
		}
		errs = append(errs, err)
	}
	return pending, errors.Join(errs...)
}

// allowed asks whether the app may read the stream, if it is not running yet.
func (st *stream) allowed(ctx context.Context) error {
	if st.t.Allowed == nil || st.running() {
		return nil
	}
	err := st.t.Allowed(ctx, st.ct)
	if err != nil && ctx.Err() == nil {
		st.o.mu.Lock()
		defer st.o.mu.Unlock()
		st.status.failed(err, st.now())
		st.o.signal()
	}
	return err
}

func (st *stream) running() bool {
	st.o.mu.Lock()
	defer st.o.mu.Unlock()
	return st.plan != nil
}

// mayRequest is how long to wait until the service takes another start request for the content type. The lock is held.
func (st *stream) mayRequest(now time.Time) time.Duration {
	last := st.state.Started
	if st.state.Hooked.After(last) {
		last = st.state.Hooked
	}
	return max(0, last.Add(startEvery).Sub(now))
}

// startedBy is the time by which the last start request was answered, as it turns out that the subscription is on.
func (st *stream) startedBy() time.Time {
	st.o.mu.Lock()
	defer st.o.mu.Unlock()
	by := st.state.Started.Add(time.Minute)
	if now := st.now(); now.Before(by) {
		return now
	}
	return by
}

// record writes a start request down before it is made, so that no crash can make two of them in 15 minutes.
func (st *stream) record(ctx context.Context, note func(*checkpoint.State)) error {
	return st.o.offerAndWait(ctx, st.noteUnit(note))
}

// start requests the subscription, with the webhook if there is one. A webhook that the service does not take is done without.
func (st *stream) start(ctx context.Context) (wait time.Duration, err error) {
	o := st.o
	o.mu.Lock()
	now := st.now()
	wait = st.mayRequest(now)
	on := st.state.Cursor // zero if it never was
	if st.plan != nil {
		on = st.plan.Cursor()
	}
	o.mu.Unlock()
	if wait > 0 {
		return wait, nil
	}
	err = st.record(ctx, func(s *checkpoint.State) {
		s.Started = now.Truncate(time.Second)
		if s.Off.IsZero() {
			s.Off = on
		}
	})
	if err != nil {
		return 0, err
	}
	hook := o.s.hook()
	err = st.t.Feed.Start(ctx, st.ct, hook)
	if hook != nil && err != nil && m365.ClassOf(err) == m365.ClassConfig {
		st.log.Warn("the webhook is refused; polling goes on without it", "err", err)
		err = st.t.Feed.Start(ctx, st.ct, nil)
	}
	if err != nil {
		o.mu.Lock()
		st.status.failed(err, st.now())
		o.mu.Unlock()
		if m365.ClassOf(err) == m365.ClassTransient || m365.ClassOf(err) == m365.ClassThrottled {
			return 2 * o.s.cfg.RetryWait, nil // it may have been started: the next look tells
		}
		return 0, err
	}
	st.log.Info("subscription started")
	st.backOn(st.now())
	st.enable()
	return 0, nil
}

// backOn records, when a subscription that was found off is on again, that what came into being meanwhile is lost.
func (st *stream) backOn(at time.Time) {
	st.o.mu.Lock()
	defer st.o.mu.Unlock()
	if st.state.Off.IsZero() || !st.off.End.IsZero() {
		return // it was not off, or the record is on its way
	}
	st.off = plan.Window{Start: st.state.Off, End: at}
	if st.plan != nil {
		st.plan.Excuse(st.off)
	}
	u := st.gapUnit(wireGap(st.off.Start, st.off.End, wire.GapSubscriptionOff, ""))
	u.note = func(s *checkpoint.State) { s.Off = time.Time{} }
	u.merged = func() { st.state.Off, st.off = time.Time{}, plan.Window{} }
	st.o.offer(u)
}

// rehook gives a subscription that is on the webhook of the configuration, if it has another or none. Nothing depends on it.
func (st *stream) rehook(ctx context.Context, has *m365.Webhook) {
	want := st.o.s.hook()
	if want == nil || has != nil && has.Address == want.Address && (has.Status == "enabled" || has.Status == "") {
		return
	}
	st.o.mu.Lock()
	now := st.now()
	wait := st.mayRequest(now)
	st.o.mu.Unlock()
	if wait > 0 || st.record(ctx, func(s *checkpoint.State) { s.Hooked = now.Truncate(time.Second) }) != nil {
		return
	}
	if err := st.t.Feed.Start(ctx, st.ct, want); err != nil {
		st.log.Warn("the webhook is refused; polling goes on without it", "err", err)
		return
	}
	st.log.Info("webhook set")
}

// hook is the webhook of the configuration; nil = none.
func (s *Sources) hook() *m365.Webhook {
	if s.cfg.Hook == nil {
		return nil
	}
	return s.cfg.Hook()
}

// API is the host of a tenant's feed; ok is false for a tenant that is not read here.
func (s *Sources) API(id audit.TenantID) (host string, ok bool) {
	list, _ := s.list()
	for _, t := range list {
		if t.ID == id && t.Feed != nil {
			return t.Feed.Host(), true
		}
	}
	return "", false
}

// Hint makes a content type be listed soon, because something says that it has news: no more often than an active one is polled anyway.
func (s *Sources) Hint(id audit.TenantID, ct audit.ContentType) {
	number := s.Number(id)
	for _, o := range s.running() {
		if o.number != number {
			continue
		}
		o.mu.Lock()
		for _, st := range o.streams {
			if now := s.cfg.Now(); st.plan != nil && st.t.ID == id && st.ct == ct && now.Sub(st.hinted) >= s.fastest() {
				st.hinted = now
				st.plan.Wake(st.now())
				poke(st.nudge)
			}
		}
		o.mu.Unlock()
	}
}

func (s *Sources) fastest() time.Duration { return max(s.cfg.Plan.Fastest, 10*time.Millisecond) }

// enable lets the stream list.
func (st *stream) enable() {
	st.o.mu.Lock()
	defer st.o.mu.Unlock()
	select {
	case <-st.enabled:
	default:
		close(st.enabled)
	}
	poke(st.nudge)
}
