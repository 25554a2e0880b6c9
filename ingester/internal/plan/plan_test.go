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

// TestPollingSlowsDownAndWakes counts the requests of a stream that has nothing: what a quiet tenant costs. Its live window is never older than
// five minutes.
func TestPollingSlowsDownAndWakes(t *testing.T) {
	t.Parallel()
	p := New(Config{}, start, start, start)
	now, last := start, start
	var polls, requests [4]int // by hour
	for now.Before(start.Add(4 * time.Hour)) {
		j, ok, wake := p.Next(now)
		if !ok {
			if !wake.After(now) {
				t.Fatalf("asked to come back at once at %s", now)
			}
			now = wake
			continue
		}
		hour := int(now.Sub(start) / time.Hour)
		requests[hour]++
		if j.Kind == Live {
			polls[hour]++
			if wait := now.Sub(last); wait > 5*time.Minute {
				t.Errorf("a live window after %s", wait)
			}
			last = now
		}
		p.Listed(j, 0, now)
	}
	if polls[0] < 60 || polls[0] > 100 || polls[3] != 12 || requests[3] > 17 {
		t.Errorf("%v polls, %v requests an hour", polls, requests)
	}
	p.Wake(now)
	j, ok, _ := p.Next(now)
	if !ok || j.Kind != Live {
		t.Errorf("after a hint: %v %v", j, ok)
	}
	p.Listed(j, 1, now)
	if j, ok, _ := p.Next(now.Add(2 * time.Second)); !ok || j.Kind != Live {
		t.Errorf("two seconds after news: %v %v", j, ok)
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

// TestHistories runs random histories of arrivals, late blobs, failures, outages, restarts and quotas in compressed time. Each blob that
// the service gave for long enough must be committed once and before it expires, unless it lies in a gap record; a gap record covers what
// could not be listed any more and nothing else; no window breaks a rule; live listing and the sweep are never starved.
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
	h := &history{
		t: t, r: r, svc: &svc, done: make(map[int]time.Time), open: make(map[int]time.Time),
		pace: time.Minute / time.Duration(10+r.IntN(200)),
	}
	h.run(start, start.Add(span))
	for i := range svc.created {
		if _, done := h.done[i]; !done && !h.excused(svc.created[i], svc.visible[i]) {
			t.Errorf("blob %d of %s, visible %s, is neither committed nor in a gap %v", i, svc.created[i], svc.visible[i], h.gaps)
		}
	}
	h.checkGaps()
}

// history is one run: the planner, what it has committed, and what survives a restart.
type history struct {
	t              *testing.T
	r              *rand.Rand
	svc            *service
	p              *Plan
	pace           time.Duration // a request takes so long: the quota
	cursor, resume time.Time     // durable
	done           map[int]time.Time
	open           map[int]time.Time // listed, fetch failed: when to try again
	gaps           []foundGap
	outages        []Window
	begun          time.Time // the durable cursor that the planner was begun with
	live, swept    time.Time // when live and sweep windows were last asked for, or the planner was begun
}

// foundGap is a gap record, when it was made, and where live listing had stood when the planner that made it was begun.
type foundGap struct {
	Gap
	at, cursor time.Time
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

// checkGaps holds gap records against what was committed: none reaches into what the service still promised when it was made, they do not
// overlap, and nothing that was had lies in one. What was listed, but not all committed, before a crash is not told apart from what was not
// listed: there a gap may name more than was lost, never less.
func (h *history) checkGaps() {
	for i, g := range h.gaps {
		if !g.Start.Before(g.End) || g.End.After(g.at.Add(-7*24*time.Hour+2*time.Minute)) {
			h.t.Errorf("gap from %s to %s, made at %s", g.Start, g.End, g.at)
		}
		for _, other := range h.gaps[:i] {
			if g.Start.Before(other.End) && other.Start.Before(g.End) {
				h.t.Errorf("gaps %v and %v overlap", g.Gap, other.Gap)
			}
		}
		for blob := range h.done {
			c := h.svc.created[blob]
			if had := later(g.Start, g.cursor).Add(2 * time.Second); !c.Before(had) && c.Before(g.End) {
				h.t.Errorf("blob %d of %s was committed and lies in the gap %v", blob, c, g.Gap)
			}
		}
	}
}

// checkTurns holds how long live windows and sweeps have waited against what the configuration promises, failures allowed for.
func (h *history) checkTurns(now time.Time) {
	const failing = 6 * 10 * time.Minute // several failures in a row, each with its wait
	if wait := now.Sub(h.live); wait > 30*time.Minute+failing {
		h.t.Errorf("no live window for %s", wait)
	}
	if wait := now.Sub(h.swept); wait > 2*time.Hour+2*failing && h.p.CaughtUp() {
		h.t.Errorf("no sweep for %s", wait)
	}
}

func (h *history) run(now, end time.Time) {
	cfg := Config{Fastest: time.Minute, Slowest: 20 * time.Minute, OverlapEvery: 10 * time.Minute, SweepEvery: 2 * time.Hour, Idle: 30 * time.Minute}
	h.begin(cfg, now)
	h.persist()
	settle := end.Add(30 * time.Hour) // what surfaced late has to be found by a sweep
	for now.Before(settle) {
		if now.Before(end) && h.r.IntN(300) == 0 { // crash, and an outage
			h.open = make(map[int]time.Time)
			down := now
			now = now.Add(time.Duration(h.r.Int64N(int64(9*24*time.Hour))) / time.Duration(1+h.r.IntN(20)))
			h.outages = append(h.outages, Window{down, now})
			settle = later(settle, now.Add(30*time.Hour))
			h.begin(cfg, now)
		}
		j, ok, wake := h.p.Next(now)
		for _, g := range h.p.Gaps() {
			h.gaps = append(h.gaps, foundGap{g, now, h.begun})
		}
		now = h.fetch(now)
		if !ok {
			if wake.Sub(now) > 30*time.Minute {
				h.t.Errorf("sleeps %s", wake.Sub(now))
			}
			now = later(wake, now.Add(time.Second))
			continue
		}
		h.check(j, now)
		now = now.Add(h.pace)
		if h.r.IntN(8) == 0 {
			h.p.Failed(j, time.Duration(h.r.IntN(600))*time.Second, now)
			continue
		}
		fresh := 0
		for _, i := range h.svc.list(j.Window, now) {
			_, open := h.open[i]
			if _, done := h.done[i]; !open && !done {
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

func (h *history) begin(cfg Config, now time.Time) {
	h.p, h.begun, h.live, h.swept = New(cfg, h.cursor, h.resume, now), h.cursor, now, now
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (h *history) check(j Job, now time.Time) {
	h.checkTurns(now)
	switch {
	case j.Kind == Live:
		h.live = now
	case j.Kind == Sweep, !h.p.CaughtUp():
		h.swept = now
	}
	if l := j.End.Sub(j.Start); l <= 0 || l > 23*time.Hour {
		h.t.Errorf("%s window %s is %s long", j.Kind, j.Window, l)
	}
	if back := now.Sub(j.Start); back > 7*24*time.Hour+time.Hour {
		h.t.Errorf("%s window %s begins %s ago", j.Kind, j.Window, back)
	}
}

// fetch tries the open blobs that are due; one in five fails and comes again later. It returns the time by which the requests are made.
func (h *history) fetch(now time.Time) time.Time {
	for _, i := range slices.Sorted(maps.Keys(h.open)) {
		due := h.open[i]
		if now.Before(due) {
			continue
		}
		now = now.Add(h.pace)
		if h.r.IntN(5) == 0 {
			h.open[i] = now.Add(time.Duration(h.r.IntN(7200)) * time.Second)
			continue
		}
		// It was listed before it expired, so it has to be fetched before the service forgets it, an hour later, a failure or two allowed for.
		if late := now.Sub(h.svc.created[i]) - 7*24*time.Hour; late > 9*time.Hour {
			h.t.Errorf("blob %d is fetched %s after it expired", i, late)
		}
		h.done[i] = now
		delete(h.open, i)
	}
	h.persist()
	return now
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
