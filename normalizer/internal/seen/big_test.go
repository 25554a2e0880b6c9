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

// TestHundredMillionEntries fills a set of one number far beyond the default seen.memory, in the two ways in which one is filled: record by
// record as they are published, and from the values of the seen topic as after a restart. Run alone, it takes minutes and 4 GB of disk.
func TestHundredMillionEntries(t *testing.T) {
	const (
		n     = 100_000_000
		batch = 4000
		bound = 1 << 30
	)
	// The hours of 14 days, so that all of it lies within one horizon.
	at := func(done int) time.Time {
		return start.Add(14 * 24 * time.Hour / (n / batch) * time.Duration(done/batch))
	}
	t.Run("published", func(t *testing.T) {
		s, budget := newBoundedSet(t, bound)
		rng := rand.New(rand.NewPCG(21, 22))
		began := time.Now()
		for done := 0; done < n; done += batch {
			b, hour := begin(t, s), at(done)
			for range batch {
				e := audit.Entry{ID: rng.Uint64(), Content: rng.Uint64()}
				if got := b.Look(e, hour); got != seen.Unseen {
					t.Fatalf("%v is taken for %d", e, got)
				}
				if err := b.Add(e, hour, hour); err != nil {
					t.Fatal(err)
				}
			}
			b.Merge()
		}
		report(t, s, budget, n, time.Since(began))
	})
	t.Run("rebuilt", func(t *testing.T) {
		s, budget := newBoundedSet(t, bound)
		writer := newSet(t, seen.DefaultHorizon) // makes the values of the topic, and remembers nothing
		rng := rand.New(rand.NewPCG(21, 22))
		var loading time.Duration
		for done := 0; done < n; done += batch {
			b, hour := begin(t, writer), at(done)
			for range batch {
				if err := b.Add(audit.Entry{ID: rng.Uint64(), Content: rng.Uint64()}, hour, hour); err != nil {
					t.Fatal(err)
				}
			}
			value := b.Encode(12)
			b.Discard()
			began := time.Now()
			if err := s.Load(value, 12); err != nil {
				t.Fatal(err)
			}
			loading += time.Since(began)
		}
		report(t, s, budget, n, loading)
	})
}

func newBoundedSet(t *testing.T, bound int64) (*seen.Set, *seen.Budget) {
	t.Helper()
	budget := seen.NewBudget(bound)
	s, err := seen.New(seen.Options{Horizon: seen.DefaultHorizon, Budget: budget, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, budget
}

// report looks for records that are in the set, spread over all of its time, and for as many that are not, and says what all of it took.
func report(t *testing.T, s *seen.Set, budget *seen.Budget, n int, filled time.Duration) {
	t.Helper()
	var mem runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&mem)
	if budget.Used() > budget.Max() {
		t.Errorf("%d MiB are in memory, %d MiB are allowed", budget.Used()>>20, budget.Max()>>20)
	}
	hour := start.Add(14 * 24 * time.Hour)
	again, other := rand.New(rand.NewPCG(21, 22)), rand.New(rand.NewPCG(31, 32))
	b := begin(t, s)
	defer b.Discard()
	var known, unknown time.Duration
	looks := 0
	for i := range n {
		e := audit.Entry{ID: again.Uint64(), Content: again.Uint64()}
		if i%100 != 0 {
			continue
		}
		looks++
		began := time.Now()
		if got := b.Look(e, hour); got != seen.Repeat {
			t.Fatalf("%v was forgotten: %d", e, got)
		}
		found := time.Now()
		if got := b.Look(audit.Entry{ID: other.Uint64()}, hour); got != seen.Unseen {
			t.Fatalf("a record that was never there is taken for %d", got)
		}
		known, unknown = known+found.Sub(began), unknown+time.Since(found)
	}
	t.Logf("%d entries: %d MiB in memory of %d MiB, %d MiB in files, heap %d MiB; %d ns an entry, %v in all; a look takes %d ns for a known record, %d ns for a new one",
		n, budget.Used()>>20, budget.Max()>>20, budget.Spilled()>>20, mem.HeapAlloc>>20, filled.Nanoseconds()/int64(n), filled.Round(time.Second),
		known.Nanoseconds()/int64(looks), unknown.Nanoseconds()/int64(looks))
}
