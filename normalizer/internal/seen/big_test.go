//go:build long

package seen_test

import (
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"millrace/normalizer/internal/seen"
	"millrace/pkg/audit"
)

// TestTenMillionEntries measures the size of the set and the time of a look with ten million entries: make long.
func TestTenMillionEntries(t *testing.T) {
	const n = 10_000_000
	s := newSet(t, seen.DefaultHorizon)
	rng := rand.New(rand.NewPCG(11, 12))
	began := time.Now()
	for done := 0; done < n; {
		b := begin(t, s)
		for range 4000 {
			if err := b.Add(audit.Entry{ID: rng.Uint64(), Content: rng.Uint64()}, start, start); err != nil {
				t.Fatal(err)
			}
			done++
		}
		b.Merge()
	}
	filled := time.Since(began)
	var mem runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&mem)
	began = time.Now()
	const looks = 1_000_000
	b := begin(t, s)
	again := rand.New(rand.NewPCG(11, 12))
	for i := range looks {
		want := seen.Repeat
		e := audit.Entry{ID: again.Uint64(), Content: again.Uint64()}
		if i%2 == 1 {
			e.ID, want = rng.Uint64(), seen.Unseen
		}
		if got := b.Look(e, start); got != want {
			t.Fatalf("%d: got %d, want %d", i, got, want)
		}
	}
	perEntry := float64(s.Bytes()) / float64(s.Len())
	t.Logf("%d entries: %.2f bytes each, heap %d MiB, filled at %d ns an entry, a look takes %d ns", s.Len(), perEntry, mem.HeapAlloc>>20,
		filled.Nanoseconds()/n, time.Since(began).Nanoseconds()/looks)
	if perEntry > 24 {
		t.Errorf("%.2f bytes an entry, want at most 24", perEntry)
	}
}
