package tenant

import (
	"strconv"
	"sync"
	"time"
)

// Buffer holds one rendered blob. The zero value is ready; reuse it to avoid garbage.
type Buffer struct {
	w       writer
	ends    []int
	records [][]byte
}

// Bytes returns the blob as the feed serves it: a JSON array.
func (b *Buffer) Bytes() []byte { return b.w.b }

// Len returns the number of records.
func (b *Buffer) Len() int { return len(b.ends) }

// Records returns the records, each a part of Bytes. The slice is reused by the next Render.
func (b *Buffer) Records() [][]byte {
	b.records = b.records[:0]
	from := 1
	for _, end := range b.ends {
		b.records = append(b.records, b.w.b[from:end:end])
		from = end + 1
	}
	return b.records
}

var planPool = sync.Pool{New: func() any { return new([]spec) }}

// Render writes the blob of a descriptor into buf, which it empties first.
func (t *Tenant) Render(buf *Buffer, d Descriptor) {
	list := t.list(d.typ)
	stored := list[d.at]
	buf.ends = buf.ends[:0]
	buf.w.t = t
	buf.w.b = append(buf.w.b[:0], '[')
	t.renderRange(buf, d.typ, stored.slot, stored.from, stored.n, false)
	if stored.repSrc >= 0 {
		t.renderRange(buf, d.typ, list[stored.repSrc].slot, stored.repFrom, uint32(stored.repN), true)
	}
	if n := len(buf.w.b); len(buf.ends) > 0 {
		buf.w.b[n-1] = ']'
	}
}

func (t *Tenant) renderRange(buf *Buffer, typ int, slot, from, n uint32, again bool) {
	scratch := planPool.Get().(*[]spec)
	defer planPool.Put(scratch)
	*scratch = t.plan(int(slot), (*scratch)[:0])
	i := uint32(0)
	for k := range *scratch {
		s := &(*scratch)[k]
		if kinds[s.kind].typ != typ {
			continue
		}
		if i >= from+n {
			return
		}
		if i++; i <= from {
			continue
		}
		if again {
			switch h := hash(t.cfg.Seed, saltRepeat, uint64(s.slot), uint64(s.seq)) % 20; {
			case h == 0:
				s.marks |= markVariant
			case h < 5:
				s.marks ^= markTurned
			}
		}
		buf.w.record(s)
		buf.ends = append(buf.ends, len(buf.w.b))
		buf.w.b = append(buf.w.b, ',')
	}
}

// writer appends records as text. Values that it writes are free of quotes, backslashes and control characters unless they are
// escaped already in the tables that they come from.
type writer struct {
	b []byte
	t *Tenant
	r rng
	u *User
	s *spec

	day    int64 // Unix day of dayText
	dayStr [10]byte
	turn   []byte
}

// record appends one record.
func (w *writer) record(s *spec) {
	w.s, w.u = s, &w.t.users[s.user]
	w.r = rng(hash(w.t.cfg.Seed, saltRecord, uint64(s.slot), uint64(s.seq)))
	from := len(w.b)
	kinds[s.kind].render(w)
	if s.marks&markVariant != 0 {
		w.str("SupplementalStatus", "Reclassified")
	}
	if s.marks&markLarge != 0 {
		w.key("Transcript")
		w.b = append(w.b, '"')
		for len(w.b)-from < w.t.cfg.LargeRecord {
			w.b = append(appendHex(w.b, w.r.next()), ' ')
		}
		w.b = append(w.b, '"')
	}
	w.b = append(w.b, '}')
	if s.marks&markTurned != 0 {
		w.turnMembers(from)
	}
}

func (w *writer) raw(s string) { w.b = append(w.b, s...) }

func (w *writer) key(k string) {
	w.b = append(w.b, ',', '"')
	w.b = append(w.b, k...)
	w.b = append(w.b, '"', ':')
}

func (w *writer) str(k, v string) {
	w.key(k)
	w.b = append(w.b, '"')
	w.b = append(w.b, v...)
	w.b = append(w.b, '"')
}

func (w *writer) num(k string, n int) {
	w.key(k)
	w.b = strconv.AppendInt(w.b, int64(n), 10)
}

// guid appends a GUID that belongs to this record alone.
func (w *writer) guid(k string) {
	w.guidOf(k, guid{w.r.next()&^0xf000 | 0x4000, w.r.next()&^(3<<62) | 2<<62})
}

func (w *writer) guidOf(k string, g guid) {
	w.key(k)
	w.b = append(w.b, '"')
	w.b = g.append(w.b)
	w.b = append(w.b, '"')
}

// session appends a GUID that all records of one sitting share.
func (w *writer) session(k string) { w.guidOf(k, w.sessionGUID()) }

func (w *writer) sessionGUID() guid {
	return newGUID(w.t.cfg.Seed, saltSession, uint64(w.s.slot), uint64(w.s.sess))
}

// sessionRand is a stream of numbers that is the same for every record of one sitting.
func (w *writer) sessionRand() rng {
	return rng(hash(w.t.cfg.Seed, saltSession, uint64(w.s.slot), uint64(w.s.sess), 1))
}

// stamp appends the time of the record, without zone or fraction, as records have it.
func (w *writer) stamp() {
	sec := w.s.at / 1000
	if day := sec / 86400; day != w.day {
		w.day = day
		copy(w.dayStr[:], time.Unix(day*86400, 0).UTC().AppendFormat(nil, time.DateOnly))
	}
	sec %= 86400
	h, m, s := byte(sec/3600), byte(sec/60%60), byte(sec%60)
	w.b = append(w.b, w.dayStr[:]...)
	w.b = append(w.b, 'T', '0'+h/10, '0'+h%10, ':', '0'+m/10, '0'+m%10, ':', '0'+s/10, '0'+s%10)
}

// head opens a record with the members that every workload writes first.
func (w *writer) head(op string, recordType int) {
	w.b = append(w.b, '{')
	switch {
	case w.s.marks&markNoTime != 0:
	case w.s.marks&markBadTime != 0:
		w.raw(`"CreationTime":"not a time",`)
	default:
		w.raw(`"CreationTime":"`)
		w.stamp()
		w.raw(`",`)
	}
	if w.s.marks&markNoID == 0 {
		w.raw(`"Id":"`)
		w.b = newGUID(w.t.cfg.Seed, saltID, uint64(w.s.slot), uint64(w.s.seq)).append(w.b)
		w.raw(`",`)
	}
	w.raw(`"Operation":"`)
	w.raw(op)
	w.raw(`","OrganizationId":"`)
	w.raw(w.t.id)
	w.raw(`","RecordType":`)
	w.b = strconv.AppendInt(w.b, int64(recordType), 10)
}

// who appends the members that say who did it and in which workload.
func (w *writer) who(userID, userKey string, userType int, workload string) {
	w.str("UserKey", userKey)
	w.num("UserType", userType)
	w.raw(`,"Version":1`)
	w.str("Workload", workload)
	w.str("UserId", userID)
}

// ip is the address from which the session's user works.
func (w *writer) ip() string {
	if w.s.marks&markAttack != 0 {
		return w.t.attackIP(w.s)
	}
	r := w.sessionRand()
	switch r.n(10) {
	case 0:
		return w.u.homeIP6
	case 1, 2, 3:
		return w.u.homeIP
	default:
		return w.u.officeIP
	}
}

func (w *writer) agent() *agentTraits {
	if w.s.marks&markAttack != 0 {
		return &agents[3]
	}
	r := w.sessionRand()
	r.next()
	if r.chance(4) {
		return &agents[4+w.u.index%2]
	}
	return &agents[w.u.agent]
}

// puidKey is how Exchange and the older workloads name a user.
func (w *writer) puidKey() string { return w.u.PUID }

// turnMembers puts the second half of the members of the record that starts at from before the first half.
func (w *writer) turnMembers(from int) {
	rec := w.b[from:]
	depth, inString, commas := 0, false, 0
	cut := -1
	for i := 0; i < len(rec); i++ {
		switch c := rec[i]; {
		case c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		case c == ',' && depth == 1:
			if commas++; commas == 6 {
				cut = i
			}
		}
	}
	if cut < 0 {
		return
	}
	// {first,second} becomes {second,first}
	w.turn = append(w.turn[:0], rec[cut+1:len(rec)-1]...)
	w.turn = append(w.turn, ',')
	w.turn = append(w.turn, rec[1:cut]...)
	copy(rec[1:], w.turn)
}
