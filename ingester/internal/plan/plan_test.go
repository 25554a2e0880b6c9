package plan

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var start = time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)

func TestFirstRun(t *testing.T) {
	t.Parallel()
	p := New(Config{}, time.Time{}, time.Time{}, start)
	j, ok, _ := p.Next(start)
	if !ok || j.Kind != Live {
		t.Fatalf("first job %v %v, want live", j, ok)
	}
	var got []Window
	for {
		b, ok, _ := p.Next(start)
		if !ok || b.Kind != Backfill {
			break
		}
		got = append(got, b.Window)
		p.Listed(b, 1, start)
	}
	if len(got) != 8 || !got[0].Start.Equal(start.Add(-7*24*time.Hour-5*time.Minute)) || !got[7].End.Equal(start) {
		t.Errorf("windows %v", got)
	}
	for i := 1; i < len(got); i++ {
		if !got[i].Start.Equal(got[i-1].End) {
			t.Errorf("hole between %v and %v", got[i-1], got[i])
		}
	}
	if !p.CaughtUp() || len(p.Gaps()) != 0 {
		t.Error("a first run ends with a gap or with a past")
	}
}

func TestOutages(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		down time.Duration
		gap  []Gap
	}{
		{"minutes", 10 * time.Minute, nil},
		{"three days", 72 * time.Hour, nil},
		{"nine days", 9 * 24 * time.Hour, []Gap{{start, start.Add(9*24*time.Hour - 7*24*time.Hour)}}},
	} {
		now := start.Add(tt.down)
		p := New(Config{}, start, start, now)
		if diff := cmp.Diff(p.Gaps(), tt.gap); diff != "" {
			t.Errorf("%s: gaps (-got +want):\n%s", tt.name, diff)
		}
		if r := p.Resume(time.Time{}); r.After(now) || (tt.gap == nil && r.After(start)) {
			t.Errorf("%s: resume %s", tt.name, r)
		}
	}
}

func TestResumeWaitsForOpenBlobs(t *testing.T) {
	t.Parallel()
	p := New(Config{}, start, start, start)
	if r := p.Resume(start.Add(-3 * time.Hour)); !r.Equal(start.Add(-3 * time.Hour)) {
		t.Errorf("resume %s", r)
	}
}

func TestPollingSlowsDownAndWakes(t *testing.T) {
	t.Parallel()
	p := New(Config{}, start, start, start)
	now, polls := start, 0
	for now.Before(start.Add(time.Hour)) {
		j, ok, wake := p.Next(now)
		if !ok {
			if !wake.After(now) {
				t.Fatalf("asked to come back at once at %s", now)
			}
			now = wake
			continue
		}
		if j.Kind == Live {
			polls++
		}
		p.Listed(j, 0, now)
	}
	if polls < 60 || polls > 100 {
		t.Errorf("%d polls in a quiet hour", polls)
	}
	p.Wake(now)
	if j, ok, _ := p.Next(now); !ok || j.Kind != Live {
		t.Errorf("after a hint: %v %v", j, ok)
	}
}

func TestRefusedWindowIsClamped(t *testing.T) {
	t.Parallel()
	p := New(Config{}, time.Time{}, time.Time{}, start)
	_, _, _ = p.Next(start)
	j, _, _ := p.Next(start)
	p.Refused(j, start)
	now := start.Add(3 * time.Second)
	j, ok, _ := p.Next(now)
	if !ok || now.Sub(j.Start) > 7*24*time.Hour {
		t.Errorf("still %v", j)
	}
}

// service is a model of the feed: blobs with a creation time, each visible from some later moment on.
type service struct{ created, visible []time.Time }

func (s *service) list(w Window, now time.Time) []int {
	var out []int
	for i := range s.created {
		if !s.created[i].Before(w.Start) && s.created[i].Before(w.End) && !now.Before(s.visible[i]) && now.Sub(s.created[i]) < 7*24*time.Hour+time.Hour {
			out = append(out, i)
		}
	}
	return out
}

// TestHistories runs random histories of arrivals, late blobs, failures, outages and restarts in compressed time. Each blob must be
// committed, unless it lies in a gap record; no window may break a rule.
func TestHistories(t *testing.T) {
	t.Parallel()
	n := 10_000
	if testing.Short() {
		n = 500
	}
	for seed := range n {
		runHistory(t, uint64(seed))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func runHistory(t *testing.T, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	var svc service
	span := time.Duration(1+r.IntN(12)) * 24 * time.Hour
	for range r.IntN(60) {
		created := start.Add(-7*24*time.Hour + time.Duration(r.Int64N(int64(span+7*24*time.Hour)))).Truncate(time.Millisecond)
		late := time.Duration(0)
		switch r.IntN(4) {
		case 0:
			late = time.Duration(r.Int64N(int64(50 * time.Minute)))
		case 1:
			if r.IntN(3) == 0 {
				late = time.Duration(r.Int64N(int64(20 * time.Hour)))
			}
		}
		svc.created, svc.visible = append(svc.created, created), append(svc.visible, created.Add(late))
	}
	h := &history{t: t, r: r, svc: &svc, done: make(map[int]bool), open: make(map[int]time.Time)}
	h.run(start, start.Add(span))
	for i := range svc.created {
		if !h.done[i] && !h.excused(svc.created[i], svc.visible[i]) {
			t.Errorf("blob %d of %s, visible %s, is neither committed nor in a gap %v", i, svc.created[i], svc.visible[i], h.gaps)
		}
	}
}

// history is one run: the planner, what it has committed, and what survives a restart.
type history struct {
	t              *testing.T
	r              *rand.Rand
	svc            *service
	p              *Plan
	cursor, resume time.Time // durable
	done           map[int]bool
	open           map[int]time.Time // listed, fetch failed: when to try again
	gaps           []Gap
	outages        []Window
}

// excused reports whether a blob lies in a gap, or surfaced so late before or in an outage that no sweep could list it before it expired.
func (h *history) excused(created, visible time.Time) bool {
	for _, g := range h.gaps {
		if !created.Before(g.Start) && created.Before(g.End) {
			return true
		}
	}
	for _, o := range h.outages {
		if visible.Sub(created) > time.Minute && visible.After(o.Start.Add(-3*time.Hour)) && created.Before(o.End.Add(-7*24*time.Hour)) {
			return true
		}
	}
	return false
}

func (h *history) run(now, end time.Time) {
	cfg := Config{Fastest: time.Minute, Slowest: 20 * time.Minute, OverlapEvery: 10 * time.Minute, SweepEvery: 2 * time.Hour}
	h.p = New(cfg, h.cursor, h.resume, now)
	h.persist()
	settle := end.Add(30 * time.Hour) // what surfaced late has to be found by a sweep
	for now.Before(settle) {
		if now.Before(end) && h.r.IntN(300) == 0 { // crash, and an outage
			h.open = make(map[int]time.Time)
			down := now
			now = now.Add(time.Duration(h.r.Int64N(int64(9*24*time.Hour))) / time.Duration(1+h.r.IntN(20)))
			h.outages = append(h.outages, Window{down, now})
			settle = later(settle, now.Add(30*time.Hour))
			h.p = New(cfg, h.cursor, h.resume, now)
		}
		j, ok, wake := h.p.Next(now)
		h.gaps = append(h.gaps, h.p.Gaps()...)
		h.fetch(now)
		if !ok {
			if wake.Sub(now) > 20*time.Minute {
				h.t.Errorf("sleeps %s", wake.Sub(now))
			}
			now = later(wake, now.Add(time.Second))
			continue
		}
		h.check(j, now)
		if h.r.IntN(8) == 0 {
			h.p.Failed(j, time.Duration(h.r.IntN(600))*time.Second, now)
			continue
		}
		fresh := 0
		for _, i := range h.svc.list(j.Window, now) {
			if _, open := h.open[i]; !open && !h.done[i] {
				h.open[i] = now
				fresh++
			}
		}
		h.p.Listed(j, fresh, now)
		h.persist()
		now = now.Add(time.Second)
	}
	h.fetch(now.Add(24 * time.Hour))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (h *history) check(j Job, now time.Time) {
	if l := j.End.Sub(j.Start); l <= 0 || l > 23*time.Hour {
		h.t.Errorf("%s window %s is %s long", j.Kind, j.Window, l)
	}
	if back := now.Sub(j.Start); back > 7*24*time.Hour+time.Hour {
		h.t.Errorf("%s window %s begins %s ago", j.Kind, j.Window, back)
	}
}

// fetch tries the open blobs that are due; one in five fails and comes again later.
func (h *history) fetch(now time.Time) {
	for _, i := range slices.Sorted(maps.Keys(h.open)) {
		due := h.open[i]
		if now.Before(due) {
			continue
		}
		if h.r.IntN(5) == 0 {
			h.open[i] = now.Add(time.Duration(h.r.IntN(7200)) * time.Second)
			continue
		}
		h.done[i] = true
		delete(h.open, i)
	}
	h.persist()
}

func (h *history) persist() {
	var oldest time.Time
	for i := range h.open {
		if c := h.svc.created[i]; oldest.IsZero() || c.Before(oldest) {
			oldest = c
		}
	}
	h.cursor, h.resume = h.p.Cursor(), h.p.Resume(oldest)
}
