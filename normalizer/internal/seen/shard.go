package seen

import (
	"math/bits"

	"millrace/pkg/audit"
)

const (
	// shardBits: a set is split so that growing never copies more than a part of it.
	shardBits  = 8
	shardCount = 1 << shardBits

	// A shard is rebuilt when it is fuller than maxLoad and then has load startLoad, in 1/100: between them an entry of 18 bytes takes
	// 20.7 to 23.4 bytes, and an insert pays for about 8 copies in sequence.
	maxLoad   = 87
	startLoad = 77

	// minSpill is the room behind the last home slot, for a run of entries that starts there.
	minSpill = 24
	// smallest keeps the shards of a quiet number from being rebuilt for every other entry.
	smallest = 16

	slotBytes = 8 + 8 + 2

	// crowd is how many entries of one id lie together. The vendor has sent records under an all-zero Id: without a bound
	// each of them would be compared with all before it. The newest ones lie together, which tells a variant from a record
	// of an unknown id; a newer one moves the oldest of them to a place derived from id and content.
	crowd = 64
)

// shard is an open-addressing table kept in order of its hashes: an entry lies at its home slot, which grows with the hash, or behind
// it, and never after a greater one. So a search ends at the first greater hash, and a rebuild is one pass in sequence.
type shard struct {
	ids      []uint64 // 0 = empty
	contents []uint64
	hours    []uint16 // as Set.stamp makes them
	homes    int      // home slots; the spill follows them
	used     int
	last     int // where push put the last entry, -1 at first
}

func newShard(entries, spill int) shard {
	homes := max(smallest, entries*100/startLoad+1)
	n := homes + spill
	return shard{ids: make([]uint64, n), contents: make([]uint64, n), hours: make([]uint16, n), homes: homes, last: -1}
}

func shardOf(id uint64) int { return int(id >> (64 - shardBits)) }

// derived is where an entry of a crowded id lies. Its hash depends on both parts, so that the crowd spreads over the whole set.
func derived(e audit.Entry) audit.Entry {
	hi, lo := bits.Mul64(e.ID^0x9e3779b97f4a7c15, e.Content|1)
	return audit.Entry{ID: nonZero(hi ^ bits.RotateLeft64(lo, 31) ^ e.Content), Content: e.Content}
}

// nonZero keeps 0 for empty slots. Whatever enters the set has gone through it.
func nonZero(id uint64) uint64 { return max(id, 1) }

func (s *shard) bytes() int64 { return int64(len(s.ids)) * slotBytes }

// fits reports whether n more entries leave the load within its bound and one of them cannot run over the end.
func (s *shard) fits(n int) bool {
	return s.homes > 0 && (s.used+n)*100 <= s.homes*maxLoad && s.ids[len(s.ids)-1] == 0
}

// home spreads the bits below the shard's own over the home slots, keeping their order.
func (s *shard) home(id uint64) int {
	hi, _ := bits.Mul64(id<<shardBits, uint64(s.homes))
	return int(hi)
}

// find judges an entry by those stamped since or later, and counts the entries under its id, whatever their stamp.
func (s *shard) find(e audit.Entry, since uint16) (verdict Verdict, same int) {
	if s.homes == 0 {
		return Unseen, 0
	}
	id := e.ID
	for i := s.home(id); i < len(s.ids) && s.ids[i] != 0 && s.ids[i] <= id; i++ {
		if s.ids[i] != id {
			continue
		}
		same++
		switch {
		case s.hours[i] < since:
		case s.contents[i] == e.Content:
			verdict = Repeat
		case verdict == Unseen:
			verdict = Variant
		}
	}
	return verdict, same
}

// live is the number of entries stamped since or later.
func (s *shard) live(since uint16) int {
	n := 0
	for i, id := range s.ids {
		if id != 0 && s.hours[i] >= since {
			n++
		}
	}
	return n
}

// insert adds an entry; fits has said that there is room. Greater ones make place by moving one slot on.
func (s *shard) insert(e audit.Entry, hour uint16) {
	id := e.ID
	at := s.home(id)
	for s.ids[at] != 0 && s.ids[at] <= id {
		at++
	}
	end := at
	for s.ids[end] != 0 {
		end++
	}
	copy(s.ids[at+1:end+1], s.ids[at:end])
	copy(s.contents[at+1:end+1], s.contents[at:end])
	copy(s.hours[at+1:end+1], s.hours[at:end])
	s.ids[at], s.contents[at], s.hours[at] = id, e.Content, hour
	s.used++
}

// replaceOldest puts an entry in the place of the oldest one under its id, and returns that one. Of an entry that is older than all of
// them it returns the entry itself.
func (s *shard) replaceOldest(e audit.Entry, hour uint16) (audit.Entry, uint16) {
	oldest := -1
	for i := s.home(e.ID); i < len(s.ids) && s.ids[i] != 0 && s.ids[i] <= e.ID; i++ {
		if s.ids[i] == e.ID && (oldest < 0 || s.hours[i] < s.hours[oldest]) {
			oldest = i
		}
	}
	if oldest < 0 || s.hours[oldest] > hour {
		return e, hour
	}
	moved, since := audit.Entry{ID: e.ID, Content: s.contents[oldest]}, s.hours[oldest]
	s.contents[oldest], s.hours[oldest] = e.Content, hour
	return moved, since
}

// rebuild returns a shard with the entries stamped since or later and room for n more.
func (s *shard) rebuild(since uint16, n int) shard {
	entries := s.live(since) + n
	for spill := minSpill; ; spill *= 2 { // ends at the latest when the spill could hold everything
		out := newShard(entries, spill)
		if s.copyTo(&out, since) {
			return out
		}
	}
}

// copyTo reports whether the entries went in without one running over the end.
func (s *shard) copyTo(out *shard, since uint16) bool {
	for i, id := range s.ids {
		if id == 0 || s.hours[i] < since {
			continue
		}
		at := max(out.home(id), out.last+1)
		if at >= len(out.ids)-1 { // the last slot stays empty: insert relies on it
			return false
		}
		out.ids[at], out.contents[at], out.hours[at] = id, s.contents[i], s.hours[i]
		out.last = at
		out.used++
	}
	return true
}
