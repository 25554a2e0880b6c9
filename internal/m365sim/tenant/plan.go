package tenant

import (
	"sort"
	"time"
)

// A slot is the unit of planning: a stretch of time whose records are decided together. A slot's plan is a list of specs, cheap to
// make again, so that any blob can be rendered from its descriptor without rendering its neighbours.

const (
	slotGoal     = 2500 // records a week slot should hold, so that planning one again for one blob stays cheap
	minSlot      = time.Minute
	liveSlot     = 10 * time.Second
	packing      = 15 * time.Minute
	oldestMargin = 2 * time.Hour // blobs of the week are at least this much younger than the feed's memory of 7 days
)

// Marks of a spec.
const (
	markNoID uint16 = 1 << iota
	markNoTime
	markBadTime
	markVariant
	markTurned // members in another order than usual
	markAttack
	markLarge
)

// largeAt is the ordinal of the record that Config.LargeRecord blows up.
const largeAt = 777

// spec is everything about one record but its text.
type spec struct {
	at    int64 // Unix milliseconds of the activity
	user  int32
	slot  uint32
	seq   uint32 // position in the slot
	sess  uint32 // session within the slot
	kind  uint16
	marks uint16
}

// hourWeight is how busy each hour of a working day is, UTC.
var hourWeight = [24]float64{1, 1, 1, 1, 1, 2, 5, 12, 22, 26, 25, 22, 17, 23, 25, 24, 20, 13, 7, 5, 4, 3, 2, 1}

func (t *Tenant) layOutWeek() {
	length := time.Duration(float64(week) * slotGoal / float64(t.cfg.Records))
	switch { // lengths that divide an hour
	case length >= time.Hour:
		t.slotLen = time.Hour
	case length >= 15*time.Minute:
		t.slotLen = 15 * time.Minute
	case length >= 5*time.Minute:
		t.slotLen = 5 * time.Minute
	default:
		t.slotLen = minSlot
	}
	n := int(week / t.slotLen)
	sums := make([]float64, n+1)
	start := t.weekStart()
	for i := range n {
		at := start.Add(time.Duration(i) * t.slotLen)
		w := hourWeight[at.Hour()]
		if d := at.Weekday(); d == time.Saturday || d == time.Sunday {
			w = 1 + w/8
		}
		sums[i+1] = sums[i] + w
	}
	t.base = make([]int, n+1)
	for i := range sums {
		t.base[i] = int(float64(t.cfg.Records) * sums[i] / sums[n])
	}
	t.base[n] = t.cfg.Records
	t.planAttacks()
}

// weekStart is when the first activity of the week can happen. The last one happens a while before Origin, because blobs are made
// after the activities in them and all blobs of the week are made before Origin.
func (t *Tenant) weekStart() time.Time { return t.cfg.Origin.Add(-week - packing) }

// weekSlots is the number of slots before Origin; slots from there on are live.
func (t *Tenant) weekSlots() int { return len(t.base) - 1 }

// slot returns the bounds of a slot, the number of records in it and the ordinal of its first record.
func (t *Tenant) slot(i int) (start time.Time, length time.Duration, count, first int) {
	if n := t.weekSlots(); i >= n {
		j := i - n
		upTo := func(k int) int { return int(t.cfg.LiveRate * liveSlot.Seconds() * float64(k)) }
		return t.cfg.Origin.Add(time.Duration(j) * liveSlot), liveSlot, upTo(j+1) - upTo(j), t.cfg.Records + upTo(j)
	}
	return t.weekStart().Add(time.Duration(i) * t.slotLen), t.slotLen, t.base[i+1] - t.base[i], t.base[i]
}

// plan appends the specs of a slot to dst.
func (t *Tenant) plan(i int, dst []spec) []spec {
	start, length, count, first := t.slot(i)
	p := planner{t: t, r: rng(hash(t.cfg.Seed, saltSlot, uint64(i))), out: dst, from: len(dst), count: count, first: first, slot: uint32(i), start: start.UnixMilli(), length: length.Milliseconds()}
	p.attack()
	for !p.full() {
		p.session()
	}
	return p.out
}

type planner struct {
	t             *Tenant
	r             rng
	out           []spec
	from          int
	count, first  int
	slot          uint32
	sess          uint32
	start, length int64
}

func (p *planner) full() bool { return len(p.out)-p.from >= p.count }

// add appends one record of the current session.
func (p *planner) add(at int64, user int32, k uint16, marks uint16) {
	if p.full() {
		return
	}
	seq := len(p.out) - p.from
	// Records that no collector can accept come at fixed places, so that even a small tenant has each kind of them.
	switch (p.first + seq) % 4000 {
	case 500:
		marks |= markNoID
	case 1500:
		marks |= markNoTime
	case 2500:
		marks |= markBadTime
	}
	if p.first+seq == largeAt && p.t.cfg.LargeRecord > 0 {
		marks |= markLarge
	}
	if p.r.chance(40) {
		marks |= markTurned
	}
	last := p.start + p.length - 1
	p.out = append(p.out, spec{at: max(min(at, last), p.start), user: user, slot: p.slot, seq: uint32(seq), sess: p.sess, kind: k, marks: marks})
}

// session plans one sitting: somebody signs in, works for a while, and leaves; or a service does something on its own.
func (p *planner) session() {
	p.sess++
	at := p.start + int64(p.r.float()*0.8*float64(p.length))
	if p.r.chance(2) {
		for n := p.r.between(1, 6); n > 0; n-- {
			p.add(at+int64(p.r.n(60_000)), pick(&p.r, p.t.active), pickKind(&p.r, serviceKinds), 0)
		}
		return
	}
	user := pick(&p.r, p.t.active)
	u := &p.t.users[user]
	if u.Service {
		p.add(at, user, kindSignIn, 0)
		p.add(at+4000, user, kindFile, 0)
		return
	}
	if p.r.chance(12) {
		p.add(at-int64(p.r.between(3000, 40000)), user, kindSignInFailed, 0)
	}
	p.add(at, user, kindSignIn, 0)
	table := userKinds
	if u.Guest {
		table = guestKinds
	}
	gap := p.length / 60
	for n := 3 + p.r.n(16); n > 0 && !p.full(); n-- {
		at += 500 + int64(p.r.float()*float64(gap))
		k := pickKind(&p.r, table)
		if u.Admin && p.r.chance(4) {
			k = pickKind(&p.r, adminKinds)
		}
		// People do the same thing several times in a row.
		for again := 1 + p.r.n(3); again > 0; again-- {
			p.add(at, user, k, 0)
			at += 1000 + int64(p.r.n(20000))
		}
	}
}

// weighted is a kind with the running sum of the weights up to and including it.
type weighted struct {
	sum  int
	kind uint16
}

func pickKind(r *rng, table []weighted) uint16 {
	n := r.n(table[len(table)-1].sum)
	return table[sort.Search(len(table), func(i int) bool { return n < table[i].sum })].kind
}
