package tenant

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"sort"
	"strconv"
	"time"
)

// Blob is one content blob with its records.
type Blob struct {
	ContentType string
	ContentID   string
	Created     time.Time // contentCreated, milliseconds
	Expiration  time.Time // contentExpiration
	Visible     time.Time // when listings begin to show it
	Records     [][]byte  // the records in their order in the blob; valid until the callback returns
}

// Descriptor is a content blob without its records. It renders on demand.
type Descriptor struct {
	ContentType string
	ContentID   string
	Created     time.Time
	Expiration  time.Time
	Visible     time.Time // when listings begin to show it; later than Created for a late blob
	Records     int
	Repeats     int // of them, at the end: records of an earlier blob once more
	typ, at     int // where the tenant has it
}

const numTypes = 5

// descriptor is the stored form of Descriptor.
type descriptor struct {
	created int64 // Unix milliseconds
	lag     int32 // milliseconds from creation until it is listed
	slot    uint32
	from, n uint32 // range in the slot's specs of this type
	repSrc  int32  // index in the same list of a blob some of whose records come again here; -1 is none
	repFrom uint32
	repN    uint16
	serial  uint16 // position in the slot, part of the content id
}

func typeIndex(contentType string) int { return slices.Index(ContentTypes(), contentType) }

// indexWeek makes the descriptors of every blob of the week.
func (t *Tenant) indexWeek() {
	var specs []spec
	oldest, newest := t.cfg.Origin.Add(-week+oldestMargin).UnixMilli(), t.cfg.Origin.UnixMilli()-1
	for i := range t.weekSlots() {
		specs = t.plan(i, specs[:0])
		t.cut(i, specs, func(typ int, r *rng, end int64, d *descriptor) {
			d.created = end + int64(60_000+r.n(3_000_000))
			if r.chance(15) { // some workloads take their time
				d.created += int64(r.n(20 * 3_600_000))
			}
			d.created = min(max(d.created, oldest+int64(r.n(600_000))), newest-int64(r.n(600_000)))
		})
	}
	for typ := range t.lists {
		slices.SortStableFunc(t.lists[typ], func(a, b descriptor) int {
			return cmp.Or(cmp.Compare(a.created, b.created), cmp.Compare(a.slot, b.slot), cmp.Compare(a.serial, b.serial))
		})
		for at := range t.lists[typ] {
			t.repeat(typ, at)
		}
	}
}

// extend makes the descriptors of the live slots that are over at now. Callers hold no lock.
func (t *Tenant) extend(now time.Time) {
	if t.cfg.LiveRate < 0 {
		return
	}
	over := int(now.Sub(t.cfg.Origin) / liveSlot)
	t.mu.RLock()
	done := t.live >= over
	t.mu.RUnlock()
	if done {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var specs []spec
	for ; t.live < over; t.live++ {
		i := t.weekSlots() + t.live
		specs = t.plan(i, specs[:0])
		var before [numTypes]int
		for typ := range t.lists {
			before[typ] = len(t.lists[typ])
		}
		delay := 0
		t.cut(i, specs, func(_ int, r *rng, end int64, d *descriptor) {
			delay = min(delay+r.between(1, 900), int(liveSlot.Milliseconds())-1) // in order of creation within the slot
			d.created = end + int64(delay)
			if r.chance(40) {
				d.lag = int32(60_000 + r.n(2_900_000))
			}
		})
		for typ := range t.lists {
			for at := before[typ]; at < len(t.lists[typ]); at++ {
				t.repeat(typ, at)
			}
		}
	}
}

// cut divides a slot's records into blobs; date sets the times of each.
func (t *Tenant) cut(slot int, specs []spec, date func(typ int, r *rng, end int64, d *descriptor)) {
	var count [numTypes]uint32
	for i := range specs {
		count[kinds[specs[i].kind].typ]++
	}
	start, length, _, _ := t.slot(slot)
	end := start.Add(length).UnixMilli()
	serial := uint16(0)
	for typ := range count {
		r := rng(hash(t.cfg.Seed, saltBlob, uint64(slot), uint64(typ)))
		for from := uint32(0); from < count[typ]; {
			d := descriptor{slot: uint32(slot), from: from, n: min(blobSize(&r), count[typ]-from), repSrc: -1, serial: serial}
			date(typ, &r, end, &d)
			t.lists[typ] = append(t.lists[typ], d)
			from += d.n
			serial++
		}
	}
}

// blobSize draws the number of records of a blob: mostly hundreds, sometimes a handful, never more than a thousand.
func blobSize(r *rng) uint32 {
	switch r.n(10) {
	case 0:
		return uint32(1 + r.n(5))
	case 1, 2, 3:
		return uint32(300 + r.n(700))
	default:
		return uint32(40 + r.n(300))
	}
}

// repeat decides whether the blob carries records of an earlier one again, as the feed does within five days.
func (t *Tenant) repeat(typ, at int) {
	list := t.lists[typ]
	d := &list[at]
	r := rng(hash(t.cfg.Seed, saltRepeat, uint64(typ), uint64(d.slot), uint64(d.serial)))
	if at == 0 || !r.chance(5) {
		return
	}
	oldest := sort.Search(at, func(i int) bool { return list[i].created >= d.created-5*24*3_600_000 })
	src := at - 1 - r.n(min(3, at))
	if r.chance(3) && oldest < at {
		src = oldest + r.n(at-oldest)
	}
	n := min(1+r.n(2+int(list[src].n)/20), int(list[src].n), 60)
	d.repSrc, d.repN = int32(src), uint16(n)
	d.repFrom = list[src].from + uint32(r.n(int(list[src].n)-n+1))
}

// Blobs calls fn for each blob created before until (the zero time means Origin: the whole week), in order of creation, and stops at the
// first error. One blob is in memory at a time; its Records are reused for the next.
func (t *Tenant) Blobs(ctx context.Context, until time.Time, fn func(Blob) error) error {
	if until.IsZero() {
		until = t.cfg.Origin
	}
	t.extend(until.Add(2 * liveSlot))
	limit := until.UnixMilli()
	var next [numTypes]int
	var buf Buffer
	for {
		typ, ok := t.earliest(next, limit)
		if !ok {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		d := t.describe(typ, next[typ])
		next[typ]++
		if d.Visible.UnixMilli() >= limit && d.Visible.After(d.Created) {
			continue
		}
		t.Render(&buf, d)
		if err := fn(Blob{ContentType: d.ContentType, ContentID: d.ContentID, Created: d.Created, Expiration: d.Expiration, Visible: d.Visible, Records: buf.Records()}); err != nil {
			return err
		}
	}
}

// earliest returns the content type whose next blob was created first, among those created before limit.
func (t *Tenant) earliest(next [numTypes]int, limit int64) (typ int, ok bool) {
	for i := range next {
		list := t.list(i)
		if next[i] < len(list) && list[next[i]].created < limit {
			limit, typ, ok = list[next[i]].created, i, true
		}
	}
	return typ, ok
}

func (t *Tenant) list(typ int) []descriptor {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.lists[typ]
}

// Each walks the descriptors of one content type with from <= Created < to that are visible at now, in order of creation.
// An unknown content type has none.
func (t *Tenant) Each(contentType string, from, to, now time.Time) iter.Seq[Descriptor] {
	return func(yield func(Descriptor) bool) {
		typ := typeIndex(contentType)
		if typ < 0 {
			return
		}
		t.extend(now)
		list := t.list(typ)
		lo, hi, at := from.UnixMilli(), to.UnixMilli(), now.UnixMilli()
		i := sort.Search(len(list), func(i int) bool { return list[i].created >= lo })
		for ; i < len(list) && list[i].created < hi; i++ {
			if list[i].created+int64(list[i].lag) <= at && !yield(t.describe(typ, i)) {
				return
			}
		}
	}
}

// Totals counts what a tenant has of one content type.
type Totals struct {
	Blobs   int // visible
	Records int // in them
	Repeats int // of them, records of an earlier blob once more
	Expired int // blobs that cannot be fetched any more
}

// Totals counts the blobs of a content type that are visible at now. It makes no descriptors, so it is cheap.
func (t *Tenant) Totals(contentType string, now time.Time) Totals {
	var sum Totals
	typ := typeIndex(contentType)
	if typ < 0 {
		return sum
	}
	t.extend(now)
	at := now.UnixMilli()
	for _, d := range t.list(typ) {
		if d.created >= at {
			break
		}
		if d.created+int64(d.lag) > at {
			continue
		}
		sum.Blobs++
		sum.Records += int(d.n) + int(d.repN)
		sum.Repeats += int(d.repN)
		if d.created+t.cfg.ExpireAfter.Milliseconds() <= at {
			sum.Expired++
		}
	}
	return sum
}

// Expiration reads out of a content id when the blob of that name expires; the zero time if the id is none.
func (t *Tenant) Expiration(contentID string) time.Time {
	created, ok := createdOf(contentID)
	if !ok {
		return time.Time{}
	}
	return time.UnixMilli(created).UTC().Add(t.cfg.ExpireAfter)
}

// Find returns the descriptor of a content id, if the tenant has such a blob at now.
func (t *Tenant) Find(contentID string, now time.Time) (Descriptor, bool) {
	created, ok := createdOf(contentID)
	if !ok {
		return Descriptor{}, false
	}
	t.extend(now)
	for typ := range numTypes {
		list := t.list(typ)
		i := sort.Search(len(list), func(i int) bool { return list[i].created >= created })
		for ; i < len(list) && list[i].created == created; i++ {
			if d := t.describe(typ, i); d.ContentID == contentID {
				return d, !d.Visible.After(now)
			}
		}
	}
	return Descriptor{}, false
}

func (t *Tenant) describe(typ, at int) Descriptor {
	d := t.list(typ)[at]
	created := time.UnixMilli(d.created).UTC()
	return Descriptor{
		ContentType: ContentTypes()[typ], ContentID: contentID(typ, d), Created: created, Expiration: created.Add(t.cfg.ExpireAfter),
		Visible: created.Add(time.Duration(d.lag) * time.Millisecond), Records: int(d.n) + int(d.repN), Repeats: int(d.repN), typ: typ, at: at,
	}
}

const idTime = "20060102150405.000"

// contentID has the shape of the real ones: two instants with nine fraction digits, then words about where the blob lies.
func contentID(typ int, d descriptor) string {
	words := [numTypes]string{"$audit_azureactivedirectory$Audit_AzureActiveDirectory", "$audit_exchange$Audit_Exchange", "$audit_sharepoint$Audit_SharePoint", "$audit_general$Audit_General", "$dlp_all$DLP_All"}
	b := make([]byte, 0, 120)
	b = appendStamp(b, d.created-int64(1000+hash(uint64(d.slot), uint64(d.serial))%90_000), int(d.slot%1_000_000))
	b = append(b, '$')
	b = appendStamp(b, d.created, int(d.serial))
	b = append(b, words[typ]...)
	return string(append(b, "$emea0029$emea0029"...))
}

func appendStamp(b []byte, ms int64, serial int) []byte {
	n := len(b)
	b = time.UnixMilli(ms).UTC().AppendFormat(b, idTime)
	b = append(b[:n+14], b[n+15:]...) // without the point
	s := strconv.Itoa(1_000_000 + serial)
	return append(b, s[1:]...)
}

// createdOf reads the creation time out of a content id.
func createdOf(id string) (int64, bool) {
	const stamp = 23
	if len(id) < 2*stamp+1 || len(id) > 200 || id[stamp] != '$' {
		return 0, false
	}
	s := id[stamp+1 : 2*stamp+1]
	at, err := time.Parse(idTime, s[:14]+"."+s[14:17])
	return at.UnixMilli(), err == nil
}
