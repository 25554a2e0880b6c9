package source

import (
	"context"
	"errors"
	"time"

	"millrace/ingester/internal/checkpoint"
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
	on := make(map[string]bool)
	for _, s := range subs {
		on[string(s.ContentType)] = s.Status == "enabled" || s.Status == ""
	}
	var errs []error
	for _, st := range t.streams {
		if err := st.allowed(ctx); err != nil {
			errs = append(errs, err)
			continue
		}
		if on[string(st.ct)] {
			st.enable()
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

// start requests the subscription. The request is on record before it is made, so that no crash can make two of them in 15 minutes.
func (st *stream) start(ctx context.Context) (wait time.Duration, err error) {
	o := st.o
	o.mu.Lock()
	now := st.now()
	if next := st.state.Started.Add(startEvery); now.Before(next) {
		o.mu.Unlock()
		return next.Sub(now), nil
	}
	state := st.state
	state.Started = now.Truncate(time.Second)
	if st.plan != nil {
		state.Cursor, state.Resume = o.book.State(st.id).Cursor, o.book.State(st.id).Resume
	}
	o.mu.Unlock()
	u := &unit{stream: st.id}
	u.stage = func(c *checkpoint.Change) {
		if st.plan == nil {
			c.Set(st.id, state)
		}
	}
	u.merged = func() { st.state.Started = state.Started }
	if st.plan != nil {
		o.mu.Lock()
		st.state.Started = state.Started // durable writes it with the cursor
		o.mu.Unlock()
	}
	if err := o.offerAndWait(ctx, u); err != nil {
		return 0, err
	}
	if err := st.t.Feed.Start(ctx, st.ct, nil); err != nil {
		o.mu.Lock()
		st.status.failed(err, st.now())
		o.mu.Unlock()
		if m365.ClassOf(err) == m365.ClassTransient || m365.ClassOf(err) == m365.ClassThrottled {
			return 2 * o.s.cfg.RetryWait, nil // it may have been started: the next look tells
		}
		return 0, err
	}
	st.log.Info("subscription started")
	o.mu.Lock()
	if st.plan != nil { // it had been on: what came into being while it was off is lost
		o.offer(st.gapUnit(wireGap(st.plan.Cursor(), st.now(), wire.GapSubscriptionOff, "")))
	}
	o.mu.Unlock()
	st.enable()
	return 0, nil
}

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
