package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"time"

	"millrace/pkg/kafkatx"
)

// The kinds of a ledger entry.
const (
	LedgerKindBlob = "blob"
	LedgerKindGap  = "gap"
	LedgerKindAck  = "ack"
)

// LedgerEntry is one value on the ledger topic, keyed by stream: a blob that was carried, a gap, or that an operator knows of a gap.
type LedgerEntry struct {
	Kind        string        `json:"kind"` // blob, gap or ack
	Tenant      string        `json:"tenant"`
	Source      string        `json:"source"` // a source of pkg/audit
	ContentType string        `json:"content_type,omitempty"`
	Blob        *LedgerBlob   `json:"blob,omitempty"`
	Gap         *Gap          `json:"gap,omitempty"`     // of an ack: the gap that is acknowledged
	Ack         *Ack          `json:"ack,omitempty"`     // of an ack
	Offsets     []OffsetRange `json:"offsets,omitempty"` // where the records and dead letters of the blob lie
}

// LedgerBlob says what was listed and fetched.
type LedgerBlob struct {
	ContentID   string    `json:"content_id"`
	Created     time.Time `json:"created"`
	Listed      time.Time `json:"listed"`
	Fetched     time.Time `json:"fetched"`
	Bytes       int64     `json:"bytes"` // of the decoded body
	SHA256      string    `json:"sha256"`
	Records     int       `json:"records"`
	DeadLetters int       `json:"dead_letters,omitempty"` // of the records, and of the rest of a blob that was cut short
	CutShort    bool      `json:"cut_short,omitempty"`    // it never arrived whole: what follows its last whole record is a dead letter
}

// OnRaw is how many of the blob's records lie on its raw topic.
func (b LedgerBlob) OnRaw() int {
	n := b.Records - b.DeadLetters
	if b.CutShort {
		n++ // the rest is a dead letter, and no record
	}
	return n
}

// OffsetRange is a run of offsets on one partition. Aborted records and markers lie between first and last, so count says how
// many are the blob's.
type OffsetRange struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	First     int64  `json:"first"`
	Last      int64  `json:"last"`
	Count     int    `json:"count"`
	SHA256    string `json:"sha256,omitempty"` // of the values, by RangeDigest
}

// Gap is a window of blob creation time of which the feed can give nothing more.
type Gap struct {
	Start     time.Time `json:"start"`
	End       time.Time `json:"end"`
	Reason    string    `json:"reason"` // one of the four below
	ContentID string    `json:"content_id,omitempty"`
}

// Why there is a gap.
const (
	GapBeforeSubscription = "before_subscription" // the subscription is younger than the feed's memory
	GapSubscriptionOff    = "subscription_off"    // it had been on, and somebody stopped it for a while
	GapOutage             = "outage"              // nobody listed for longer than the feed keeps
	GapBlobExpired        = "blob_expired"        // one blob could not be fetched until it expired
)

// Ack says that an operator knows of a gap.
type Ack struct {
	At   time.Time `json:"at"`
	Note string    `json:"note,omitempty"`
}

// RangeDigest is the SHA-256 of the values of an OffsetRange in order of their offsets, each after its length in 8 bytes, big endian.
type RangeDigest struct{ h hash.Hash }

// NewRangeDigest starts a digest.
func NewRangeDigest() RangeDigest { return RangeDigest{sha256.New()} }

// Add adds the next value.
func (d RangeDigest) Add(value []byte) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(value)))
	_, _ = d.h.Write(n[:]) // a hash takes everything
	_, _ = d.h.Write(value)
}

// Sum is the digest in hex.
func (d RangeDigest) Sum() string { return hex.EncodeToString(d.h.Sum(nil)) }

// Ranges sums up where records went, given the offset of each. Records of one partition are in the order of their offsets.
func Ranges(outputs []kafkatx.Record, offsets []int64) []OffsetRange {
	var out []OffsetRange
	var digests []RangeDigest
next:
	for i := range outputs {
		r := &outputs[i]
		for j := range out {
			o := &out[j]
			if o.Partition == r.Partition && o.Topic == r.Topic {
				o.First, o.Last = min(o.First, offsets[i]), max(o.Last, offsets[i])
				o.Count++
				digests[j].Add(r.Value)
				continue next
			}
		}
		out = append(out, OffsetRange{Topic: r.Topic, Partition: r.Partition, First: offsets[i], Last: offsets[i], Count: 1})
		digests = append(digests, NewRangeDigest())
		digests[len(digests)-1].Add(r.Value)
	}
	for j := range out {
		out[j].SHA256 = digests[j].Sum()
	}
	return out
}
