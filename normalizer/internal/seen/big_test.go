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

// TestTenMillionEntriesInLittleMemory is the same with memory for a tenth of them.
func TestTenMillionEntriesInLittleMemory(t *testing.T) {
	const n = 10_000_000
	budget := seen.NewBudget(24 << 20)
	s, err := seen.New(seen.Options{Horizon: seen.DefaultHorizon, Budget: budget, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(11, 12))
	began, hour := time.Now(), start
	for done := 0; done < n; hour = hour.Add(time.Minute) {
		b := begin(t, s)
		for range 4000 {
			e := audit.Entry{ID: rng.Uint64(), Content: rng.Uint64()}
			b.Look(e, hour)
			if err := b.Add(e, hour, hour); err != nil {
				t.Fatal(err)
			}
			done++
		}
		b.Merge()
	}
	filled := time.Since(began)
	began = time.Now()
	const looks = 1_000_000
	b := begin(t, s)
	again := rand.New(rand.NewPCG(11, 12))
	for range looks {
		if e := (audit.Entry{ID: again.Uint64(), Content: again.Uint64()}); b.Look(e, hour) != seen.Repeat {
			t.Fatalf("%v was forgotten", e)
		}
		if e := (audit.Entry{ID: rng.Uint64()}); b.Look(e, hour) != seen.Unseen {
			t.Fatalf("%v was never there", e)
		}
	}
	t.Logf("%d MiB in memory, %d MiB in files, taken in at %d ns an entry, a look takes %d ns", budget.Used()>>20, budget.Spilled()>>20,
		filled.Nanoseconds()/n, time.Since(began).Nanoseconds()/looks/2)
}
