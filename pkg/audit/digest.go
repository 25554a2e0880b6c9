package audit

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"github.com/go-faster/jx"
)

// Digester computes content digests. It keeps scratch space between calls and must not be used concurrently; the zero value is
// ready.
//
// The content digest says whether two records of one id have the same content. It is XXH64 (seed 0) over the canonical form of
// the record as a JSON value:
//
//	null     'n'
//	true     't'
//	false    'f'
//	number   '0', then its bytes as written
//	string   '"', then its content as UTF-8 with all escapes resolved
//	list     '[', then the hash of each element, 8 bytes, big endian
//	object   '{', then for each member, ordered by the bytes of its name (members of one name stay in order of appearance):
//	         XXH64 of the name's content, 8 bytes, and the hash of its value, 8 bytes, both big endian
//
// where the hash of a value is XXH64 of its canonical form. Two things are left out or changed, so that feed, export and Graph give
// one record once: members whose name ends in "@odata.type", at any depth, do not count; and of a top-level CreationTime that is a
// string one trailing Z is dropped. The algorithm is pinned by testdata/digest.txt and never changes: metadata.uid depends on it.
type Digester struct {
	members []member
	names   []byte
	text    []byte
	buf     []byte
	env     *Envelope // of the record in hand, while Read fills it
}

type member struct {
	start, end int // name within Digester.names
	value      uint64
}

// Sum is the content digest of a record that ParseEnvelope accepted; other bytes give ErrNotRecord.
func (g *Digester) Sum(raw []byte) (uint64, error) {
	d := jx.GetDecoder()
	defer jx.PutDecoder(d)
	d.ResetBytes(raw)
	g.members, g.names, g.buf = g.members[:0], g.names[:0], g.buf[:0]
	if d.Next() != jx.Object {
		return 0, ErrNotRecord
	}
	h, err := g.object(d, true)
	if err != nil {
		return 0, ErrNotRecord
	}
	return h, nil
}

// Read is ParseEnvelope and Sum in one pass.
func (g *Digester) Read(raw []byte) (Envelope, uint64, error) {
	e := Envelope{RecordType: -1, UserType: -1}
	if !utf8.Valid(raw) {
		return e, 0, ErrNotRecord
	}
	d := jx.GetDecoder()
	defer jx.PutDecoder(d)
	d.ResetBytes(raw)
	g.members, g.names, g.buf = g.members[:0], g.names[:0], g.buf[:0]
	if d.Next() != jx.Object {
		return e, 0, ErrNotRecord
	}
	g.env = &e
	h, err := g.object(d, true)
	g.env = nil
	if err != nil || !atEnd(d) {
		return Envelope{RecordType: -1, UserType: -1}, 0, ErrNotRecord
	}
	return e, h, nil
}

// note takes a top-level member over into the envelope. Its value has been hashed: of a string or number the text is still there.
func (g *Digester) note(key []byte, kind jx.Type, hash uint64) {
	text, number := g.env.field(key)
	if text == nil && number == nil {
		return
	}
	s := ""
	switch kind {
	case jx.String, jx.Number:
		s = string(g.text[1:]) // behind the mark of its kind
	case jx.Bool:
		s = strconv.FormatBool(hash == xxhash.Sum64String("t"))
	default: // counts as absent
	}
	if text != nil {
		*text = s
	} else {
		*number = integer(s)
	}
}

func (g *Digester) value(d *jx.Decoder) (uint64, error) {
	switch d.Next() {
	case jx.Object:
		return g.object(d, false)
	case jx.Array:
		return g.list(d)
	case jx.String:
		return g.str(d, false)
	case jx.Number:
		n, err := d.NumAppend(jx.Num(append(g.text[:0], '0')))
		g.text = n
		return xxhash.Sum64(n), err
	case jx.Bool:
		b, err := d.Bool()
		if b {
			return xxhash.Sum64String("t"), err
		}
		return xxhash.Sum64String("f"), err
	case jx.Null:
		return xxhash.Sum64String("n"), d.Null()
	default:
		return 0, ErrNotRecord
	}
}

func (g *Digester) str(d *jx.Decoder, isTime bool) (uint64, error) {
	s, err := d.StrAppend(append(g.text[:0], '"'))
	if err != nil {
		return 0, err
	}
	g.text = s
	if isTime {
		s = bytes.TrimSuffix(s, []byte("Z"))
	}
	return xxhash.Sum64(s), nil
}

func (g *Digester) list(d *jx.Decoder) (uint64, error) {
	mark := len(g.buf)
	g.buf = append(g.buf, '[')
	err := d.Arr(func(d *jx.Decoder) error {
		h, err := g.value(d)
		g.buf = binary.BigEndian.AppendUint64(g.buf, h)
		return err
	})
	h := xxhash.Sum64(g.buf[mark:])
	g.buf = g.buf[:mark]
	return h, err
}

func (g *Digester) object(d *jx.Decoder, top bool) (uint64, error) {
	first, mark := len(g.members), len(g.names)
	err := d.ObjBytes(func(d *jx.Decoder, key []byte) error {
		if bytes.HasSuffix(key, []byte("@odata.type")) {
			return d.Skip()
		}
		start := len(g.names)
		g.names = append(g.names, key...)
		end := len(g.names)
		kind := d.Next()
		h, err := g.memberValue(d, top && string(g.names[start:end]) == "CreationTime")
		if top && g.env != nil && err == nil {
			g.note(g.names[start:end], kind, h)
		}
		g.members = append(g.members, member{start: start, end: end, value: h})
		return err
	})
	if err != nil {
		return 0, err
	}
	own := g.members[first:]
	slices.SortStableFunc(own, func(a, b member) int {
		return bytes.Compare(g.names[a.start:a.end], g.names[b.start:b.end])
	})
	at := len(g.buf)
	g.buf = append(g.buf, '{')
	for _, m := range own {
		g.buf = binary.BigEndian.AppendUint64(g.buf, xxhash.Sum64(g.names[m.start:m.end]))
		g.buf = binary.BigEndian.AppendUint64(g.buf, m.value)
	}
	h := xxhash.Sum64(g.buf[at:])
	g.members, g.names, g.buf = g.members[:first], g.names[:mark], g.buf[:at]
	return h, nil
}

func (g *Digester) memberValue(d *jx.Decoder, isTime bool) (uint64, error) {
	if isTime && d.Next() == jx.String {
		return g.str(d, true)
	}
	return g.value(d)
}

// Entry identifies a record in the seen set: a repeat has an equal entry, a variant has an equal ID hash only.
type Entry struct {
	ID      uint64 // XXH64 of tenant, domain and Id, joined by NUL
	Content uint64 // content digest
}

// NewEntry hashes what identifies a record. The parts cannot run into one another: none of tenant and domain holds a NUL.
func NewEntry(tenant TenantID, domain Domain, id string, content uint64) Entry {
	var b strings.Builder
	b.Grow(len(tenant) + len(domain) + len(id) + 2)
	b.WriteString(string(tenant))
	b.WriteByte(0)
	b.WriteString(string(domain))
	b.WriteByte(0)
	b.WriteString(id)
	return Entry{ID: xxhash.Sum64String(b.String()), Content: content}
}
