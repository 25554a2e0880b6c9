// Package seen remembers which records were published, so that the vendor's repeats are dropped and variants are told from them.
//
// A Set is the memory of one partition number. It holds, for each record that was published, 8 bytes of hash of what identifies it, 8 bytes of
// content digest, and the hour its blob was created. A Batch is an overlay on it: what a batch of records adds is seen by that
// batch only, until it is merged after the commit.
//
// # Time
//
// An entry counts for a record if that record was fetched within the horizon after the entry's hour. The record's own fetch time is
// the clock, never the wall clock: a normalizer that was down for a week decides as if it had not been. What memory holds is
// ruled by the floor, the earliest fetch time that the input topics still deliver: the lowest of the last floorBatches
// batches, never going back. An entry whose horizon lies before the floor can meet no record any more and is removed when its room
// is needed.
//
// A record whose blob is older than half the horizon when it is taken in (an imported file, a dead letter that was redriven after
// weeks) counts from that moment instead, so that a second copy of it is found as well.
package seen

import (
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"millrace/pkg/audit"
)

// DefaultHorizon is how long an entry counts after its blob's creation: 7 days in which the vendor may repeat a record, 7 in which
// the feed may serve the copy, and 1 to spare.
const DefaultHorizon = 15 * 24 * time.Hour

// MinHorizon is the shortest horizon that can be configured.
const MinHorizon = 24 * time.Hour

// floorBatches is over how many batches the floor is taken. After an outage a topic with little in it is read to its end in
// the first batch, while a busy one goes on delivering old records: each topic that has a backlog turns up within this many.
const floorBatches = 16

// Verdict says what a record is to the set.
type Verdict int

// The verdicts.
const (
	Unseen  Verdict = iota // nothing known of its Id
	Repeat                 // Id and content known
	Variant                // Id known with other content
)

// ErrFull is wrapped by the errors of a set that would outgrow its budget. Nothing is ever dropped to make room.
var ErrFull = errors.New("the memory for repeats is full")

// Budget bounds the memory that the sets of a process share.
type Budget struct {
	max     int64
	used    atomic.Int64
	spilled atomic.Int64
}

// NewBudget makes a budget of so many bytes.
func NewBudget(bytes int64) *Budget { return &Budget{max: bytes} }

// Used is what the sets take at the moment, in bytes.
func (b *Budget) Used() int64 { return b.used.Load() }

// Spilled is what they have in files, in bytes.
func (b *Budget) Spilled() int64 { return b.spilled.Load() }

// Max is what they may take.
func (b *Budget) Max() int64 { return b.max }

// take accounts for a change in size; growth beyond the budget is refused.
func (b *Budget) take(bytes int64) error {
	if used := b.used.Add(bytes); bytes > 0 && used > b.max {
		b.used.Add(-bytes)
		return fmt.Errorf("%w: seen.memory is %d MiB: raise it (at most 24 bytes for each record of the horizon), name a folder for the overflow in "+
			"seen.cache_dir, or shorten kafka.topics.seen_horizon, at the price that repeats which come later than it pass", ErrFull, b.max>>20)
	}
	return nil
}

// Set is the memory of one number. It is not safe for concurrent use: the number's owner is its only user.
type Set struct {
	shards  [shardCount]shard
	runs    []*run // what memory could not hold, oldest first
	dir     string // of the runs; "" = there are none
	budget  *Budget
	horizon int64 // hours
	origin  int64 // hour that stamps are counted from, see stamp; 0 = not chosen yet
	floor   int64 // hour; 0 = nothing is known
	lowest  [floorBatches]int64
	batches int // batches merged since the start
	crowded int // entries that were moved to a derived place, see crowd
	batch   Batch
}

// Options say how long and where a set remembers.
type Options struct {
	Horizon time.Duration // how long after its blob's creation an entry counts
	Budget  *Budget       // the memory that it shares with the other sets
	// Dir is where entries go that the budget has no room for, the oldest first, in memory-mapped files without a name. They are a cache:
	// the state is on the topic, and nothing of them is left when the process ends. "" = a full budget is an error.
	Dir string
}

// New makes an empty set.
func New(opts Options) (*Set, error) {
	horizon := opts.Horizon
	if horizon < MinHorizon {
		return nil, fmt.Errorf("kafka.topics.seen_horizon: %s is below %s: the feed repeats records for days", horizon, MinHorizon)
	}
	s := &Set{budget: opts.Budget, dir: opts.Dir, horizon: int64(horizon / time.Hour)}
	s.batch = Batch{set: s, pairs: map[audit.Entry]struct{}{}, ids: map[uint64]struct{}{}}
	return s, nil
}

// Close gives the set's memory back to the budget, and its files to the system.
func (s *Set) Close() error {
	var errs []error
	for _, r := range s.runs {
		errs = append(errs, s.dropRun(r))
	}
	s.runs = nil
	for i := range s.shards {
		s.budget.used.Add(-s.shards[i].bytes())
		s.shards[i] = shard{}
	}
	return errors.Join(errs...)
}

// Len is the number of entries in memory, those included that no record can meet any more and whose room has not been needed yet.
func (s *Set) Len() int {
	n := 0
	for i := range s.shards {
		n += s.shards[i].used
	}
	return n
}

// Bytes is the memory that the entries take.
func (s *Set) Bytes() int64 {
	var n int64
	for i := range s.shards {
		n += s.shards[i].bytes()
	}
	return n
}

// hourOf counts whole hours since 1970; times before that count as its beginning.
func hourOf(t time.Time) int64 { return max(0, t.Unix()/3600) }

// stamp is an hour as the shards keep it: relative to the first hour that the set met, 3.7 years to either side. Hours beyond count as
// the farthest one, so that a clock gone wrong anywhere cannot wrap around.
func (s *Set) stamp(hour int64) uint16 {
	if s.origin == 0 {
		s.origin = hour
	}
	return uint16(min(max(hour-s.origin+math.MaxInt16, 0), math.MaxUint16))
}

// startHour is the hour an entry counts from.
func (s *Set) startHour(created, fetched time.Time) int64 {
	from, now := hourOf(created), max(hourOf(fetched), s.floor)
	if from < now-s.horizon/2 || from > now {
		return now
	}
	return from
}

// verdict looks an entry up as a record fetched in an hour sees it.
func (s *Set) verdict(e audit.Entry, fetched int64) Verdict {
	since := s.stamp(fetched - s.horizon)
	found := s.find(e, since)
	if found != Repeat && s.crowded > 0 && s.find(derived(e), since) == Repeat {
		return Repeat
	}
	return found
}

// find looks in memory first and then in the runs, the newest first.
func (s *Set) find(e audit.Entry, since uint16) Verdict {
	found, _ := s.shards[shardOf(e.ID)].find(e, since)
	for i := len(s.runs) - 1; i >= 0 && found != Repeat; i-- {
		if older := s.runs[i].find(e, since); older != Unseen {
			found = older
		}
	}
	return found
}

// behindFloor is the stamp before which no record can meet an entry any more.
func (s *Set) behindFloor() uint16 {
	if s.floor == 0 {
		return 0
	}
	return s.stamp(s.floor - s.horizon)
}

// room makes sure that a shard can take n more entries. When it must be rebuilt for that, it drops what lies behind the floor.
func (s *Set) room(at, n int) error {
	for attempt := 0; ; attempt++ {
		sh := &s.shards[at]
		if sh.fits(n) {
			return nil
		}
		rebuilt := sh.rebuild(s.behindFloor(), n)
		err := s.budget.take(rebuilt.bytes() - sh.bytes())
		if err == nil {
			*sh = rebuilt
			return nil
		}
		if s.dir == "" || attempt == 2 {
			return err
		}
		// First the older half; if other sets leave too little even so, everything.
		if err := s.spill(attempt == 1); err != nil {
			return err
		}
	}
}

// insert adds an entry that is not in the set. What comes here is committed: should a run of entries reach the end of a shard that was
// found roomy, the shard grows whatever the budget says.
func (s *Set) insert(e audit.Entry, hour uint16) {
	if sh := &s.shards[shardOf(e.ID)]; sh.homes > 0 {
		if _, same := sh.find(e, 0); same >= crowd {
			e, hour = sh.replaceOldest(e, hour)
			e = derived(e)
			s.crowded++
		}
	}
	sh := &s.shards[shardOf(e.ID)]
	if !sh.fits(1) {
		old := sh.bytes()
		*sh = sh.rebuild(s.behindFloor(), 1)
		s.budget.used.Add(sh.bytes() - old)
	}
	sh.insert(e, hour)
}

// load adds an entry of the durable state.
func (s *Set) load(e audit.Entry, hour int64) error {
	e.ID = nonZero(e.ID)
	if hour < s.floor-s.horizon || s.verdict(e, hour+s.horizon) == Repeat {
		return nil // behind the floor, or known to count as long already: a state record read twice changes nothing
	}
	if err := s.room(shardOf(e.ID), 1); err != nil {
		return err
	}
	s.insert(e, s.stamp(hour))
	return nil
}

// raise moves the floor on, never back.
func (s *Set) raise(lowest int64) {
	s.lowest[s.batches%floorBatches] = lowest
	s.batches++
	if s.batches < floorBatches {
		return // too few to know that every topic with a backlog has been among them
	}
	least := s.lowest[0]
	for _, hour := range s.lowest[1:] {
		least = min(least, hour)
	}
	s.floor = max(s.floor, least)
}
