package m365sim

import (
	"maps"
	"strings"
	"sync"
	"time"

	"millrace/internal/m365sim/tenant"
)

// Ledger is what the simulator had, what it served and how its clients behaved.
type Ledger struct {
	Now      time.Time                 `json:"now"`
	Tenants  []TenantLedger            `json:"tenants"`
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
	BlobsListed     int    `json:"blobsListed"`     // of them, shown to a client at least once
	BlobsServed     int    `json:"blobsServed"`     // of them, served in full at least once
	Downloads       int    `json:"downloads"`       // times that a blob was served in full
	RecordsServed   int    `json:"recordsServed"`   // in all downloads
	BytesServed     int    `json:"bytesServed"`     // in all downloads, before compression
	ExpiredUnserved int    `json:"expiredUnserved"` // blobs that expired and were never served
}

type blobKey struct{ tenant, contentID string }

type blobBooks struct {
	listed    bool
	downloads int
	records   int
	bytes     int
}

// books collects what the ledger tells.
type books struct {
	mu       sync.Mutex // guards all
	requests map[string]map[string]int
	tokens   map[string]int
	wrong    map[string]int
	blobs    map[blobKey]*blobBooks
}

func newBooks() *books {
	return &books{requests: map[string]map[string]int{}, tokens: map[string]int{}, wrong: map[string]int{}, blobs: map[blobKey]*blobBooks{}}
}

func (b *books) request(operation, answer string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.requests[operation] == nil {
		b.requests[operation] = map[string]int{}
	}
	b.requests[operation][answer]++
}

func (b *books) token(kind string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens[kind]++
}

func (b *books) improper(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrong[what]++
}

func (b *books) blob(tenantID, contentID string) *blobBooks {
	k := blobKey{tenantID, contentID}
	if b.blobs[k] == nil {
		b.blobs[k] = &blobBooks{}
	}
	return b.blobs[k]
}

func (b *books) listed(tenantID, _, contentID string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.blob(tenantID, contentID).listed = true
}

// apply books a served blob; the journal of earlier runs goes the same way.
func (b *books) apply(e event) {
	if e.Kind != eventServed {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	bb := b.blob(e.Tenant, e.ContentID)
	bb.listed = true
	bb.downloads++
	bb.records += e.Records
	bb.bytes += e.Bytes
}

// Ledger returns the books as they stand.
func (s *Server) Ledger() Ledger {
	now := s.now()
	b := s.books
	l := Ledger{Now: now, Faults: s.faults.counts()}
	b.mu.Lock()
	l.Requests = make(map[string]map[string]int, len(b.requests))
	for k, v := range b.requests {
		l.Requests[k] = maps.Clone(v)
	}
	l.Tokens, l.Improper = maps.Clone(b.tokens), maps.Clone(b.wrong)
	b.mu.Unlock()
	for _, t := range s.order {
		id := strings.ToLower(t.ID())
		tl := TenantLedger{ID: t.ID(), Origin: t.Config().Origin, Users: len(t.Users())}
		for _, ct := range tenant.ContentTypes() {
			tl.Content = append(tl.Content, s.typeLedger(t, id, ct, now))
		}
		l.Tenants = append(l.Tenants, tl)
	}
	return l
}

func (s *Server) typeLedger(t *tenant.Tenant, id, ct string, now time.Time) TypeLedger {
	row := TypeLedger{ContentType: ct}
	for d := range t.Each(ct, time.Unix(0, 0), now, now) {
		row.Blobs++
		row.Records += d.Records
		s.books.mu.Lock()
		if bb := s.books.blobs[blobKey{id, d.ContentID}]; bb != nil {
			if bb.listed {
				row.BlobsListed++
			}
			if bb.downloads > 0 {
				row.BlobsServed++
			}
			row.Downloads += bb.downloads
			row.RecordsServed += bb.records
			row.BytesServed += bb.bytes
		}
		if bb := s.books.blobs[blobKey{id, d.ContentID}]; (bb == nil || bb.downloads == 0) && !now.Before(d.Expiration) {
			row.ExpiredUnserved++
		}
		s.books.mu.Unlock()
	}
	return row
}

func (b *books) downloads(tenantID, contentID string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if bb := b.blobs[blobKey{strings.ToLower(tenantID), contentID}]; bb != nil {
		return bb.downloads
	}
	return 0
}
