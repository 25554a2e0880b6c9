// Package checkpoint is the durable progress of the streams of one number, as a state machine without I/O.
//
// A stream has one record with its cursor, and one for each committed blob that may be listed again. What a transaction would change
// is staged in a Change, whose records go into the transaction, and merged only once that is known to be committed.
package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// layout is the version of the values; a reader refuses a later one.
const layout = 1

// Hash names a blob or an import unit within its stream.
type Hash [16]byte

// HashOf hashes a content id.
func HashOf(contentID string) Hash {
	sum := sha256.Sum256([]byte(contentID))
	return Hash(sum[:16])
}

// State is the progress of one stream apart from its blobs. The zero value is a stream that never ran.
type State struct {
	Cursor  time.Time `json:"cursor,omitzero"`  // live listing goes on here
	Resume  time.Time `json:"resume,omitzero"`  // everything created before it is done
	Owed    string    `json:"owed,omitempty"`   // what lies between resume and cursor and is not done: see package plan
	Again   string    `json:"again,omitempty"`  // what is done there and is to be listed once more
	Off     time.Time `json:"off,omitzero"`     // the subscription was found off, and had been on up to here; zero once that is on the ledger
	Begun   time.Time `json:"begun,omitzero"`   // when the stream ran first
	Started time.Time `json:"started,omitzero"` // last start request of the subscription, written before the call
	Hooked  time.Time `json:"hooked,omitzero"`  // last request that changed the webhook, written before the call
	History time.Time `json:"history,omitzero"` // when it was judged what of the first week the feed has
	Delta   string    `json:"delta,omitempty"`  // where the next delta read of a directory goes on
	Digest  string    `json:"digest,omitempty"` // import: see package importer
	Seen    string    `json:"seen,omitempty"`   // workloads that were seen, with when first: see package source
}

type streamValue struct {
	Version    int `json:"v"`
	Partitions int `json:"n"`
	State
}

type blobValue struct {
	Version    int   `json:"v"`
	Partitions int   `json:"n"`
	Created    int64 `json:"created"` // seconds
}

type stream struct {
	state State
	done  map[Hash]int64 // creation time, seconds
}

// Book holds the progress of all streams of one number. Not safe for concurrent use.
type Book struct {
	partitions int // of the checkpoint topic: a tenant's number depends on it
	streams    map[string]*stream
}

// NewBook makes an empty book for a checkpoint topic of so many partitions.
func NewBook(partitions int) *Book {
	return &Book{partitions: partitions, streams: make(map[string]*stream)}
}

// Load applies one record of the checkpoint topic; a nil value removes.
func (b *Book) Load(key, value []byte) error {
	id, hash, isBlob, err := splitKey(string(key))
	if err != nil {
		return err
	}
	s := b.stream(id)
	switch {
	case isBlob && value == nil:
		delete(s.done, hash)
	case value == nil:
		s.state = State{}
	case isBlob:
		var v blobValue
		if err := decode(key, value, &v); err != nil {
			return err
		}
		s.done[hash] = v.Created
		return b.accept(key, v.Version, v.Partitions)
	default:
		var v streamValue
		if err := decode(key, value, &v); err != nil {
			return err
		}
		s.state = v.State
		return b.accept(key, v.Version, v.Partitions)
	}
	return nil
}

func (b *Book) accept(key []byte, version, partitions int) error {
	if version > layout {
		return fmt.Errorf("checkpoint %q has layout %d, this binary knows up to %d: run the newer version again", key, version, layout)
	}
	if partitions != b.partitions {
		return fmt.Errorf("checkpoint %q was written when the topic had %d partitions, now it has %d: "+
			"partition counts are for life; restore the count or choose a new prefix", key, partitions, b.partitions)
	}
	return nil
}

func decode(key, value []byte, into any) error {
	if err := json.Unmarshal(value, into); err != nil {
		return fmt.Errorf("checkpoint %q: %w", key, err)
	}
	return nil
}

// splitKey reads "tenant/source" or "tenant/source/hash".
func splitKey(key string) (id string, h Hash, isBlob bool, err error) {
	parts := strings.Split(key, "/")
	switch {
	case len(parts) == 2 && parts[0] != "" && parts[1] != "":
		return key, h, false, nil
	case len(parts) == 3 && len(parts[2]) == 2*len(h):
		raw, err := hex.DecodeString(parts[2])
		if err == nil {
			return parts[0] + "/" + parts[1], Hash(raw), true, nil
		}
	}
	return "", h, false, fmt.Errorf("checkpoint key %.100q is not of this topic: does another program write to it?", key)
}

func (b *Book) stream(id string) *stream {
	s := b.streams[id]
	if s == nil {
		s = &stream{done: make(map[Hash]int64)}
		b.streams[id] = s
	}
	return s
}

// State is the committed state of a stream.
func (b *Book) State(id string) State {
	if s := b.streams[id]; s != nil {
		return s.state
	}
	return State{}
}

// Done reports whether a blob of a stream is committed.
func (b *Book) Done(id string, h Hash) bool {
	s := b.streams[id]
	if s == nil {
		return false
	}
	_, ok := s.done[h]
	return ok
}

// Blobs is how many committed blobs of a stream are remembered.
func (b *Book) Blobs(id string) int {
	if s := b.streams[id]; s != nil {
		return len(s.done)
	}
	return 0
}

// Each calls fn for every committed blob of a stream that is remembered, with the time that it was created.
func (b *Book) Each(id string, fn func(h Hash, created time.Time)) {
	if s := b.streams[id]; s != nil {
		for h, created := range s.done {
			fn(h, time.Unix(created, 0).UTC())
		}
	}
}

// Streams lists the streams of the book in order.
func (b *Book) Streams() []string { return slices.Sorted(maps.Keys(b.streams)) }

// Record is one record for the checkpoint topic; a nil value is a tombstone.
type Record struct{ Key, Value []byte }

// Change is what one transaction would change in a book. It implements kafkatx's Change.
type Change struct {
	book   *Book
	states map[string]State
	done   []blobChange
}

type blobChange struct {
	id      string
	hash    Hash
	created int64
	gone    bool
}

// Begin starts an empty change.
func (b *Book) Begin() *Change { return &Change{book: b, states: make(map[string]State)} }

// Set stages the state of a stream.
func (c *Change) Set(id string, s State) { c.states[id] = s }

// Done stages that a blob is committed.
func (c *Change) Done(id string, h Hash, created time.Time) {
	c.done = append(c.done, blobChange{id: id, hash: h, created: created.Unix()})
}

// Forget stages the removal of up to limit blobs of a stream that were created before a time, from when on no window lists them again.
func (c *Change) Forget(id string, before time.Time, limit int) int {
	s := c.book.streams[id]
	if s == nil {
		return 0
	}
	n := 0
	for h, created := range s.done {
		if n >= limit {
			break
		}
		if created < before.Unix() {
			c.done = append(c.done, blobChange{id: id, hash: h, gone: true})
			n++
		}
	}
	return n
}

// Empty reports whether nothing is staged.
func (c *Change) Empty() bool { return len(c.states) == 0 && len(c.done) == 0 }

// Records encodes the change for the checkpoint topic, blobs before cursors.
func (c *Change) Records() ([]Record, error) {
	out := make([]Record, 0, len(c.done)+len(c.states))
	for _, d := range c.done {
		r := Record{Key: fmt.Appendf(nil, "%s/%x", d.id, d.hash)}
		if !d.gone {
			r.Value = fmt.Appendf(nil, `{"v":%d,"n":%d,"created":%d}`, layout, c.book.partitions, d.created)
		}
		out = append(out, r)
	}
	for _, id := range slices.Sorted(maps.Keys(c.states)) {
		value, err := json.Marshal(streamValue{Version: layout, Partitions: c.book.partitions, State: c.states[id]})
		if err != nil {
			return nil, fmt.Errorf("checkpoint %q: %w", id, err)
		}
		out = append(out, Record{Key: []byte(id), Value: value})
	}
	return out, nil
}

// Merge makes the change part of the book: the transaction that carries its records is committed.
func (c *Change) Merge() {
	for _, d := range c.done {
		if s := c.book.stream(d.id); d.gone {
			delete(s.done, d.hash)
		} else {
			s.done[d.hash] = d.created
		}
	}
	for id, state := range c.states {
		c.book.stream(id).state = state
	}
	c.Discard()
}

// Discard throws the change away.
func (c *Change) Discard() { c.done, c.states = nil, nil }
