package m365

import (
	"context"
	"sync"
	"time"
)

// DefaultRequestsPerMinute is the baseline quota of a tenant (Management Activity API reference, API throttling).
const DefaultRequestsPerMinute = 2000

// Bucket is the token bucket that all calls of one tenant share. Its rate adapts to the share of calls that the service refuses for
// their number: more than a few in a period, and it is lowered by about that share, at most to a half; then it grows back by a
// twentieth of the configured rate every five seconds, near the rate that proved too high ten times slower. If going slower leaves the share as it was, the refusals do not come from our
// pace (a part of the service is busy, another application uses the quota up): then the former rate returns, and for a while so
// many refusals are taken as they come. A bucket starts empty: a new owner of a tenant does not know what the last one used. Safe
// for concurrent use.
type Bucket struct {
	mu     sync.Mutex // guards all below
	top    float64    // configured rate, tokens a second
	rate   float64    // present rate
	tokens float64    // may be negative: what waiting callers have reserved
	last   time.Time  // when tokens was computed
	until  time.Time  // nobody goes before this
	now    func() time.Time

	calls, refused int     // of the period under way
	before         float64 // rate before the cut of the last period; 0 = there was none
	share          float64 // share of refused calls that led to that cut
	noise          float64 // share of refused calls that a lower rate does not mend
	limit          float64 // rate that proved too high; 0 = none did
}

const (
	bucketFloor    = 0.05            // of the configured rate: recovery needs some requests to find out
	bucketRegain   = 0.05            // of the configured rate, per bucketInterval
	bucketInterval = 5 * time.Second // additive increase
	bucketBurst    = 0.5             // seconds of rate that an idle bucket saves up

	periodCalls    = 64   // calls after which the share of refused ones is judged,
	periodRefusals = 8    // or refusals, whichever comes first
	isolated       = 2    // refusals in a period that mean nothing
	nearLimit      = 0.9  // of the rate that proved too high, from where on the rate grows slowly
	maxNoise       = 0.25 // a larger share of refusals is never put down to something else than our pace
	noiseFade      = 0.95 // a period: whether going slower helps is tried again
)

// NewBucket makes a bucket of so many requests a minute; 0 means DefaultRequestsPerMinute.
func NewBucket(perMinute int) *Bucket {
	if perMinute <= 0 {
		perMinute = DefaultRequestsPerMinute
	}
	rate := float64(perMinute) / 60
	return &Bucket{top: rate, rate: rate, last: time.Now(), now: time.Now}
}

// Wait takes one token, waiting for it in turn, and returns how long that took. It fails only with the context.
func (b *Bucket) Wait(ctx context.Context) (time.Duration, error) {
	wait := b.reserve()
	if err := sleep(ctx, wait); err != nil {
		b.giveBack()
		return 0, err
	}
	held, err := b.hold(ctx)
	return wait + held, err
}

// hold waits for as long as the service asked everybody to wait.
func (b *Bucket) hold(ctx context.Context) (held time.Duration, err error) {
	for {
		b.mu.Lock()
		wait := b.until.Sub(b.now())
		b.mu.Unlock()
		if wait <= 0 {
			return held, ctx.Err()
		}
		if err := sleep(ctx, wait); err != nil {
			return held, err
		}
		held += wait
	}
}

func sleep(ctx context.Context, wait time.Duration) error {
	if wait <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (b *Bucket) reserve() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(b.now())
	if b.calls++; b.calls > periodCalls {
		b.judge()
	}
	b.tokens--
	if b.tokens >= 0 {
		return 0
	}
	return time.Duration(-b.tokens / b.rate * float64(time.Second))
}

func (b *Bucket) giveBack() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens++
}

func (b *Bucket) refill(now time.Time) {
	elapsed := max(now.Sub(b.last).Seconds(), 0)
	b.last = now
	if b.rate < b.top && b.before == 0 { // else it is being found out what the lower rate brings
		regain := bucketRegain
		if b.limit > 0 && b.rate > nearLimit*b.limit {
			regain /= 10
		}
		b.rate = min(b.top, b.rate+b.top*regain*elapsed/bucketInterval.Seconds())
	}
	b.tokens = min(b.tokens+elapsed*b.rate, max(1, b.rate*bucketBurst))
}

// Throttled tells the bucket that the service refused a call for its rate. With a wait given by the service nobody goes before it is over.
func (b *Bucket) Throttled(wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	b.refill(now)
	b.tokens = min(b.tokens, 0)
	if until := now.Add(wait); wait > 0 && until.After(b.until) {
		b.until = until
	}
	if b.refused++; b.refused >= periodRefusals {
		b.judge()
	}
}

// judge ends a period and sets the rate by what it showed.
func (b *Bucket) judge() {
	share := float64(b.refused) / float64(max(b.calls, b.refused))
	b.calls, b.refused = 0, 0
	b.noise *= noiseFade
	excess := share - b.noise
	switch {
	case b.before > 0 && share > b.share/2 && share < maxNoise: // slower was no better
		b.rate, b.before, b.limit, b.noise = b.before, 0, 0, share
	case excess > b.noise+float64(isolated)/periodCalls:
		b.before, b.share = b.rate, share
		b.rate = max(b.rate*(1-min(max(1.25*excess, 0.1), 0.5)), b.top*bucketFloor)
	default:
		switch {
		case b.before > 0:
			b.limit = b.before
		case b.rate > b.limit/nearLimit: // it is not too high any more
			b.limit = 0
		}
		b.before = 0
	}
}

// Rate is the present rate in requests a minute.
func (b *Bucket) Rate() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(b.now())
	return b.rate * 60
}
