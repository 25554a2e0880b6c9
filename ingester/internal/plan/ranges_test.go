package plan

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestRanges holds sets of moments against sets that have each of their seconds.
func TestRanges(t *testing.T) {
	t.Parallel()
	const seconds = 40
	r := rand.New(rand.NewPCG(1, 2))
	window := func() Window {
		from := r.IntN(seconds)
		return Window{start.Add(time.Duration(from) * time.Second), start.Add(time.Duration(from+r.IntN(10)-1) * time.Second)}
	}
	for range 2000 {
		var got Ranges
		var want [seconds + 10]bool
		for range r.IntN(12) {
			w, put := window(), r.IntN(3) > 0
			if put {
				got = got.With(w, window2(w))
			} else {
				got = got.Without(w, window2(w))
			}
			for s := range want {
				if at := start.Add(time.Duration(s) * time.Second); inside([]Window{w}, at) {
					want[s] = put
				}
			}
		}
		for s, in := range want {
			if inside(got, start.Add(time.Duration(s)*time.Second)) != in {
				t.Fatalf("second %d of %v: not %v", s, got, in)
			}
		}
		for i, w := range got {
			if !w.Start.Before(w.End) || i > 0 && !got[i-1].End.Before(w.Start) {
				t.Fatalf("not in order, empty or touching: %v", got)
			}
		}
		if again, err := ParseRanges(got.String()); err != nil || again.String() != got.String() {
			t.Fatalf("%v became %v, %v", got, again, err)
		}
	}
}

// window2 is an empty window at the same place: it changes nothing.
func window2(w Window) Window { return Window{w.End, w.End} }

func TestRangesThatAreNone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"x", "2026-03-02T10:00:00Z", "2026-03-02T10:00:00Z/", "/2026-03-02T10:00:00Z", "2026-03-02T10:00:00Z/2026-03-02T11:00:00Z,"} {
		if got, err := ParseRanges(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
	if got, err := ParseRanges("2026-03-02T11:00:00Z/2026-03-02T10:00:00Z"); err != nil || len(got) != 0 {
		t.Errorf("an interval that ends before it begins: %v, %v", got, err)
	}
}

// TestAroundJoinsTheClosest: so many ranges and no more, each time in one, and what is joined is closer than what is not.
func TestAroundJoinsTheClosest(t *testing.T) {
	t.Parallel()
	var times []int64
	for i := range int64(100) {
		times = append(times, i*1000+i*i) // ever further apart
	}
	got := around(append([]int64(nil), times...), 10)
	if len(got) != 10 {
		t.Fatalf("%d ranges", len(got))
	}
	for _, ms := range times {
		if !inside(got, time.UnixMilli(ms)) {
			t.Errorf("%d is in none of %v", ms, got)
		}
	}
	if first := got[0].End.Sub(got[0].Start); first != time.Duration(times[90]-times[0]+1)*time.Millisecond {
		t.Errorf("the first one is %s long", first)
	}
	if got := around([]int64{5, 5, 6}, 10); len(got) != 1 || got[0].End.Sub(got[0].Start) != 2*time.Millisecond {
		t.Errorf("twins and neighbours: %v", got)
	}
	if got := around(nil, 10); got != nil {
		t.Errorf("of nothing: %v", got)
	}
}
