package m365

import (
	"context"
	"sync"
	"time"
)

// DefaultRequestsPerMinute is the baseline quota of a tenant (Management Activity API reference, API throttling).
const DefaultRequestsPerMinute = 2000

// Bucket is the token bucket that all calls of one tenant share. Its rate halves when the service throttles, at most once a
// second, and grows back by a twentieth of the configured rate every five seconds. It starts empty: a new owner of a tenant
// does not know what the last one used. Safe for concurrent use.
type Bucket struct {
	mu     sync.Mutex // guards all below
	top    float64    // configured rate, tokens a second
	rate   float64    // present rate
	tokens float64    // may be negative: what waiting callers have reserved
	last   time.Time  // when tokens was computed
	until  time.Time  // nobody goes before this
	cut    time.Time  // when the rate was last lowered
	now    func() time.Time
}

const (
	bucketFloor    = 0.05            // of the configured rate: recovery needs some requests to find out
	bucketRegain   = 0.05            // of the configured rate, per bucketInterval
	bucketInterval = 5 * time.Second // additive increase
	bucketBurst    = 0.5             // seconds of rate that an idle bucket saves up
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
	if wait <= 0 {
		return 0, ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		b.giveBack()
		return 0, ctx.Err()
	case <-timer.C:
		return wait, nil
	}
}

func (b *Bucket) reserve() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	b.refill(now)
	b.tokens--
	var wait time.Duration
	if b.tokens < 0 {
		wait = time.Duration(-b.tokens / b.rate * float64(time.Second))
	}
	return max(wait, b.until.Sub(now))
}

func (b *Bucket) giveBack() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens++
}

func (b *Bucket) refill(now time.Time) {
	elapsed := max(now.Sub(b.last).Seconds(), 0)
	b.last = now
	if b.rate < b.top {
		b.rate = min(b.top, b.rate+b.top*bucketRegain*elapsed/bucketInterval.Seconds())
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
	if now.Sub(b.cut) < time.Second {
		return // the same moment of congestion
	}
	b.cut = now
	b.rate = max(b.rate/2, b.top*bucketFloor)
}

// Rate is the present rate in requests a minute.
func (b *Bucket) Rate() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(b.now())
	return b.rate * 60
}
