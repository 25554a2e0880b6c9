package seen_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/normalizer/internal/seen"
	"millrace/pkg/audit"
)

const partitions = 12

var start = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

func newSet(t testing.TB, horizon time.Duration) *seen.Set {
	t.Helper()
	s, err := seen.New(seen.Options{Horizon: horizon, Budget: seen.NewBudget(1 << 40)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func begin(t testing.TB, s *seen.Set) *seen.Batch {
	t.Helper()
	b, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// publish takes one record in, in a transaction of its own.
func publish(t testing.TB, s *seen.Set, e audit.Entry, created, fetched time.Time) seen.Verdict {
	t.Helper()
	b := begin(t, s)
	v := b.Look(e, fetched)
	if v != seen.Repeat {
		if err := b.Add(e, created, fetched); err != nil {
			t.Fatal(err)
		}
	}
	b.Merge()
	return v
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	s := newSet(t, seen.DefaultHorizon)
	one, other := audit.Entry{ID: 1, Content: 10}, audit.Entry{ID: 1, Content: 11}
	b := begin(t, s)
	if got := b.Look(one, start); got != seen.Unseen {
		t.Errorf("first: %d", got)
	}
	if err := b.Add(one, start, start); err != nil {
		t.Fatal(err)
	}
	if got := b.Look(one, start); got != seen.Repeat {
		t.Errorf("again in the batch: %d", got)
	}
	if got := b.Look(other, start); got != seen.Variant {
		t.Errorf("other content in the batch: %d", got)
	}
	b.Discard()
	b = begin(t, s)
	if got := b.Look(one, start); got != seen.Unseen {
		t.Errorf("after an abort: %d", got)
	}
	if err := b.Add(one, start, start); err != nil {
		t.Fatal(err)
	}
	b.Merge()
	b = begin(t, s)
	if got := b.Look(one, start.Add(5*24*time.Hour)); got != seen.Repeat {
		t.Errorf("after the commit: %d", got)
	}
	if got := b.Look(other, start); got != seen.Variant {
		t.Errorf("other content after the commit: %d", got)
	}
	if _, err := s.Begin(); err == nil {
		t.Error("two batches at a time")
	}
}

func TestHorizonIsOnTheRecordsOwnClock(t *testing.T) {
	t.Parallel()
	s := newSet(t, seen.DefaultHorizon)
	e := audit.Entry{ID: 7, Content: 7}
	publish(t, s, e, start, start.Add(time.Hour))
	for _, test := range []struct {
		fetched time.Duration
		want    seen.Verdict
	}{
		{14 * 24 * time.Hour, seen.Repeat},
		{15 * 24 * time.Hour, seen.Repeat},
		{15*24*time.Hour + time.Hour, seen.Unseen},
		{3 * 24 * time.Hour, seen.Repeat}, // a topic that lags behind asks later, about an earlier time
	} {
		b := begin(t, s)
		if got := b.Look(e, start.Add(test.fetched)); got != test.want {
			t.Errorf("fetched after %s: got %d, want %d", test.fetched, got, test.want)
		}
		b.Discard()
	}
}

func TestOldBlobsCountFromWhenTheyAreTakenIn(t *testing.T) {
	t.Parallel()
	s := newSet(t, seen.DefaultHorizon)
	e := audit.Entry{ID: 8, Content: 8}
	years := start.AddDate(-2, 0, 0) // an export that lay on a disk
	publish(t, s, e, years, start)
	if got := publish(t, s, e, years, start.Add(14*24*time.Hour)); got != seen.Repeat {
		t.Errorf("the same file again: %d", got)
	}
	// Dead letters keep the fetch time of their first attempt. Redriven weeks later, twice, they are published once.
	for day := range 30 {
		publish(t, s, audit.Entry{ID: uint64(100 + day), Content: 1}, start.AddDate(0, 0, day), start.AddDate(0, 0, day))
	}
	redriven := audit.Entry{ID: 9, Content: 9}
	if got := publish(t, s, redriven, start, start); got != seen.Unseen {
		t.Errorf("redriven: %d", got)
	}
	for i := range 5000 { // what lies behind the floor gives way
		publish(t, s, audit.Entry{ID: rand.Uint64(), Content: uint64(i)}, start.AddDate(0, 0, 28), start.AddDate(0, 0, 28))
	}
	if got := publish(t, s, redriven, start, start); got != seen.Repeat {
		t.Errorf("redriven again: %d", got)
	}
}

func TestMemoryOfWhatNoRecordCanMeetIsUsedAgain(t *testing.T) {
	t.Parallel()
	s := newSet(t, seen.DefaultHorizon)
	rng := rand.New(rand.NewPCG(1, 2))
	most := 0
	for day := range 90 {
		now := start.AddDate(0, 0, day)
		for range 20 {
			b := begin(t, s)
			for range 200 {
				e := audit.Entry{ID: rng.Uint64(), Content: rng.Uint64()}
				b.Look(e, now)
				if err := b.Add(e, now, now); err != nil {
					t.Fatal(err)
				}
			}
			b.Merge()
		}
		most = max(most, s.Len())
	}
	if limit := 20 * 4000; most > limit {
		t.Errorf("%d entries for 15 days of 4000, want at most %d", most, limit)
	}
}

func TestAManyTimesRepeatedIdStaysFast(t *testing.T) {
	t.Parallel()
	s := newSet(t, seen.DefaultHorizon)
	const n = 30_000 // quadratic behaviour would take minutes
	for round := range 2 {
		for at := 0; at < n; at += 1000 {
			b := begin(t, s)
			for i := at; i < at+1000; i++ {
				e := audit.Entry{ID: 42, Content: uint64(i) * 0x9e3779b97f4a7c15}
				switch v := b.Look(e, start); {
				case round == 1 && v != seen.Repeat, round == 0 && i > 0 && v != seen.Variant:
					t.Fatalf("round %d, %d: %d", round, i, v)
				case v != seen.Repeat:
					if err := b.Add(e, start, start); err != nil {
						t.Fatal(err)
					}
				}
			}
			b.Merge()
		}
	}
}

func TestFullIsAnErrorAndNothingIsForgotten(t *testing.T) {
	t.Parallel()
	budget := seen.NewBudget(1 << 20)
	s, err := seen.New(seen.Options{Horizon: seen.DefaultHorizon, Budget: budget})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	var known []audit.Entry
	for err == nil {
		b := begin(t, s)
		e := audit.Entry{ID: rng.Uint64(), Content: rng.Uint64()}
		if err = b.Add(e, start, start); err == nil {
			known = append(known, e)
		}
		b.Merge()
	}
	if !errors.Is(err, seen.ErrFull) {
		t.Fatalf("got %v", err)
	}
	if budget.Used() != s.Bytes() || s.Bytes() > 1<<20 {
		t.Errorf("budget says %d, set %d", budget.Used(), s.Bytes())
	}
	b := begin(t, s)
	for _, e := range known {
		if got := b.Look(e, start); got != seen.Repeat {
			t.Fatalf("%v: %d", e, got)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if budget.Used() != 0 {
		t.Errorf("%d bytes are still taken", budget.Used())
	}
}

func TestBytesAnEntry(t *testing.T) {
	t.Parallel()
	s := newSet(t, seen.DefaultHorizon)
	rng := rand.New(rand.NewPCG(5, 6))
	worst := 0.0
	for n := 0; n < 500_000; {
		b := begin(t, s)
		for range 4000 {
			if err := b.Add(audit.Entry{ID: rng.Uint64(), Content: rng.Uint64()}, start, start); err != nil {
				t.Fatal(err)
			}
			n++
		}
		b.Merge()
		if n >= 200_000 {
			worst = max(worst, float64(s.Bytes())/float64(s.Len()))
		}
	}
	t.Logf("%d entries: %.1f bytes each, at most %.1f", s.Len(), float64(s.Bytes())/float64(s.Len()), worst)
	if worst > 24 {
		t.Errorf("%.1f bytes an entry, want at most 24", worst)
	}
}

// model is the set as one would write it without a thought for memory: for each id, the hours of its contents.
type model struct {
	hours   map[uint64]map[uint64]int64
	horizon int64
}

func (m model) look(e audit.Entry, fetched int64) seen.Verdict {
	verdict := seen.Unseen
	for content, hour := range m.hours[e.ID] {
		if hour < fetched-m.horizon {
			continue
		}
		if content == e.Content {
			return seen.Repeat
		}
		verdict = seen.Variant
	}
	return verdict
}

func (m model) add(e audit.Entry, hour int64) {
	if m.hours[e.ID] == nil {
		m.hours[e.ID] = map[uint64]int64{}
	}
	m.hours[e.ID][e.Content] = hour
}

// TestLikeTheModel runs random batches, some aborted, against the set, against the model, and against a set that is reloaded from what was
// committed. The odd ones have so little memory that most entries go to files.
func TestLikeTheModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(16) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			newSet := newSet
			if seed%2 == 1 {
				budget := seen.NewBudget(20_000) // about 25 shards of the smallest size
				newSet = func(t testing.TB, horizon time.Duration) *seen.Set {
					t.Helper()
					s, err := seen.New(seen.Options{Horizon: horizon, Budget: budget, Dir: t.TempDir()})
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() {
						if err := s.Close(); err != nil {
							t.Error(err)
						}
					})
					return s
				}
			}
			rng := rand.New(rand.NewPCG(seed, 1))
			horizon := seen.MinHorizon * time.Duration(1+rng.IntN(15))
			set, m := newSet(t, horizon), model{hours: map[uint64]map[uint64]int64{}, horizon: int64(horizon / time.Hour)}
			var committed [][]byte
			ids := make([]uint64, 40)
			for i := range ids {
				ids[i] = 2 + rng.Uint64()&[...]uint64{1<<64 - 3, 1<<64 - 3, 3, 0xff << 56}[rng.IntN(4)] // some lie close together at the ends of a shard
			}
			now := start
			for range 150 {
				now = now.Add(time.Duration(rng.IntN(5)) * time.Hour)
				if rng.IntN(10) == 0 { // a restart
					if err := set.Close(); err != nil {
						t.Fatal(err)
					}
					set = newSet(t, horizon)
					for _, value := range committed {
						if err := set.Load(value, partitions); err != nil {
							t.Fatal(err)
						}
					}
				}
				b := begin(t, set)
				staged := model{hours: map[uint64]map[uint64]int64{}, horizon: m.horizon}
				for range rng.IntN(30) {
					e := audit.Entry{ID: ids[rng.IntN(len(ids))], Content: uint64(rng.IntN(200))}
					fetched := now.Add(-time.Duration(rng.IntN(3)) * time.Hour)
					created := fetched.Add(-time.Duration(rng.IntN(int(horizon/time.Hour)/2)) * time.Hour)
					want := staged.look(e, fetched.Unix()/3600)
					if before := m.look(e, fetched.Unix()/3600); want == seen.Unseen || before == seen.Repeat {
						want = before
					}
					if got := b.Look(e, fetched); got != want {
						t.Fatalf("%v fetched %s: got %d, want %d", e, fetched, got, want)
					}
					if want != seen.Repeat {
						if err := b.Add(e, created, fetched); err != nil {
							t.Fatal(err)
						}
						staged.add(e, created.Unix()/3600)
					}
				}
				value := b.Encode(partitions)
				if rng.IntN(4) == 0 {
					b.Discard()
					continue
				}
				b.Merge()
				if value != nil {
					committed = append(committed, value)
				}
				for id, contents := range staged.hours {
					for content, hour := range contents {
						m.add(audit.Entry{ID: id, Content: content}, hour)
					}
				}
			}
		})
	}
}

func BenchmarkTakeIn(b *testing.B) {
	s := newSet(b, seen.DefaultHorizon)
	rng := rand.New(rand.NewPCG(7, 8))
	b.ReportAllocs()
	batch, n := begin(b, s), 0
	for b.Loop() {
		e := audit.Entry{ID: rng.Uint64(), Content: rng.Uint64()}
		batch.Look(e, start)
		if err := batch.Add(e, start, start); err != nil {
			b.Fatal(err)
		}
		if n++; n%4000 == 0 {
			batch.Merge()
			batch = begin(b, s)
		}
	}
	b.ReportMetric(float64(s.Bytes())/float64(max(s.Len(), 1)), "B/entry")
}

func TestWhatMemoryCannotHoldGoesToFiles(t *testing.T) {
	t.Parallel()
	dir, budget := t.TempDir(), seen.NewBudget(1<<20)
	s, err := seen.New(seen.Options{Horizon: seen.DefaultHorizon, Budget: budget, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(13, 14))
	var known []audit.Entry
	hour := start
	for range 50 { // 200,000 entries: four times what fits
		b := begin(t, s)
		for range 4000 {
			e := audit.Entry{ID: rng.Uint64(), Content: rng.Uint64()}
			if got := b.Look(e, hour); got != seen.Unseen {
				t.Fatalf("%v: %d", e, got)
			}
			if err := b.Add(e, hour, hour); err != nil {
				t.Fatal(err)
			}
			known = append(known, e)
		}
		b.Merge()
		if budget.Used() > 1<<20 || budget.Used() != s.Bytes() {
			t.Fatalf("budget says %d, set %d", budget.Used(), s.Bytes())
		}
		hour = hour.Add(time.Hour)
	}
	b := begin(t, s)
	for _, e := range known {
		if got := b.Look(e, hour); got != seen.Repeat {
			t.Fatalf("%v: %d", e, got)
		}
		if got := b.Look(audit.Entry{ID: e.ID, Content: 1}, hour); got != seen.Variant {
			t.Fatalf("%v with other content: %d", e, got)
		}
	}
	b.Discard()
	later := hour.Add(30 * 24 * time.Hour) // all that is past the floor and leaves the files
	for range 40 {
		b := begin(t, s)
		for range 4000 {
			e := audit.Entry{ID: rng.Uint64(), Content: rng.Uint64()}
			b.Look(e, later)
			if err := b.Add(e, later, later); err != nil {
				t.Fatal(err)
			}
		}
		b.Merge()
	}
	if total := budget.Spilled() + budget.Used(); total > 24*40*4000 {
		t.Errorf("%d bytes for %d entries: what is past still takes room", total, 40*4000)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if budget.Used() != 0 || budget.Spilled() != 0 {
		t.Errorf("%d bytes and %d in files are still taken", budget.Used(), budget.Spilled())
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%d files are left: %v", len(left), err)
	}
}

func TestFolderForFilesMustBeThere(t *testing.T) {
	t.Parallel()
	s, err := seen.New(seen.Options{Horizon: seen.DefaultHorizon, Budget: seen.NewBudget(1000), Dir: filepath.Join(t.TempDir(), "none")})
	if err != nil {
		t.Fatal(err)
	}
	for i := uint64(0); err == nil; i++ {
		b := begin(t, s)
		err = b.Add(audit.Entry{ID: i << 56, Content: i}, start, start)
		b.Merge()
	}
	if !strings.Contains(err.Error(), "seen.cache_dir") || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// BenchmarkLoad is a restart: the rate at which the state of a number is read back.
func BenchmarkLoad(b *testing.B) {
	rng := rand.New(rand.NewPCG(9, 10))
	writer := newSet(b, seen.DefaultHorizon)
	values := make([][]byte, 250) // a million entries
	for i := range values {
		batch := begin(b, writer)
		for range 4000 {
			if err := batch.Add(audit.Entry{ID: rng.Uint64(), Content: rng.Uint64()}, start, start); err != nil {
				b.Fatal(err)
			}
		}
		values[i] = batch.Encode(partitions)
		batch.Discard()
	}
	b.ReportAllocs()
	for b.Loop() {
		s := newSet(b, seen.DefaultHorizon)
		for _, value := range values {
			if err := s.Load(value, partitions); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1e6, "ns/entry")
}

// TestAnOutageDoesNotAgeTheBacklog is a normalizer that was down for six days: a quiet topic is read to its end at once, while a busy
// one goes on delivering old records. Their repeats are found, and when the backlog is done the room of what is past is used again.
func TestAnOutageDoesNotAgeTheBacklog(t *testing.T) {
	t.Parallel()
	s := newSet(t, seen.DefaultHorizon)
	old := make([]audit.Entry, 5000)
	b := begin(t, s)
	for i := range old {
		old[i] = audit.Entry{ID: rand.Uint64(), Content: uint64(i)}
		if err := b.Add(old[i], start, start); err != nil {
			t.Fatal(err)
		}
	}
	b.Merge()
	backlog, now := start.Add(14*24*time.Hour), start.Add(20*24*time.Hour)
	fill := func(b *seen.Batch, at time.Time) {
		for range 500 {
			e := audit.Entry{ID: rand.Uint64(), Content: 1}
			b.Look(e, at)
			if err := b.Add(e, at, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 60 {
		b := begin(t, s)
		fill(b, now)
		fill(b, backlog)
		b.Merge()
	}
	b = begin(t, s)
	for _, e := range old {
		if got := b.Look(e, backlog); got != seen.Repeat {
			t.Fatalf("a repeat from the backlog: got %d", got)
		}
	}
	b.Discard()
	before := s.Len()
	for range 60 {
		b := begin(t, s)
		fill(b, now)
		fill(b, now)
		b.Merge()
	}
	if grown := s.Len() - before; grown > 60*1000-4000 {
		t.Errorf("grown by %d: the %d old entries still take room", grown, len(old))
	}
}
