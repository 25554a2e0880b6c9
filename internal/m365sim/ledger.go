package m365sim

import (
	"maps"
	"sync"
	"time"

	"millrace/internal/m365sim/tenant"
)

// Ledger is what the simulator had, what it served and how its clients behaved, since the folder's first start.
type Ledger struct {
	Now     time.Time      `json:"now"`
	Tenants []TenantLedger `json:"tenants"`
	Counts
}

// Counts is what is counted over all tenants.
type Counts struct {
	Requests map[string]map[string]int `json:"requests"` // operation → answer → count
	Faults   map[string]int            `json:"faults"`   // name → hits
	Tokens   map[string]int            `json:"tokens"`   // service → tokens issued
	Improper map[string]int            `json:"improper"` // what a good client does not do → count
}

// TenantLedger is the ledger of one tenant.
type TenantLedger struct {
	ID      string       `json:"id"`
	Origin  time.Time    `json:"origin"`
	Users   int          `json:"users"`
	Content []TypeLedger `json:"content"`
}

// TypeLedger is the ledger of one content type of a tenant.
type TypeLedger struct {
	ContentType     string `json:"contentType"`
	Blobs           int    `json:"blobs"`           // visible by now
	Records         int    `json:"records"`         // in them
	Repeats         int    `json:"repeats"`         // of them, records of an earlier blob once more
	Expired         int    `json:"expired"`         // blobs that cannot be fetched any more
	ExpiredUnserved int    `json:"expiredUnserved"` // of them, never served
	Served
}

// Served is what became of blobs.
type Served struct {
	BlobsListed   int `json:"blobsListed"`   // shown to a client at least once
	BlobsServed   int `json:"blobsServed"`   // served in full at least once
	Downloads     int `json:"downloads"`     // times that a blob was served in full
	RecordsServed int `json:"recordsServed"` // in all downloads
	BytesServed   int `json:"bytesServed"`   // in all downloads, before compression
}

type typeKey struct{ tenant, contentType string }

type blobKey struct{ tenant, contentID string }

// blobBooks is what became of one blob that has not expired.
type blobBooks struct {
	contentType string
	expires     time.Time
	first, last time.Time // when it was served
	Served
}

// books collects what the ledger tells. It holds one entry for each blob that was listed and has not expired, so a week's at most;
// what has expired is in sums.
type books struct {
	mu     sync.Mutex // guards all
	counts Counts
	blobs  map[blobKey]*blobBooks
	past   map[typeKey]Served
}

func newBooks() *books {
	return &books{counts: newCounts(), blobs: map[blobKey]*blobBooks{}, past: map[typeKey]Served{}}
}

func newCounts() Counts {
	return Counts{Requests: map[string]map[string]int{}, Faults: map[string]int{}, Tokens: map[string]int{}, Improper: map[string]int{}}
}

func (c Counts) clone() Counts {
	out := Counts{Requests: make(map[string]map[string]int, len(c.Requests)), Faults: maps.Clone(c.Faults), Tokens: maps.Clone(c.Tokens), Improper: maps.Clone(c.Improper)}
	for k, v := range c.Requests {
		out.Requests[k] = maps.Clone(v)
	}
	return out
}

func (b *books) request(operation, answer string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.counts.Requests[operation] == nil {
		b.counts.Requests[operation] = map[string]int{}
	}
	b.counts.Requests[operation][answer]++
}

func (b *books) token(kind string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts.Tokens[kind]++
}

func (b *books) fault(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts.Faults[name]++
}

func (b *books) improper(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts.Improper[what]++
}

// snapshot returns a copy of the counts.
func (b *books) snapshot() Counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counts.clone()
}

// apply books an event and reports whether that changed anything. The journal of earlier runs goes the same way as what happens now.
func (b *books) apply(e event, expires time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.Kind == eventPast && e.Served != nil {
		b.past[typeKey{e.Tenant, e.ContentType}] = *e.Served
		return true
	}
	if e.Kind != eventListed && e.Kind != eventServed {
		return false
	}
	k := blobKey{e.Tenant, e.ContentID}
	bb := b.blobs[k]
	if bb == nil {
		bb = &blobBooks{contentType: e.ContentType, expires: expires}
		b.blobs[k] = bb
	} else if e.Kind == eventListed {
		return false
	}
	bb.BlobsListed = 1
	if e.Kind == eventServed {
		if bb.BlobsServed = 1; bb.Downloads == 0 {
			bb.first = e.At
			if !e.From.IsZero() {
				bb.first = e.From
			}
		}
		bb.last = e.At
		bb.Downloads += max(e.Downloads, 1)
		bb.RecordsServed += e.Records
		bb.BytesServed += e.Bytes
	}
	return true
}

// foldAfter is how long a blob is held after it has expired: a download that began before the end may take a while.
const foldAfter = time.Hour

// fold puts what has expired into the sums.
func (b *books) fold(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for k, bb := range b.blobs {
		if now.Sub(bb.expires) > foldAfter {
			b.past[typeKey{k.tenant, bb.contentType}] = b.past[typeKey{k.tenant, bb.contentType}].plus(bb.Served)
			delete(b.blobs, k)
		}
	}
}

func (s Served) plus(o Served) Served {
	return Served{
		BlobsListed: s.BlobsListed + o.BlobsListed, BlobsServed: s.BlobsServed + o.BlobsServed, Downloads: s.Downloads + o.Downloads,
		RecordsServed: s.RecordsServed + o.RecordsServed, BytesServed: s.BytesServed + o.BytesServed,
	}
}

// sums returns what became of all blobs, and apart from that of those that have expired.
func (b *books) sums(now time.Time) (all, expired map[typeKey]Served) {
	b.mu.Lock()
	defer b.mu.Unlock()
	all, expired = maps.Clone(b.past), maps.Clone(b.past)
	for k, bb := range b.blobs {
		tk := typeKey{k.tenant, bb.contentType}
		all[tk] = all[tk].plus(bb.Served)
		if !now.Before(bb.expires) {
			expired[tk] = expired[tk].plus(bb.Served)
		}
	}
	return all, expired
}

// blob returns what became of one blob that has not expired.
func (b *books) blob(tenantID, contentID string) blobBooks {
	b.mu.Lock()
	defer b.mu.Unlock()
	if bb := b.blobs[blobKey{tenantID, contentID}]; bb != nil {
		return *bb
	}
	return blobBooks{}
}

// events writes the books down as the journal would have them if nothing had happened twice.
func (b *books) events() []event {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]event, 0, len(b.past)+len(b.blobs))
	for k, served := range b.past {
		out = append(out, event{Kind: eventPast, Tenant: k.tenant, ContentType: k.contentType, Served: &served})
	}
	for k, bb := range b.blobs {
		e := event{Kind: eventListed, Tenant: k.tenant, ContentType: bb.contentType, ContentID: k.contentID}
		if bb.Downloads > 0 {
			e.Kind, e.From, e.At = eventServed, bb.first, bb.last
			e.Downloads, e.Records, e.Bytes = bb.Downloads, bb.RecordsServed, bb.BytesServed
		}
		out = append(out, e)
	}
	return out
}

// book journals an event of the ledger and applies it.
func (s *Server) book(e event) {
	if s.books.apply(e, s.tenants[e.Tenant].Expiration(e.ContentID)) {
		s.journal.later(e)
	}
}

// Ledger returns the books as they stand.
func (s *Server) Ledger() Ledger {
	now := s.now()
	l := Ledger{Now: now, Counts: s.books.snapshot()}
	all, expired := s.books.sums(now)
	for _, t := range s.order {
		tl := TenantLedger{ID: t.ID(), Origin: t.Config().Origin, Users: len(t.Users())}
		for _, ct := range tenant.ContentTypes() {
			k, has := typeKey{s.key(t), ct}, t.Totals(ct, now)
			tl.Content = append(tl.Content, TypeLedger{
				ContentType: ct, Blobs: has.Blobs, Records: has.Records, Repeats: has.Repeats, Expired: has.Expired,
				ExpiredUnserved: has.Expired - expired[k].BlobsServed, Served: all[k],
			})
		}
		l.Tenants = append(l.Tenants, tl)
	}
	return l
}
