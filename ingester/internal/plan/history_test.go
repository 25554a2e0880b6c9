package plan

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

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
// the service gave for long enough must be committed once and before it expires, unless it lies in a gap record; gap records are exactly what
// was not listed to its end, or listed and not committed; no window breaks a rule; live listing and the sweep are never starved.
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
		t: t, r: r, svc: &svc, done: make(map[int]time.Time), open: make(map[int]time.Time), partly: make(map[int]bool),
		pace: time.Minute / time.Duration(10+r.IntN(200)), strict: r.IntN(4) == 0,
	}
	h.run(start, start.Add(span))
	for i := range svc.created {
		if _, done := h.done[i]; !done && !h.excused(svc.created[i], svc.visible[i]) {
			t.Errorf("blob %d of %s, visible %s, is neither committed nor in a gap %v", i, svc.created[i], svc.visible[i], h.gaps)
		}
	}
}

// history is one run: the planner, what it has committed, and what survives a restart.
type history struct {
	t           *testing.T
	r           *rand.Rand
	svc         *service
	p           *Plan
	pace        time.Duration // a request takes so long: the quota
	strict      bool          // the service takes no start that is older than it promises
	progress    Progress      // durable
	had         Ranges        // durable: listed to its end
	listed      Ranges        // and what is not durable of it yet
	done        map[int]time.Time
	open        map[int]time.Time // listed, fetch failed: when to try again
	partly      map[int]bool      // known from a listing that ended early only
	dropped     Ranges            // listed and not committed in a crash
	gaps        []Window          // durable
	found       []Window          // not yet
	outages     []Window
	live, swept time.Time // when live and sweep windows were last asked for, or the planner was begun
}

// excused reports whether a blob lies in a gap, or surfaced so late before or in an outage that no sweep could list it before it expired.
func (h *history) excused(created, visible time.Time) bool {
	if inside(h.gaps, created) {
		return true
	}
	for _, o := range h.outages {
		if visible.Sub(created) > time.Minute && visible.After(o.Start.Add(-3*time.Hour)) && created.Before(o.End.Add(-7*24*time.Hour)) {
			return true
		}
	}
	return false
}

// checkGaps holds the gap records against what was listed to its end and against what was committed: they name all that was not listed, and
// blobs that were not committed when a crash came, and nothing else, to the millisecond. A window whose listing never came to its end is
// named as a whole: what of it was seen is committed, and says nothing about the rest.
func (h *history) checkGaps(end time.Time) {
	named := Union(h.gaps...)
	lost := Ranges{{start.Add(-7 * 24 * time.Hour), end}}.Without(h.had...)
	if left := lost.Without(named...); len(left) > 0 {
		h.t.Errorf("%v was not listed and is in no gap record of %v", left, h.gaps)
	}
	if left := named.Without(lost...).Without(h.dropped...); len(left) > 0 {
		h.t.Errorf("%v is in a gap record and was listed", left)
	}
	for i, g := range h.gaps {
		if !g.Start.Before(g.End) {
			h.t.Errorf("gap %s", g)
		}
		for _, other := range h.gaps[:i] {
			if g.Start.Before(other.End) && other.Start.Before(g.End) {
				h.t.Errorf("gaps %s and %s overlap", g, other)
			}
		}
	}
	for blob := range h.done {
		if c := h.svc.created[blob]; !h.partly[blob] && inside(h.gaps, c) {
			h.t.Errorf("blob %d of %s was committed and lies in a gap of %v", blob, c, h.gaps)
		}
	}
}

func inside(windows []Window, t time.Time) bool {
	return slices.ContainsFunc(windows, func(w Window) bool { return !t.Before(w.Start) && t.Before(w.End) })
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
		if chance := 300 - 290*min(1, len(h.found)); now.Before(end) && h.r.IntN(chance) == 0 { // rather where a gap is not on record yet
			down := now
			now = now.Add(time.Duration(h.r.Int64N(int64(9*24*time.Hour))) / time.Duration(1+h.r.IntN(20)))
			h.outages = append(h.outages, Window{down, now})
			settle = later(settle, now.Add(30*time.Hour))
			h.crash()
			h.begin(cfg, now)
		}
		asked := now.Truncate(time.Second)
		j, ok, wake := h.p.Next(now)
		for _, g := range h.p.Gaps() {
			if g.End.After(now.Add(-7*24*time.Hour + 2*time.Minute)) {
				h.t.Errorf("gap %s, made at %s", g, now)
			}
			h.found = append(h.found, g)
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
		now = h.list(j, asked, now.Add(h.pace)).Add(time.Second)
	}
	h.fetch(now.Add(24 * time.Hour))
	h.persist()
	h.gaps = append(h.gaps, h.found...)
	h.checkGaps(h.p.Cursor())
}

// list carries out a job, which may be refused or fail, at once or half-way. What is made from the moment on at which the job was given may be
// in the listing or not.
func (h *history) list(j Job, asked, now time.Time) time.Time {
	if h.strict && now.Sub(j.Start) > 7*24*time.Hour {
		h.p.Refused(j, now)
		return now
	}
	failed := h.r.IntN(8) == 0
	fresh := 0
	for _, i := range h.svc.list(j.Window, now) {
		if failed && h.r.IntN(4) > 0 {
			continue
		}
		whole := !failed && h.svc.created[i].Before(asked)
		_, open := h.open[i]
		if _, done := h.done[i]; !open && !done {
			h.open[i] = now
			h.partly[i] = !whole
			fresh++
		} else if whole {
			h.partly[i] = false
		}
	}
	if failed {
		h.p.Failed(j, time.Duration(h.r.IntN(600))*time.Second, now)
		return now
	}
	h.p.Listed(j, fresh, now)
	h.listed = h.listed.With(Window{j.Start, earlier(j.End, asked)})
	h.persist()
	return now
}

// crash forgets what is not durable.
func (h *history) crash() {
	for i := range h.open {
		c := h.svc.created[i]
		h.dropped = h.dropped.With(Window{c, c.Add(time.Millisecond)})
	}
	h.open, h.found, h.listed = make(map[int]time.Time), nil, nil
}

func (h *history) begin(cfg Config, now time.Time) {
	h.p, h.live, h.swept = New(cfg, h.progress, now), now, now
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
		h.persist()
	}
	return now
}

// persist makes durable what was reached; gap records may have to wait for a later transaction.
func (h *history) persist() {
	var open []int64
	for i := range h.open {
		open = append(open, h.svc.created[i].UnixMilli())
	}
	if h.r.IntN(2) == 0 {
		h.gaps, h.found = append(h.gaps, h.found...), nil
	}
	h.progress = h.p.Progress(open)
	h.progress.Owed = h.progress.Owed.With(h.found...)
	h.had, h.listed = h.had.With(h.listed...), nil
}
