package m365

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

var bucketStart = time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)

// stepped is a bucket whose clock is set by the test.
func stepped(perMinute int, now *time.Time) *Bucket {
	b := NewBucket(perMinute)
	b.now, b.last = func() time.Time { return *now }, *now
	return b
}

func TestBucketStartsEmptyAndKeepsItsRate(t *testing.T) {
	t.Parallel()
	now := bucketStart
	b := stepped(600, &now) // 10 a second
	if w := b.reserve(); w <= 0 {
		t.Error("a new bucket is not empty")
	}
	now = now.Add(time.Minute)
	var waits time.Duration
	for range 100 {
		waits = b.reserve()
	}
	if waits < 9*time.Second || waits > 10*time.Second {
		t.Errorf("the hundredth of 10 a second waits %s", waits)
	}
}

// TestBucketAdapts lets a bucket of 2,000 calls a minute meet services of several kinds, for ten minutes each.
func TestBucketAdapts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name           string
		quota          float64 // calls a minute that the service takes
		noise          float64 // share of calls that it refuses whatever their rate
		served, spared float64 // least calls a minute that succeed, most of all calls that are refused
	}{
		{"the quota is ours", 2000, 0, 1900, 0.01},
		{"somebody else uses half of it", 1000, 0, 900, 0.02},
		{"nearly all of it is used by others", 200, 0, 150, 0.15},
		{"one in ten is refused whatever we do", 2000, 0.10, 1350, 0.12},
		{"one in twenty is", 2000, 0.05, 1650, 0.07},
		{"both", 1000, 0.05, 700, 0.12},
		{"everything is refused", 0, 1, 0, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			now := bucketStart
			b, r := stepped(2000, &now), rand.New(rand.NewPCG(1, 2))
			calls, served := meet(b, &now, 10*time.Minute, tt.quota, tt.noise, r)
			refused := (calls - served) / calls
			t.Logf("%.0f calls a minute served, %.1f %% refused", served/10, 100*refused)
			if served/10 < tt.served || refused > tt.spared {
				t.Errorf("want at least %.0f served and at most %.0f %% refused", tt.served, 100*tt.spared)
			}
			if b.Rate() < 2000*bucketFloor {
				t.Errorf("rate %.1f fell below the floor", b.Rate())
			}
			if meet(b, &now, 6*time.Minute, 2000, 0, r); b.Rate() < 1990 {
				t.Errorf("six minutes after the trouble the rate is %.0f", b.Rate())
			}
		})
	}
}

// meet makes calls for a while, at the bucket's rate, of a service that takes so many a minute and refuses a share of them whatever their
// number.
func meet(b *Bucket, now *time.Time, span time.Duration, quota, noise float64, r *rand.Rand) (calls, served float64) {
	allowed := 0.0
	for end := now.Add(span); now.Before(end); {
		wait := max(b.reserve(), time.Millisecond)
		*now = now.Add(wait)
		allowed = min(allowed+wait.Minutes()*quota, max(1, quota/60)) // what a second brings may be saved up
		calls++
		if allowed < 1 || r.Float64() < noise {
			b.Throttled(0)
			continue
		}
		allowed--
		served++
	}
	return calls, served
}

func TestBucketObeysRetryAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := NewBucket(6000)
		time.Sleep(time.Minute)
		began := time.Now()
		waiting := make(chan time.Duration)
		for range 60 { // some of them have their token already and wait for its time
			go func() {
				if _, err := b.Wait(t.Context()); err != nil {
					t.Error(err)
				}
				waiting <- time.Since(began)
			}()
		}
		synctest.Wait()
		b.Throttled(5 * time.Second)
		early := 0
		for range 60 {
			if <-waiting < 5*time.Second {
				early++
			}
		}
		if early > 50 { // those that had gone before the answer came
			t.Errorf("%d calls went within the time that the service asked to wait", early)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.Wait(ctx); err == nil {
			t.Error("a cancelled wait succeeds")
		}
	})
}
