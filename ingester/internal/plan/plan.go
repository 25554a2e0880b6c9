// Package plan decides which windows of a stream's content to list next. It is pure: time comes in as a value, and nothing is called.
package plan

import (
	"fmt"
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

// Progress is what a restart goes on from.
type Progress struct {
	Cursor time.Time // live listing goes on here; it promises nothing about blobs that surface late; zero = a first run
	// Owed is what lies before the cursor and was not had: it was never listed to its end, or blobs in it are not committed. What of it the feed
	// does not give any more is lost.
	Owed Ranges
	// Again is what is listed once more if it can be: it was had, and blobs may have surfaced in it since.
	Again Ranges
}

// maxOwed is how many ranges a progress has for open blobs: beyond that the closest are joined.
const maxOwed = 64

// Done is the time before which everything is done.
func (p Progress) Done() time.Time {
	done := p.Cursor
	for _, r := range []Ranges{p.Owed, p.Again} {
		if len(r) > 0 {
			done = earlier(done, r[0].Start)
		}
	}
	return done
}

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
	at       Progress // Owed and Again lie before Cursor
	excused  Ranges   // somebody else says that it was lost
	gaps     []Window // found and not yet taken
	strict   bool     // the service refused a start within the slack
	interval time.Duration
	news     time.Time // when a live window last had something new

	liveOut, otherOut                           bool
	nextLive, nextOther, nextOverlap, nextSweep time.Time
}

// New makes the plan of a stream that goes on from a progress. A first run goes back as far as the feed lists.
func New(cfg Config, from Progress, now time.Time) *Plan {
	cfg = cfg.withDefaults()
	p := &Plan{cfg: cfg, interval: cfg.Fastest, news: now, nextLive: now, nextOther: now, nextOverlap: now, nextSweep: now.Add(cfg.Fastest)}
	now = now.Truncate(time.Second)
	if from.Cursor.IsZero() {
		p.at = Progress{Cursor: now, Owed: Ranges{{now.Add(-cfg.Keep), now}}}
		p.Again(Window{now.Add(-cfg.Keep - cfg.Slack/2), now}) // half of the slack is left for the way to the service
		return p
	}
	p.at.Cursor = earlier(from.Cursor.Truncate(time.Second), now) // later if the clock was set back
	after := Window{p.at.Cursor, p.at.Cursor.Add(100 * 365 * 24 * time.Hour)}
	p.at.Owed, p.at.Again = from.Owed.Without(after), from.Again.Without(after)
	return p
}

// catchUp turns what lies too far behind for a live window into a past that is owed, and lists once more what blobs may have surfaced in meanwhile.
func (p *Plan) catchUp(now time.Time) {
	if now.Sub(p.at.Cursor) <= p.cfg.Overlap {
		return
	}
	p.at.Owed = p.at.Owed.With(Window{p.at.Cursor, now})
	p.at.Again = p.at.Again.With(Window{later(p.at.Cursor.Add(-p.cfg.Sweep), p.kept(now)), p.at.Cursor})
	p.at.Cursor = now
}

// expire gives up what the service does not list any more. What of it was owed is a gap.
func (p *Plan) expire(now time.Time) {
	oldest, gone := p.oldest(now), Window{End: p.kept(now)}
	for len(p.at.Owed) > 0 && p.at.Owed[0].Start.Before(oldest) {
		lost := Window{p.at.Owed[0].Start, earlier(p.at.Owed[0].End, gone.End)}
		p.at.Owed, p.at.Again = p.at.Owed.Without(lost), p.at.Again.Without(lost)
		p.gaps = append(p.gaps, Ranges{lost}.Without(p.excused...)...)
	}
	if len(p.at.Again) > 0 && p.at.Again[0].Start.Before(oldest) {
		p.at.Again = p.at.Again.Without(gone)
	}
}

// oldest is the earliest start that the service accepts.
func (p *Plan) oldest(now time.Time) time.Time {
	if p.strict {
		return now.Add(-p.cfg.Keep)
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
	}
	if !p.liveOut && !now.Before(p.nextLive) {
		p.liveOut = true
		return Job{Live, Window{p.at.Cursor.Add(-p.cfg.Edge), second.Add(time.Second)}}, true, now
	}
	if !p.otherOut && !now.Before(p.nextOther) {
		p.expire(second) // not before, or what it leaves could be too old by now
		if job, ok := p.other(now, second); ok {
			p.otherOut = true
			return job, true, now
		}
	}
	return Job{}, false, p.wake(now)
}

func (p *Plan) other(now, second time.Time) (Job, bool) {
	if past := p.past(); len(past) > 0 {
		w := Window{past[0].Start.Truncate(time.Second), past[0].End}
		for _, next := range past[1:] {
			if next.Start.Sub(w.End) <= p.cfg.Overlap { // cheaper than a window of its own
				w.End = next.End
			}
		}
		w.End = earlier(w.End.Add(time.Second-1).Truncate(time.Second), w.Start.Add(p.cfg.MaxWindow))
		return Job{Backfill, w}, true
	}
	hourAgo, dayAgo := second.Add(-p.cfg.Overlap), second.Add(-p.cfg.Sweep)
	if !now.Before(p.nextOverlap) && p.at.Cursor.After(hourAgo) {
		return Job{Overlap, Window{hourAgo, p.at.Cursor}}, true
	}
	if !now.Before(p.nextSweep) {
		return Job{Sweep, Window{dayAgo, dayAgo.Add(min(p.cfg.Sweep-p.cfg.Overlap, p.cfg.MaxWindow))}}, true
	}
	return Job{}, false
}

// past is all that is left to list behind the cursor.
func (p *Plan) past() Ranges { return p.at.Owed.With(p.at.Again...) }

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
		if !p.CaughtUp() || next.Before(p.nextOther) {
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
	p.at.Owed, p.at.Again = p.at.Owed.Without(j.Window), p.at.Again.Without(j.Window)
	if j.Kind == Live {
		p.liveOut = false
		if end := j.End.Add(-time.Second); end.After(p.at.Cursor) {
			p.at.Cursor = end
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
	case Overlap:
		p.nextOverlap = now.Add(max(p.cfg.OverlapEvery, 5*p.interval))
	case Sweep:
		p.nextSweep = now.Add(p.cfg.SweepEvery)
	case Live, Backfill:
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

// Again has a window listed once more, as far as the feed lists it: it is known to give what it did not give before.
func (p *Plan) Again(w Window) {
	p.at.Again = p.at.Again.With(Window{w.Start, earlier(w.End, p.at.Cursor)})
}

// Excuse says that somebody else names what was lost of a window: it is listed all the same, and no gap if that fails.
func (p *Plan) Excuse(w Window) { p.excused = p.excused.With(w) }

// Cursor is where live listing goes on.
func (p *Plan) Cursor() time.Time { return p.at.Cursor }

// Progress is what a restart has to go on from, given the creation times, in Unix milliseconds, of the blobs that were listed and are not
// committed.
func (p *Plan) Progress(open []int64) Progress {
	at := p.at
	at.Owed = at.Owed.With(around(open, maxOwed)...)
	return at
}

// CaughtUp reports whether nothing of the past is left to list.
func (p *Plan) CaughtUp() bool { return len(p.at.Owed)+len(p.at.Again) == 0 }

// Gaps takes the ranges of creation time that were found since the last call not to have been had and not to be given any more.
func (p *Plan) Gaps() []Window {
	gaps := p.gaps
	p.gaps = nil
	return gaps
}
