package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Ranges is a set of moments: windows in order, of which none is empty and none touches the next. Its methods leave it as it is.
type Ranges []Window

// Union makes one set of windows in any order.
func Union(windows ...Window) Ranges {
	sorted := slices.Clone(windows)
	slices.SortFunc(sorted, func(a, b Window) int { return a.Start.Compare(b.Start) })
	out := Ranges(sorted[:0])
	for _, w := range sorted {
		switch last := len(out) - 1; {
		case !w.Start.Before(w.End):
		case last < 0 || w.Start.After(out[last].End):
			out = append(out, w)
		case w.End.After(out[last].End):
			out[last].End = w.End
		}
	}
	return out
}

// With adds windows.
func (r Ranges) With(windows ...Window) Ranges {
	if len(windows) == 0 {
		return r
	}
	return Union(slices.Concat(r, windows)...)
}

// Without takes windows out.
func (r Ranges) Without(windows ...Window) Ranges {
	for _, w := range windows {
		overlaps := func(had Window) bool { return had.Start.Before(w.End) && w.Start.Before(had.End) }
		if !w.Start.Before(w.End) || !slices.ContainsFunc(r, overlaps) {
			continue
		}
		var out Ranges
		for _, had := range r {
			if before := (Window{had.Start, earlier(had.End, w.Start)}); before.Start.Before(before.End) {
				out = append(out, before)
			}
			if after := (Window{later(had.Start, w.End), had.End}); after.Start.Before(after.End) {
				out = append(out, after)
			}
		}
		r = out
	}
	return r
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// around makes a set of at most n ranges that has the millisecond of each of the times, which are in Unix milliseconds: the closest are joined.
func around(times []int64, n int) Ranges {
	if len(times) == 0 {
		return nil
	}
	slices.Sort(times)
	holes := make([]int64, 0, n+1) // the widest, in order
	for i, t := range times[1:] {
		hole := t - times[i]
		if hole <= 1 || len(holes) == n && hole <= holes[0] {
			continue
		}
		at, _ := slices.BinarySearch(holes, hole)
		holes = slices.Insert(holes, at, hole)
		if len(holes) > n {
			holes = slices.Delete(holes, 0, 1)
		}
	}
	widest := int64(1) // of the holes that are closed
	if len(holes) == n {
		widest = holes[0]
	}
	at := func(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
	out := Ranges{{at(times[0]), at(times[0] + 1)}}
	for i, t := range times[1:] {
		if t-times[i] > widest {
			out = append(out, Window{at(t), at(t)})
		}
		out[len(out)-1].End = at(t + 1)
	}
	return out
}

// String writes what ParseRanges reads: ISO 8601 intervals, with commas between them.
func (r Ranges) String() string {
	parts := make([]string, len(r))
	for i, w := range r {
		parts[i] = w.Start.UTC().Format(time.RFC3339Nano) + "/" + w.End.UTC().Format(time.RFC3339Nano)
	}
	return strings.Join(parts, ",")
}

// ParseRanges reads a set; the empty text is the empty set.
func ParseRanges(text string) (Ranges, error) {
	if text == "" {
		return nil, nil
	}
	var out []Window
	for part := range strings.SplitSeq(text, ",") {
		from, to, _ := strings.Cut(part, "/")
		start, err := time.Parse(time.RFC3339Nano, from)
		if err != nil {
			return nil, fmt.Errorf("range %.80q: %w", part, err)
		}
		end, err := time.Parse(time.RFC3339Nano, to)
		if err != nil {
			return nil, fmt.Errorf("range %.80q: %w", part, err)
		}
		out = append(out, Window{start.UTC(), end.UTC()})
	}
	return Union(out...), nil
}
