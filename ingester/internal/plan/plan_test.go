package plan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var start = time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)

func TestFirstRun(t *testing.T) {
	t.Parallel()
	p := New(Config{}, Progress{}, start)
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
	const day = 24 * time.Hour
	at := func(h int) time.Time { return start.Add(time.Duration(h) * time.Hour) }
	blob := Window{at(-50), at(-50).Add(time.Millisecond)} // listed and not committed
	for _, tt := range []struct {
		name string
		from Progress
		down time.Duration
		gap  []Window
		done time.Time
	}{
		{"minutes", Progress{Cursor: start}, 10 * time.Minute, nil, start},
		{"three days", Progress{Cursor: start}, 3 * day, nil, at(-24)},
		{"nine days", Progress{Cursor: start}, 9 * day, []Window{{start, at(48)}}, at(48)},
		{"nine days, with a blob that failed", Progress{Cursor: start, Owed: Ranges{blob}}, 9 * day, []Window{blob, {start, at(48)}}, at(48)},
		{
			"nine days in the middle of a backfill",
			Progress{Cursor: start, Owed: Ranges{{at(-100), at(-60)}}},
			9 * day,
			[]Window{{at(-100), at(-60)}, {start, at(48)}},
			at(48),
		},
		{"five days in the middle of a backfill", Progress{Cursor: start, Owed: Ranges{{at(-100), at(-30)}}}, 5 * day, []Window{{at(-100), at(-48)}}, at(-48)},
		{"four days after an outage of five hours", Progress{Cursor: start, Again: Ranges{{at(-100), at(-30)}}}, 4 * day, nil, at(-72)},
		{"what is before and after the cursor of a clock that was set back", Progress{Cursor: at(2), Owed: Ranges{{at(-1), at(3)}}}, 0, nil, at(-1)},
	} {
		now := start.Add(tt.down)
		p := New(Config{}, tt.from, now)
		_, _, _ = p.Next(now) // the live one
		_, _, _ = p.Next(now)
		if diff := cmp.Diff(p.Gaps(), tt.gap); diff != "" {
			t.Errorf("%s: gaps (-got +want):\n%s", tt.name, diff)
		}
		if done := p.Progress(nil).Done(); !done.Equal(tt.done) {
			t.Errorf("%s: done up to %s, want %s", tt.name, done, tt.done)
		}
	}
}

// TestExcusedIsNoGap: what another gap record names is listed as long as the feed gives it, and is not named once more.
func TestExcusedIsNoGap(t *testing.T) {
	t.Parallel()
	now := start.Add(9 * 24 * time.Hour)
	p := New(Config{}, Progress{Cursor: start}, now)
	p.Excuse(Window{start.Add(time.Hour), start.Add(40 * time.Hour)})
	_, _, _ = p.Next(now) // the live one
	_, _, _ = p.Next(now)
	want := []Window{{start, start.Add(time.Hour)}, {start.Add(40 * time.Hour), start.Add(48 * time.Hour)}}
	if diff := cmp.Diff(p.Gaps(), want); diff != "" {
		t.Errorf("gaps (-got +want):\n%s", diff)
	}
}

func TestProgressKnowsOpenBlobs(t *testing.T) {
	t.Parallel()
	p := New(Config{}, Progress{Cursor: start}, start)
	open := start.Add(-3 * time.Hour)
	got := p.Progress([]int64{open.UnixMilli()})
	if !got.Done().Equal(open) || len(got.Owed) != 1 || !got.Owed[0].End.Equal(open.Add(time.Millisecond)) {
		t.Errorf("progress %+v", got)
	}
	p = New(Config{}, got, start)
	_, _, _ = p.Next(start)
	j, ok, _ := p.Next(start)
	if want := (Window{open, open.Add(time.Second)}); !ok || j.Window != want {
		t.Errorf("window %s, want %s", j.Window, want)
	}
	p.Listed(j, 1, start)
	if !p.CaughtUp() {
		t.Errorf("still %+v", p.Progress(nil))
	}
}

// TestPollingSlowsDownAndWakes counts the requests of a stream that has nothing: what a quiet tenant costs. Its live window is never older than
// five minutes.
func TestPollingSlowsDownAndWakes(t *testing.T) {
	t.Parallel()
	p := New(Config{}, Progress{Cursor: start}, start)
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
	p := New(Config{}, Progress{}, start)
	_, _, _ = p.Next(start)
	j, _, _ := p.Next(start)
	p.Refused(j, start)
	now := start.Add(3 * time.Second)
	j, ok, _ := p.Next(now)
	if !ok || now.Sub(j.Start) > 7*24*time.Hour {
		t.Errorf("still %v", j)
	}
}
