// Package plan decides which windows of a stream's content to list next. It is pure: time comes in as a value, and nothing is called.
package plan

import (
	"fmt"
	"slices"
	"time"
)

// Window is a half-open range [Start, End) of blob creation time, in whole seconds.
type Window struct{ Start, End time.Time }

// String shows the window in the form of the API.
func (w Window) String() string {
	return fmt.Sprintf("[%s, %s)", w.Start.Format("2006-01-02T15:04:05"), w.End.Format("2006-01-02T15:04:05"))
}

// Kind says why a window is listed.
type Kind int

// The kinds of window.
const (
	Live     Kind = iota // what is new since the cursor
	Backfill             // the past, on a first run or after an outage, oldest first because it expires first
	Overlap              // the last hour again: blobs surface late, with a creation time behind the cursor
	Sweep                // the last day again, rarely: some surface very late
)

// String names the kind in logs and metrics.
func (k Kind) String() string { return [...]string{"live", "backfill", "overlap", "sweep"}[k] }

// Job is one window to list.
type Job struct {
	Kind Kind
	Window
}

// Gap is a range of creation time that the feed does not give any more.
type Gap struct{ Start, End time.Time }

// Config sets the planner's times; the zero value of each field is its documented default.
type Config struct {
	Keep         time.Duration // how far back the feed lists; 7 days
	Slack        time.Duration // how much older than Keep a start may be until the service refuses one; 10 min (an hour was seen)
	MaxWindow    time.Duration // 23 h; the service allows 24 and refused exactly that
	Edge         time.Duration // a live window begins so much before the cursor; 2 min
	Overlap      time.Duration // 60 min
	OverlapEvery time.Duration // 1 min, five poll intervals on a quiet stream
	Sweep        time.Duration // 24 h
	SweepEvery   time.Duration // 30 min
	Fastest      time.Duration // poll interval of an active stream; 2 s
	Slowest      time.Duration // poll interval of a quiet stream; 60 s
	Idle         time.Duration // poll interval of a stream that had nothing for IdleAfter; five times Slowest
	IdleAfter    time.Duration // 1 h
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	set(&c.Keep, 7*24*time.Hour)
	set(&c.Slack, 10*time.Minute)
	set(&c.MaxWindow, 23*time.Hour)
	set(&c.Edge, 2*time.Minute)
	set(&c.Overlap, time.Hour)
	set(&c.OverlapEvery, time.Minute)
	set(&c.Sweep, 24*time.Hour)
	set(&c.SweepEvery, 30*time.Minute)
	set(&c.Fastest, 2*time.Second)
	set(&c.Slowest, time.Minute)
	c.Slowest = max(c.Slowest, c.Fastest)
	set(&c.Idle, 5*c.Slowest)
	c.Idle = max(c.Idle, c.Slowest)
	set(&c.IdleAfter, time.Hour)
	return c
}

// Plan is the listing plan of one stream. At most one live job and one other job are out at a time; each ends in Listed or Failed.
type Plan struct {
	cfg      Config
	cursor   time.Time // live listing goes on here
	past     []Window  // still to be listed, oldest first; does not overlap and lies before cursor
	gaps     []Gap     // found and not yet taken
	strict   bool      // the service refused a start within the slack
	interval time.Duration
	news     time.Time // when a live window last had something new

	liveOut, otherOut                           bool
	nextLive, nextOther, nextOverlap, nextSweep time.Time
}

// New makes the plan of a stream whose live listing stood at cursor and of which everything before resume was done. Zero times mean
// a first run, which goes back as far as the feed lists.
func New(cfg Config, cursor, resume, now time.Time) *Plan {
	cfg = cfg.withDefaults()
	p := &Plan{cfg: cfg, interval: cfg.Fastest, news: now, nextLive: now, nextOther: now, nextOverlap: now, nextSweep: now.Add(cfg.Fastest)}
	now = now.Truncate(time.Second)
	if cursor.IsZero() {
		p.cursor = now
		p.add(Window{now.Add(-cfg.Keep - cfg.Slack/2), now}) // half of the slack is left for the way to the service
		return p
	}
	p.cursor = cursor.Truncate(time.Second)
	if !resume.IsZero() && resume.Before(p.cursor) {
		p.cursor = resume.Truncate(time.Second)
	}
	if p.cursor.After(now) {
		p.cursor = now // the clock was set back
	}
	p.catchUp(now)
	return p
}

// catchUp turns what lies too far behind for a live window into past windows, begun so early that what surfaced late meanwhile is in them.
func (p *Plan) catchUp(now time.Time) {
	if now.Sub(p.cursor) <= p.cfg.Overlap {
		return
	}
	kept := p.kept(now)
	if p.cursor.Before(p.oldest(now)) {
		p.gaps = append(p.gaps, Gap{p.cursor, kept})
		p.cursor = kept
	}
	start := p.cursor.Add(-p.cfg.Sweep)
	if start.Before(kept) {
		start = kept
	}
	if p.cursor.Before(start) {
		start = p.cursor
	}
	for _, w := range p.past { // what is planned already reaches further back
		if w.End.After(start) {
			start = w.End
		}
	}
	if start.Before(now) {
		p.add(Window{start, now})
	}
	p.cursor = now
}

func (p *Plan) add(w Window) {
	for w.Start.Before(w.End) {
		end := w.Start.Add(p.cfg.MaxWindow)
		if end.After(w.End) {
			end = w.End
		}
		p.past = append(p.past, Window{w.Start, end})
		w.Start = end
	}
}

// oldest is the earliest start that the service accepts.
func (p *Plan) oldest(now time.Time) time.Time {
	if p.strict {
		return p.kept(now)
	}
	return now.Add(-p.cfg.Keep - p.cfg.Slack)
}

// kept is the earliest start that the service promises. A window that has to be cut short is cut to here, so that it stays listable
// for a while.
func (p *Plan) kept(now time.Time) time.Time {
	if p.strict {
		return now.Add(time.Minute - p.cfg.Keep)
	}
	return now.Add(-p.cfg.Keep)
}

// Next gives the job that is due, live before everything else, or the time at which to ask again.
func (p *Plan) Next(now time.Time) (Job, bool, time.Time) {
	second := now.Truncate(time.Second)
	if !p.liveOut {
		p.catchUp(second)
		if !now.Before(p.nextLive) {
			p.liveOut = true
			return Job{Live, Window{p.cursor.Add(-p.cfg.Edge), second.Add(time.Second)}}, true, now
		}
	}
	if !p.otherOut && !now.Before(p.nextOther) {
		if job, ok := p.other(now, second); ok {
			p.otherOut = true
			return job, true, now
		}
	}
	return Job{}, false, p.wake(now)
}

func (p *Plan) other(now, second time.Time) (Job, bool) {
	oldest, kept := p.oldest(second), p.kept(second)
	for len(p.past) > 0 {
		w := p.past[0]
		if w.Start.Before(oldest) {
			lost := w.End
			if kept.Before(lost) {
				lost = kept
			}
			p.gaps = append(p.gaps, Gap{w.Start, lost})
			if !lost.Before(w.End) {
				p.past = p.past[1:]
				continue
			}
			w.Start = lost
			p.past[0] = w
		}
		return Job{Backfill, w}, true
	}
	hourAgo, dayAgo := second.Add(-p.cfg.Overlap), second.Add(-p.cfg.Sweep)
	if !now.Before(p.nextOverlap) && p.cursor.After(hourAgo) {
		return Job{Overlap, Window{hourAgo, p.cursor}}, true
	}
	if !now.Before(p.nextSweep) {
		return Job{Sweep, Window{dayAgo, dayAgo.Add(min(p.cfg.Sweep-p.cfg.Overlap, p.cfg.MaxWindow))}}, true
	}
	return Job{}, false
}

func (p *Plan) wake(now time.Time) time.Time {
	wake := now.Add(p.cfg.Idle)
	soon := now.Add(p.cfg.Fastest) // for what is due and waits for something else
	earlier := func(t time.Time) {
		if t.Before(wake) {
			wake = t
		}
	}
	if !p.liveOut {
		earlier(p.nextLive)
	}
	if !p.otherOut {
		next := p.nextOverlap
		if p.nextSweep.Before(next) {
			next = p.nextSweep
		}
		if len(p.past) > 0 || next.Before(p.nextOther) {
			next = p.nextOther
		}
		earlier(next)
	}
	if !wake.After(now) {
		wake = soon
	}
	return wake
}

// Listed says that every page of a job's window was read, with so many blobs that were not known before.
func (p *Plan) Listed(j Job, fresh int, now time.Time) {
	if j.Kind == Live {
		p.liveOut = false
		if end := j.End.Add(-time.Second); end.After(p.cursor) {
			p.cursor = end
		}
		slowest := p.cfg.Slowest
		if now.Sub(p.news) > p.cfg.IdleAfter {
			slowest = p.cfg.Idle
		}
		p.interval = min(p.interval+max(p.interval/4, time.Second), slowest)
		if fresh > 0 {
			p.interval, p.news = p.cfg.Fastest, now
		}
		p.nextLive = now.Add(p.interval)
		return
	}
	p.otherOut, p.nextOther = false, now
	switch j.Kind {
	case Backfill:
		p.past = slices.DeleteFunc(p.past, func(w Window) bool { return w.End.Equal(j.End) })
	case Overlap:
		p.nextOverlap = now.Add(max(p.cfg.OverlapEvery, 5*p.interval))
	case Sweep:
		p.nextSweep = now.Add(p.cfg.SweepEvery)
	case Live:
	}
}

// Failed says that a job's window could not be read to its end; it comes again after the wait.
func (p *Plan) Failed(j Job, wait time.Duration, now time.Time) {
	if j.Kind == Live {
		p.liveOut, p.nextLive = false, now.Add(wait)
		return
	}
	p.otherOut, p.nextOther = false, now.Add(wait)
}

// Refused says that the service took a job's window for against its rules: from now on no start is older than what it promises.
func (p *Plan) Refused(j Job, now time.Time) {
	p.strict = true
	p.Failed(j, p.cfg.Fastest, now)
}

// Wake makes the next live listing due now: something hinted that there is news.
func (p *Plan) Wake(now time.Time) { p.nextLive = now }

// Cursor is where live listing goes on; it promises nothing about blobs that surface late.
func (p *Plan) Cursor() time.Time { return p.cursor }

// Resume is the time from which a restart has to list again, given the creation time of the oldest blob that was listed and is not
// committed (zero: there is none).
func (p *Plan) Resume(open time.Time) time.Time {
	resume := p.cursor
	if len(p.past) > 0 && p.past[0].Start.Before(resume) {
		resume = p.past[0].Start
	}
	if !open.IsZero() && open.Before(resume) {
		resume = open
	}
	return resume
}

// CaughtUp reports whether nothing of the past is left to list.
func (p *Plan) CaughtUp() bool { return len(p.past) == 0 }

// Gaps takes the gaps found since the last call.
func (p *Plan) Gaps() []Gap {
	gaps := p.gaps
	p.gaps = nil
	return gaps
}
